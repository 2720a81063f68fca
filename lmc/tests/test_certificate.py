"""The certificate is rounding for right groups, and fails for wrong ones."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import lmc.certificate
import lmc.discovery
from lmc import CertificateError, Permutation, certify, discover
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import Layers, normal, randomized
from lmc.tests.symmetries import without

IMAGES = torch.zeros(2, 1, 8, 8)


@pytest.mark.parametrize(
    "model",
    [
        MLP((64, 6, 5, 3)),
        VGG((4, "M", 6), norm="bn"),
        VGG((4, "M", 6), norm="ln"),
        ResNet((4, 8), (1, 1), norm="bn"),
    ],
)
def test_certificate_is_rounding_in_float64(model):
    """No permutation tried changes the outputs by more than float64's rounding."""
    certificate = discover(randomized(model), IMAGES).certificate
    assert certificate.permutations >= 4
    assert certificate.relative_difference < 1e-14


def test_certificate_is_that_of_the_model_run_by_hand():
    """Differences on the inputs given, each relative to its output where that is large.

    A bias of 5 makes all outputs larger than what the hidden weights change.
    """
    model = randomized(MLP((4, 60, 3)))
    model.get_parameter("3.bias").data += 5
    symmetry, x = discover(model, torch.zeros(2, 4)), normal(5, 4)
    p = Permutation.random(symmetry, torch.Generator().manual_seed(7))
    found = certify(symmetry, model, model.state_dict(), x, permutation=p)
    double, permuted = (MLP((4, 60, 3)).double().eval() for _ in range(2))
    double.load_state_dict(model.state_dict())
    permuted.load_state_dict(p.apply(double.state_dict()))
    with torch.no_grad():
        difference = ((double(x) - permuted(x)) / double(x)).abs().max()
    assert found.relative_difference == float(difference) > 0
    assert (found.permutations, found.outputs, found.vacuous) == (1, 1, ())


@pytest.mark.parametrize("site", [("1.weight", 0), ("1.bias", 0), ("3.weight", 1)])
def test_wrong_symmetry_fails_its_certificate(site):
    """A group that forgets one axis changes the function: the error says by how much.

    Six units: no permutation drawn here is the identity.
    """
    model = randomized(MLP((4, 6, 3)))
    wrong = without(discover(model, torch.zeros(2, 4)), "1", site)
    message = (
        r"permuting the 1 groups 1 changes output 0 by a relative \d\.\de[-+]\d\d "
        r"\(allowed 1e-09\): .* please report the model"
    )
    with pytest.raises(CertificateError, match=message):
        certify(wrong, model, model.state_dict(), normal(5, 4))


def test_outputs_that_are_nan_fail_the_certificate():
    """A comparison with nan is no evidence."""
    model = randomized(MLP((4, 6, 3)))
    symmetry = discover(model, torch.zeros(2, 4))
    state = {**model.state_dict(), "3.bias": torch.full((3,), torch.nan)}
    with pytest.raises(CertificateError, match=r"output 0 has .* NaN.*give numbers"):
        certify(symmetry, model, state, normal(5, 4))


