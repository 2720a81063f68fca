"""Discovered groups, against lists derived by hand, and what is refused and why."""

import inspect
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lmc.discovery
import lmc.rules.calls
from lmc import CertificateError, Permutation, Symmetry, certify, discover
from lmc.graph import TraceError
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import normal, randomized

IMAGES = torch.zeros(2, 1, 8, 8)


class Layers(nn.Module):
    """Two linear layers, for the forward methods below."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)))


class Cumulated(Layers):
    def forward(self, x):
        hidden = self.first(x)
        return self.last(hidden.cumsum(-1))


class Fourier(Layers):
    def forward(self, x):
        return self.last(torch.fft.rfft(self.first(x), n=10).abs())


class Products(Layers):
    def forward(self, x):
        return self.last(self.first(x).cumprod(1))


def sites(symmetry: Symmetry) -> dict[str, str]:
    """Write each group's whole-axis sites as 'size: name:axis name:axis ...'."""
    written = {}
    for name, group in symmetry.groups.items():
        axes = " ".join(f"{site.name}:{site.axes[0]}" for site in group.sites)
        for site in group.sites:
            assert len(site.axes) == 1
            assert site.positions.flatten().tolist() == list(range(group.size))
        written[name] = f"{group.size}: {axes}"
    return written


def activations(symmetry: Symmetry, group: str) -> list[tuple[str, int]]:
    """Nodes and axes where a group's units are, one after another."""
    found = symmetry.groups[group].activations
    units = list(range(symmetry.groups[group].size))
    assert all(place.positions.tolist() == units for place in found)
    return [(place.node, *place.axes) for place in found]


def norm(name: str, buffers: bool = True) -> str:
    """Sites of a normalization layer over a group's channels."""
    tensors = "weight bias running_mean running_var".split()[: 4 if buffers else 2]
    return " ".join(f"{name}.{tensor}:0" for tensor in tensors)


def without(symmetry: Symmetry, group: str, site: tuple[str, int]) -> Symmetry:
    """Forget one site of one group: a wrong symmetry."""
    mine = symmetry.groups[group]
    fewer = tuple(s for s in mine.sites if (s.name, s.axes[0]) != site)
    assert len(fewer) == len(mine.sites) - 1
    groups = {**symmetry.groups, group: replace(mine, sites=fewer)}
    return replace(symmetry, groups=groups)


def test_groups_of_an_mlp():
    """Each hidden layer: its rows, its bias, the next layer's columns."""
    symmetry = discover(randomized(MLP((64, 6, 5, 3))), IMAGES)
    assert sites(symmetry) == {
        "1": "6: 1.weight:0 1.bias:0 3.weight:1",
        "3": "5: 3.weight:0 3.bias:0 5.weight:1",
    }
    assert symmetry.refused == ()
    assert activations(symmetry, "1") == [("relu", 1)]


def test_groups_of_a_plain_vgg():
    """Max-pooling, average pooling and the flattening of 1 x 1 pixels tie nothing."""
    symmetry = discover(randomized(VGG((4, "M", 6))), IMAGES)
    assert sites(symmetry) == {
        "features.0": "4: features.0.weight:0 features.0.bias:0 features.4.weight:1",
        "features.4": "6: features.4.weight:0 features.4.bias:0 classifier.weight:1",
    }


def test_groups_without_biases():
    """A layer without bias has two sites."""
    symmetry = discover(randomized(VGG((4,), bias=False)), IMAGES)
    assert sites(symmetry) == {
        "features.0": "4: features.0.weight:0 classifier.weight:1"
    }


@pytest.mark.parametrize("kind", ["bn", "ln"])
def test_groups_of_a_vgg_with_norm(kind):
    """A norm's parameters, and BatchNorm's buffers, move with the channels."""
    symmetry = discover(randomized(VGG((4, 6), norm=kind)), IMAGES)
    first, second = norm("features.1", kind == "bn"), norm("features.4", kind == "bn")
    assert sites(symmetry) == {
        "features.0": f"4: features.0.weight:0 features.0.bias:0 {first} "
        "features.3.weight:1",
        "features.3": f"6: features.3.weight:0 features.3.bias:0 {second} "
        "classifier.weight:1",
    }
    assert symmetry.refused == ()


