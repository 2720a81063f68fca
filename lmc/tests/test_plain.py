"""The readable weight matching, which is the oracle of the fast one."""

from itertools import permutations, product

import pytest
import torch

from lmc import Permutation, discover, weight_matching
from lmc.matching import plain_weight_matching
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import normal, precise


@pytest.mark.parametrize(
    "make, x",
    [
        (lambda: VGG((4, "M", 6), in_channels=1), normal(2, 1, 8, 8)),
        (lambda: VGG((4, "M", 6), in_channels=1, norm="bn"), normal(2, 1, 8, 8)),
        (lambda: MLP((3, 5, 4, 2)), normal(2, 3)),
        (lambda: ResNet((6, 8), (2, 1), in_channels=1, norm="bn"), normal(2, 1, 8, 8)),
    ],
)
def test_both_find_the_same(make, x):
    """Two implementations that share no costs: the same permutation by equal orders."""
    model = precise(make())
    symmetry = discover(model, x)
    a, b = model.state_dict(), precise(make(), seed=9).state_dict()
    seeds = [torch.Generator().manual_seed(3) for _ in range(2)]
    slow = plain_weight_matching(symmetry, a, b, generator=seeds[0])
    fast = weight_matching(symmetry, a, b, generator=seeds[1], start="identity")
    assert fast.objective == pytest.approx(slow.objective, rel=1e-12)
    assert fast.history == pytest.approx(slow.history, rel=1e-12)
    for name, indices in slow.permutation.indices.items():
        assert torch.equal(indices, fast.permutation.indices[name])


def test_no_single_group_can_be_bettered():
    """Where it ends: against all permutations of each of two groups."""
    model, other = precise(MLP((2, 3, 3, 2))), precise(MLP((2, 3, 3, 2)), seed=5)
    symmetry = discover(model, normal(2, 2))
    a, b = model.state_dict(), other.state_dict()
    source = torch.Generator().manual_seed(0)
    found = plain_weight_matching(symmetry, a, b, generator=source)
    names = [name for name in a if name != "5.bias"]

    def objective(indices):
        moved = Permutation(symmetry, indices).apply(b)
        return sum(float((a[name] * moved[name]).sum()) for name in names)

    best = found.permutation.indices
    assert found.objective == pytest.approx(objective(best), rel=1e-12)
    for name, order in product(best, permutations(range(3))):
        assert objective({**best, name: torch.tensor(order)}) <= found.objective + 1e-9


class Stream(torch.nn.Module):
    """One group is on both axes of the inner layer, which it is added to."""

    def __init__(self):
        super().__init__()
        self.first, self.inner = torch.nn.Linear(3, 5), torch.nn.Linear(5, 5)
        self.last = torch.nn.Linear(5, 2)

    def forward(self, x):
        x = self.first(x).relu()
        return self.last(x + self.inner(x).relu())


@pytest.mark.parametrize("seed", range(6))
def test_a_group_on_two_axes_of_a_tensor_only_gains(seed):
    """It ends, no better than the best of all permutations of five units."""
    model, other = precise(Stream(), seed), precise(Stream(), seed + 50)
    symmetry = discover(model, normal(2, 3))
    a, b = model.state_dict(), other.state_dict()
    source = torch.Generator().manual_seed(0)
    found = plain_weight_matching(symmetry, a, b, generator=source)
    [group] = symmetry.groups

    def objective(order):
        moved = Permutation(symmetry, {group: torch.tensor(order)}).apply(b)
        return sum(float((a[n] * moved[n]).sum()) for n in a if n != "last.bias")

    assert list(found.history) == sorted(found.history)
    own = objective(found.permutation.indices[group].tolist())
    assert found.objective == pytest.approx(own, rel=1e-12)
    every = [objective(order) for order in permutations(range(5))]
    assert objective(range(5)) - 1e-9 <= own <= max(every) + 1e-9


def test_groups_inside_groups_are_refused():
    """The message names the group and what to use."""
    layer = torch.nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), layer).eval()
    symmetry, state = discover(model, torch.zeros(2, 3, 3)), model.state_dict()
    with pytest.raises(ValueError, match=r"inside another one.*use lmc\.weight_match"):
        plain_weight_matching(symmetry, state, state, generator=torch.Generator())
