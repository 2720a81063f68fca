"""The null distribution of Page's trend statistic, exact with ties.

`scipy.stats.page_trend_test` takes the distribution of untied ranks also where values
tie, and minutes at 11 levels.  See `claims.decisions.trend`.

References
----------
.. [1] E. B. Page, "Ordered hypotheses for multiple treatments: a significance test for
   linear ranks", *Journal of the American Statistical Association* 58(301), p. 216-230,
   1963.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]

Patterns = tuple[tuple[int, ...], ...]
"""Doubled ranks of each row of a trend, sorted: what is known of it without order."""


@dataclass(frozen=True)
class PageTrend:
    """Page's test of a table, on the scale of rank correlations.

    Attributes
    ----------
    rows
        Each row's correlation with the level, ``(n,)``; 0 for a constant row.
    estimate
        Their mean, which is Page's L less its null mean, in units of its largest value.
    p
        Null probability of such a mean or a larger one.
    reach
        The largest mean that would not have been significant.
    spread
        Standard deviation of the mean under the null.
    attainable
        Whether any order of these values would have been significant.
    """

    rows: Floats
    estimate: float
    p: float
    reach: float
    spread: float
    attainable: bool


def page_trend(table: Floats, alpha: float) -> PageTrend:
    """Test whether the values of a table ``(n, k)`` rise over its columns."""
    n, k = table.shape
    # Doubled ranks stay integers where ties share a mean rank, so that sums are exact.
    ranks = np.rint(2 * stats.rankdata(table, axis=1)).astype(int)
    centre = k * (k + 1) ** 2 // 2  # a row's mean score where there is no trend
    scores = ranks @ np.arange(1, k + 1) - centre
    # A row's null distribution depends on its ties alone, not on its order.
    patterns = tuple(sorted(map(tuple, np.sort(ranks, axis=1).tolist())))
    p, critical = _page_test(patterns, int(scores.sum()), alpha)
    full = k * (k * k - 1) / 6  # a row's score in perfect order
    return PageTrend(
        rows=scores / full,
        estimate=int(scores.sum()) / (n * full),
        p=p,
        reach=critical / (n * full),
        spread=sqrt(_page_variance(patterns)) / (n * full),
        # No table with these ties is more orderly than the sorted one.
        attainable=_steepest(patterns) - n * centre > critical,
    )


def _page_test(patterns: Patterns, towards: int, alpha: float) -> tuple[float, int]:
    """Null probability of `towards` or more, and the largest score not significant.

    Scores are twice Page's L less its null mean, positive on the claim's side.
    """
    if len(patterns) > 100 or len(patterns[0]) > 12:
        deviation = sqrt(_page_variance(patterns))
        if deviation == 0:
            return 1.0, 0
        p = float(special.ndtr(-towards / deviation))
        return p, int(-special.ndtri(alpha) * deviation)
    tail = _page_tail(patterns)
    lowest = -(len(tail) // 2)  # the null distribution is symmetric about 0
    return (
        float(tail[towards - lowest]),
        int(np.flatnonzero(tail >= alpha)[-1]) + lowest,
    )


@lru_cache
def _page_tail(patterns: Patterns) -> Floats:
    """P(score >= s) for all scores s from the lowest to the highest, under the null."""
    total = np.ones(1)
    for pattern in patterns:
        total = np.convolve(total, _row_distribution(pattern))
    tail: Floats = np.minimum(np.cumsum(total[::-1])[::-1], 1.0)
    return tail


@lru_cache
def _row_distribution(pattern: tuple[int, ...]) -> Floats:
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
    orders: Floats = counts[-1, lowest:]
    orders /= orders.sum()
    return orders


def _page_variance(patterns: Patterns) -> float:
    """Null variance of twice Page's L: permutation variance, summed over rows."""
    ranks = np.array(patterns, dtype=float)
    k = ranks.shape[1]
    within = ((ranks - (k + 1)) ** 2).sum()
    return float(within * (k * (k * k - 1) / 12) / (k - 1))


def _steepest(patterns: Patterns) -> int:
    """Twice Page's L of the table with every row in perfect order."""
    ranks = np.array(patterns)
    return int((ranks * np.arange(1, ranks.shape[1] + 1)).sum())
