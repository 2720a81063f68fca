"""Matching of many networks: planted copies, brute force, and consistency."""

from itertools import pairwise, permutations, product

import pytest
import torch
from torch import Tensor

import lmc
from lmc.matching import (
    match_consistently,
    match_iteratively,
    match_sequentially,
    match_to_reference,
)
from lmc.models import MLP
from lmc.permutation import Permutation
from lmc.tests.networks import normal, precise

MODEL = precise(MLP((3, 4, 2)))
SYMMETRY = lmc.discover(MODEL, normal(2, 3))
NAMES = list(MODEL.state_dict())


def network(seed: int) -> dict[str, Tensor]:
    """Another network of the architecture."""
    state = precise(MLP((3, 4, 2)), seed).state_dict()
    return {name: value.clone() for name, value in state.items()}


def generator(seed: int = 0) -> torch.Generator:
    """A source of random numbers."""
    return torch.Generator().manual_seed(seed)


def weights(symmetry, a, b, *_):
    """One descent, in the same order each time."""
    return lmc.weight_matching(symmetry, a, b, generator=generator()).permutation


def iteratively(states, **options):
    """By such descents, in a fixed order of the networks."""
    return match_iteratively(
        SYMMETRY, states, weights, generator=generator(), **options
    )


METHODS = {
    "reference": lambda states: match_to_reference(
        SYMMETRY, states, weights, generator=generator()
    ),
    "sequential": lambda states: match_sequentially(
        SYMMETRY, states, weights, generator=generator()
    ),
    "iterative": iteratively,
    "consistent": lambda states: match_consistently(
        SYMMETRY, states, generator=generator()
    ),
}


def pairs(states) -> float:
    """Sum of inner products over all pairs of networks, one by one."""
    return sum(
        float((a[name] * b[name]).sum())
        for i, a in enumerate(states)
        for b in states[:i]
        for name in ("1.weight", "1.bias", "3.weight")
    )


@pytest.mark.parametrize("method", METHODS)
def test_planted_copies_become_one_network(method):
    """Four permuted copies of a network with noise are brought together."""
    shuffles = [Permutation.random(SYMMETRY, generator(seed)) for seed in range(4)]
    copies = [shuffle.apply(network(0)) for shuffle in shuffles]
    found = METHODS[method](copies)
    first, *others = found.apply(copies)
    for other in others:
        assert all(torch.equal(other[name], first[name]) for name in NAMES)


@pytest.mark.parametrize("method", METHODS)
def test_objective_is_the_sum_over_pairs(method):
    """What is reported is what the permuted networks have."""
    states = [network(seed) for seed in range(3)]
    found = METHODS[method](states)
    assert found.objective == pytest.approx(pairs(found.apply(states)), rel=1e-12)
    assert found.history[0] == pytest.approx(pairs(states), rel=1e-12)
    assert found.rounds >= 1 and found.seconds > 0


def best_of_all(states) -> float:
    """The largest objective of all permutations of the second and third network."""
    orders = [torch.tensor(order) for order in permutations(range(4))]
    moved = [
        [Permutation(SYMMETRY, {"1": order}).apply(state) for order in orders]
        for state in states[1:]
    ]
    return max(pairs([states[0], *others]) for others in product(*moved))


@pytest.mark.parametrize("seed", range(3))
def test_joint_methods_come_near_the_best_of_all_permutations(seed):
    """Three networks of four units: at least 95% of the largest gain there is."""
    states = [network(10 * seed + n) for n in range(3)]
    best, start = best_of_all(states), pairs(states)
    for method in ("iterative", "consistent"):
        found = METHODS[method](states)
        assert found.objective <= best + 1e-9
        assert found.objective - start >= 0.95 * (best - start), method


def test_reference_matches_each_to_the_first():
    """The first stays, each other is matched by itself."""
    states = [network(seed) for seed in range(3)]
    found = METHODS["reference"](states).permutations
    assert found[0].indices["1"].tolist() == [0, 1, 2, 3]
    for permutation, state in zip(found[1:], states[1:], strict=True):
        alone = weights(SYMMETRY, states[0], state)
        assert torch.equal(permutation.indices["1"], alone.indices["1"])


def test_sequential_matches_to_the_one_before_as_it_was_moved():
    """The third meets the moved second, not the first."""
    states = [network(seed) for seed in range(3)]
    first, second, third = METHODS["sequential"](states).permutations
    assert torch.equal(first.indices["1"], torch.arange(4))
    alone = weights(SYMMETRY, states[0], states[1])
    assert torch.equal(second.indices["1"], alone.indices["1"])
    alone = weights(SYMMETRY, second.apply(states[1]), states[2])
    assert torch.equal(third.indices["1"], alone.indices["1"])