def test_groups_of_a_resnet_without_projection():
    """The residual stream is one group from the stem to the classifier."""
    symmetry = discover(randomized(ResNet((4,), (2,))), IMAGES)
    assert sites(symmetry) == {
        "stem": "4: stem.weight:0 stem.bias:0 blocks.0.conv1.weight:1 "
        "blocks.0.conv2.weight:0 blocks.0.conv2.bias:0 blocks.1.conv1.weight:1 "
        "blocks.1.conv2.weight:0 blocks.1.conv2.bias:0 classifier.weight:1",
        "blocks.0.conv1": "4: blocks.0.conv1.weight:0 blocks.0.conv1.bias:0 "
        "blocks.0.conv2.weight:1",
        "blocks.1.conv1": "4: blocks.1.conv1.weight:0 blocks.1.conv1.bias:0 "
        "blocks.1.conv2.weight:1",
    }
    relus = [tap.node for tap in symmetry.groups["stem"].activations]
    assert relus == ["relu", "relu_2", "relu_4"]  # behind the stem and both sums


def test_groups_of_a_resnet_with_projection():
    """A projection starts a new stream, which it shares with the second convolution."""
    symmetry = discover(randomized(ResNet((4, 8), (1, 1), norm="bn")), IMAGES)
    block = "blocks.1"
    assert sites(symmetry) == {
        "stem": f"4: stem.weight:0 {norm('norm')} blocks.0.conv1.weight:1 "
        f"blocks.0.conv2.weight:0 {norm('blocks.0.norm2')} "
        f"{block}.conv1.weight:1 {block}.shortcut.0.weight:1",
        "blocks.0.conv1": "4: blocks.0.conv1.weight:0 "
        f"{norm('blocks.0.norm1')} blocks.0.conv2.weight:1",
        f"{block}.conv1": f"8: {block}.conv1.weight:0 {norm(f'{block}.norm1')} "
        f"{block}.conv2.weight:1",
        f"{block}.conv2": f"8: {block}.conv2.weight:0 {norm(f'{block}.norm2')} "
        f"{block}.shortcut.0.weight:0 {norm(f'{block}.shortcut.1')} "
        "classifier.weight:1",
    }


@pytest.mark.parametrize("model", [VGG((4, 6), norm="bn"), MLP((64, 6, 3))])
def test_every_axis_is_in_a_group_or_pinned(model):
    """Nothing is forgotten: each axis of more than one position is in one list."""
    symmetry = discover(randomized(model), IMAGES)
    free = [(s.name, s.axes[0]) for g in symmetry.groups.values() for s in g.sites]
    pinned = [(entry.name, entry.axis) for entry in symmetry.pinned]
    every = [
        (name, axis)
        for name, tensor in model.state_dict().items()
        for axis, size in enumerate(tensor.shape)
        if size > 1
    ]
    assert sorted({*free, *pinned}) == sorted(every)
    assert len(set(free)) == len(free) and not set(free) & set(pinned)


def test_pinned_axes_say_why():
    """Inputs, outputs and kernel positions are pinned as what they are."""
    symmetry = discover(randomized(VGG((4,), in_channels=2)), torch.zeros(2, 2, 4, 4))
    why = {(entry.name, entry.axis): entry.reason for entry in symmetry.pinned}
    assert why["features.0.weight", 1].startswith("position in the model's input")
    assert why["features.0.weight", 2].startswith("kernel position in aten.conv2d")
    assert why["classifier.weight", 0] == "position in the model's output"
    assert why["classifier.bias", 0] == "position in the model's output"
    assert len(why) == 5


