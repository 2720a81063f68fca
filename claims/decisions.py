"""Statistical decision rules: measurements of independent networks in, verdict out.

Each rule takes a margin that was fixed before the measurement and gives a `Decision`
with one of three verdicts. Its two error rates, each at most ``alpha`` under the
rule's assumptions:

* false pass: *supported*, though the claim is wrong (worst case: the true effect lies
  exactly on the margin);
* false fail: *refuted*, though the claim is right (worst case: the same).

An effect near the margin, or too few networks, end as *inconclusive*. The verdict is
read off the two-sided interval of level ``1 - 2 * alpha``, whose two bounds are the
two one-sided bounds of level ``1 - alpha``; so interval, p-value and verdict cannot
contradict each other.

Every rule takes one value per *independent* pair (or tuple) of networks. Pairs that
share a network are not independent, and no rate stated here holds for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import copysign, inf, isfinite, sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from claims.page_trend import page_trend

POWER = 0.8
"""The chance of being declared supported that defines `Decision.detectable`."""

Floats = NDArray[np.float64]


class Verdict(StrEnum):
    """What the data say about a claim."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Decision:
    """The outcome of one rule on one set of measurements.

    Attributes
    ----------
    rule : str
        "superiority", "non-inferiority", "equivalence", "trend", "proportion" or
        "exact".
    statement : str
        The claim as the rule decided it, with margin and alpha.
    verdict : Verdict
        Supported: the interval lies on the claim's side of the margin. Refuted: it
        lies on the other side. Inconclusive: it contains the margin.
    estimate : float
        The measured effect, in `unit`.
    low, high : float or None
        Two-sided interval of level ``1 - 2 * alpha``, in `unit`; None for "exact".
    p : float or None
        p-value of the hypothesis that the claim is wrong; None for "exact".
    n : int
        Number of independent values (rows for a trend, trials for a proportion).
    margin : float
        The boundary on the scale of the estimate, so that it can be drawn beside it:
        ``-margin`` for non-inferiority, the half-width of the range for equivalence,
        0 for a trend, `at_least` for a proportion, the tolerance for "exact".
    alpha : float
        Bound on each error rate; 0 for "exact", which takes no chance.
    detectable : float or None
        The smallest true effect, counted from the margin towards the claim's side,
        that this n and this spread would have declared supported with probability
        `POWER` (80%). None where no effect, however large, could have been.
    unit : str
        Unit of estimate, low, high, margin and detectable.
    """

    rule: str
    statement: str
    verdict: Verdict
    estimate: float
    low: float | None
    high: float | None
    p: float | None
    n: int
    margin: float
    alpha: float
    detectable: float | None
    unit: str = ""


def superiority(
    differences: ArrayLike, *, margin: float = 0.0, alpha: float = 0.05, unit: str = ""
) -> Decision:
    """Decide the claim *the mean difference is above the margin*.

    One-sided paired t-test [1]_: one difference per independent pair of networks.

    Parameters
    ----------
    differences : array_like, shape (n,), n >= 2
        One difference per independent pair, in `unit`.
    margin : float
        The boundary, in `unit`; fixed before the measurement.
    alpha : float
        Bound on the false-pass and on the false-fail rate, between 0 and 0.5.
    unit : str
        Unit of the differences, such as "points".

    Returns
    -------
    Decision
        `detectable` comes from the noncentral t-distribution at the sample's standard
        deviation.

    Raises
    ------
    ValueError
        On fewer than two values, NaN, infinity, a bad shape, margin or alpha.

    Notes
    -----
    False pass and false fail: each at most `alpha` for independent differences with an
    approximately normal mean. Accuracies of hundreds of test images are near enough
    with 8 pairs; strongly skewed differences are not (a long tail below the mean
    makes false passes more frequent, one above it false fails).

    The assumption buys small p-values: without it, an exact sign-flip test of n pairs
    cannot go below ``2**-n``. Differences that are all equal have no spread, hence an
    interval of one point and a verdict by its side of the margin; on the margin it is
    inconclusive, with p = 0.5.

    References
    ----------
    .. [1] Student, "The probable error of a mean", *Biometrika* 6(1), p. 1-25, 1908.

    Examples
    --------
    >>> decision = superiority([4.0, 5.5, 3.5, 5.0], margin=2.0, unit="points")
    >>> decision.statement
    'mean difference > 2 points, one-sided, alpha 0.05'
    >>> decision.verdict.value, decision.estimate, round(decision.low, 2)
    ('supported', 4.5, 3.43)
    """
    _check_margin(margin)
    return _one_sided("superiority", differences, margin, alpha, unit)


