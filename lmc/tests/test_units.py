"""What is noted of a few units."""

import numpy as np

from lmc.tests.test_families import at, seen
from lmc.units import Units


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