@pytest.mark.parametrize("last", [False, True], ids=["C-H-W", "H-W-C"])
def test_flattened_channels_move_with_their_pixels(last):
    """C x H x W columns: blocks of H x W; H x W x C columns: every C-th one."""

    class Flattened(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(1, 5, 3), nn.Linear(5 * 3 * 2, 3)

        def forward(self, x):
            x = F.relu(self.first(x))
            return self.last((x.permute(0, 2, 3, 1) if last else x).flatten(1))

    symmetry = discover(randomized(Flattened()), torch.zeros(2, 1, 5, 4))
    *rows, columns = symmetry.groups["first"].sites
    assert [(s.name, s.axes) for s in rows] == [
        ("first.weight", (0,)),
        ("first.bias", (0,)),
    ]
    assert all(site.positions.tolist() == [[c] for c in range(5)] for site in rows)
    assert (columns.name, columns.axes) == ("last.weight", (1,))
    assert columns.positions.tolist() == [
        [pixel * 5 + channel if last else channel * 6 + pixel for pixel in range(6)]
        for channel in range(5)
    ]


@pytest.mark.parametrize(
    "images",
    [IMAGES.to(memory_format=torch.channels_last), torch.ones(3, 1, 8, 8)],
    ids=["channels-last memory", "three samples"],
)
def test_groups_do_not_depend_on_the_example(images):
    """Neither the memory format nor the number of samples is part of the model."""
    model = randomized(VGG((4, "M", 6)))
    assert sites(discover(model, images)) == sites(discover(model, IMAGES))


def test_channels_last_input_is_permuted_by_the_model():
    """A model that takes N x H x W x C images has the same groups."""

    class ChannelsLast(VGG):
        def forward(self, x):
            return super().forward(x.permute(0, 3, 1, 2))

    model = randomized(ChannelsLast((4,), in_channels=3))
    assert sites(discover(model, torch.zeros(2, 8, 8, 3))) == {
        "features.0": "4: features.0.weight:0 features.0.bias:0 classifier.weight:1"
    }


def test_model_with_two_inputs_and_a_dictionary_of_outputs():
    """Two encoders that are summed share their units; all outputs are pinned."""

    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Linear(4, 6), nn.Linear(3, 6)
            self.head, self.other = nn.Linear(6, 2), nn.Linear(6, 3)

        def forward(self, x, y):
            hidden = F.relu(self.left(x) + self.right(y))
            return {"head": self.head(hidden), "rest": [self.other(hidden)]}

    symmetry = discover(randomized(Pair()), torch.zeros(2, 4), torch.zeros(2, 3))
    assert sites(symmetry) == {
        "left": "6: left.weight:0 left.bias:0 right.weight:0 right.bias:0 "
        "head.weight:1 other.weight:1"
    }
    reasons = {entry.name: entry.reason for entry in symmetry.pinned}
    assert reasons["head.bias"] == reasons["other.bias"]
    assert "input y" in reasons["right.weight"]


def test_hidden_units_that_are_returned_are_pinned():
    """Whoever reads the features would see them permuted."""

    class Features(Layers):
        def forward(self, x):
            hidden = F.relu(self.first(x))
            return self.last(hidden), hidden

    symmetry = discover(randomized(Features()), torch.zeros(2, 4))
    assert not symmetry.groups
    assert (
        "output"
        in {entry.name: entry for entry in symmetry.pinned}["first.bias"].reason
    )


def test_buffer_over_hidden_units_is_permuted():
    """A mask over the units is no parameter, and moves with them all the same."""

    class Masked(Layers):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.zeros(6))

        def forward(self, x):
            return self.last(F.relu(self.first(x)) * self.mask)

    found = sites(discover(randomized(Masked()), torch.zeros(2, 4))).values()
    assert list(found) == ["6: mask:0 first.weight:0 first.bias:0 last.weight:1"]


def test_constant_over_hidden_units_pins_them():
    """A tensor that no state dict holds cannot be permuted: the units are pinned."""

    class Scaled(Layers):
        def __init__(self):
            super().__init__()
            self.register_buffer("ramp", torch.arange(6.0), persistent=False)

        def forward(self, x):
            return self.last(F.relu(self.first(x)) * self.ramp)

    symmetry = discover(randomized(Scaled()), torch.zeros(2, 4))
    assert not symmetry.groups and symmetry.refused == ()


def test_unused_parameters_are_pinned_and_said_so():
    """A layer that the model never calls is no group to be matched."""

    class Unused(Layers):
        def __init__(self):
            super().__init__()
            self.unused = nn.Linear(5, 7)

    symmetry = discover(randomized(Unused()), torch.zeros(2, 4))
    assert list(symmetry.groups) == ["first"]
    reasons = {entry.reason for entry in symmetry.pinned if "unused" in entry.name}
    assert reasons == {"the model does not use it"}


@pytest.mark.parametrize("reduce", ["sum", "mean", "amax"])
def test_reductions_over_all_units_leave_them_free(reduce):
    """sum(), mean() and amax() over everything are symmetric in the units."""

    class Reduced(Layers):
        def forward(self, x):
            hidden = self.first(x)
            return self.last(F.relu(hidden)) + getattr(hidden, reduce)()

    assert sites(discover(randomized(Reduced()), torch.zeros(2, 4))) == {
        "first": "6: first.weight:0 first.bias:0 last.weight:1"
    }