def noninferiority(
    differences: ArrayLike, *, margin: float, alpha: float = 0.05, unit: str = ""
) -> Decision:
    """Decide the claim *the mean difference is above -margin*: not worse by much.

    The test of `superiority` against the boundary ``-margin`` [1]_.

    Parameters
    ----------
    differences : array_like, shape (n,), n >= 2
        One difference per independent pair, in `unit`; positive is better.
    margin : float
        The loss that still counts as not worse, above 0, in `unit`.
    alpha, unit
        As in `superiority`.

    Returns
    -------
    Decision
        Its `margin` is the boundary, ``-margin``.

    Raises
    ------
    ValueError
        As `superiority`, and on a margin that is not above 0.

    Notes
    -----
    Rates and assumptions are those of `superiority`, at the boundary ``-margin``.

    References
    ----------
    .. [1] G. Piaggio et al., "Reporting of noninferiority and equivalence randomized
       trials", *JAMA* 308(24), p. 2594-2604, 2012.

    Examples
    --------
    >>> noninferiority([-1.0, 0.5, -0.5, 0.0], margin=3.0).verdict.value
    'supported'
    """
    _check_positive_margin(margin, "it is the loss that still counts as not worse")
    return _one_sided("non-inferiority", differences, -margin, alpha, unit)


def equivalence(
    differences: ArrayLike, *, margin: float, alpha: float = 0.05, unit: str = ""
) -> Decision:
    """Decide the claim *the mean difference lies between -margin and margin*.

    Two one-sided t-tests (TOST) [1]_; p is the larger of the two.

    Parameters
    ----------
    differences : array_like, shape (n,), n >= 2
        One difference per independent pair, in `unit`.
    margin : float
        Half-width of the range that counts as no difference, above 0, in `unit`.
    alpha, unit
        As in `superiority`.

    Returns
    -------
    Decision
        Refuted where the whole interval lies outside the range. `detectable` is the
        smallest margin within which this n and spread would have declared a true mean
        of 0 (the farthest from both boundaries) with 80% power: above `margin`, the
        study was too small to support the claim reliably.

    Raises
    ------
    ValueError
        As `superiority`, and on a margin that is not above 0.

    Notes
    -----
    False pass and false fail: each at most `alpha` wherever the true mean lies, under
    the assumptions of `superiority`; below `alpha` where the spread is not small
    beside the margin.

    References
    ----------
    .. [1] D. J. Schuirmann, "A comparison of the two one-sided tests procedure and
       the power approach for assessing the equivalence of average bioavailability",
       *Journal of Pharmacokinetics and Biopharmaceutics* 15, p. 657-680, 1987.

    Examples
    --------
    >>> decision = equivalence([0.1, -0.2, 0.2, -0.1], margin=1.0, unit="points")
    >>> decision.statement
    '|mean difference| < 1 points, two one-sided tests, alpha 0.05'
    >>> decision.verdict.value
    'supported'
    """
    _check_positive_margin(margin, "it is the largest difference that counts as none")
    _check_alpha(alpha)
    values = _sample(differences)
    n = len(values)
    mean, error, low, high = _t_interval(values, alpha)
    tails = (_t_tail(mean + margin, error, n), _t_tail(margin - mean, error, n))
    return Decision(
        rule="equivalence",
        statement=f"|mean difference| < {_quantity(margin, unit)}, "
        f"two one-sided tests, alpha {alpha:g}",
        verdict=_verdict(low, high, floor=-margin, ceiling=margin),
        estimate=mean,
        low=low,
        high=high,
        p=max(tails),
        n=n,
        margin=float(margin),
        alpha=alpha,
        detectable=_equivalence_factor(n, alpha) * error,
        unit=unit,
    )


