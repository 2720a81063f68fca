"""Ties, blocks and colours on a few units, with the families worked out by hand."""

from itertools import permutations
from math import factorial, prod

import numpy as np
import pytest

from lmc.families import Families
from lmc.units import TooFine, Units


def at(*positions: int) -> np.ndarray:
    """Places of units in an array."""
    return np.array(positions, np.int64)


def seen(count: int, units: Units | None = None) -> tuple[Units, np.ndarray]:
    """Units along one axis, which something sees as a whole."""
    units = units or Units()
    numbers = units.new(count)
    units.see(numbers, np.zeros_like(numbers))
    return units, numbers


def found(units: Units) -> list[list[list[int]]]:
    """Each family's things, as the units that each consists of and holds."""
    return [
        [sorted(thing) for thing in family.members.tolist()]
        for family in Families(units)
    ]


def test_units_that_nothing_tells_apart_are_a_family():
    """Three positions of one axis."""
    units, numbers = seen(3)
    assert numbers.tolist() == [0, 1, 2]
    assert found(units) == [[[0], [1], [2]]]


def test_units_of_two_axes_are_two_families():
    """What is seen by different operations is never exchanged."""
    units, _ = seen(2)
    seen(3, units)
    assert found(units) == [[[0], [1]], [[2], [3], [4]]]


def test_tied_units_move_as_one():
    """Ties in another order: unit 0 goes with 4, 1 with 3."""
    units, numbers = seen(2)
    _, others = seen(3, units)
    units.tie(numbers, others[[2, 1]], (at(0, 0), at(0, 0)))
    assert found(units) == [[[0, 4], [1, 3]]]


def test_a_unit_that_is_seen_alone_is_told_apart():
    """Of three units, an operation selects the second."""
    units, numbers = seen(3)
    units.see(numbers[1:2], at(0))
    assert found(units) == [[[0], [2]]]


def test_places_tell_units_apart():
    """Two units at place 0 and two at place 1 of one array."""
    units = Units()
    units.see(units.new(4), at(0, 0, 1, 1))
    assert found(units) == [[[0], [1]], [[2], [3]]]


def test_pinned_units_are_no_family():
    """The first reason is kept, also by what is tied to them later."""
    units, numbers = seen(3)
    _, others = seen(3, units)
    units.pin(numbers, "first")
    units.pin(numbers, "second")
    units.tie(numbers, others, (at(0, 0, 0), at(0, 0, 0)))
    assert found(units) == []
    assert {units.reason(unit) for unit in range(6)} == {"first"}


def test_blocks_move_as_wholes_and_units_inside_them():
    """Six units in two blocks of three: one family of blocks, one inside."""
    units, numbers = seen(6)
    holders = units.blocks(numbers.reshape(2, 3), "no reason")
    assert holders.tolist() == [6, 7]
    blocks, inside = Families(units)
    assert (blocks.size, blocks.own, inside.size) == (2, 1, 3)
    assert blocks.members.tolist() == [[6, 0, 1, 2], [7, 3, 4, 5]]
    assert inside.parent is blocks
    assert inside.members.tolist() == [[n] for n in range(6)]


def test_rows_that_cut_through_blocks():
    """Blocks of three, then rows of two: 0 and 1 may be exchanged, and 4 and 5."""
    units, numbers = seen(6)
    units.blocks(numbers.reshape(2, 3), "")
    units.blocks(numbers[:4].reshape(2, 2), "they cut")
    assert found(units) == [[[0], [1]], [[4], [5]]]


def test_rows_that_overlap_are_pinned():
    """Two windows of three units have one in common."""
    units, numbers = seen(5)
    units.blocks(numbers[[[0, 1, 2], [2, 3, 4]]], "they overlap")
    assert found(units) == []
    assert {units.reason(unit) for unit in range(5)} == {"may be free: they overlap"}


def order(families: Families) -> int:
    """Number of permutations."""
    return prod(factorial(family.size) ** family.copies for family in families)


def preserving(count: int, *systems: np.ndarray) -> int:
    """Count permutations that map the rows of each system to its rows, one by one."""
    sets = [{frozenset(row) for row in rows.tolist()} for rows in systems]
    return sum(
        all({frozenset(p[i] for i in row) for row in rows} == rows for rows in sets)
        for p in permutations(range(count))
    )