def test_reductions_along_an_axis():
    """Over samples, units with and without keepdim, and in another dtype."""

    class Reduced(Layers):
        def forward(self, x):
            h = self.first(x)
            centred = h - h.mean(0) - h.amax(1, keepdim=True)
            total = h.sum(dtype=torch.float64) + h.mean(-1)[:, None]
            return self.last(centred) + total

    symmetry = discover(randomized(Reduced()), torch.zeros(2, 4))
    assert sites(symmetry) == {"first": "6: first.weight:0 first.bias:0 last.weight:1"}


def test_a_kept_axis_of_one_has_no_units():
    """A mean over 6 units with keepdim is stretched over 3 logits."""

    class Centred(Layers):
        def forward(self, x):
            hidden = F.relu(self.first(x))
            return self.last(hidden) - hidden.mean(1, keepdim=True)

    symmetry = discover(randomized(Centred()), torch.zeros(2, 4))
    assert sites(symmetry) == {"first": "6: first.weight:0 first.bias:0 last.weight:1"}


def test_units_that_become_pixels_are_pinned():
    """A convolution or pooling tells its positions apart, whatever made them."""

    class Pixels(Layers):
        def __init__(self, window):
            super().__init__()
            self.window = window
            del self.last

        def forward(self, x):
            return self.window(F.relu(self.first(x))).flatten(1)

    for window in (nn.Conv2d(1, 1, (1, 2)), nn.AvgPool2d((1, 2))):
        symmetry = discover(randomized(Pixels(window)), torch.zeros(2, 1, 1, 4))
        assert not symmetry.groups and symmetry.refused == ()


@pytest.mark.parametrize(
    ("model", "operation", "line"),
    [
        (Cumulated, "aten.cumsum.default (node cumsum", "hidden.cumsum"),
        (Fourier, "aten.fft_rfft.default (node fft_rfft", "torch.fft"),
        (Products, "aten.cumprod.default (node cumprod", ".cumprod(1)"),
    ],
)
def test_unknown_operation_pins_and_is_named(model, operation, line):
    """No group, but the operation with its node, file and line."""
    symmetry = discover(randomized(model()), torch.zeros(2, 4))
    lines, start = inspect.getsourcelines(model.forward)
    number = start + next(i for i, text in enumerate(lines) if line in text)
    assert not symmetry.groups
    assert symmetry.refused[0].startswith(f"no rule for {operation}")
    assert f"test_symmetry.py, line {number}, in forward)" in symmetry.refused[0]
    assert symmetry.refused[0] in {entry.reason for entry in symmetry.pinned}


def test_unknown_operation_of_a_module_is_named_by_the_module():
    """Where only torch's own source is on the stack, the module's path says more."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.PixelUnshuffle(2), nn.Flatten())
    symmetry = discover(randomized(model), IMAGES)
    assert symmetry.refused == (
        "no rule for aten.pixel_unshuffle.default (node pixel_unshuffle, module 1)",
    )


def test_unknown_operation_leaves_the_other_groups():
    """Only what a running product touches is pinned; the layer before is free."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), Products())
    model[2].first = nn.Linear(5, 6)
    assert sites(discover(randomized(model), torch.zeros(2, 4))) == {
        "0": "5: 0.weight:0 0.bias:0 2.first.weight:1"
    }


class Bits(Layers):
    def forward(self, x):
        hidden = F.relu(self.first(x))
        return self.last(hidden) + hidden.view(torch.int16).sum(-1, keepdim=True).sign()


class Joined(Layers):
    def forward(self, x):
        hidden = F.relu(self.first(x))
        return self.last(torch.cat([hidden[:, :6], hidden[:, 6:]], 1))


class Turned(Layers):
    def __init__(self):
        super().__init__()
        self.register_buffer("turn", torch.polar(torch.ones(6), torch.arange(6.0)))

    def forward(self, x):
        return self.last((self.first(x) * self.turn).abs())


def test_single_bytes_are_refused():
    """Two numbers of 16 bits for each of 32: no rule says whose they are."""
    symmetry = discover(randomized(Bits()), torch.ones(2, 4))
    assert not symmetry.groups
    (reason,) = symmetry.refused
    assert reason.startswith("no rule for single bytes in aten.view.dtype (node view")
    assert "test_symmetry.py, line" in reason