def trend(
    values: ArrayLike,
    *,
    direction: Literal["decreasing", "increasing"] = "decreasing",
    alpha: float = 0.05,
    unit: str = "",
) -> Decision:
    r"""Decide the claim *the values fall (or rise) over k ordered levels*.

    Two tests, and both must agree: Page's [1]_ of agreement between the order of the
    levels and the ranks within each row, and a t-test of the rows' correlations with
    the level, as in `superiority`.

    Parameters
    ----------
    values : array_like, shape (n, k), n >= 2, k >= 3
        Row i holds the values of independent tuple i at the k levels, in their order.
        Rows may differ in height and scale: only ranks within a row count.
    direction : {"decreasing", "increasing"}
        The claimed direction.
    alpha : float
        As in `superiority`.
    unit : str
        Unit of the estimate, which is a correlation: leave it empty unless the report
        needs a word there.

    Returns
    -------
    Decision
        `estimate` is the mean over rows of Spearman's correlation with the level,
        from -1 to 1; negative supports a decreasing trend. p is the larger of the two
        tests'. The claim is supported where it, in the claimed direction, is below
        alpha, and refuted where that of the other direction is. `detectable` is the
        size of the mean correlation that each test would have supported with 80%
        power, at most 1: Page's in normal approximation with the spread of the null
        hypothesis, the t-test at the spread of these rows.

    Raises
    ------
    ValueError
        On fewer than two rows or three levels, NaN, infinity, a bad direction or
        alpha.

    Notes
    -----
    False pass and false fail: each at most `alpha` where rows are independent and one
    of two things is true without a trend. Either every order of a row's values is
    equally likely: then Page's test is exact, ties included, up to 12 levels and 100
    rows, and in normal approximation beyond (off by less than 0.002 at 0.05). Or the
    values of a row depend on each other, as those of one network's layers do, and
    rows go astray together with their levels: then the levels are no evidence of
    their own, and the t-test, for which a row is one value, holds as far as their
    mean correlation is normal. With few rows that each are in perfect order, one way
    or the other, it is not: four rows all go the claimed way by chance in one of 16.

    *Supported* means an overall trend, not that each step goes the claimed way.

    Page's :math:`L = \sum_{ij} j\, r_{ij}` and the estimate are the same statistic,

    .. math:: \bar\rho = \frac{12 L - 3 n k (k+1)^2}{n k (k^2 - 1)} .

    Tied values share their mean rank. A row with ties then falls short of a
    correlation of 1 (it is Spearman's "a" version, whose denominator ignores ties),
    and a constant row counts as 0. The null distribution permutes the tied ranks
    themselves, where `scipy.stats.page_trend_test` uses that of untied ranks; without
    ties the two p-values agree (scipy's with ``method="exact"``, which its default
    leaves above 12 rows).

    The interval covers two: that of the t-test, and estimate plus and minus the
    largest mean correlation that would not have been significant in Page's. It is cut
    to [-1, 1] and excludes 0 just where p < alpha. It does not shrink to a point
    where all rows are perfectly ordered, as that of the t-test does.

    References
    ----------
    .. [1] E. B. Page, "Ordered hypotheses for multiple treatments: a significance
       test for linear ranks", *Journal of the American Statistical Association*
       58(301), p. 216-230, 1963.

    Examples
    --------
    >>> decision = trend([[9.0, 7.0, 2.0], [8.0, 6.0, 5.0], [7.0, 3.0, 4.0]])
    >>> decision.statement
    'decreasing over 3 levels, Page test and t-test of rows, one-sided, alpha 0.05'
    >>> decision.verdict.value, round(decision.estimate, 2), round(decision.p, 3)
    ('supported', -0.83, 0.032)
    """
    if direction not in ("decreasing", "increasing"):
        raise ValueError(
            f"direction is {direction!r}: choose 'decreasing' or 'increasing'"
        )
    _check_alpha(alpha)
    table = _finite(values)
    if table.ndim != 2 or table.shape[0] < 2 or table.shape[1] < 3:
        raise ValueError(
            f"a trend needs a table of at least 2 independent rows x 3 ordered levels, "
            f"got shape {table.shape}: add seeds or levels, or decide two levels by "
            f"the superiority of their differences"
        )
    n, k = table.shape
    sign = 1 if direction == "increasing" else -1
    page = page_trend(sign * table, alpha)
    _, error, low, high = _t_interval(page.rows, alpha)
    low = max(min(low, page.estimate - page.reach), -1.0)
    high = min(max(high, page.estimate + page.reach), 1.0)
    needed = max(
        page.reach + float(special.ndtri(POWER)) * page.spread,
        _superiority_factor(n, alpha) * error,
    )
    return Decision(
        rule="trend",
        statement=f"{direction} over {k} levels, Page test and t-test of rows, "
        f"one-sided, alpha {alpha:g}",
        verdict=_verdict(low, high, floor=0.0),
        estimate=sign * page.estimate,
        low=low if sign > 0 else -high,
        high=high if sign > 0 else -low,
        p=max(page.p, _t_tail(page.estimate, error, n)),
        n=n,
        margin=0.0,
        alpha=alpha,
        detectable=min(needed, 1.0) if page.attainable else None,
        unit=unit,
    )


