"""The algebra of axes, against numpy on a tensor that holds every element's unit."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc.axes import Algebra, Axes, Block, Ties, fresh
from lmc.families import Families
from lmc.units import Units

SHAPES = [(2, 6, 2, 3), (2, 4, 4), (3, 8), (12,), (1, 6, 1, 2)]


def written(axes: Axes) -> np.ndarray:
    """Each element's unit, for axes with one block."""
    (block,) = axes.blocks
    shape = [s if d in block.dims else 1 for d, s in enumerate(axes.sizes)]
    return np.broadcast_to(block.units.reshape(shape), axes.sizes)


def channels(units: Units, shape: tuple[int, ...]) -> Axes:
    """Units along one axis of a tensor, the others rigid."""
    dim = min(1, len(shape) - 1)
    block = Block((dim,), units.new(shape[dim]), np.zeros(shape[dim], np.int64))
    return Axes(shape, (block,))


def doubled(array: np.ndarray, dim: int) -> np.ndarray:
    """An array twice, one behind the other."""
    return np.concatenate([array, array], dim)


@st.composite
def shapes_of(draw: st.DrawFn, size: int) -> tuple[int, ...]:
    """Draw a shape with this number of elements."""
    shape: list[int] = []
    while size > 1 and len(shape) < 5:
        divisors = [n for n in range(1, size + 1) if size % n == 0]
        shape.append(draw(st.sampled_from(divisors)))
        size //= shape[-1]
    return (*shape, size)


@settings(deadline=None)
@given(st.sampled_from(SHAPES), st.data())
def test_moving_data_moves_units(shape, data):
    """View, permute, take, expand and cat do to units what numpy does."""
    units = Units()
    algebra = Algebra(units, "why")
    axes = channels(units, shape)
    array = written(axes)
    values = np.arange(array.size).reshape(shape)
    for _ in range(data.draw(st.integers(1, 5))):
        kind = data.draw(st.sampled_from(["view", "permute", "take", "expand", "cat"]))
        dim = data.draw(st.integers(0, array.ndim - 1))
        if kind == "view":
            new = data.draw(shapes_of(array.size))
            axes, move = algebra.reshape(axes, new), (np.reshape, new)
        elif kind == "permute":
            order = data.draw(st.permutations(range(array.ndim)))
            axes, move = algebra.permute(axes, order), (np.transpose, order)
        elif kind == "take":
            most = array.shape[dim]
            index = np.array(
                data.draw(st.permutations(range(most)))[
                    : data.draw(st.integers(1, most))
                ]
            )
            axes, move = algebra.take(axes, dim, index), (np.take, index, dim)
        elif kind == "expand":
            new = (2, *array.shape)
            axes, move = algebra.expand(axes, new), (np.broadcast_to, new)
        else:
            axes, move = algebra.cat([axes, axes], dim), (doubled, dim)
        array, values = (move[0](a, *move[1:]) for a in (array, values))
        assert axes.sizes == array.shape
        if not axes.blocks:  # a single unit is left, which needs no axis
            assert len(np.unique(array)) == 1
            return
        assert (written(axes) == array).all()
        (block,) = axes.blocks
        # Positions of one unit and place hold equal values, all others do not.
        at = tuple(slice(None) if d in block.dims else 0 for d in range(array.ndim))
        found = [block.units.ravel(), block.places.ravel(), values[at].ravel()]
        pairs = len(np.unique(found[:2], axis=1).T)
        assert len(np.unique(found, axis=1).T) == pairs
        if len(np.unique(found[2])) == block.units.size:
            assert pairs == block.units.size


def test_flattened_channels_have_places():
    """Channels x pixels: a channel occurs once for each pixel."""
    units = Units()
    axes = Algebra(units, "").reshape(channels(units, (2, 3, 2, 2)), (2, 12))
    (block,) = axes.blocks
    assert block.units.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert block.places.tolist() == [0, 1, 2, 3] * 3


def test_unflattened_channels_have_none():
    """Back again: one axis, each unit once."""
    units = Units()
    algebra = Algebra(units, "")
    flat = algebra.reshape(channels(units, (2, 3, 2, 2)), (2, 12))
    (block,) = algebra.reshape(flat, (2, 3, 2, 2)).blocks
    assert block.dims == (1,)
    assert block.units.tolist() == [0, 1, 2] and not block.places.any()


