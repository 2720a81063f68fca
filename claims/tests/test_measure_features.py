"""What is measured layer by layer, against arithmetic by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lmc
from claims.measure import Bench, Network, Pair, features
from claims.measure.features import (
    MEASURES,
    activation_size,
    at_endpoints,
    at_midpoint,
    dead_and_kept,
    fresh,
    in_network,
    in_pruned,
    parameter_size,
    recovery,
    relative_to_endpoints,
    running_statistics,
)
from claims.measure.pruned import Pruned
from fixtures import datasets, scales
from fixtures.initialization import stream


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A store of its own, with four small networks after the first use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def mlp(cache):
    return Bench(scales.get("digits"), 0, 4, "cpu").setting("mlp")


@pytest.fixture
def untrained(cache):
    """Return two networks of a setting as they were initialized, to be changed."""

    def make(name):
        setting = Bench(scales.get("digits"), 0, 2, "cpu").setting(name)
        return [fresh(setting, seed) for seed in (0, 1)]

    return make


def forward(state, images):
    """Return the MLP's three pre-activations, in float64."""
    x, outputs = images.flatten(1).double(), []
    for layer in ("1", "3", "5"):
        weight, bias = (
            state[f"{layer}.{kind}"].double() for kind in ("weight", "bias")
        )
        outputs.append(x @ weight.T + bias)
        x = outputs[-1].relu()
    return outputs


def halfway(pair, method):
    """Return the midpoint's tensors by hand."""
    b = pair.permutation(method).apply(pair.b.state)
    return {name: (pair.a.state[name] + b[name]) / 2 for name in b}


def by_hand(measure, state):
    """Return what each layer of an MLP has, from its definition."""
    images, labels = datasets.load("digits").tensors("train")
    outputs = forward(state, images)
    zeros = forward(state, torch.zeros(1, 64))
    hidden = outputs[:2]
    if measure == "fisher":  # of the last layer: its gradients are (y - p) h^T, y - p
        slope = F.one_hot(labels, 10) - outputs[2].softmax(1)
        below = F.pad(outputs[1].relu(), (0, 1), value=1.0)
        squares = (slope[:256, :, None] * below[:256, None]).square()
        return [float(squares.mean())]
    return {
        "scale-before": [float(f.abs().mean()) for f in outputs],
        "scale-after": [float(f.relu().mean()) for f in hidden],
        "zeros": [float((f <= 0).double().mean()) for f in hidden],
        "dead": [float((f <= 0).all(0).double().mean()) for f in hidden],
        "magnitude": [
            float(
                torch.cat([state[f"{n}.weight"].flatten(), state[f"{n}.bias"]])
                .double()
                .abs()
                .mean()
            )
            for n in "135"
        ],
        "input-dependent": [
            float(f.var(0, correction=0).mean() / f.square().mean()) for f in outputs
        ],
        "input-dependent-zero": [
            float((f - h).square().mean())
            / float((f - h).square().mean() + h.square().mean())
            for f, h in zip(outputs, zeros, strict=True)
        ],
        "input-dependent-size": [
            float((f - h).square().mean()) for f, h in zip(outputs, zeros, strict=True)
        ],
    }[measure]


@pytest.mark.parametrize("measure", MEASURES)
def test_measures(mlp, measure):
    """At a matched midpoint, and not what the bare midpoint or an endpoint has."""
    pair = mlp.pairs()[0]
    expected = by_hand(measure, halfway(pair, "weights"))
    found = at_midpoint(pair, measure, "weights")
    hidden = ["1", "3"] if measure in ("scale-after", "zeros", "dead") else list("135")
    assert list(found) == hidden
    compared = list(found.values())[-len(expected) :]
    assert compared == pytest.approx(expected, rel=1e-4)
    if measure != "dead":  # of which there may be none
        for other in (at_midpoint(pair, measure, "none"), in_network(pair.a, measure)):
            assert list(other.values())[-len(expected) :] != pytest.approx(
                expected, rel=1e-4
            )


def test_dead_units_are_seen(untrained):
    """A unit that a bias keeps below zero; 12 of 120 in the first layer."""
    a, _ = untrained("mlp")
    before = in_network(a, "dead")["1"]
    a = Network(a.setting, a.seed, a.state)  # whose digest is not yet known
    a.state["1.bias"][:12] = -1e3
    assert in_network(a, "dead")["1"] >= 0.1 > before
    assert in_network(a, "dead")["1"] == by_hand("dead", a.state)[0]


def test_endpoints(mlp):
    """The mean of A and B, and the midpoint in proportion to it."""
    pair = mlp.pairs()[0]
    a, b = (by_hand("magnitude", network.state) for network in (pair.a, pair.b))
    ends = [(x + y) / 2 for x, y in zip(a, b, strict=True)]
    assert list(at_endpoints(pair, "magnitude").values()) == pytest.approx(ends)
    middle = by_hand("magnitude", halfway(pair, "none"))
    ratio = [m / e for m, e in zip(middle, ends, strict=True)]
    found = relative_to_endpoints(pair, "magnitude", "none")
    assert list(found.values()) == pytest.approx(ratio)
    assert max(ratio) < 0.95  # so that A over A would not pass