def test_an_operation_whose_rule_fails_is_refused(monkeypatch):
    """Discovery goes on: it says where, and what the fault of the rule was."""

    def faulty(call):
        raise IndexError("no such axis")

    monkeypatch.setitem(lmc.rules.calls._RULES, "relu", faulty)
    symmetry = discover(randomized(Layers()), torch.zeros(2, 4))
    assert not symmetry.groups
    (reason,) = symmetry.refused
    start = "the rule fails (IndexError: no such axis) for aten.relu.default (node relu"
    assert reason.startswith(start)
    assert "test_symmetry.py, line" in reason
    assert reason in {entry.reason for entry in symmetry.pinned}


def test_an_empty_slice_has_no_units():
    """A slice from the last unit on, joined to all of them, changes nothing."""
    symmetry = discover(randomized(Joined()), torch.zeros(2, 4))
    assert sites(symmetry) == {"first": "6: first.weight:0 first.bias:0 last.weight:1"}


def test_complex_parameters_are_refused():
    """They are named, and the error says how to write them."""
    model = Turned()
    model.turn = nn.Parameter(model._buffers.pop("turn"))
    message = "turn are complex parameters.*call torch.view_as_complex in forward"
    with pytest.raises(TraceError, match=message):
        discover(model.eval(), torch.zeros(2, 4))


def test_units_of_a_complex_buffer_are_pinned():
    """No cost is computed of complex numbers."""
    symmetry = discover(randomized(Turned()), torch.zeros(2, 4))
    assert not symmetry.groups and not symmetry.refused
    pinned = {(entry.name, entry.reason) for entry in symmetry.pinned}
    assert ("first.weight", "its values are complex") in pinned


def test_train_mode_is_refused():
    """BatchNorm in train mode is no function of the parameters."""
    with pytest.raises(TraceError, match=r"call model.eval\(\) first"):
        discover(VGG((4,), norm="bn"), IMAGES)


def test_control_flow_on_data_is_refused():
    """The error names the model and what to do."""

    class Branches(Layers):
        def forward(self, x):
            hidden = self.first(x)
            return self.last(hidden if hidden.sum() > 0 else -hidden)

    message = r"(?s)refuses Branches.*move such branches out of forward"
    with pytest.raises(TraceError, match=message):
        discover(randomized(Branches()), torch.ones(2, 4))


def test_layer_used_twice_ties_its_inputs_and_outputs():
    """Its weight has the same units on both axes."""

    class Twice(Layers):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 6)

        def forward(self, x):
            x = F.relu(self.inner(F.relu(self.first(x))))
            return self.last(F.relu(self.inner(x)))

    assert sites(discover(randomized(Twice()), torch.zeros(2, 4))) == {
        "first": "6: first.weight:0 first.bias:0 last.weight:1 inner.weight:0 "
        "inner.weight:1 inner.bias:0"
    }


class Tied(Layers):
    """Two layers that share one weight, which has two names."""

    def __init__(self):
        super().__init__()
        self.inner, self.again = nn.Linear(6, 6), nn.Linear(6, 6)
        self.again.weight = self.inner.weight

    def forward(self, x):
        x = F.relu(self.inner(F.relu(self.first(x))))
        return self.last(F.relu(self.again(x)))


def test_both_names_of_a_tied_weight_are_permuted():
    """Both names get both axes, and the certificate holds."""
    symmetry = discover(randomized(Tied()), torch.zeros(2, 4))
    assert sites(symmetry) == {
        "first": "6: first.weight:0 first.bias:0 last.weight:1 inner.weight:0 "
        "inner.weight:1 inner.bias:0 again.weight:0 again.weight:1 again.bias:0"
    }
    assert symmetry.certificate.relative_difference < 1e-13


def test_permuted_tied_weights_stay_equal():
    """One order of rows and columns for both names of the tensor."""
    model = randomized(Tied())
    symmetry = discover(model, torch.zeros(2, 4))
    p = Permutation.random(symmetry, torch.Generator().manual_seed(0))
    new, order = p.apply(model.state_dict()), p.indices["first"]
    expected = model.inner.weight.detach()[order][:, order]
    assert torch.equal(new["inner.weight"], expected)
    assert torch.equal(new["again.weight"], expected)


def test_module_with_two_names():
    """One module under two names: both are permuted, the model is left as it was."""

    class Alias(Tied):
        def __init__(self):
            super().__init__()
            self.again = self.inner

    model = randomized(Alias())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    symmetry = discover(model, torch.zeros(2, 4))
    assert "again.bias:0" in sites(symmetry)["first"]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


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


