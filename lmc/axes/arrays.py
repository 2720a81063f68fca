"""Arrays of units and of their places: which positions hold equal values.

Positions of one unit and one place do.
"""

import numpy as np

from lmc.units import Ints


def numbered(*arrays: Ints) -> Ints:
    """Number the combinations of several arrays' values, position by position.

    Examples
    --------
    >>> numbered(np.array([7, 7, 9, 9]), np.array([0, 1, 1, 1])).tolist()
    [0, 1, 2, 2]
    """
    numbers = np.zeros(arrays[0].size, np.int64)
    for array in arrays:
        values, own = np.unique(array, return_inverse=True)
        numbers = numbers * len(values) + own.ravel()
        numbers = np.unique(numbers, return_inverse=True)[1].ravel()
    return numbers


def repeats(units: Ints, places: Ints) -> bool:
    """Whether several positions have one unit and one place."""
    if len(np.unique(units)) == units.size:
        return False
    return bool(numbered(units, places).max() + 1 < units.size)


def parallel(places: Ints, at: int) -> bool:
    """Whether equal places stay equal along an axis, and different ones different.

    Examples
    --------
    >>> parallel(np.array([[0, 1], [5, 6]]), 0), parallel(np.array([[0, 1], [5, 5]]), 0)
    (True, False)
    """
    rows = np.moveaxis(places, at, 0).reshape(places.shape[at], -1)
    number = len(np.unique(rows[0]))
    return all(
        len(np.unique(np.stack([rows[0], row]), axis=1).T)
        == number
        == len(np.unique(row))
        for row in rows[1:]
        if not (row - row[:1] == rows[0] - rows[0][:1]).all()
    )


def tells_apart(anchors: Ints, places: Ints) -> bool:
    """Whether no two rows have an anchor with an equal place in common.

    Examples
    --------
    >>> one, other = np.array([[7, 8], [7, 9]]), np.array([[0, 0], [1, 0]])
    >>> tells_apart(one, other), tells_apart(one, 0 * other)
    (True, False)
    """
    keys = np.stack([anchors, places, np.arange(len(anchors))[:, None] + 0 * anchors])
    of_row = np.unique(keys.reshape(3, -1), axis=1)
    return len(np.unique(of_row[:2], axis=1).T) == len(of_row.T)


def row_places(units: Ints, rows: Ints) -> Ints:
    """One place for each row of places, unequal where a unit's rows are."""
    together = np.column_stack([units, rows])
    if len(np.unique(together[:, :2], axis=0)) == len(np.unique(together, axis=0)):
        return rows[:, 0]
    return occurrence(units, rows)


def occurrence(units: Ints, rows: Ints) -> Ints:
    """Number the occurrences of each unit: 0, 1, ..., alike where rows are equal.

    Examples
    --------
    >>> occurrence(np.array([7, 7, 8, 7]), np.array([[1], [2], [1], [1]])).tolist()
    [0, 1, 0, 0]
    """
    if len(np.unique(units)) == len(units):
        return np.zeros_like(units)
    _, first, inverse = np.unique(
        np.column_stack([units, rows]), axis=0, return_index=True, return_inverse=True
    )
    chosen = np.sort(first)  # the first of equal ones
    order = np.argsort(units[chosen], kind="stable")
    ordered = units[chosen][order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    numbers = np.zeros(len(units), np.int64)
    numbers[chosen[order]] = np.arange(len(chosen)) - np.repeat(starts, lengths)
    return numbers[first[inverse.ravel()]]
