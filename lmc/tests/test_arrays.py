"""Arrays of units and places, against plain loops."""

from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lmc.axes.arrays import (
    numbered,
    occurrence,
    parallel,
    repeats,
    row_places,
    tells_apart,
)

TABLES = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: st.lists(
        st.lists(st.integers(0, 2), min_size=shape[1], max_size=shape[1]).map(tuple),
        min_size=shape[0],
        max_size=shape[0],
    )
)
"""A few rows of small numbers."""


@settings(deadline=None)
@given(TABLES)
def test_combinations_are_numbered_in_their_order(rows):
    """The columns of the table are arrays."""
    order = sorted(set(rows))
    found = numbered(*np.array(rows).T)
    assert found.tolist() == [order.index(row) for row in rows]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1))
def test_values_repeat_where_unit_and_place_do(pairs):
    units, places = np.array(pairs).T
    assert repeats(units, places) == (len(set(pairs)) < len(pairs))


@settings(deadline=None)
@given(TABLES)
def test_parallel_rows_are_renamings_of_the_first(rows):
    """Two positions are equal in all rows, or in none."""
    pairs = combinations(range(len(rows[0])), 2)
    expected = all(len({row[i] == row[j] for row in rows}) == 1 for i, j in pairs)
    assert parallel(np.array(rows), 0) == expected
    assert parallel(np.array(rows).T, 1) == expected


@settings(deadline=None)
@given(TABLES, st.integers(0, 2))
def test_rows_are_told_apart_if_none_has_what_another_has(rows, modulus):
    """Places are numbers by column, here also equal ones."""
    anchors = np.array(rows)
    places = np.arange(anchors.size).reshape(anchors.shape) % (modulus + 1)
    sets = [{*zip(a, p, strict=True)} for a, p in zip(rows, places, strict=True)]
    expected = all(one.isdisjoint(other) for one, other in combinations(sets, 2))
    assert tells_apart(anchors, places) == expected


@settings(deadline=None)
@given(TABLES, st.data())
def test_occurrences_differ_where_rows_do(rows, data):
    """Of one unit; each unit's are 0, 1, and so on in the order in which they come."""
    units = data.draw(
        st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows))
    )
    found = occurrence(np.array(units), np.array(rows)).tolist()
    of_unit: dict[int, list[tuple[int, ...]]] = {}
    for unit, row, number in zip(units, rows, found, strict=True):
        known = of_unit.setdefault(unit, [])
        if row not in known:
            known.append(row)
        assert number == known.index(row)


def test_the_first_place_of_a_row_is_its_place_if_it_tells_all_apart():
    """Else the rows of each unit are numbered."""
    units = np.array([5, 5, 6])
    assert row_places(units, np.array([[4, 1], [7, 2], [4, 1]])).tolist() == [4, 7, 4]
    assert row_places(units, np.array([[4, 1], [4, 2], [4, 2]])).tolist() == [0, 1, 0]
