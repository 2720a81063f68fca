"""Locally connected layers: against explicit loops, and their groups by hand."""

from collections import Counter
from collections.abc import Callable
from itertools import permutations, product

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from lmc import (
    Permutation,
    Symmetry,
    activation_matching,
    discover,
    weight_matching,
)
from lmc.models import LocallyConnected2d, LocalNet
from lmc.tests.networks import normal, precise

RELU = nn.ReLU()


def counted(symmetry: Symmetry) -> Counter[tuple[int, int]]:
    """How many groups there are of each (copies, size)."""
    return Counter((g.copies, g.size) for g in symmetry.groups.values())


def generator(seed: int = 0) -> torch.Generator:
    """A source of random numbers."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("stride", "bias"), [(1, True), (2, True), (2, False)])
def test_forward_is_that_of_explicit_loops(stride, bias):
    """A filter and a bias for each output pixel, pixel by pixel."""
    layer = precise(LocallyConnected2d(2, 3, (5, 6), 3, stride, bias))
    x, weight = normal(2, 2, 5, 6, seed=9), layer.weight.detach()
    height, width = layer.output_size
    assert (height, width) == ((3, 4) if stride == 1 else (2, 2))
    expected = torch.zeros(2, 3, height, width).double()
    for n, o, i, j in product(range(2), range(3), range(height), range(width)):
        total = layer.bias[o, i, j].item() if bias else 0.0
        for c, a, b in product(range(2), range(3), range(3)):
            pixel = x[n, c, i * stride + a, j * stride + b].item()
            filters = weight[i * width + j, o].view(2, 3, 3)
            total += filters[c, a, b].item() * pixel
        expected[n, o, i, j] = total
    torch.testing.assert_close(layer(x), expected, rtol=1e-12, atol=1e-12)


def test_initialization_is_that_of_a_convolution():
    """Uniform within 1 / sqrt(18) for two channels and 3 x 3 pixels."""
    torch.manual_seed(0)
    layer = LocallyConnected2d(2, 32, (8, 8), 3)
    for values in (layer.weight.detach(), layer.bias.detach()):
        assert 0.99 * 18**-0.5 < values.abs().max() <= 18**-0.5
        assert float(values.std()) == pytest.approx(54**-0.5, rel=0.05)


@pytest.mark.parametrize(("stride", "bias"), [(1, True), (2, False)])
def test_a_tied_convolution_gives_the_same_function(stride, bias):
    """Its filters at every position."""
    convolution = precise(nn.Conv2d(2, 3, 3, stride, bias=bias))
    layer = LocallyConnected2d.from_convolution(convolution, (7, 6))
    x = normal(2, 2, 7, 6, seed=4)
    torch.testing.assert_close(layer(x), convolution(x), rtol=1e-12, atol=1e-12)
    assert (layer.bias is not None) == bias


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": 1}, r"no padding=\(1, 1\)"),
        ({"padding": "same"}, "no padding=same"),
        ({"dilation": 2}, r"no dilation=\(2, 2\)"),
        ({"groups": 2}, "no groups=2"),
        ({"stride": (1, 2)}, r"no stride=\(1, 2\)"),
        ({"padding": 1, "groups": 2}, r"no padding=\(1, 1\), groups=2: use a conv"),
    ],
)
def test_a_convolution_with_more_than_the_layer_has_is_refused(options, message):
    """The message names what there is too much of."""
    convolution = nn.Conv2d(2, 2, 3, **options)
    with pytest.raises(ValueError, match=message):
        LocallyConnected2d.from_convolution(convolution, (6, 6))


def test_wrong_sizes_are_refused():
    """Kernels that do not fit, sizes of nothing, images of another size."""
    with pytest.raises(ValueError, match=r"kernel of 5 x 5 does not fit .* of 8 x 4"):
        LocallyConnected2d(1, 1, (8, 4), 5)
    with pytest.raises(ValueError, match=r"are positive: .* stride=0"):
        LocallyConnected2d(1, 1, (8, 8), 3, stride=0)
    with pytest.raises(ValueError, match=r"images of \(8, 8\), got \(8, 9\)"):
        LocallyConnected2d(1, 1, (8, 8), 3)(torch.zeros(1, 1, 8, 9))


def test_parameters_of_the_minimal_network():
    """36 positions x 16 channels x (9 + 1), or 16 x 10 shared, and the linear layer."""
    linear = 576 * 10 + 10
    for shared, hidden in ((False, 5760), (True, 160)):
        model = LocalNet(shared=shared)
        assert sum(p.numel() for p in model.parameters()) == hidden + linear
        assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def local(before: int, after: int, size: int, kernel: int) -> LocallyConnected2d:
    """A layer on square images."""
    return LocallyConnected2d(before, after, (size, size), kernel)


def sequence(*layers: nn.Module) -> nn.Sequential:
    """Layers on 6 x 6 images, flattened."""
    return nn.Sequential(*layers, nn.Flatten())


# (copies, size) of each group: images of 6 x 6, the first layer's outputs 4 x 4.
GROUPS: dict[str, tuple[nn.Module, dict[tuple[int, int], int]]] = {
    # 3! at each of 16 positions.
    "flattened": (
        nn.Sequential(sequence(local(1, 3, 6, 3), RELU), nn.Linear(48, 2)),
        {(1, 3): 16},
    ),
    # A convolution reads all positions by the same filters.
    "convolution": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), RELU, nn.Conv2d(3, 4, 3), RELU),
            nn.Linear(16, 2),
        ),
        {(1, 3): 1, (1, 4): 1},
    ),
    "global pool": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), RELU, nn.AdaptiveAvgPool2d(1)),
            nn.Linear(3, 2),
        ),
        {(1, 3): 1},
    ),
    # A unit of the first layer is read by up to nine patches of the second.
    "stacked": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), RELU, local(3, 4, 4, 3), RELU),
            nn.Linear(16, 2),
        ),
        {(1, 3): 16, (1, 4): 4},
    ),
    # Four windows of four positions.
    "max-pool": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), RELU, nn.MaxPool2d(2)), nn.Linear(12, 2)
        ),
        {(1, 3): 4},
    ),
    "max-pool and local": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), RELU, nn.MaxPool2d(2), local(3, 4, 2, 1), RELU),
            nn.Linear(16, 2),
        ),
        {(1, 3): 4, (1, 4): 4},
    ),
    # Windows 0-1 and 1-3 along each axis share positions.
    "overlapping windows": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), RELU, nn.MaxPool2d(3, 2, 1)),
            nn.Linear(12, 2),
        ),
        {(1, 3): 1},
    ),
    # Rows 0-1, 1-2, 2-3 and the same columns.
    "adaptive windows": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), RELU, nn.AdaptiveMaxPool2d((4, 2))),
            nn.Linear(24, 2),
        ),
        {(1, 3): 8},
    ),
    "batch norm over channels": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), nn.BatchNorm2d(3), RELU), nn.Linear(48, 2)
        ),
        {(1, 3): 1},
    ),
    "batch norm over units": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3)), nn.BatchNorm1d(48), RELU, nn.Linear(48, 2)
        ),
        {(1, 3): 16},
    ),
    # Scale and shift are over channels and positions.
    "layer norm": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), nn.LayerNorm((3, 4, 4)), RELU),
            nn.Linear(48, 2),
        ),
        {(1, 3): 16},
    ),
    "behind a convolution": (
        nn.Sequential(
            sequence(nn.Conv2d(1, 5, 3), RELU, local(5, 3, 4, 2), RELU),
            nn.Linear(27, 2),
        ),
        {(1, 5): 1, (1, 3): 9},
    ),
    # The truth is one group of 3 at each position: zeros beside them tie them all.
    "padded": (
        nn.Sequential(
            sequence(local(1, 3, 6, 3), RELU, nn.ZeroPad2d(1), local(3, 4, 6, 3), RELU),
            nn.Linear(64, 2),
        ),
        {(1, 3): 1, (1, 4): 16},
    ),
    "shared": (LocalNet((6, 6), channels=3, shared=True), {(1, 3): 1}),
    "minimal": (LocalNet((6, 6), channels=3, stride=3), {(1, 3): 4}),
}


def found(model: nn.Module, *shape: int) -> Symmetry:
    """The symmetry of a random network; its certificate is rounding."""
    symmetry = discover(precise(model), normal(2, *shape, seed=5))
    assert symmetry.certificate.relative_difference < 1e-13
    assert symmetry.refused == ()
    return symmetry


@pytest.mark.parametrize("name", GROUPS)
def test_groups_are_as_many_as_by_hand(name):
    """Channels at each position that nothing ties to another one."""
    model, expected = GROUPS[name]
    assert counted(found(model, 1, 6, 6)) == expected


def test_sites_of_a_position():
    """Two channels at the second of four positions: where they are in each tensor."""
    symmetry = found(LocalNet((3, 3), channels=2, kernel=2, classes=3), 1, 3, 3)
    sites = {
        site.name: (site.axes, site.positions.tolist())
        for site in symmetry.groups["hidden#2"].sites
    }
    assert sites == {
        "hidden.weight": ((0, 1), [[2], [3]]),  # (4, 2, 4): rows 1 x 2 + channel
        "hidden.bias": ((0, 1, 2), [[1], [5]]),  # (2, 2, 2): channel x 4 + 1
        "classifier.weight": ((1,), [[1], [5]]),  # (3, 8), the same flattened
    }
    assert symmetry.groups["hidden#2"].parent is None


class PerHead(nn.Module):
    """Three heads with weights of their own, from 5 features to 4 and to 6."""

    def __init__(self, forward: Callable[["PerHead", Tensor], Tensor]):
        super().__init__()
        shapes = {"first": (5, 4), "second": (4, 4), "last": (4, 6), "bias": (4,)}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(torch.zeros(3, *shape)))
        self.classifier = nn.Linear(6, 2)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, T, 5)`` to ``(N, T, 2)``."""
        return self.classifier(F.relu(self._forward(self, x)))