def test_iterative_ends_when_nothing_moves_and_never_falls():
    """Convergence, and the cap on rounds."""
    states = [network(seed) for seed in range(5)]
    found = METHODS["iterative"](states)
    assert found.converged and len(found.history) == found.rounds + 1
    assert all(b >= a - 1e-12 for a, b in pairwise(found.history))
    again = iteratively(found.apply(states))
    assert again.rounds == 1
    capped = iteratively(states, max_rounds=1)
    assert capped.rounds == 1 and not capped.converged


def test_consistent_ends_where_no_single_network_can_be_bettered():
    """Sweeps over single networks raise what rounding left, and then find nothing."""
    states = [network(seed) for seed in range(5)]
    found = METHODS["consistent"](states)
    again = iteratively(found.apply(states))
    assert again.rounds == 1 and again.objective == again.history[0]


def test_consistent_is_never_below_iterative():
    """Of triples of a deeper network, on which either may end higher."""
    model = precise(MLP((3, 6, 6, 6, 2)))
    symmetry, higher = lmc.discover(model, normal(2, 3)), []
    for seed in range(6):
        states = [
            precise(MLP((3, 6, 6, 6, 2)), 20 * (3 * seed + n)).state_dict()
            for n in range(3)
        ]
        joint = match_consistently(symmetry, states, generator=generator())
        alone = match_iteratively(symmetry, states, generator=generator())
        assert joint.objective >= alone.objective
        higher.append(joint.objective > alone.objective * (1 + 1e-9))
    assert any(higher)


def test_built_in_matchers_have_names():
    """And the others are functions; a name that there is not is refused."""
    states = [network(seed) for seed in range(3)]
    found = match_to_reference(SYMMETRY, states, "none", generator=generator())
    assert found.objective == found.history[0]
    with pytest.raises(ValueError, match="unknown matcher 'weight': choose none, wei"):
        match_to_reference(SYMMETRY, states, "weight", generator=generator())


def test_consistent_objective_rises():
    """The relaxed objective never falls; the search converges."""
    found = METHODS["consistent"]([network(seed) for seed in range(5)])
    assert found.converged
    assert all(b > a for a, b in pairwise(found.history))


@pytest.mark.parametrize("method", METHODS)
def test_one_network_is_refused(method):
    """There must be something to match."""
    with pytest.raises(ValueError, match="at least two networks, not 1"):
        METHODS[method]([network(0)])


def test_consistent_refuses_groups_inside_groups():
    """Attention heads have no relaxation here; the message says what to use."""
    layer = torch.nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), layer).eval()
    symmetry = lmc.discover(model, torch.zeros(2, 3, 3))
    states = [model.state_dict()] * 2
    with pytest.raises(ValueError, match=r"inside another one.*match_iteratively"):
        match_consistently(symmetry, states, generator=generator())


def test_no_round_is_refused():
    """Nothing would be known after it."""
    with pytest.raises(ValueError, match="max_rounds must be at least 1, got 0"):
        iteratively([network(0), network(1)], max_rounds=0)


class Tied(torch.nn.Module):
    """Two layers that share one weight, which has two names."""

    def __init__(self):
        super().__init__()
        self.first, self.again = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
        self.again.weight = self.first.weight
        self.last = torch.nn.Linear(4, 2)

    def forward(self, x):
        """Map ``(N, 3)`` to ``(N, 2)``."""
        return self.last(torch.relu(self.first(x)) * torch.relu(self.again(x.flip(0))))


def test_a_tensor_with_two_names_counts_once():
    """In the objective of any matcher, and in the relaxed one."""
    symmetry = lmc.discover(precise(Tied()), normal(2, 3))
    states = [precise(Tied(), 20 * seed).state_dict() for seed in range(3)]
    names = ["first.weight", "first.bias", "again.bias", "last.weight"]

    def by_hand(networks):
        return sum(
            float((a[name] * b[name]).sum())
            for i, a in enumerate(networks)
            for b in networks[:i]
            for name in names
        )

    for found in (
        match_to_reference(symmetry, states, weights, generator=generator()),
        match_consistently(symmetry, states, generator=generator()),
    ):
        assert found.history[0] == pytest.approx(by_hand(states), rel=1e-12)
        expected = by_hand(found.apply(states))
        assert found.objective == pytest.approx(expected, rel=1e-12)
