"""The null distribution of Page's trend statistic, exact with ties.

`scipy.stats.page_trend_test` takes the distribution of untied ranks also where values
tie, and minutes at 11 levels.  See `claims.decisions.trend`.

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
from scipy import special

Floats = NDArray[np.float64]

Patterns = tuple[tuple[int, ...], ...]
"""Doubled ranks of each row of a trend, sorted: what is known of it without order."""


def page_test(patterns: Patterns, towards: int, alpha: float) -> tuple[float, int]:
    """Null probability of `towards` or more, and the largest score not significant.

    Scores are twice Page's L less its null mean, positive on the claim's side.
    """
    if len(patterns) > 100 or len(patterns[0]) > 12:
        deviation = sqrt(page_variance(patterns))
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


def page_variance(patterns: Patterns) -> float:
    """Null variance of twice Page's L: permutation variance, summed over rows."""
    ranks = np.array(patterns, dtype=float)
    k = ranks.shape[1]
    within = ((ranks - (k + 1)) ** 2).sum()
    return float(within * (k * (k * k - 1) / 12) / (k - 1))


def steepest(patterns: Patterns) -> int:
    """Twice Page's L of the table with every row in perfect order."""
    ranks = np.array(patterns)
    return int((ranks * np.arange(1, ranks.shape[1] + 1)).sum())
