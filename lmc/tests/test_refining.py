"""Parameters whose units are as fine as their first use, and what is too fine."""

import numpy as np
import pytest

from lmc.axes import Algebra, Axes, Block, fresh
from lmc.axes.refining import refined
from lmc.units import TooFine, Units

EXPERTS, INPUTS, HIDDEN = 2, 3, 4


def stack(units):
    """All experts' matrices as one parameter, and an algebra that knows it."""
    up = fresh(units, (EXPERTS, INPUTS, HIDDEN), parameter="up")
    return up, Algebra(units, "why", {"up": up})


def hidden(units, up, algebra, product=True):
    """Tokens that have the experts on an axis, times the matrix of each."""
    tokens = fresh(units, (EXPERTS, 5, INPUTS))
    algebra.ties.see(tokens)
    operands = [(tokens, [0, 1, 2]), (up, [0, 2, 3])]
    return algebra.combine(operands, [0, 1, 3], (EXPERTS, 5, HIDDEN), product=product)


def shapes(axes):
    """The axes of each block, with how many units are on it."""
    return {block.dims: len(np.unique(block.units)) for block in axes.blocks}


COARSE = {(0,): EXPERTS, (1,): INPUTS, (2,): HIDDEN}
FINE = {(0,): EXPERTS, (1,): INPUTS, (0, 2): EXPERTS * HIDDEN}


def test_a_parameter_gets_units_at_each_batch_position():
    """Those of an expert are held by it, and come back in the result."""
    units = Units()
    up, algebra = stack(units)
    result = hidden(units, up, algebra)
    assert shapes(algebra.tensors["up"]) == FINE
    (fine,) = (b for b in algebra.tensors["up"].blocks if b.dims == (0, 2))
    (made,) = (b for b in result.blocks if 2 in b.dims)
    assert made.dims == (0, 2) and (made.units == fine.units).all()
    held = [set(holding.content.tolist()) for holding in units.holdings]
    assert all(set(row) in held for row in fine.units.tolist())
    assert {units.reason(unit) for unit in up.blocks[2].units} == {
        "replaced by more precise units"
    }


def test_a_parameter_that_can_not_have_them_keeps_one_unit_for_all():
    units = Units(alike=frozenset({"up"}))
    up, algebra = stack(units)
    result = hidden(units, up, algebra)
    assert shapes(algebra.tensors["up"]) == COARSE
    assert [b.dims for b in result.blocks if 2 in b.dims] == [(2,)]


def test_no_product_has_a_batch():
    """A tensor that is multiplied position by position has no units of its own."""
    units = Units()
    up, algebra = stack(units)
    hidden(units, up, algebra, product=False)
    assert shapes(algebra.tensors["up"]) == COARSE


@pytest.mark.parametrize("known", ["seen", "computed"])
def test_only_a_new_parameter_is_refined(known):
    units = Units()
    up, algebra = stack(units)
    if known == "seen":
        algebra.ties.see(up)
    else:
        up = Axes(up.sizes, up.blocks)
    hidden(units, up, algebra)
    assert shapes(algebra.tensors["up"]) == COARSE


def test_a_turned_parameter_is_refined_on_its_own_axes():
    """Stored with the hidden units in front, as the graph's first step shows."""
    units = Units()
    stored = fresh(units, (HIDDEN, EXPERTS, INPUTS), parameter="up")
    algebra = Algebra(units, "why", {"up": stored})
    hidden(units, algebra.permute(stored, [1, 2, 0]), algebra)
    found = algebra.tensors["up"]
    assert found.sizes == (HIDDEN, EXPERTS, INPUTS)
    assert shapes(found) == {(1,): EXPERTS, (2,): INPUTS, (0, 1): EXPERTS * HIDDEN}


def test_batch_positions_that_stay_pin_the_experts_alone():
    """Experts in an order of their own; their hidden units are free inside."""
    units = Units()
    up, algebra = stack(units)
    tokens = Axes((EXPERTS, 5, INPUTS), fresh(units, (1, 1, INPUTS)).blocks)
    operands = [(tokens, [0, 1, 2]), (up, [0, 2, 3])]
    refined(operands, [0, 1, 3], True, algebra.ties, algebra.tensors)
    found = {b.dims: b.units.ravel() for b in algebra.tensors["up"].blocks}
    assert {units.reason(unit) for unit in found[0,]} == {"why"}
    assert {units.reason(unit) for unit in found[0, 2]} == {None}


def test_fine_units_are_not_pinned_but_given_up():
    """What would pin them asks for coarser ones instead, by the parameter's name."""
    units = Units()
    up, algebra = stack(units)
    made = next(b for b in hidden(units, up, algebra).blocks if 2 in b.dims)
    with pytest.raises(TooFine) as error:
        algebra.ties.clash(made)
    assert error.value.parameters == {"up"}


def test_units_are_as_those_that_the_parameter_meets():
    """A scale for each head and channel, of queries whose heads hold channels."""
    units = Units()
    numbers = units.new(6).reshape(2, 3)
    queries = Axes((2, 3), (Block((0, 1), numbers, 0 * numbers),))
    algebra = Algebra(units, "why", {"scale": fresh(units, (2, 3), parameter="scale")})
    scale = algebra.tensors["scale"]
    algebra.combine([(queries, [0, 1]), (scale, [0, 1])], [0, 1], (2, 3))
    (joint,) = algebra.tensors["scale"].blocks
    assert algebra.ties.same(joint, queries.blocks[0])
