"""Ties, blocks and colours on a few units, with the families worked out by hand."""

from itertools import permutations
from math import factorial, prod

import numpy as np
import pytest

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
        for family in units.families()
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
    blocks, inside = units.families()
    assert (blocks.size, blocks.own, inside.size) == (2, 1, 3)
    assert blocks.members.tolist() == [[6, 0, 1, 2], [7, 3, 4, 5]]
    assert inside.parent is blocks
    assert inside.members.tolist() == [[n] for n in range(6)]


def test_blocks_are_found_again():
    """The same rows, in another order, have the same holders."""
    units, numbers = seen(6)
    rows = numbers.reshape(3, 2)
    first = units.blocks(rows, "no reason")
    again = units.blocks(rows[[2, 0, 1]][:, ::-1], "no reason")
    assert again.tolist() == first[[2, 0, 1]].tolist()


def test_a_row_of_one_unit_is_its_own_block():
    """No holder is made up where there is nothing to hold together."""
    units, numbers = seen(3)
    assert units.blocks(numbers[:, None], "").tolist() == [0, 1, 2]
    assert units.blocks(np.stack([numbers, numbers], 1), "").tolist() == [0, 1, 2]


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


def test_of_blocks_that_cross_those_that_hold_more_are_kept():
    """Three heads of two channels, which also hold two others; two that all share."""
    units, grid = seen(6)
    _, others = seen(6, units)
    heads = units.blocks(grid.reshape(3, 2), "heads")
    more = units.blocks(others.reshape(3, 2), "heads")
    units.tie(heads, more, (0 * heads, 0 * heads))
    shared = units.blocks(grid.reshape(3, 2).T, "all heads have them")
    family, inside = units.families()
    assert (family.size, inside.size, inside.copies) == (3, 2, 3)
    assert sorted(family.members[0].tolist()) == sorted(
        [*grid[:2], *others[:2], heads[0], more[0]]
    )
    assert inside.members.tolist() == [[unit] for unit in others.tolist()]
    assert units.reason(shared[0]) is None
    assert units.shared(shared[0]) == (
        "shared by blocks that are permuted, and may be free: all heads have them"
    )
    assert units.shared(heads[0]) is None


def test_a_shared_order_stays_inside_blocks_that_move():
    """Two blocks, each of two rows and three columns: blocks move, and their rows."""
    units, grid = seen(12)
    cells = grid.reshape(2, 2, 3)
    rows = units.blocks(cells.reshape(4, 3), "rows")
    columns = units.blocks(cells.transpose(0, 2, 1).reshape(6, 2), "columns")
    units.blocks(rows.reshape(2, 2), "blocks")
    units.blocks(columns.reshape(2, 3), "blocks")
    blocks, inside = units.families()
    assert (blocks.size, inside.size, inside.copies) == (2, 2, 2)
    assert inside.parent is blocks
    assert inside.members[0].tolist()[1:] == cells[0, 0].tolist()
    assert all(units.shared(column) for column in columns.tolist())


def test_tied_units_have_tied_blocks():
    """Blocks over two axes become one family when the units inside are tied."""
    units, numbers = seen(4)
    _, others = seen(4, units)
    for row in (numbers, others):
        units.blocks(row.reshape(2, 2), "")
    units.tie(numbers, others, (np.zeros(4, np.int64), np.zeros(4, np.int64)))
    blocks, inside = units.families()
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


def test_units_are_untouched_until_something_is_known():
    """Tying, seeing and pinning all count."""
    units = Units()
    numbers = units.new(4)
    assert units.untouched(numbers)
    units.pin(numbers[:1], "")
    assert not units.untouched(numbers) and units.untouched(numbers[1:])
    units.tie(numbers[1:2], numbers[2:3], (at(0), at(0)))
    assert not units.untouched(numbers[2:3]) and units.untouched(numbers[3:])
    units.see(numbers[3:], at(0))
    assert not units.untouched(numbers[3:])


def test_blocks_that_come_to_overlap_by_a_tie():
    """Two blocks of three and three blocks of two over the same six units.

    Of all 720 permutations, eight map the threes to threes and the twos to twos.
    """
    units, numbers = seen(6)
    units.blocks(numbers.reshape(2, 3), "threes")
    _, others = seen(6, units)
    units.blocks(others.reshape(3, 2), "twos")
    units.tie(numbers, others, (at(*[0] * 6), at(*[0] * 6)))
    preserved = [{frozenset(row) for row in numbers.reshape(2, 3).tolist()}]
    preserved += [{frozenset(row) for row in numbers.reshape(3, 2).tolist()}]
    order = sum(
        all(
            {frozenset(p[i] for i in row) for row in rows} == rows for rows in preserved
        )
        for p in permutations(range(6))
    )
    families = list(units.families())
    assert order == 8
    assert prod(factorial(f.size) ** f.copies for f in families) == order


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
        next(units.families())
    assert error.value.parameters == {"up", "down"}
