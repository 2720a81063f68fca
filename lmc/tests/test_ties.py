"""What an operation says about units: ties, blocks and pins, on arrays by hand."""

import numpy as np
import pytest

from lmc.axes import Axes, Block, Ties
from lmc.families import Families
from lmc.tests.test_algebra import families
from lmc.units import MAY_BE_FREE, Units


def block(units, dims=(0,), places=None):
    """A block of these units, each at one place unless others are given."""
    units = np.array(units)
    places = 0 * units if places is None else np.array(places)
    return Block(dims, units, places)


def model(count):
    """Units that something sees, and an operation's ties between them."""
    units = Units()
    numbers = units.new(count)
    units.see(numbers, np.arange(count) * 0)
    return units, Ties(units, "why")


def reasons(units):
    """Why each unit is pinned."""
    return [units.reason(unit) for unit in range(units.count)]


def things(units, count):
    """What moves as one, in all families: which of the first units."""
    return sorted(
        sorted(unit for unit in thing if unit < count)
        for family in Families(units)
        for thing in family.members.tolist()
    )


def test_units_at_equal_positions_move_together():
    units, ties = model(6)
    ties.tie([block([0, 1, 2])], [block([5, 3, 4])], {0: 3})
    assert things(units, 6) == [[0, 5], [1, 3], [2, 4]]


def test_an_axis_that_the_other_does_not_know_is_made_of_places():
    """Three units, and a table of them by two positions: each moves with a row."""
    units, ties = model(9)
    table = block([[3, 4], [5, 6], [7, 8]], (0, 1))
    ties.tie([block([0, 1, 2])], [table], {0: 3, 1: 2})
    assert things(units, 9) == [[0, 3, 4], [1, 5, 6], [2, 7, 8]]


def test_equal_values_hold_those_that_they_meet():
    """Two units twice each, and four units: blocks of two."""
    units, ties = model(6)
    ties.tie([block([0, 0, 1, 1])], [block([2, 3, 4, 5])], {0: 4})
    blocks, inside = Families(units)
    assert (blocks.size, blocks.copies) == (2, 1)
    assert (inside.size, inside.copies, inside.parent) == (2, 2, blocks)
    assert [{0, 2, 3} < {*thing} for thing in blocks.members.tolist()] == [True, False]


def test_equal_values_on_both_sides_hold_what_they_have_in_common():
    """Rows and columns of a table of four: each pair of them is one."""
    units, ties = model(4)
    ties.tie([block([0, 0, 1, 1])], [block([2, 3, 2, 3])], {0: 4})
    assert families(units) == [(1, 2), (1, 2)]
    rows, columns = (family.members.tolist() for family in Families(units))
    assert len({*rows[0]} & {*columns[0]}) == len({*rows[1]} & {*columns[0]}) == 1


def test_equal_values_in_unequal_numbers_pin():
    """Three positions of one unit and one of the other: no blocks of one size."""
    units, ties = model(6)
    ties.tie([block([0, 0, 0, 1])], [block([2, 3, 4, 5])], {0: 4})
    assert reasons(units) == [f"{MAY_BE_FREE}: why"] * 6


@pytest.mark.parametrize(
    ("its", "reason"),
    [
        ([], "why"),  # rigid: it tells the positions apart
        ([((4, 5), (0,)), ((6, 7), (0,))], f"{MAY_BE_FREE}: why"),
    ],
    ids=["nothing", "two blocks"],
)
def test_blocks_that_do_not_align_are_pinned(its, reason):
    units, ties = model(8)
    ties.tie([block([0, 1])], [block(*each) for each in its], {0: 2})
    assert reasons(units)[:2] == [reason] * 2
    assert reasons(units)[4:] == [reason if its else None] * 4


def test_a_pinned_block_is_a_rigid_axis():
    """Beside it the other one is what its positions are tied to."""
    units, ties = model(6)
    units.pin(np.arange(2), "a pixel")
    ties.tie([block([0, 1]), block([2, 3])], [block([4, 5])], {0: 2})
    assert things(units, 6) == [[2, 4], [3, 5]]


def test_what_is_pinned_along_one_axis_moves_alike_along_it():
    """Two rows of three columns that stay: the rows are what is left."""
    units, ties = model(6)
    left = ties.pin(Axes((2, 3), (block([[0, 1, 2], [3, 4, 5]], (0, 1)),)), [1])
    assert [b.dims for b in left.blocks] == [(0,)] and left.sizes == (2, 3)
    assert things(units, 6) == [[0, 1, 2], [3, 4, 5]]


def test_pinning_all_axes_pins_units_and_names():
    units, ties = model(5)
    axes = Axes((2,), (block([0, 1]),), named=block([2, 3]))
    assert ties.free(axes) and ties.free(Axes((2,), named=block([2, 3])))
    assert ties.pin(axes).blocks == ()
    assert reasons(units) == ["why"] * 4 + [None] and not ties.free(axes)


