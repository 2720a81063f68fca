"""Arithmetic of the decision rules: intervals, p-values and power."""

from bisect import bisect_left
from functools import cache
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

POWER = 0.8
"""The chance of a verdict that is asked for."""

MOST = 10_000
"""More units are not considered."""

DRAWS = 20_000
"""Random sign flips, where all of them are too many."""

Floats = NDArray[np.float64]


def finite(values: ArrayLike) -> Floats:
    """Take numbers that can be decided by."""
    array: Floats = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.size == 0:
        raise ValueError("a decision needs values, got none: measure some")
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = tuple(bad[0].tolist())
        raise ValueError(
            f"value {where[0] if len(where) == 1 else where} is {array[where]}: a "
            f"decision needs finite numbers; find out why the measurement failed, do "
            f"not drop it"
        )
    return array


def spread_of(values: Floats) -> Floats:
    """Standard deviation over the last axis; 0, not nearly 0, where all are equal."""
    if values.shape[-1] == 1:
        return np.zeros(values.shape[:-1])
    equal = values.min(-1) == values.max(-1)
    return np.where(equal, 0.0, values.std(-1, ddof=1))


def t_interval(values: Floats, grain: float, alpha: float) -> tuple[Floats, ...]:
    """Mean, standard error and bounds of the 1 - 2 alpha interval, over the last axis.

    The standard error is at least ``grain / sqrt(n)``.
    """
    n = values.shape[-1]
    spread = spread_of(values)
    # The computed mean of equal numbers may differ from them in the last digit, which
    # would put it beside a margin that it lies on.
    mean = np.where(spread == 0, values[..., 0], values.mean(-1))
    error = np.maximum(spread, grain) / sqrt(n)
    reach = -special.stdtrit(n - 1, alpha) * error
    return mean, error, mean - reach, mean + reach


def flip_p(values: Floats) -> float:
    """One-sided p of a mean above 0, by flipping signs.

    All flips of up to 16 values; else `DRAWS` random ones, seeded, with the values
    themselves counted among them.
    """
    # Sums that differ by rounding alone are ties.
    observed = values.sum() - 1e-9 * np.abs(values).sum()
    if len(values) <= 16:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(sums >= observed))
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (DRAWS, len(values)))
    return float((1 + np.sum(signs @ values >= observed)) / (DRAWS + 1))


@cache
def factor(n: int, alpha: float, sides: int = 1) -> float:
    """Give the distance from a boundary, in true standard errors, that n values show.

    From both boundaries of a range, each test has to fail half as often: then `POWER`,
    or somewhat more, is the chance that neither does.
    """
    t = -special.stdtrit(n - 1, alpha)
    return float(special.nctdtrinc(n - 1, (1 - POWER) / sides, t))


def needed(inside: list[float], spread: float, fewest: int, alpha: float) -> int | None:
    """Find the units that decide where a mean lies, by t-tests.

    Parameters
    ----------
    inside : list of float
        How far it lies inside each boundary of the claim, negative outside.
    spread, fewest, alpha
        Standard deviation of one unit, least number of units, level of the tests.

    Returns
    -------
    int or None
        None where `MOST` would not do.
    """
    nearest, middle = min(inside), sum(inside) / len(inside)

    def enough(n: int) -> bool:
        error = spread / sqrt(n)
        if nearest > 0 and middle < factor(n, alpha, len(inside)) * error:
            return False  # nor would it do from the middle of the range
        return abs(nearest) >= factor(n, alpha) * error

    if not enough(MOST):
        return None
    return bisect_left(range(MOST), True, lo=fewest, key=enough)


def detectable_share(n: int, boundary: float, alpha: float) -> float | None:
    """Give the distance above a boundary of a probability that n trials show."""
    least = int(stats.binom.isf(alpha, n, boundary)) + 1  # successes
    if least > n:
        return None
    return float(special.betaincinv(least, n - least + 1, POWER)) - boundary


def needed_trials(
    share: float, boundary: float, fewest: int, alpha: float
) -> int | None:
    """Find the trials that decide on which side of a boundary a probability lies."""
    if share < boundary:
        share, boundary = 1 - share, 1 - boundary
    for limit in (200, MOST):  # the first is quick, and enough for most
        n = np.arange(fewest, limit + 1)
        most = stats.binom.isf(alpha, n, boundary)  # successes not yet significant
        enough = np.flatnonzero(stats.binom.sf(most, n, share) >= POWER)
        if len(enough):
            return int(n[enough[0]])
    return None