def by_einsum(model: PerHead, x: Tensor) -> Tensor:
    """Two hidden layers in each head."""
    h = F.relu(torch.einsum("ntc,hcd->nthd", x, model.first) + model.bias)
    h = F.relu(torch.einsum("nthd,hde->nthe", h, model.second))
    return torch.einsum("nthd,hdo->nto", h, model.last)


def by_matmul(model: PerHead, x: Tensor) -> Tensor:
    """The same with heads before tokens, a view of the bias, and a sum at the end."""
    h = F.relu(x.unsqueeze(1) @ model.first + model.bias[:, None])
    return (F.relu(h @ model.second.transpose(1, 2)) @ model.last).sum(1)


def by_bmm(model: PerHead, x: Tensor) -> Tensor:
    """The same as batched products of matrices."""
    h = x.flatten(0, 1).expand(3, -1, -1)
    h = F.relu(torch.baddbmm(model.bias.unsqueeze(1), h, model.first))
    h = torch.bmm(F.relu(torch.bmm(h, model.second)), model.last)
    return h.sum(0).unflatten(0, (len(x), 3))


@pytest.mark.parametrize("forward", [by_einsum, by_matmul, by_bmm])
def test_heads_with_weights_of_their_own(forward):
    """Heads among themselves, the units of both layers inside each, and the outputs."""
    expected = {(1, 3): 1, (3, 4): 2, (1, 6): 1}
    assert counted(found(PerHead(forward), 3, 5)) == expected