def test_an_axis_that_is_not_pinned_keeps_its_block():
    units, ties = model(3)
    kept = block([0, 1, 2], (1,))
    assert ties.pin(Axes((2, 3), (kept,)), [0]).blocks == (kept,)
    assert reasons(units) == [None] * 3


def test_blocks_are_the_same_if_their_units_are_tied_place_by_place():
    _, ties = model(6)
    one, other = block([0, 1]), block([2, 3])
    assert not ties.same(one, other)
    ties.tie([one], [other], {0: 2})
    assert ties.same(one, other)
    assert not ties.same(one, block([3, 2]))
    assert not ties.same(one, block([2, 3], places=[1, 1]))
    assert not ties.same(one, block([2, 3, 4]))


def test_units_are_untouched_until_something_is_said():
    units = Units()
    units.new(4)
    ties, axes = Ties(units, ""), Axes((2,), (block([0, 1]),))
    other = Axes((2,), (block([2, 3]),))
    assert ties.untouched(axes)
    ties.see(axes)
    assert not ties.untouched(axes) and ties.untouched(other)
    assert not ties.untouched(Axes((2, 2), (*axes.blocks, block([2, 3], (1,)))))


def test_over_some_axes_units_hold_rows():
    units, ties = model(6)
    table = block([[0, 1, 2], [3, 4, 5]], (0, 1))
    assert ties.restricted([table], {0, 1}) == [table]
    assert ties.restricted([table], {7}) == []
    (rows,) = ties.restricted([table], {0})
    assert rows.dims == (0,) and rows.units.shape == (2,)
    assert [set(h.content.tolist()) for h in units.holdings] == [{0, 1, 2}, {3, 4, 5}]
    assert [h.holder for h in units.holdings] == rows.units.tolist()


def test_rows_of_pinned_units_stay():
    """None of a row's units is in another row: there is nothing to hold."""
    units, ties = model(4)
    units.pin(np.arange(4), "a pixel")
    assert ties.restricted([block([[0, 1], [2, 3]], (0, 1))], {0}) == []
    assert units.holdings == []


def test_rows_that_overlap_are_pinned():
    units, ties = model(3)
    (rows,) = ties.restricted([block([[0, 1], [1, 2]], (0, 1))], {0})
    reason = f"{MAY_BE_FREE}: blocks that overlap: why"
    assert reasons(units)[:3] == [reason] * 3
    assert [units.reason(unit) for unit in rows.units] == [reason] * 2


def test_units_over_fewer_axes_imply_those_over_more():
    """The wider block is what is kept; a block of other axes stays beside it."""
    _, ties = model(8)
    table, inside = block([[0, 1], [2, 3]], (0, 1)), block([4, 5], (1,))
    beside = block([6, 7], (2,))
    assert ties.restricted([inside, beside, table], {0, 1, 2}) == [table, beside]


def test_blocks_that_become_one_axis_are_crossed():
    """Two rows and two columns hold a unit for each position.

    Two blocks over a third axis are left as they are.
    """
    units, ties = model(8)
    rows, columns, other = (block([n, n + 1], (n // 2,)) for n in (0, 2, 4))
    beside = block([6, 7], (2,))
    axes = Axes((2, 2, 2), (rows, columns, other, beside))
    assert ties.crossed(axes, []) == [rows, columns, other, beside]
    crossed, *kept = ties.crossed(axes, [(0, 1)])
    assert kept == [other, beside] and crossed.dims == (0, 1)
    assert sorted(crossed.units.ravel().tolist()) == [8, 9, 10, 11]
    held = {h.holder: {*h.content.tolist()} for h in units.holdings}
    for lines, made in ((rows, crossed.units), (columns, crossed.units.T)):
        for line, cells in zip(lines.units, made, strict=True):
            (holder,) = (h for h in held if held[h] == {*cells.tolist()})
            assert units.leader(holder) == units.leader(line)


def test_equal_values_that_others_make_unequal_get_units_of_their_own():
    units, ties = model(4)
    twice, four = block([0, 0, 1, 1]), block([0, 1, 2, 3])
    lettered = Axes((4,), (twice,)).lettered([0])
    assert ties.told_apart(four, [lettered]) is four  # has no equal values
    assert ties.told_apart(twice, [lettered]) is twice
    rigid = Axes((4,)).lettered([0])
    apart = ties.told_apart(twice, [lettered, rigid])
    assert len(set(apart.units.tolist())) == 2 and not apart.repeats
    other = Axes((4,), (block([2, 3, 2, 3]),)).lettered([0])
    assert len(set(ties.told_apart(twice, [lettered, other]).units.tolist())) == 4
    assert units.count > 4


def test_a_clash_may_be_free_unless_it_is_certain():
    units, ties = model(2)
    ties.clash(block([0]))
    ties.clash(block([1]), certain=True)
    assert reasons(units) == [f"{MAY_BE_FREE}: why", "why"]
