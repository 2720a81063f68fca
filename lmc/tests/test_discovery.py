"""Discovered groups, against lists derived by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lmc import Permutation, Symmetry, discover
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import Layers, randomized
from lmc.tests.symmetries import sites

IMAGES = torch.zeros(2, 1, 8, 8)


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