def proportion(
    successes: int, n: int, *, at_least: float, alpha: float = 0.05, unit: str = ""
) -> Decision:
    """Decide the claim *the probability of success is above* `at_least`.

    Exact binomial test with Clopper-Pearson bounds [1]_.

    Parameters
    ----------
    successes, n : int
        Successes among n independent trials, ``0 <= successes <= n``, ``n >= 1``.
    at_least : float
        The probability to exceed, between 0 and 1.
    alpha, unit
        As in `superiority`.

    Returns
    -------
    Decision
        `detectable` is the distance above `at_least` at which the binomial
        distribution gives 80% power; None where even n successes would not do
        (``at_least ** n >= alpha``).

    Raises
    ------
    ValueError
        On counts that are not whole or out of range, a bad `at_least` or alpha.

    Notes
    -----
    False pass and false fail: each at most `alpha`, usually well below it because
    counts are discrete. Assumes nothing but independent trials of equal probability.

    References
    ----------
    .. [1] C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits
       illustrated in the case of the binomial", *Biometrika* 26(4), p. 404-413, 1934.

    Examples
    --------
    >>> decision = proportion(8, 8, at_least=0.5)
    >>> decision.verdict.value, decision.p
    ('supported', 0.00390625)
    """
    _check_alpha(alpha)
    if not 0 < at_least < 1:
        raise ValueError(
            f"at_least is {at_least}: give a probability between 0 and 1, both excluded"
        )
    if int(successes) != successes or int(n) != n or not 0 <= successes <= n or n < 1:
        raise ValueError(
            f"{successes} successes of {n} trials are no counts: give whole numbers "
            f"with 0 <= successes <= n and n >= 1"
        )
    successes, n = int(successes), int(n)
    low = _clopper_pearson_low(successes, n, alpha)
    high = 1 - _clopper_pearson_low(n - successes, n, alpha)
    needed = next(
        (s for s in range(n + 1) if _clopper_pearson_low(s, n, alpha) > at_least), None
    )
    return Decision(
        rule="proportion",
        statement=f"success probability > {at_least:g}, exact binomial, one-sided, "
        f"alpha {alpha:g}",
        verdict=_verdict(low, high, floor=at_least),
        estimate=successes / n,
        low=low,
        high=high,
        p=float(special.betainc(successes, n - successes + 1, at_least)),
        n=n,
        margin=float(at_least),
        alpha=alpha,
        detectable=None
        if needed is None
        else _clopper_pearson_low(needed, n, POWER) - at_least,
        unit=unit,
    )


