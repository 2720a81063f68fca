"""Costs that are kept up to date as units move, against numpy, and what they take."""

import numpy as np
import pytest
import torch

from lmc import discover
from lmc.matching import costs
from lmc.matching.costs import Costs
from lmc.matching.descent import Descent
from lmc.matching.pair import Pair
from lmc.models import MLP
from lmc.tests.networks import normal, precise

SIZES = (3, 9, 8, 2)
MODEL = precise(MLP(SIZES))
A, B = MODEL.state_dict(), precise(MLP(SIZES), seed=5).state_dict()
SYMMETRY = discover(MODEL, normal(2, 3))

SWAPPED = [0, 2, 1, 3, 4, 5, 6, 7, 8]
TURNED = [*range(1, 9), 0]


@pytest.fixture
def pair():
    """Two networks of two hidden layers."""
    return Pair(SYMMETRY, A, B)


def by_hand(first: list[int]) -> np.ndarray:
    """What units of the second layer have in common, for an order of the first."""
    a, b = ({name: t.numpy() for name, t in state.items()} for state in (A, B))
    rows = a["3.weight"] @ b["3.weight"][:, first].T
    columns = a["5.weight"].T @ b["5.weight"]
    return rows + np.outer(a["3.bias"], b["3.bias"]) + columns


@pytest.mark.parametrize(
    "dtype, close", [(torch.float64, 1e-13), (torch.float32, 1e-5)]
)
def test_costs_after_moves_are_those_by_hand(pair, dtype, close):
    """Two units move, all do, and all are back."""
    kept, second = Costs(pair, dtype), pair.branches[1]
    for order in ([*range(9)], SWAPPED, TURNED, [*range(9)]):
        kept.move("1", torch.tensor(order))
        kept.count(second, set())
        (found,) = kept.of(second).values()
        assert found.dtype == torch.float64
        np.testing.assert_allclose(found.numpy(), by_hand(order), atol=close)


@pytest.fixture
def terms(monkeypatch):
    """Over how many weights each inner product goes that is computed."""
    lengths, add = [], costs._add_product

    def counted(total, ours, theirs):
        lengths.append(ours.shape[1])
        add(total, ours, theirs)

    monkeypatch.setattr(costs, "_add_product", counted)
    return lengths


def test_only_what_moved_is_computed(pair, terms):
    """Biases, incoming and outgoing weights; two units; nothing; all of it anew."""
    kept, second = Costs(pair, torch.float64), pair.branches[1]
    for order, computed in (
        ([*range(9)], [1, 9, 2]),
        (SWAPPED, [2]),
        (SWAPPED, []),
        (TURNED, [1, 9, 2]),
    ):
        kept.move("1", torch.tensor(order))
        terms.clear()
        assert kept.count(second, set()) == bool(computed)
        assert terms == computed


def test_a_tensor_counts_once_it_is_no_longer_left_out(pair, terms):
    """And what was counted before is kept."""
    kept, second = Costs(pair, torch.float64), pair.branches[1]
    kept.count(second, {"3.weight"})
    (partial,) = kept.of(second).values()
    without = by_hand([*range(9)]) - (A["3.weight"] @ B["3.weight"].T).numpy()
    np.testing.assert_allclose(partial.numpy(), without, atol=1e-13)
    kept.move("1", torch.tensor(TURNED))
    kept.count(second, set())
    (found,) = kept.of(second).values()
    np.testing.assert_allclose(found.numpy(), by_hand(TURNED), atol=1e-13)


def test_a_descent_at_its_end_computes_nothing(pair, terms):
    """Another sweep over all groups looks at no weight."""
    descent, generator = Descent(pair, torch.float64), torch.Generator().manual_seed(0)
    rises = descent.run(generator, 100)
    sweep = len(terms)
    assert rises and sweep > 0
    terms.clear()
    assert descent.run(generator, 100) == [] and terms == []


def test_objective_is_of_the_present_permutation(pair):
    """By numpy from the permuted network, before and after a descent."""
    descent = Descent(pair, torch.float32)
    names = [name for name in A if name != "5.bias"]
    for _ in range(2):
        moved = descent.permutation().apply(B)
        by_hand = sum(np.vdot(A[name].numpy(), moved[name].numpy()) for name in names)
        assert descent.objective() == pytest.approx(by_hand, rel=1e-13)
        descent.run(torch.Generator().manual_seed(0), 100)