def test_one_hidden_layer_in_each_head_is_one_layer():
    """3 x 4 units that are all summed over: no head holds them together."""

    def flat(model: PerHead, x: Tensor) -> Tensor:
        h = F.relu(torch.einsum("ntc,hcd->nthd", x, model.first) + model.bias)
        return torch.einsum("nthd,hdo->nto", h, model.last)

    assert counted(found(PerHead(flat), 3, 5)) == {(1, 12): 1, (1, 6): 1}


def test_experts_with_a_router():
    """Experts among themselves with the router's rows, hidden units inside each."""

    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.stream, self.router = nn.Linear(4, 4), nn.Linear(4, 3)
            self.first = nn.Parameter(torch.zeros(3, 5, 4))
            self.last = nn.Parameter(torch.zeros(3, 5, 4))
            self.classifier = nn.Linear(4, 2)

        def forward(self, x):
            x = self.stream(x)
            gates = self.router(x).softmax(-1)
            h = F.relu(torch.einsum("nc,ehc->neh", x, self.first))
            y = torch.einsum("neh,ehc->nec", h, self.last)  # c is that of all experts
            return self.classifier(x + torch.einsum("ne,nec->nc", gates, y))

    assert counted(found(Experts(), 4)) == {(1, 4): 1, (1, 3): 1, (3, 5): 1}