class Masked(nn.Module):
    """Attention that returns its scores beside the logits, most of them masked."""

    def __init__(self, mask: str):
        super().__init__()
        self.enter, self.leave = nn.Linear(5, 12), nn.Linear(12, 3)
        self.query, self.key, self.value = (nn.Linear(12, 12) for _ in range(3))
        self.mask = mask

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map ``(N, 6, 5)`` to logits ``(N, 3)`` and scores ``(N, 6, 6)``."""
        h = self.enter(x).relu()
        scores = self.query(h) @ self.key(h).transpose(1, 2)
        seen = torch.eye(x.shape[1], dtype=torch.bool)
        if self.mask == "added":
            scores = scores + torch.where(seen, 0.0, -1e9)
        else:
            low = torch.finfo(x.dtype).min if self.mask == "lowest" else -torch.inf
            scores = scores.masked_fill(~seen, low)
        mixed = scores.softmax(-1) @ self.value(h)
        return {"logits": self.leave(mixed.mean(1)), "scores": scores, "seen": seen}


MASKS = ["added", "lowest", "infinite"]


@pytest.mark.parametrize("mask", MASKS)
def test_masked_outputs_do_not_hide_or_refuse_a_right_group(mask):
    """Huge and infinite scores are not in the way; the mask itself shows nothing."""
    symmetry = discover(randomized(Masked(mask)), normal(2, 6, 5).float())
    assert {name: group.size for name, group in symmetry.groups.items()} == {
        "enter": 12,
        "query": 12,
        "value": 12,
    }
    assert symmetry.certificate.relative_difference < 1e-12
    assert (symmetry.certificate.outputs, symmetry.certificate.vacuous) == (3, (2,))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(
    ("group", "site", "output"),
    [
        ("enter", ("query.weight", 1), 1),
        ("query", ("key.weight", 0), 1),
        ("query", ("key.bias", 0), 1),
        ("value", ("leave.weight", 1), 0),
    ],
)
def test_a_wrong_group_is_caught_beside_masked_outputs(mask, group, site, output):
    """Each output has a scale of its own, which the masked entries have no part in."""
    model, x = randomized(Masked(mask)), normal(2, 6, 5).float()
    wrong = without(discover(model, x), group, site)
    with pytest.raises(CertificateError, match=f"changes output {output} by"):
        certify(wrong, model, model.state_dict(), x)


def test_masks_that_move_with_units_are_a_wrong_group():
    """An infinite entry in another place is a difference, whatever the others say."""

    class Hidden(Layers):
        def forward(self, x):
            hidden = self.first(x)
            return self.last(hidden.relu()), hidden.masked_fill(hidden > 0, -torch.inf)

    model, x = randomized(Hidden()), normal(2, 4).float()
    free = discover(randomized(Layers()), x)
    with pytest.raises(CertificateError, match="changes output 1 by a relative inf"):
        certify(free, model, model.state_dict(), x)


def forget(monkeypatch, group: str, site: tuple[str, int]) -> None:
    """Make discovery forget one site of one group."""
    collect = lmc.discovery._collect

    def forgetful(*arguments):
        groups, pinned = collect(*arguments)
        mine = groups[group]
        fewer = tuple(s for s in mine.sites if (s.name, s.axes[0]) != site)
        assert len(fewer) == len(mine.sites) - 1
        return {**groups, group: replace(mine, sites=fewer)}, pinned

    monkeypatch.setattr(lmc.discovery, "_collect", forgetful)


@pytest.mark.parametrize(
    "site",
    [
        ("classifier.weight", 1),
        ("features.0.bias", 0),
        ("features.1.weight", 0),
        ("features.1.bias", 0),
        ("features.1.running_mean", 0),
        ("features.1.running_var", 0),
    ],
)
def test_initial_zeros_and_ones_cannot_hide_a_wrong_group(monkeypatch, site):
    """Zero classifier, zero biases, fresh BatchNorm: the noisy network is decisive.

    The network itself passes with the wrong group, which is why it is not enough.
    """
    model, x = VGG((6,), 3, norm="bn").eval(), normal(2, 1, 4, 4).float()
    for tensor in (*model.classifier.parameters(), model.features[0].bias):
        nn.init.zeros_(tensor)
    wrong = without(discover(model, x), "features.0", site)
    with pytest.warns(UserWarning, match="the certificate shows nothing"):
        certify(wrong, model, model.state_dict(), x)
    forget(monkeypatch, "features.0", site)
    with pytest.raises(CertificateError, match=r"groups features\.0 changes"):
        discover(model, x)


def test_two_units_cannot_hide_a_wrong_group(monkeypatch):
    """Every second permutation of two units is the identity, which shows nothing."""
    model = randomized(MLP((4, *[2] * 8, 3)))
    for tensor in model.parameters():
        tensor.data.abs_()  # all units alive, so that every group matters
    x = normal(2, 4).abs().float()
    for layer in range(1, 17, 2):
        with monkeypatch.context() as patch:
            forget(patch, str(layer), (f"{layer + 2}.weight", 1))
            with pytest.raises(CertificateError):
                discover(model, x)


@pytest.mark.parametrize("width", [2, 3])
def test_equal_permutations_cannot_hide_a_group_torn_in_two(monkeypatch, width):
    """Two groups that should be one: in some permutation only one of them moves."""
    model = randomized(MLP((4, *[width] * 8, 3)))
    for tensor in model.parameters():
        tensor.data.abs_()  # all units alive, so that every group matters
    x, collect = normal(2, 4).abs().float(), lmc.discovery._collect
    for layer in map(str, range(1, 17, 2)):

        def torn(*arguments, layer=layer):
            groups, pinned = collect(*arguments)
            *most, last = groups[layer].sites
            parts = {
                layer: replace(groups[layer], sites=tuple(most)),
                "torn": replace(groups[layer], name="torn", sites=(last,)),
            }
            return {**groups, **parts}, pinned

        with monkeypatch.context() as patch:
            patch.setattr(lmc.discovery, "_collect", torn)
            with pytest.raises(CertificateError):
                discover(model, x)


def vanishing():
    """Outputs of each layer are a thousandth of the running statistics behind it."""
    layers = [nn.Linear(4, 5)]
    for _ in range(8):
        layers += [nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 5)]
    for layer in layers[::3]:
        layer.weight.data *= 1e-3
    return nn.Sequential(*layers, nn.Linear(5, 3)).eval()


@pytest.mark.parametrize("site", [("0.weight", 0), ("3.weight", 1)])
def test_signals_that_vanish_cannot_hide_a_wrong_group(monkeypatch, site):
    """Statistics are calibrated on the noisy inputs, so that every layer is seen."""
    model, x = vanishing(), normal(8, 4).float()
    wrong = without(discover(model, x), "0", site)
    certify(wrong, model, model.state_dict(), x)  # only biases are left to see
    forget(monkeypatch, "0", site)
    with pytest.raises(CertificateError, match="groups 0, "):
        discover(model, x)


def deep(width=256):
    """Many layers without a norm, drawn from the stream of the seed that most give."""
    torch.manual_seed(0)
    layers = [nn.Linear(4, width), nn.ReLU()]
    for _ in range(10):
        layers += [nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 3)).eval()


def test_the_seed_of_a_networks_weights_cannot_hide_a_wrong_group():
    """Factors from the same stream are large where weights are: outputs explode.

    Beside these a wrong bias, of a 100,000th of the outputs, would be no difference.
    """
    model, x = deep(), normal(8, 4).float()
    model.get_parameter("20.bias").data *= 1e-5
    symmetry = discover(model, x)
    wrong = without(symmetry, "20", ("20.bias", 0))
    with pytest.raises(CertificateError, match="changes output 0 by a relative"):
        certify(wrong, model, model.state_dict(), x)
    factors = lmc.certificate._with_other_weights(
        {name: torch.ones_like(value) for name, value in model.state_dict().items()},
        symmetry,
    )
    weight = model.get_parameter("10.weight")
    found = torch.stack([factors["10.weight"].flatten(), weight.flatten()])
    assert torch.corrcoef(found)[0, 1].abs() < 0.1


def test_outputs_of_another_order_do_not_set_the_scale():
    """A hundred medians of the entries at most, and masks have no part in it."""
    huge = torch.finfo(torch.float64).min
    before = torch.tensor([1.0, 2.0, 3.0, huge], dtype=torch.float64)
    typical = lmc.certificate._typical
    assert typical(before, before * 1.5) == 1.0
    exploded = torch.tensor([1e9, 2e9, 3e9, huge], dtype=torch.float64)
    assert typical(before, exploded) == 200.0
    nothing = torch.zeros(4, dtype=torch.float64)
    assert typical(nothing, exploded[:1].expand(4)) == 1e9
    assert typical(before, before) == 0.0


def test_the_certificate_runs_the_model_twelve_times(monkeypatch):
    """However many groups there are."""
    model, runs = randomized(MLP((4, *[5] * 40, 3))), []
    model.register_forward_hook(lambda *_: runs.append(1))
    symmetry = discover(model, normal(2, 4).float(), certify=False)
    assert symmetry.certificate is None and len(symmetry.groups) == 40
    runs.clear()
    certified = discover(model, normal(2, 4).float()).certificate
    # Export runs it once; without BatchNorm nothing is calibrated.
    assert len(runs) - 1 == 11 and certified.permutations == 7


@pytest.mark.parametrize("seed", range(6))
def test_default_certificate_moves_every_group(seed):
    """Whatever the seed, a wrong group of two units fails."""
    model, x = randomized(MLP((4, 2, 3))), normal(5, 4)
    wrong = without(discover(model, x.float()), "1", ("3.weight", 1))
    generator = torch.Generator().manual_seed(seed)
    with pytest.raises(CertificateError):
        certify(wrong, model, model.state_dict(), x, generator=generator)