def test_check_refuses_another_architecture():
    """Names and shapes are compared, and the error says what to pass."""
    symmetry = discover(MLP((4, 6, 3)).eval(), torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"missing \['5.weight'|unknown \['5.weight'"):
        symmetry.check(MLP((4, 6, 3, 3)).state_dict())
    with pytest.raises(ValueError, match=r"1.weight has shape \(5, 4\).*\(6, 4\)"):
        symmetry.check(MLP((4, 5, 3)).state_dict())


def test_groups_of_a_norm_across_groups_of_a_convolution():
    """Of six channels the norm takes three together and the convolution two.

    Of the 720 permutations, eight keep threes and twos together: the threes change
    places (and with them the twos at both ends), 0 with 1, and 4 with 5.
    """
    model = nn.Sequential(
        nn.Conv2d(2, 6, 1),
        nn.GroupNorm(2, 6),
        nn.ReLU(),
        nn.Conv2d(6, 3, 1, groups=3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 1),
        nn.ReLU(),
        nn.Conv2d(4, 2, 1),
    )
    symmetry = discover(model.eval(), torch.randn(2, 2, 4, 4))
    found = [(g.size, g.copies) for g in symmetry.groups.values()]
    assert found == [(4, 1), (2, 1), (2, 2)]
    assert symmetry.refused == ()


class LlamaNorm(Layers):
    """A norm in float32, back in the dtype of its input (Llama); its sum is rounded."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 64), nn.Linear(64, 3)

    def forward(self, x):
        h = F.silu(self.first(x))
        wide = h.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.last(wide.type_as(h))


class ClipNorm(Layers):
    """LayerNorm that casts its input alone (CLIP)."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(6)

    def forward(self, x):
        h = self.first(x)
        return self.last(F.relu(self.norm(h.type(torch.float32)).type(h.dtype)))


class WideSoftmax(Layers):
    """A softmax that is told its dtype."""

    def forward(self, x):
        h = self.first(x)
        return self.last(F.softmax(h, dim=-1, dtype=torch.float32).to(h.dtype))


class Bytes(Layers):
    """Takes bytes."""

    def forward(self, x):
        return self.last(F.relu(self.first(x.float() / 255)))


class Created(Layers):
    """Makes and holds tensors of float32, which matrices do not promote."""

    def __init__(self):
        super().__init__()
        self.mixing = torch.linspace(0, 1, 16).reshape(4, 4)

    def forward(self, x):
        x = x @ self.mixing @ torch.eye(4) @ torch.full((4, 4), 0.3)
        x = x @ torch.tensor([[0.1, 0.2, 0.3, 0.4]] * 4, dtype=torch.float32)
        return self.last(F.relu(self.first(x)))


class Halved(Layers):
    """Computes in float16 throughout, which the certificate sees through."""

    def forward(self, x):
        return self.last(F.relu(self.first(x)).half().float())


class Branching(Layers):
    """Casts inside a branch of torch.cond."""

    def forward(self, x):
        x = torch.cond(x.sum() > 9, torch.sin, self.wide, (x,))
        return self.last(F.relu(self.first(x)))

    @staticmethod
    def wide(x):
        return x.float().exp().type_as(x)


CASTING = [LlamaNorm, ClipNorm, WideSoftmax, Bytes, Created, Halved, Branching]


def casting(make: type[Layers]) -> tuple[nn.Module, Tensor]:
    """A model with its input."""
    x = normal(3, 4).float()
    x = (x.abs() * 100).byte() if make is Bytes else x
    return randomized(make()), x


@pytest.mark.parametrize("make", CASTING)
def test_certificate_is_in_float64_where_the_model_casts(make):
    """The hidden units are found, and rounding is that of float64."""
    model, x = casting(make)
    symmetry = discover(model, x)
    sizes = {name: group.size for name, group in symmetry.groups.items()}
    assert sizes == {"first": model.first.out_features}
    assert symmetry.certificate.relative_difference < 1e-14
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("make", CASTING)
@pytest.mark.parametrize("site", [("first.weight", 0), ("last.weight", 1)])
def test_wrong_symmetry_is_caught_behind_a_cast(make, site):
    """A wrong group changes the function there as well."""
    model, x = casting(make)
    wrong = without(discover(model, x), "first", site)
    with pytest.raises(CertificateError, match="groups first changes output 0"):
        certify(wrong, model, model.state_dict(), x)
    assert torch.get_default_dtype() == torch.float32


