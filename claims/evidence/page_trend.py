"""Page's trend test, exact with ties.

`scipy.stats.page_trend_test` takes the distribution of untied ranks also where values
tie, and minutes at 11 levels.

References
----------
.. [1] E. B. Page, "Ordered hypotheses for multiple treatments: a significance test for
   linear ranks", *Journal of the American Statistical Association* 58(301), p. 216-230,
   1963.
"""

from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Patterns = tuple[tuple[int, ...], ...]
"""Doubled ranks of each row of a trend, sorted: what is known of it without order."""


def page_p(table: NDArray[np.float64]) -> float:
    """Give the p-value of Page's L, for values that rise over the columns.

    Parameters
    ----------
    table : ndarray, shape (n, k)
        Row i holds the values of unit i at the k ordered levels.

    Returns
    -------
    float
        Chance of such an L or a larger one where every order of a row's values is
        equally likely. Exact up to 12 levels and 100 rows, in normal approximation
        beyond. Ties share their mean rank; a constant row says nothing.
    """
    k = table.shape[1]
    # Doubled ranks stay integers where ties share a mean rank, so that sums are exact.
    ranks = np.rint(2 * stats.rankdata(table, axis=1)).astype(int)
    # Twice Page's L, less its null mean: positive where values rise.
    scores = ranks @ np.arange(1, k + 1) - k * (k + 1) ** 2 // 2
    # A row's null distribution depends on its ties alone, not on its order.
    patterns = tuple(sorted(map(tuple, np.sort(ranks, axis=1).tolist())))
    if len(patterns) > 100 or k > 12:
        deviation = sqrt(_variance(patterns))
        return float(special.ndtr(-scores.sum() / deviation)) if deviation else 1.0
    tail = _tail(patterns)
    # The null distribution is symmetric about 0.
    return float(tail[int(scores.sum()) + len(tail) // 2])


@lru_cache
def _tail(patterns: Patterns) -> NDArray[np.float64]:
    """P(score >= s) for all scores s from the lowest to the highest, under the null."""
    total = np.ones(1)
    for pattern in patterns:
        total = np.convolve(total, _row_distribution(pattern))
    tail: NDArray[np.float64] = np.minimum(np.cumsum(total[::-1])[::-1], 1.0)
    return tail


@lru_cache
def _row_distribution(pattern: tuple[int, ...]) -> NDArray[np.float64]:
    """Distribution of sum_j j * rank_j, ranks doubled, over all orders of one row.

    From the lowest to the highest value. Levels are filled one after the other; a set
    of used ranks is a bit mask, and its row counts the orders by their sum so far.
    """
    k = len(pattern)
    highest = sum(level * rank for level, rank in enumerate(pattern, 1))
    lowest = sum(level * rank for level, rank in enumerate(pattern[::-1], 1))
    counts = np.zeros((2**k, highest + 1))
    counts[0, 0] = 1
    for used in range(2**k):
        level = used.bit_count() + 1
        for i, rank in enumerate(pattern):
            if not used >> i & 1:
                step = level * rank
                counts[used | 1 << i, step:] += counts[used, :-step]
    orders: NDArray[np.float64] = counts[-1, lowest:]
    orders /= orders.sum()
    return orders


def _variance(patterns: Patterns) -> float:
    """Null variance of twice Page's L: permutation variance, summed over rows."""
    ranks = np.array(patterns, dtype=float)
    k = ranks.shape[1]
    within = ((ranks - (k + 1)) ** 2).sum()
    return float(within * (k * (k * k - 1) / 12) / (k - 1))