def test_renormalized_midpoint(mlp):
    """REPAIR is in the weights that are measured."""
    pair = mlp.pairs()[0]
    state = pair.middle("weights", "repair").state
    found = at_midpoint(pair, "scale-before", "weights", "repair")
    expected = by_hand("scale-before", state)
    assert list(found.values()) == pytest.approx(expected, rel=1e-3)
    assert found != at_midpoint(pair, "scale-before", "weights")


def test_renormalization_without_bias_is_refused(untrained):
    """There the renormalized network is not what its weights say."""
    pair = Pair(*untrained("nobias-vgg"))
    with pytest.raises(ValueError, match="whose renormalized layers have biases"):
        at_midpoint(pair, "scale-before", "none", "repair")


def test_measured_once(mlp, monkeypatch):
    """What one bench measured, another finds, in the same order."""
    before = at_midpoint(mlp.pairs()[0], "magnitude", "none")
    monkeypatch.setitem(MEASURES, "magnitude", None)
    again = Bench(scales.get("digits"), 0, 4, "cpu").setting("mlp").pairs()[0]
    assert list(at_midpoint(again, "magnitude", "none").items()) == [*before.items()]


def test_layers_are_in_the_order_of_execution(untrained):
    """The store sorts its tensors; a ResNet's stem comes first all the same."""
    [network, _] = untrained("plain-resnet")
    graph = network.setting.symmetry.graph
    names = [layer.name for layer in graph.layers]
    assert list(in_network(network, "magnitude")) == names != sorted(names)


def test_dead_and_kept(untrained):
    """Units that are dead at the midpoint, and those of them that stay so."""
    a, b = untrained("mlp")
    b.state["1.weight"][:] = -a.state["1.weight"]  # the midpoint's features vanish
    for network in (a, b):
        network.state["1.bias"][:30], network.state["1.bias"][30:] = -1e3, 1e-3
        network.state["3.weight"][:21] = network.state["3.weight"][:21].abs()
        network.state["3.bias"][:21] = -1.0  # alive only where there are features
    pair = Pair(a, b)
    images, _ = datasets.load("digits").tensors("train")
    bare, shifted = (
        [
            (f <= 0).all(0)
            for f in forward(pair.middle("none", repair).state, images)[:2]
        ]
        for repair in ("", "reshift")
    )
    dead = [float(units.double().mean()) for units in bare]
    kept = [float((x & y).double().mean()) for x, y in zip(bare, shifted, strict=True)]
    assert dead_and_kept(pair, "none", "reshift", ["1"]) == pytest.approx((25, 25))
    assert dead_and_kept(pair, "none", "reshift", ["1", "3"]) == pytest.approx(
        (50 * sum(dead), 50 * sum(kept))
    )
    assert dead[1] > kept[1]  # some are revived
    assert dead_and_kept(pair, "none", "", ["3"]) == pytest.approx([100 * dead[1]] * 2)


def test_running_statistics(untrained):
    """Sizes of the midpoint's own buffers: interpolated, and measured anew by RESET."""
    a, b = untrained("bn-vgg")
    first = "features.1"
    a.state[f"{first}.running_mean"][:] = torch.arange(16.0)
    b.state[f"{first}.running_mean"][:] = -3 * torch.arange(16.0)
    a.state[f"{first}.running_var"][:] = 7.0
    b.state[f"{first}.running_var"][:] = 11.0
    pair = Pair(a, b)
    means, deviations = running_statistics(pair, "none")
    assert len(means) == len(deviations) == 7
    assert means[0] == pytest.approx(7.5)
    assert deviations[0] == pytest.approx(3.0)
    images, _ = datasets.load("digits").tensors("train")
    middle = lmc.interpolate(a.state, b.state, 0.5)
    weight, bias = (middle[f"features.0.{kind}"] for kind in ("weight", "bias"))
    out = F.conv2d(images, weight, bias, padding=1)
    means, deviations = running_statistics(pair, "none", "reset")
    assert means[0] == pytest.approx(float(out.mean((0, 2, 3)).abs().mean()), rel=1e-2)
    assert deviations[0] == pytest.approx(float(out.std((0, 2, 3)).mean()), rel=1e-2)


def test_pruned(mlp):
    """Nine tenths of the smallest weights are gone; REPAIR brings statistics back."""
    network = mlp.networks(1)[0]
    state, names = dict(network.state), [f"{layer}.weight" for layer in "135"]
    sizes = torch.cat([state[name].abs().flatten() for name in names])
    cut = sizes.sort().values[round(0.9 * len(sizes))]
    for name in names:
        state[name] = state[name] * (state[name].abs() >= cut)
    pruned = Pruned(network, "global-magnitude", 0.9)
    found = in_pruned(pruned, "input-dependent")
    assert list(found.values()) == pytest.approx(
        by_hand("input-dependent", state), rel=1e-3
    )
    dense = in_network(network, "input-dependent")["1"]
    repaired = in_pruned(pruned, "input-dependent", renormalized=True)["1"]
    assert repaired == pytest.approx(dense, rel=1e-2)
    assert found["1"] != pytest.approx(dense, rel=1e-2)


