"""The error barrier and what it is compared by, against arithmetic by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

import lmc
from claims.measure import Bench, lines_between
from claims.measure.minimal import (
    chance,
    error_barrier,
    relative_barrier,
    training_loss,
)
from fixtures import scales
from reports.results import check_curves


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two small trained networks of unlike initializations: their barrier is large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        [pair] = Bench(scales.get("digits"), 0, 2, "cpu").setting("mlp").pairs()
        yield pair


def forward(state, images):
    """Return the logits of a network of three layers, float64."""
    hidden = images.double().flatten(1)
    for layer in (1, 3, 5):
        weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
        hidden = hidden @ weight.double().T + bias.double()
        hidden = hidden.clamp(min=0) if layer < 5 else hidden
    return hidden


def whole(pair, split):
    """Return all images and labels of a split."""
    images, labels = zip(*pair.setting.batches(split), strict=True)
    return torch.cat(images), torch.cat(labels)


def wrong(state, images, labels):
    """Return the error in percent, image by image."""
    decided = forward(state, images).argmax(1).tolist()
    pairs = zip(decided, labels.tolist(), strict=True)
    return 100 * sum(ours != label for ours, label in pairs) / len(labels)


def on_a_line(accuracies, ends=None, classes=10):
    """Return what stands for a pair with these accuracies at lambda 0, 0.1, ..., 1."""
    curve = lmc.Curve(lmc.LAMBDAS, (0.0,) * 11, tuple(accuracies))
    mean = (accuracies[0] + accuracies[-1]) / 2 if ends is None else ends
    return SimpleNamespace(
        name="0-1",
        setting=SimpleNamespace(
            name="minimal", recipe=SimpleNamespace(options=(("classes", classes),))
        ),
        curve={"none": curve}.__getitem__,
        endpoints=lambda: mean,
    )


def test_error_barrier_of_networks(pair):
    data, (a, b), errors = whole(pair, "test"), (pair.a.state, pair.b.state), []
    for step in range(11):
        lam = step / 10
        point = {name: (1 - lam) * a[name] + lam * b[name] for name in a}
        errors.append(wrong(point, *data))
    rises = [
        error - ((10 - step) * errors[0] + step * errors[-1]) / 10
        for step, error in enumerate(errors)
    ]
    assert max(rises) > 1
    assert error_barrier(pair) == pytest.approx(max(rises))


def test_the_barrier_is_measured_from_the_line_and_not_at_the_midpoint():
    """Endpoints of 90 and 70: at 0.2 the line is at 86, 16 points above 70."""
    dip = [90, 88, 70, 84, 82, 80, 78, 76, 74, 72, 70]
    assert error_barrier(on_a_line(dip)) == pytest.approx(16.0)
    rising = [90, 90, 90, 90, 90, 90, 90, 90, 90, 90, 70]
    assert error_barrier(on_a_line(rising)) == 0.0


def test_the_relative_barrier_is_1_where_the_line_guesses():
    broken = [90] + [10] * 9 + [90]
    halfway = [50] + [30] * 9 + [50]
    found = [relative_barrier(on_a_line(line)) for line in (broken, halfway)]
    assert found == pytest.approx([80 / 80, 20 / 40])
    hundred = [41] + [11] * 9 + [41]
    assert relative_barrier(on_a_line(hundred, classes=100)) == pytest.approx(30 / 40)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("minimal-mlp", 10),
        ("minimal-conv", 10),
        ("minimal-mlp-cifar100-1400", 1),
        ("minimal-conv-cifar100-1400", 1),
    ],
)
def test_chance_is_that_of_the_networks_classes(setting, expected):
    recipe = scales.get("mnist").recipe(setting)
    assert chance(recipe) == expected
    images = scales.IMAGES[recipe.dataset]
    logits = recipe.build_model()(torch.zeros(1, *images))
    assert logits.shape[1] == 100 / expected


def test_endpoints_at_chance_have_no_relative_barrier():
    with pytest.raises(ValueError) as error:
        relative_barrier(on_a_line([10] * 11))
    assert "pair 0-1 of 'minimal' are 10% accurate, which is chance" in str(error.value)
    assert "train them longer" in str(error.value)


def test_training_loss_is_the_mean_of_both_on_the_training_images(pair):
    images, labels = whole(pair, "train")
    losses = [
        float(F.cross_entropy(forward(network.state, images), labels))
        for network in (pair.a, pair.b)
    ]
    assert training_loss(pair) == pytest.approx(sum(losses) / 2, rel=1e-5)
    assert abs(losses[0] / losses[1] - 1) > 1e-3


def test_lines_of_two_settings_can_be_drawn():
    ours, others = on_a_line([90] * 11), on_a_line([80] * 11)
    curves = lines_between({"conv": [ours, others], "local": [others]})
    assert curves["lines"] == {
        "conv": [(90,) * 11, (80,) * 11],
        "local": [(80,) * 11],
    }
    assert curves["x"][5] == 0.5
    check_curves(curves)


def test_barriers_of_zero_tie_whatever_the_last_bits():
    """In a trend 1.6e-16 would rank above 0."""
    curves = [SimpleNamespace(accuracy_barrier=b) for b in (1.6e-16, 0.0, 0.5)]
    pairs = [SimpleNamespace(curve=lambda method, c=c: c) for c in curves]
    assert [error_barrier(pair) for pair in pairs] == [0.0, 0.0, 0.5]