def test_units_that_a_later_sum_ties_over_heads():
    """A sum over heads: the units are those of all heads, and the heads are free."""

    def summed(model: PerHead, x: Tensor) -> Tensor:
        h = F.relu(torch.einsum("ntc,hcd->nthd", x, model.first))
        h = torch.einsum("nthd,hde->nthe", h, model.second)
        return torch.cat([h.sum(2), x[..., :2]], -1)

    symmetry = found(PerHead(summed), 3, 5)
    assert counted(symmetry) == {(1, 3): 1, (3, 4): 1, (1, 4): 1}


def test_windows_of_tensor_unfold():
    """The same layer written with sliding windows: 3 x 3, then 2 x 2 of its outputs."""

    class Windows(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Parameter(torch.zeros(3, 1, 2, 2, 3, 3))
            self.bias = nn.Parameter(torch.zeros(3, 2, 2))
            self.second = nn.Parameter(torch.zeros(4, 3, 1, 1, 2, 2))
            self.classifier = nn.Linear(4, 2)

        def forward(self, x):
            for kernel, weight in ((3, self.first), (2, self.second)):
                patches = x.unfold(2, kernel, 1).unfold(3, kernel, 1)
                x = torch.einsum("nchwij,ochwij->nohw", patches, weight)
                x = F.relu(x + self.bias if kernel == 3 else x)
            return self.classifier(x.flatten(1))

    assert counted(found(Windows(), 1, 4, 4)) == {(1, 3): 4, (1, 4): 1}


@pytest.mark.parametrize("name", ["flattened", "stacked", "max-pool", "convolution"])
def test_planted_permutation_is_recovered(name):
    """Weight matching finds the shuffled copy exactly."""
    model = GROUPS[name][0]
    symmetry = found(model, 1, 6, 6)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    shuffled = Permutation.random(symmetry, generator()).apply(state)
    assert not torch.equal(shuffled["0.0.weight"], state["0.0.weight"])
    assert all(tensor.is_contiguous() for tensor in shuffled.values())
    matched = weight_matching(
        symmetry, state, shuffled, generator=generator(), start="forward"
    )
    back = matched.permutation.apply(shuffled)
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_activation_matching_recovers_a_planted_permutation():
    """Behind the ReLU each unit is one pixel of one channel."""
    model = GROUPS["stacked"][0]
    symmetry = found(model, 1, 6, 6)
    second = symmetry.groups["0.0#2"].activations
    assert [(tap.axes, tap.positions.tolist()) for tap in second] == [
        ((1, 2, 3), [1, 17, 33])  # channel x 16 + the second pixel
    ]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    shuffled = Permutation.random(symmetry, generator()).apply(state)
    batches = [(normal(64, 1, 6, 6, seed=7), torch.zeros(64))]
    matched = activation_matching(symmetry, state, shuffled, batches)
    back = matched.permutation.apply(shuffled)
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_planted_permutation_of_heads_is_recovered():
    """Blocks in tensors of three axes, of which the first and last are permuted."""
    model = PerHead(by_einsum)
    symmetry = found(model, 3, 5)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    shuffled = Permutation.random(symmetry, generator()).apply(state)
    matched = weight_matching(
        symmetry, state, shuffled, generator=generator(), start="forward"
    )
    back = matched.permutation.apply(shuffled)
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_all_permutations_of_a_tiny_network_and_no_others():
    """Two channels at four positions: of the 8! orders of the units 2^4 are found.

    An order of the eight columns of the classifier keeps the function if the hidden
    layer can follow it.  It cannot if a column comes from another position, whose
    filters see other pixels.
    """
    model = LocalNet((3, 3), channels=2, kernel=2, classes=2)
    symmetry = found(model, 1, 3, 3)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    x = normal(4, 1, 3, 3, seed=8)
    before = functional_call(model, state, x)
    orders = set()
    names = list(symmetry.groups)
    for chosen in product(permutations(range(2)), repeat=len(names)):
        indices = {n: torch.tensor(p) for n, p in zip(names, chosen, strict=True)}
        permuted = Permutation(symmetry, indices).apply(state)
        after = functional_call(model, permuted, x)
        torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)
        same = (
            permuted["classifier.weight"][0, :, None] == state["classifier.weight"][0]
        )
        orders.add(tuple(same.int().argmax(1).tolist()))
    # Column c x 4 + p: by hand, any of both channels at each position p.
    by_hand = {
        order
        for order in permutations(range(8))
        if all(unit % 4 == column % 4 for column, unit in enumerate(order))
    }
    assert orders == by_hand and len(by_hand) == 2**4