def test_fresh_networks(mlp):
    """Where the seed's training began: not where it ended, nor another seed's."""
    own, other = fresh(mlp, 0), fresh(mlp, 1)
    assert own.digest == fresh(mlp, 0).digest
    assert len({own.digest, other.digest, mlp.networks(1)[0].digest}) == 3
    assert own.state["1.weight"].std() == pytest.approx((2 / 64) ** 0.5, rel=0.05)
    found = list(in_network(own, "magnitude").values())
    assert found == pytest.approx(by_hand("magnitude", own.state))


def retrained_by_hand(model, state, seed, steps):
    """Return training and test accuracy after some steps of plain SGD."""
    model.load_state_dict(state)
    data = datasets.load("digits")
    images, labels = data.tensors("train")
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4
    )
    for step in range(steps):
        epoch, part = divmod(step, 11)
        if part == 0:
            order = torch.Generator().manual_seed(stream(f"retraining {epoch}", seed))
            rows = torch.randperm(1400, generator=order).split(128)
        optimizer.zero_grad()
        F.cross_entropy(model(images[rows[part]]), labels[rows[part]]).backward()
        optimizer.step()
    right = (
        (model(x).argmax(1) == y).float().mean()
        for x, y in (data.tensors("train"), data.tensors("test"))
    )
    return [100 * float(share) for share in right]


@pytest.mark.parametrize("start", ["fresh", "none"])
def test_recovery(mlp, start):
    """A step before it ended, the training accuracy was not yet reached."""
    pair = mlp.pairs()[0]
    found = recovery(pair, start, 30)
    state = fresh(mlp, 0).state if start == "fresh" else halfway(pair, start)
    model = mlp.recipe.build_model()
    assert found.reached and found.steps > 1
    train, test = retrained_by_hand(model, state, 0, found.steps)
    assert train >= 90 and found.test == pytest.approx(test, abs=0.3)
    assert retrained_by_hand(model, state, 0, found.steps - 1)[0] < 90


@pytest.mark.parametrize(
    ("epoch", "every"), [(11, 1), (77, 1), (78, 2), (391, 10), (469, 10)]
)
def test_scores_of_a_recovery(epoch, every):
    """As often in an epoch as the paper's, or at every step: digits has 11, CIFAR-10
    391 and MNIST 469."""
    assert features.steps_between(epoch) == every


def test_matched_midpoints_recover_faster(mlp):
    """An MLP's matched midpoint has little to recover."""
    pair = mlp.pairs()[0]
    assert recovery(pair, "weights", 30).steps < recovery(pair, "none", 30).steps


def test_recovery_given_up(mlp):
    """After one epoch of 11 steps; they are the budget, and it is said."""
    pair = mlp.pairs()[1]
    found = recovery(pair, "fresh", 1)
    assert not found.reached and found.steps == 11
    assert recovery(pair, "fresh", 30).reached  # another budget is measured anew


def test_parameter_size(untrained):
    """Weights and biases of layers alike; not BatchNorm's affine parameters."""
    network, _ = untrained("bn-resnet")
    model = network.setting.model
    model.load_state_dict(network.state)
    total, count = 0.0, 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            for value in module.parameters():
                total += float(value.detach().double().abs().sum())
                count += value.numel()
    assert parameter_size(network) == pytest.approx(total / count, rel=1e-12)
    network.state["classifier.bias"] += 100  # it is the network that is measured
    assert parameter_size(network) > total / count


def test_activation_size(untrained):
    """Mean over units, the same as over all activations of networks of two widths."""
    network, _ = untrained("mlp")
    images, _ = zip(*network.setting.batches("train"), strict=True)
    x = torch.cat(images).flatten(1)
    first = torch.relu(x @ network.state["1.weight"].T + network.state["1.bias"])
    second = torch.relu(first @ network.state["3.weight"].T + network.state["3.bias"])
    by_unit = torch.cat([layer.double().mean(0) for layer in (first, second)])
    assert len(by_unit) == 120 + 84
    assert activation_size(network) == pytest.approx(float(by_unit.mean()), rel=1e-5)


def test_activations_of_shortcuts_count_once(untrained):
    """One nonlinearity behind a sum, though two layers end in it."""
    network, _ = untrained("bn-resnet")
    model = network.setting.model
    model.load_state_dict(network.state)
    original, seen = torch.relu, []

    def relu(x):
        seen.append(original(x))
        return seen[-1]

    images = torch.cat([x for x, _ in network.setting.batches("train")])
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "relu", relu)
        patch.setattr(torch.nn.functional, "relu", lambda x, **_: relu(x))
        model(images)
    by_unit = torch.cat([x.double().mean((0, 2, 3)) for x in seen])
    assert activation_size(network) == pytest.approx(float(by_unit.mean()), rel=1e-5)