def test_small_errors_are_caught_behind_a_cast():
    """1e-8 of a unit's weight: more than is allowed, less than float32 rounds."""
    model, x = casting(LlamaNorm)
    symmetry = discover(model, x)
    state = {name: value.double() for name, value in model.state_dict().items()}
    apply = Permutation.apply

    def nearly(self, network):
        permuted = apply(self, network)
        permuted["first.bias"] = permuted["first.bias"] * (1 + 1e-8)
        return permuted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Permutation, "apply", nearly)
        with pytest.raises(CertificateError, match=r"relative \d\.\de-0[89]"):
            certify(symmetry, model, state, x)


@torch.library.custom_op("lmc_tests::scaled", mutates_args=())
def scaled(x: Tensor, factor: float) -> Tensor:
    """A kernel for float32 alone."""
    if x.dtype != torch.float32:
        raise NotImplementedError(f'"scaled" not implemented for {x.dtype}')
    return x * factor


scaled.register_fake(lambda x, factor: torch.empty_like(x))


class Coarse(Layers):
    """The logits of two layers come out of a kernel that has no float64."""

    def forward(self, x):
        return scaled(self.last(F.relu(self.first(x))), 0.5)


def test_what_has_no_float64_runs_in_the_dtype_of_the_model():
    """The certificate names it and allows for its rounding, which is all there is."""
    model, x = randomized(Coarse()), normal(3, 4).float()
    symmetry = discover(model, x)
    assert {name: group.size for name, group in symmetry.groups.items()} == {"first": 6}
    assert symmetry.certificate.coarse == ("lmc_tests::scaled",)
    assert symmetry.certificate.relative_difference < 2e-7
    wrong = without(symmetry, "first", ("first.bias", 0))
    with pytest.raises(CertificateError, match=r"output 0 .*\(allowed 3e-04\)"):
        certify(wrong, model, model.state_dict(), x)


def test_what_fails_in_the_dtype_of_the_model_too_is_an_error():
    """A shape that does not fit is not a matter of precision."""
    model = randomized(Layers())
    symmetry = discover(model, torch.zeros(2, 4))
    assert symmetry.certificate.coarse == ()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        certify(symmetry, model, model.state_dict(), torch.zeros(2, 5))


class Away(Tensor):
    """A tensor on a device that no operation reaches, and that can only be moved."""

    @staticmethod
    def __new__(cls, inner):
        made = Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, device="meta"
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.detach.default, torch.ops.aten.clone.default):
            return Away(args[0].inner)
        assert func._schema.name in ("aten::to", "aten::_to_copy"), f"{func} before"
        said = [*args[1:], *(kwargs or {}).values()]
        assert torch.device("cpu") in said
        return args[0].inner.to(*(v for v in said if isinstance(v, torch.dtype)))


class Tokens(nn.Module):
    """Takes int tokens and a bool mask, has an int buffer and a constant."""

    def __init__(self, device: str = "cpu"):
        super().__init__()
        self.embedding, self.first = nn.Embedding(9, 4), nn.Linear(4, 6)
        self.last, self.device = nn.Linear(6, 3), torch.device(device)
        self.register_buffer("shift", torch.tensor([1, 2, 0, 3, 1]))
        self.constant = torch.ones(4)

    def forward(self, tokens, mask):
        x = self.embedding(tokens + self.shift) * mask.unsqueeze(-1) * self.constant
        x = x + torch.arange(4, device=self.device)
        return self.last(F.relu(self.first(x)).mean(1))


def test_certificate_is_on_the_cpu():
    """Parameters, int buffers, tokens, masks, constants and what the model makes."""
    tokens, mask = torch.arange(10).reshape(2, 5) % 6, torch.ones(2, 5) > 0
    model = randomized(Tokens())
    symmetry, state = discover(model, tokens, mask), model.state_dict()
    assert {"first", "embedding"} >= set(symmetry.groups)
    away = randomized(Tokens("meta"))
    away.constant = Away(model.constant)
    certificate = certify(
        symmetry,
        away,
        {name: Away(value) for name, value in state.items()},
        *(Away(tokens), Away(mask)),
    )
    assert certificate == certify(symmetry, model, state, tokens, mask)