def test_blocks_that_cross_are_two_families():
    """Two rows and three columns of one grid: both are permuted, and they commute."""
    units, numbers = seen(6)
    grid = numbers.reshape(2, 3)
    rows, columns = units.blocks(grid, "rows"), units.blocks(grid.T, "columns")
    families = Families(units)
    assert [family.parent for family in families] == [None, None]
    by_size = {family.size: family for family in families}
    assert by_size[2].members[:, 1:].tolist() == grid.tolist()
    assert by_size[3].members[:, 1:].tolist() == grid.T.tolist()
    assert order(families) == preserving(6, grid, grid.T) == 12
    assert {families.shared(unit) for unit in (*rows, *columns)} == {None}


def test_blocks_that_cross_in_threes():
    """All three pairs of axes of a cube of eight units: each axis is reversed alone."""
    units, numbers = seen(8)
    cube = numbers.reshape(2, 2, 2)
    systems = [np.moveaxis(cube, axis, 0).reshape(2, 4) for axis in range(3)]
    for rows in systems:
        units.blocks(rows, "slices")
    families = Families(units)
    assert order(families) == preserving(8, *systems) == 8


def test_heads_that_hold_more_beside_what_all_share():
    """Three heads of two channels, which also hold two others; two that all share."""
    units, grid = seen(6)
    _, others = seen(6, units)
    heads = units.blocks(grid.reshape(3, 2), "heads")
    more = units.blocks(others.reshape(3, 2), "heads")
    units.tie(heads, more, (0 * heads, 0 * heads))
    shared = units.blocks(grid.reshape(3, 2).T, "all heads have them")
    family, inside, across = Families(units)
    assert (family.size, inside.size, inside.copies) == (3, 2, 3)
    assert sorted(family.members[0].tolist()) == sorted(
        [*grid[:2], *others[:2], heads[0], more[0]]
    )
    assert inside.members.tolist() == [[unit] for unit in others.tolist()]
    assert (across.size, across.copies, across.parent) == (2, 1, None)
    assert across.members.tolist() == [
        [shared[channel], *grid.reshape(3, 2)[:, channel]] for channel in range(2)
    ]