def frequency(
    outcomes: Sequence[bool], *, at_least: float, alpha: float = 0.05, unit: str = ""
) -> Decision:
    """Decide by `proportion` how often independent trials end in success.

    Parameters
    ----------
    outcomes
        One per independent trial: whether it was a success.
    at_least, alpha, unit
        As in `proportion`.

    Examples
    --------
    >>> frequency([True] * 8, at_least=0.5).verdict.value
    'supported'
    """
    successes = sum(map(bool, outcomes))
    return proportion(
        successes, len(outcomes), at_least=at_least, alpha=alpha, unit=unit
    )


def exact(deviations: ArrayLike, *, tolerance: float, unit: str = "") -> Decision:
    """Decide an invariant: *every deviation is within the tolerance*.

    Parameters
    ----------
    deviations : array_like, any shape, at least one value
        Sizes of the deviations, not negative, in `unit`.
    tolerance : float
        The largest deviation that rounding may cause; 0 demands bitwise equality.
    unit : str
        Unit of the deviations.

    Returns
    -------
    Decision
        Supported or refuted, never inconclusive; `estimate` is the largest deviation.

    Raises
    ------
    ValueError
        On no values, negative values, NaN or infinity (a measurement that overflowed
        is an error, not a refutation), or a bad tolerance.

    Notes
    -----
    Nothing is estimated, so both error rates are 0 for the cases examined; nothing is
    said of others.

    Examples
    --------
    >>> exact([0.0, 3e-16], tolerance=1e-12).verdict.value
    'supported'
    """
    if not (isfinite(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance is {tolerance}: give a finite number, 0 or above")
    values = _finite(deviations)
    if values.size == 0:
        raise ValueError("an invariant needs at least 1 deviation, got none: pass some")
    if values.min() < 0:
        raise ValueError(
            f"a deviation is {values.min():g}: pass sizes, abs(x), or max(x, 0) where "
            f"only one side counts"
        )
    worst = float(values.max())
    return Decision(
        rule="exact",
        statement=f"every deviation <= {_quantity(tolerance, unit)}",
        verdict=Verdict.SUPPORTED if worst <= tolerance else Verdict.REFUTED,
        estimate=worst,
        low=None,
        high=None,
        p=None,
        n=values.size,
        margin=float(tolerance),
        alpha=0.0,
        detectable=None,
        unit=unit,
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for the number of claims decided together, after Holm [1]_.

    Supporting only claims with an adjusted p below alpha keeps the chance of even one
    false pass among them at most alpha, whatever the dependence between the claims.

    Parameters
    ----------
    p_values : sequence of float or None
        None (an invariant, an error) stays None and does not count.

    Returns
    -------
    list of float or None
        In the order given, at most 1, never below the p-value itself.

    Raises
    ------
    ValueError
        On a p-value outside 0 to 1 or NaN.

    References
    ----------
    .. [1] S. Holm, "A simple sequentially rejective multiple test procedure",
       *Scandinavian Journal of Statistics* 6(2), p. 65-70, 1979.

    Examples
    --------
    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    counted = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(counted):
        if not 0 <= p <= 1:
            raise ValueError(
                f"p-value {i} is {p}: give numbers from 0 to 1, or None to leave it out"
            )
        largest = max(largest, min(1.0, (len(counted) - rank) * p))
        adjusted[i] = largest
    return adjusted


def _one_sided(
    rule: str, differences: ArrayLike, boundary: float, alpha: float, unit: str
) -> Decision:
    _check_alpha(alpha)
    values = _sample(differences)
    n = len(values)
    mean, error, low, high = _t_interval(values, alpha)
    return Decision(
        rule=rule,
        statement=f"mean difference > {_quantity(boundary, unit)}, one-sided, "
        f"alpha {alpha:g}",
        verdict=_verdict(low, high, floor=boundary),
        estimate=mean,
        low=low,
        high=high,
        p=_t_tail(mean - boundary, error, n),
        n=n,
        margin=float(boundary),
        alpha=alpha,
        detectable=_superiority_factor(n, alpha) * error,
        unit=unit,
    )


def _verdict(
    low: float, high: float, *, floor: float = -inf, ceiling: float = inf
) -> Verdict:
    """Read the verdict on floor < effect < ceiling off the interval."""
    if floor < low and high < ceiling:
        return Verdict.SUPPORTED
    if high < floor or low > ceiling:
        return Verdict.REFUTED
    return Verdict.INCONCLUSIVE


def _t_interval(values: Floats, alpha: float) -> tuple[float, float, float, float]:
    """Mean, its standard error, and the bounds of the 1 - 2 alpha interval."""
    n = len(values)
    if values.min() == values.max():
        # The computed mean of equal numbers may differ from them in the last digit,
        # which would put it beside a margin that it lies on.
        mean, error = float(values[0]), 0.0
    else:
        mean, error = float(values.mean()), float(values.std(ddof=1)) / sqrt(n)
    reach = -float(special.stdtrit(n - 1, alpha)) * error
    return mean, error, mean - reach, mean + reach


def _t_tail(distance: float, error: float, n: int) -> float:
    """One-sided p of a mean that lies `distance` on the claim's side of a boundary."""
    if error == 0:
        t = copysign(inf, distance) if distance else 0.0
    else:
        t = distance / error
    return float(special.stdtr(n - 1, -t))


@lru_cache
def _superiority_factor(n: int, alpha: float) -> float:
    """Distance from the margin with 80% power, in true standard errors."""
    t = -special.stdtrit(n - 1, alpha)
    return float(special.nctdtrinc(n - 1, 1 - POWER, t))


@lru_cache
def _equivalence_factor(n: int, alpha: float) -> float:
    """Margin with 80% power at a true mean of 0, in true standard errors."""
    t = -special.stdtrit(n - 1, alpha)
    # The chance, given the sample deviation, that the mean stays t errors away from
    # both boundaries, averaged over the distribution of that deviation.
    deviation = np.sqrt(stats.chi2.ppf((np.arange(10_000) + 0.5) / 10_000, n - 1))
    reach = t * deviation / sqrt(n - 1)

    def missing(margin: float) -> float:
        inside = np.maximum(0.0, 2 * special.ndtr(margin - reach) - 1)
        return float(inside.mean()) - POWER

    return float(optimize.brentq(missing, 0.0, t * 10 + 10))


def _clopper_pearson_low(successes: int, n: int, alpha: float) -> float:
    """Find the probability that gives this many successes or more with chance alpha."""
    if successes == 0:
        return 0.0
    return float(special.betaincinv(successes, n - successes + 1, alpha))


def _quantity(value: float, unit: str) -> str:
    return f"{value:g} {unit}".strip()


def _finite(values: ArrayLike) -> Floats:
    array: Floats = np.atleast_1d(np.asarray(values, dtype=np.float64))
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        where = tuple(bad[0].tolist())
        raise ValueError(
            f"value {where[0] if len(where) == 1 else where} is {array[where]}: a "
            f"decision needs finite numbers; find out why the measurement failed, do "
            f"not drop it"
        )
    return array


def _sample(differences: ArrayLike) -> Floats:
    values = _finite(differences)
    if values.ndim != 1:
        raise ValueError(
            f"differences have shape {values.shape}: pass one number per independent "
            f"pair, in one dimension"
        )
    if len(values) < 2:
        raise ValueError(
            f"a decision needs at least 2 independent pairs, got {len(values)}: train "
            f"more seeds"
        )
    return values


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 0.5:
        raise ValueError(
            f"alpha is {alpha}: give an error rate between 0 and 0.5, such as 0.05"
        )


def _check_margin(margin: float) -> None:
    if not isfinite(margin):
        raise ValueError(
            f"margin is {margin}: give a finite number in the unit of the differences"
        )


def _check_positive_margin(margin: float, meaning: str) -> None:
    _check_margin(margin)
    if margin <= 0:
        raise ValueError(
            f"margin is {margin:g}: give a number above 0, {meaning}; for a boundary "
            f"of 0 or beyond use superiority"
        )