def families(units: Units) -> list[tuple[int, int]]:
    """Copies and size of each family."""
    return [(len(f.members) // f.size, f.size) for f in Families(units)]


def vector(units: Units, size: int) -> Axes:
    """A seen vector of new units."""
    axes = fresh(units, (size,))
    Ties(units, "").see(axes)
    return axes


def test_two_free_axes_that_become_one_are_both_permuted():
    """Two blocks of three and three of two: rows and columns, which both hold all."""
    units = Units()
    algebra = Algebra(units, "merged")
    outer = algebra.combine(
        [(vector(units, 2), [0]), (vector(units, 3), [1])], [0, 1], (2, 3)
    )
    (block,) = algebra.reshape(outer, (6,)).blocks
    assert len(np.unique(block.units)) == 6 and not block.places.any()
    rows, columns = Families(units)
    assert (rows.size, rows.copies, columns.size, columns.copies) == (2, 1, 3, 1)
    table = block.units.reshape(2, 3)
    assert all(
        {*row} <= {*thing} for row, thing in zip(table, rows.members, strict=True)
    )
    assert all(
        {*col} <= {*thing} for col, thing in zip(table.T, columns.members, strict=True)
    )


def test_combining_with_a_rigid_axis_pins():
    """A value that tells its positions apart fixes the units beside it."""
    units = Units()
    algebra = Algebra(units, "rigid")
    algebra.combine([(vector(units, 3), [0]), (Axes((3,)), [0])], [0], (3,))
    assert families(units) == [] and units.reason(0) == "rigid"


@pytest.mark.parametrize("rigid", [Axes((1,)), Axes((3,), (), frozenset({0}))])
def test_combining_with_one_value_for_all_leaves_units_free(rigid):
    """An axis of size 1, or one that was expanded from it."""
    units = Units()
    algebra = Algebra(units, "")
    algebra.combine([(vector(units, 3), [0]), (rigid, [0])], [0], (3,))
    assert families(units) == [(1, 3)]


def test_a_result_is_even_where_all_that_is_combined_is():
    """One value for all positions, and another; else the vector's values differ."""
    units = Units()
    algebra, even = Algebra(units, ""), Axes((3,), (), frozenset({0}))
    for other, expected in ((even, {0}), (Axes((1,)), {0}), (vector(units, 3), set())):
        result = algebra.combine([(even, [0]), (other, [0])], [0], (3,))
        assert result.even == expected


def test_broadcasting_over_rows_holds_them_as_blocks():
    """Six units as 2 x 3, times a vector over the rows: the rows move with it."""
    units = Units()
    algebra = Algebra(units, "")
    table = algebra.reshape(vector(units, 6), (2, 3))
    scale = vector(units, 2)
    algebra.combine([(table, [0, 1]), (scale, [0])], [0, 1], (2, 3))
    blocks, inside = Families(units)
    assert (blocks.size, inside.size, inside.parent) == (2, 3, blocks)
    assert sorted(blocks.members[1].tolist()) == [3, 4, 5, 7, 9]


def test_contraction_ties_what_it_sums_over():
    """Rows of a matrix product keep their units; the summed axes are one."""
    units = Units()
    algebra = Algebra(units, "")
    left, right = fresh(units, (2, 3)), fresh(units, (3, 4))
    for axes in (left, right):
        algebra.ties.see(axes)
    result = algebra.combine([(left, [0, 1]), (right, [1, 2])], [0, 2], (2, 4))
    assert [block.units.tolist() for block in result.blocks] in (
        [[0, 1], [8, 9, 10, 11]],
        [[8, 9, 10, 11], [0, 1]],
    )
    assert sorted(families(units)) == [(1, 2), (1, 3), (1, 4)]


def test_a_sum_over_some_units_tells_them_from_the_others():
    """The sum of the first two of five."""
    units = Units()
    algebra = Algebra(units, "")
    first = algebra.take(vector(units, 5), 0, np.arange(2))
    assert algebra.reduce(first, [0], keep=False).blocks == ()
    assert sorted(families(units)) == [(1, 2), (1, 3)]


def test_a_single_selected_unit_is_told_from_the_others():
    """Nothing of it is left on an axis, but it is not exchanged."""
    units = Units()
    algebra = Algebra(units, "")
    assert algebra.take(vector(units, 5), 0, np.array([2])).blocks == ()
    assert families(units) == [(1, 4)]


def test_concatenated_units_stay_apart():
    """Two free segments and a rigid one, which is pinned."""
    units = Units()
    algebra = Algebra(units, "rigid")
    parts = [vector(units, 2), Axes((3,)), vector(units, 4)]
    joined = algebra.cat(parts, 0)
    algebra.ties.see(joined)
    assert joined.sizes == (9,)
    assert sorted(families(units)) == [(1, 2), (1, 4)]


def test_concatenation_ties_the_other_axes():
    """Rows below rows: their columns are one."""
    units = Units()
    algebra = Algebra(units, "")
    parts = [fresh(units, (2, 3)), fresh(units, (4, 3))]
    for part in parts:
        algebra.ties.see(part)
    algebra.ties.see(algebra.cat(parts, 0))
    assert sorted(families(units)) == [(1, 2), (1, 3), (1, 4)]


def test_interleaved_halves_stay_free():
    """A channel shuffle of two segments, cut in the middle: four free parts."""
    units = Units()
    algebra = Algebra(units, "")
    joined = algebra.cat([vector(units, 6), vector(units, 6)], 0)
    shuffled = algebra.permute(algebra.reshape(joined, (2, 6)), (1, 0))
    flat = algebra.reshape(shuffled, (12,))
    halves = [algebra.take(flat, 0, np.arange(6) + start) for start in (0, 6)]
    for half in halves:
        algebra.ties.see(half)
    assert halves[0].blocks[0].units.tolist() == [0, 6, 1, 7, 2, 8]
    assert families(units) == [(1, 3)] * 4


def test_examples_of_the_algebra_run_as_they_stand():
    """Every output in the algebra's documentation."""
    found = doctest.testfile("../docs/algebra.md")
    assert found.attempted > 30 and found.failed == 0
