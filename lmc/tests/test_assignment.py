"""Which of several best assignments is found, whatever the last bits of scores are."""

from itertools import permutations

import pytest
import torch

from lmc import activation_matching, discover
from lmc.matching.assignment import best
from lmc.models import MLP

REPEATED = [0, 1, 1, 2, 0, 1]
"""Units, as those they are copies of."""


def with_copies(seed: int) -> torch.Tensor:
    """Scores between units of which several are alike."""
    scores = torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)).double()
    return scores[REPEATED][:, REPEATED]


@pytest.mark.parametrize("seed", range(20))
def test_noise_decides_nothing(seed):
    """Noise of 1e-12 changes no assignment, though units are duplicated."""
    scores = with_copies(seed)
    found = best(scores)
    generator = torch.Generator().manual_seed(seed + 100)
    for _ in range(50):
        noise = torch.randn(scores.shape, generator=generator).double()
        assert torch.equal(best(scores * (1 + 1e-12 * noise)), found)


@pytest.mark.parametrize("seed", range(20))
def test_largest_sum(seed):
    """As of all assignments, one by one; copies stay in their order."""
    scores = with_copies(seed)
    rows, found = torch.arange(6), best(scores)
    sums = [float(scores[rows, list(p)].sum()) for p in permutations(range(6))]
    assert float(scores[rows, found].sum()) == pytest.approx(max(sums), abs=1e-6)
    for kind in (0, 1):
        own = [row for row in range(6) if REPEATED[row] == kind]
        columns = [int(found[row]) for row in own]
        goals = [[c for c in columns if REPEATED[c] == to] for to in range(3)]
        assert all(goal == sorted(goal) for goal in goals)


def test_nothing_to_tell_apart():
    """Equal scores, zeros and no units at all leave everything in its place."""
    for scores in (torch.ones(4, 4), torch.zeros(3, 3), torch.zeros(0, 0)):
        assert best(scores.double()).tolist() == [*range(len(scores))]


@pytest.mark.parametrize("scale", [1e-300, 1e-3, 1.0, 3e300])
def test_any_size(scale):
    """Scores count by their share of the largest."""
    scores = torch.tensor([[1.0, 2.0], [3.0, 1.0]]).double() * scale
    assert best(scores).tolist() == [1, 0]


def test_several_at_once():
    """Each by its own largest score; none of them, and those without units, too."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([1e-200, 0.0, 1.0, 1e200], dtype=torch.float64)
    scores = torch.randn(3, 4, 5, 5, generator=generator).double()
    scores = scores * scales[:, None, None]
    alone = [[best(scores[i, j]).tolist() for j in range(4)] for i in range(3)]
    assert best(scores).tolist() == alone
    assert best(scores[:0]).shape == (0, 4, 5)
    assert best(scores[..., :0, :0]).shape == (3, 4, 0)


def test_activations_with_dead_and_equal_units():
    """Noise in a network's last bits moves no dead or duplicated unit."""
    model = MLP((6, 12, 3)).eval()
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(50, 6, generator=generator).double()
    symmetry = discover(model, images[:2].float())

    def network(seed: int) -> dict[str, torch.Tensor]:
        own = torch.Generator().manual_seed(seed)
        shapes = {name: v.shape for name, v in model.state_dict().items()}
        state = {n: torch.randn(s, generator=own).double() for n, s in shapes.items()}
        first, bias = state["1.weight"], state["1.bias"]
        first[[3, 7]], bias[[3, 7]] = first[[1, 1]], bias[[1, 1]]  # duplicates
        first[[2, 5]], bias[[2, 5]] = 0.0, -1.0  # dead
        return state

    a, b = network(0), network(1)
    batches = [(images, None)]
    found = activation_matching(symmetry, a, b, batches).permutation.indices
    for _ in range(20):
        noisy = {
            name: value * (1 + 1e-12 * torch.randn(value.shape, generator=generator))
            for name, value in b.items()
        }
        again = activation_matching(symmetry, a, noisy, batches).permutation.indices
        assert all(torch.equal(again[name], p) for name, p in found.items())