def grids(units: Units, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two blocks, each of two rows and three columns."""
    cells = grid.reshape(2, 2, 3)
    rows = units.blocks(cells.reshape(4, 3), "rows")
    columns = units.blocks(cells.transpose(0, 2, 1).reshape(6, 2), "columns")
    units.blocks(rows.reshape(2, 2), "blocks")
    units.blocks(columns.reshape(2, 3), "blocks")
    return rows, columns


def test_rows_and_columns_inside_blocks_that_move():
    """Blocks are permuted, and in each of them the rows and the columns."""
    units, grid = seen(12)
    rows, columns = grids(units, grid)
    families = Families(units)
    blocks = next(iter(families))
    found = {family.size: family for family in families if family is not blocks}
    assert (blocks.size, blocks.copies) == (2, 1)
    assert {size: family.copies for size, family in found.items()} == {2: 2, 3: 2}
    assert all(family.parent is blocks for family in found.values())
    assert found[2].members[:, 0].tolist() == rows.tolist()
    assert found[3].members[:, 0].tolist() == columns.tolist()


def test_what_others_tell_apart_is_not_shared():
    """The three columns are seen one by one, so that only the rows move."""
    units, grid = seen(6)
    columns = units.blocks(grid.reshape(2, 3).T, "columns")
    units.blocks(grid.reshape(2, 3), "rows")
    for column in columns:
        units.see(at(column), at(0))
    families = Families(units)
    assert [family.size for family in families] == [2]
    assert {families.shared(unit) for unit in columns} == {None}


def test_blocks_that_cross_others_that_stay_may_be_free():
    """Neither rows nor columns are permuted alone: one row is seen, beside a column.

    Seen are three units on the diagonal of a grid, which rows and columns together
    may leave in place.
    """
    units, numbers = seen(9)
    grid = numbers.reshape(3, 3)
    rows, columns = units.blocks(grid, "rows"), units.blocks(grid.T, "columns")
    units.see(grid.diagonal(), at(0, 0, 0))
    families = Families(units)
    assert [*families] == []
    why = {families.shared(unit) for unit in (*rows, *columns)}
    assert preserving(9, grid, grid.T, grid.diagonal()[None]) == 6 > order(families)
    assert why - {None} and all(
        reason.startswith("shared by blocks that are permuted, and may be free: ")
        for reason in why - {None}
    )


def test_tied_units_have_tied_blocks():
    """Blocks over two axes become one family when the units inside are tied."""
    units, numbers = seen(4)
    _, others = seen(4, units)
    for row in (numbers, others):
        units.blocks(row.reshape(2, 2), "")
    units.tie(numbers, others, (np.zeros(4, np.int64), np.zeros(4, np.int64)))
    blocks, inside = Families(units)
    assert (blocks.size, blocks.own, len(blocks.members[0])) == (2, 2, 6)
    assert [sorted(row) for row in inside.members.tolist()] == [
        [n, n + 4] for n in range(4)
    ]


def test_a_pinned_unit_pins_its_block():
    """Moving the block would move it; units inside the other block stay free."""
    units, numbers = seen(6)
    units.blocks(numbers.reshape(2, 3), "")
    units.pin(numbers[:1], "pinned")
    assert found(units) == [[[1], [2]], [[3], [4], [5]]]


def test_blocks_of_different_content_are_not_exchanged():
    """One of two blocks holds a unit that is seen once more."""
    units, numbers = seen(4)
    units.blocks(numbers.reshape(2, 2), "")
    units.see(numbers[:1], at(0))
    assert found(units) == [[[2], [3]]]


def test_units_tied_among_themselves_are_pinned():
    """Unit 0 with 3 and 1 with 2, each pair symmetric: 0 could answer to 1 or 2."""
    units, numbers = seen(4)
    mirrored = (np.zeros(4, np.int64), np.zeros(4, np.int64))
    units.tie(numbers, numbers[::-1], mirrored)
    assert found(units) == []
    assert units.reason(0) == ("may be free: positions that are tied among themselves")


def test_a_block_tied_to_what_it_holds_is_pinned():
    """The search ends, and nothing is free."""
    units, numbers = seen(4)
    holders = units.blocks(numbers.reshape(2, 2), "")
    units.tie(holders, numbers[[0, 2]], (at(0, 0), at(0, 0)))
    assert found(units) == []
    assert units.reason(0) == "a block is tied to what it holds"


def test_blocks_that_come_to_overlap_by_a_tie():
    """Two blocks of three and three blocks of two over the same six units.

    Of all 720 permutations, eight map the threes to threes and the twos to twos.
    """
    units, numbers = seen(6)
    units.blocks(numbers.reshape(2, 3), "threes")
    _, others = seen(6, units)
    units.blocks(others.reshape(3, 2), "twos")
    units.tie(numbers, others, (at(*[0] * 6), at(*[0] * 6)))
    systems = numbers.reshape(2, 3), numbers.reshape(3, 2)
    assert order(Families(units)) == preserving(6, *systems) == 8


def test_blocks_of_other_units_may_share_a_holder():
    """Queries and values of two heads: the heads are tied, their contents are not."""
    units, queries = seen(4)
    _, values = seen(6, units)
    heads = units.blocks(queries.reshape(2, 2), "heads")
    others = units.blocks(values.reshape(2, 3), "heads")
    units.tie(heads, others, (at(0, 0), at(0, 0)))
    sizes = [(len(family), len(family[0])) for family in found(units)]
    assert sorted(sizes) == [(2, 7), (4, 1), (6, 1)]


def test_coarser_units_are_asked_for_when_all_is_known():
    """Of each parameter whose units are too fine at once; others have nothing finer."""
    units, plain = seen(2)
    fine = {name: units.new(3, fine=name) for name in ("up", "down", "other")}
    assert not units.coarsen(plain)
    assert units.coarsen(fine["up"])
    units.tie(fine["down"], at(0, 1, 0), (at(0, 0, 0), at(0, 0, 0)))
    assert units.coarsen(plain)  # tied to those of a parameter
    with pytest.raises(TooFine) as error:
        Families(units)
    assert error.value.parameters == {"up", "down"}
