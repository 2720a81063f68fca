"""Statistical decision rules: measurements of independent networks in, verdict out.

A rule compares the values of independent units with a margin, the smallest effect of
interest, that was fixed before the measurement; a unit is a pair, a tuple or a network,
and no network is in two of them. Two error rates belong to a rule:

* false pass: *supported*, though the claim is wrong;
* false fail: *refuted*, though the claim is right.

Both are largest where the true effect lies exactly on the margin. An effect near the
margin, or too few units, end as *inconclusive*. The verdict is read off the two-sided
interval of level ``1 - 2 * alpha``, whose bounds are the one-sided bounds of level
``1 - alpha``, so that interval, p-values and verdict cannot contradict each other.

The rates of t-tests at the margin, with alpha 0.005 and 8 units (5 and 16 differ
little), by the simulation in `claims/tests/test_rules.py`:

================================  ==================  ==================
values                            false pass          false fail
================================  ==================  ==================
normal                            0.005               0.005
residuals of the digits record    0.005               0.006
exponential, long tail above      0.0003              0.05
log-normal, long tail above       below 0.0001        0.10
================================  ==================  ==================

A long tail below the mean swaps the columns; equivalence doubles the false fail. So
strong a skew would make alpha a mere word: look at the pairs. The sign-flip p is no
help there, as it assumes symmetry; it shows what rests on normal tails alone.

References
----------
.. [1] Student, "The probable error of a mean", *Biometrika* 6(1), p. 1-25, 1908.
.. [2] G. Piaggio et al., "Reporting of noninferiority and equivalence randomized
   trials", *JAMA* 308(24), p. 2594-2604, 2012.
.. [3] D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the
   power approach for assessing the equivalence of average bioavailability", *Journal of
   Pharmacokinetics and Biopharmaceutics* 15, p. 657-680, 1987.
.. [4] C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits
   illustrated in the case of the binomial", *Biometrika* 26(4), p. 404-413, 1934.
.. [5] E. B. Page, "Ordered hypotheses for multiple treatments: a significance test for
   linear ranks", *Journal of the American Statistical Association* 58(301), p. 216-230,
   1963.
"""

from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from claims.evidence import arithmetic
from claims.evidence.decision import Decision, Verdict

ALPHA = 0.005
"""Bound on each error rate of a verdict."""

LEANING = 0.05
"""An inconclusive place leans to a side whose one-sided p-value is below this."""

FEWEST = 5
"""Fewer units never get a verdict."""

UNITS = {"": 1e-3, "%": 0.01, "% of units": 0.01}
UNITS |= {"log2": 0.01, "nats": 1e-4, "steps": 10.0}
"""Grain of each unit, the smallest difference that its measurement can show. That of
"points" depends on the number of test images: see `grain_of`."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """How a claim is decided.

    Attributes
    ----------
    name : str
        "superiority", "non-inferiority", "equivalence", "trend", "frequency", "exact".
    margin : float or None
        The smallest effect of interest, above 0; None where it depends on the place
        and is given to `decide`.
    """

    name: ClassVar[str]
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.margin is not None:
            self.check(self.margin)

    def check(self, margin: float) -> None:
        """Refuse what is no margin of this rule."""
        if not (isfinite(margin) and margin > 0):
            raise ValueError(
                f"margin is {margin:g}: give the smallest effect of interest, a finite "
                f"number above 0, in the unit of the values"
            )

    def region(self, margin: float) -> tuple[float, float]:
        """Say between which bounds the true effect lies where the claim is right."""
        return margin, inf

    def decide(
        self,
        values: ArrayLike,
        *,
        margin: float | None = None,
        unit: str = "",
        grain: float = 0.0,
        alpha: float = ALPHA,
    ) -> Decision:
        """Decide a claim by the values of independent units.

        Parameters
        ----------
        values : array_like, shape (n,)
            One finite value per unit, in `unit`; for a trend a row per unit, for a
            frequency whether each succeeded, for an invariant deviations of any shape.
        margin : float, optional
            As the attribute, which it overrides; one of the two must be there.
        unit : str
            A key of `UNITS`, or "points".
        grain : float
            `grain_of` the unit: keeps p-values above 0. Needed if all values are equal.
        alpha : float
            Bound on each error rate, between 0 and 0.5.

        Examples
        --------
        >>> rule = superiority(margin=2.0)
        >>> decision = rule.decide([4.0, 5.5, 3.5, 5.0, 4.5, 4.0], unit="points")
        >>> decision.statement
        'mean > 2 points, one-sided t-test, alpha 0.005'
        >>> decision.verdict.value, decision.p_flip
        ('supported', 0.015625)
        """
        margin = self.margin if margin is None else margin
        if margin is None:
            raise ValueError(f"{self.name} has no margin here: give margin=")
        self.check(margin)
        if not 0 < alpha < 0.5:
            raise ValueError(
                f"alpha is {alpha}: give an error rate between 0 and 0.5, such as 0.005"
            )
        if not (isfinite(grain) and grain >= 0):
            raise ValueError(f"grain is {grain}: give a finite number, 0 or above")
        units = self.units(arithmetic.finite(values))
        n = len(units)
        floor, ceiling = self.region(margin)
        facts = {
            "rule": self.name,
            "statement": self._sentence(margin, unit, alpha),
            "verdict": Verdict.INCONCLUSIVE,
            "spread": float(arithmetic.spread_of(units)),
            "n": n,
            "margin": floor if ceiling == inf else ceiling,
            "alpha": alpha,
            "unit": unit,
            "grain": grain,
        }
        decision = Decision(**facts | self._test(units, margin, grain, alpha))
        verdict = self._verdict(decision, margin)
        if verdict is not Verdict.INCONCLUSIVE:
            return replace(decision, verdict=verdict, needed=None)
        if n < FEWEST:
            few = f"{n} unit{'s' * (n > 1)}, at least {FEWEST} are needed"
            return replace(decision, statement=f"{decision.statement}; {few}")
        leanings = {"for": decision.p, "against": decision.p_against}
        side = min(leanings, key=leanings.__getitem__)
        return replace(decision, leaning=side if leanings[side] < LEANING else "")

    def _verdict(self, decision: Decision, margin: float) -> Verdict:
        """Read the verdict off the interval."""
        low, high = decision.low, decision.high
        floor, ceiling = self.region(margin)
        if decision.n < FEWEST:
            return Verdict.INCONCLUSIVE
        if floor < low and high < ceiling:
            return Verdict.SUPPORTED
        outside = high < floor or low > ceiling
        return Verdict.REFUTED if outside else Verdict.INCONCLUSIVE

    def _sentence(self, margin: float, unit: str, alpha: float) -> str:
        boundary = _quantity(self.region(margin)[0], unit)
        return f"mean > {boundary}, one-sided t-test, alpha {alpha:g}"

    def units(self, values: Floats) -> Floats:
        """Turn what is given to `decide` into one value per unit."""
        if values.ndim != 1:
            raise ValueError(
                f"values have shape {values.shape}: pass one number per independent "
                f"unit, in one dimension"
            )
        return values

    def _test(
        self, units: Floats, margin: float, grain: float, alpha: float
    ) -> dict[str, Any]:
        """Estimate, interval, p-values and power: those fields of the decision."""
        n = len(units)
        if n == 1:
            return {"estimate": float(units[0])}
        mean, error, low, high = map(float, arithmetic.t_interval(units, grain, alpha))
        if error == 0:
            raise ValueError(
                f"all {n} values are {mean:g} and the grain is 0: give grain=, the "
                f"smallest difference that the measurement can show"
            )
        floor, ceiling = self.region(margin)
        # How far each value, and their mean, lies on the claim's side of each boundary.
        sides = [units - floor, *([] if ceiling == inf else [ceiling - units])]
        inside = [mean - floor, *([] if ceiling == inf else [ceiling - mean])]
        return {
            "estimate": mean,
            "low": low,
            "high": high,
            "p": max(float(special.stdtr(n - 1, -d / error)) for d in inside),
            "p_against": min(float(special.stdtr(n - 1, d / error)) for d in inside),
            "p_flip": max(map(arithmetic.flip_p, sides)),
            "detectable": error * arithmetic.factor(n, alpha, len(sides)),
            "needed": arithmetic.needed(inside, error * sqrt(n), FEWEST, alpha),
        }


class Superiority(Rule):
    """*The mean is above the margin*: one-sided paired t-test [1]_."""

    name = "superiority"


class NonInferiority(Rule):
    """*The mean is above -margin*, not worse by much [2]_; positive is better."""

    name = "non-inferiority"

    def region(self, margin: float) -> tuple[float, float]:
        return -margin, inf


class Equivalence(Rule):
    """*The mean lies between -margin and margin*: two one-sided t-tests [3]_.

    `Decision.p` is the larger of the two. Refuted where the whole interval lies
    outside the range, on either side. False pass: at most alpha wherever the true mean
    lies. False fail: at most 2 alpha, as there are two outsides; alpha on the bounds
    of a range that is wide beside the standard error, 2 alpha in a narrow one.
    """

    name = "equivalence"

    def region(self, margin: float) -> tuple[float, float]:
        return -margin, margin

    def _sentence(self, margin: float, unit: str, alpha: float) -> str:
        width = _quantity(margin, unit)
        return f"|mean| < {width}, two one-sided t-tests, alpha {alpha:g}"


@dataclass(frozen=True)
class Trend(Rule):
    """*The values fall (rise) by more than the margin over k ordered levels*.

    Decided by the end-to-end contrast of each unit, last level less first, in the
    claimed direction, as `Superiority`: a positive estimate is as claimed. A row is a
    unit; its levels are no replicates. Layers of one network depend on each other and
    add nothing to n, however many there are. Page's p-value [5]_ stands beside and
    decides nothing: it takes all orders of a row's levels to be equally likely without
    a trend. *Supported* means an overall change, not that each step goes that way.
    """

    name: ClassVar[str] = "trend"
    direction: Literal["falling", "rising"] = "rising"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction not in ("falling", "rising"):
            raise ValueError(
                f"direction is {self.direction!r}: choose 'falling' or 'rising'"
            )

    def decide(self, values: ArrayLike, **given: Any) -> Decision:
        decision = super().decide(values, **given)
        if decision.n == 1:
            return decision
        p = float(stats.page_trend_test(self._rising(np.asarray(values))).pvalue)
        statement = f"{decision.statement}; Page's p {p:.2g}"
        return replace(decision, p_page=p, statement=statement)

    def _rising(self, table: Floats) -> Floats:
        return table if self.direction == "rising" else -table

    def _sentence(self, margin: float, unit: str, alpha: float) -> str:
        change = "falls" if self.direction == "falling" else "rises"
        by = _quantity(margin, unit)
        test = f"one-sided t-test, alpha {alpha:g}"
        return f"{change} by more than {by} from first to last level, {test}"

    def units(self, values: Floats) -> Floats:
        if values.ndim != 2 or values.shape[1] < 3:
            raise ValueError(
                f"a trend needs a table of units x at least 3 ordered levels, got "
                f"shape {values.shape}: add levels, or decide two by superiority"
            )
        rising = self._rising(values)
        return rising[:, -1] - rising[:, 0]


class Frequency(Rule):
    """*A unit succeeds with a probability above the margin*: exact binomial test [4]_.

    Clopper-Pearson bounds. False pass and false fail: each at most alpha, usually well
    below it, because counts are discrete. Assumes nothing but independent units.
    """

    name = "frequency"

    def check(self, margin: float) -> None:
        if not 0 < margin < 1:
            raise ValueError(
                f"at_least is {margin:g}: give a probability between 0 and 1, both "
                f"excluded"
            )

    def _sentence(self, margin: float, unit: str, alpha: float) -> str:
        return f"probability > {margin:g}, exact binomial, one-sided, alpha {alpha:g}"

    def units(self, values: Floats) -> Floats:
        if values.ndim != 1 or not np.isin(values, (0, 1)).all():
            raise ValueError(
                "a frequency needs one truth value per independent unit, in one "
                "dimension: pass whether each succeeded"
            )
        return values

    def _test(
        self, units: Floats, margin: float, grain: float, alpha: float
    ) -> dict[str, Any]:
        n, successes = len(units), int(units.sum())
        above, below = (
            stats.binomtest(successes, n, margin, alternative=side)
            for side in ("greater", "less")
        )
        return {
            "estimate": successes / n,
            "low": float(above.proportion_ci(1 - alpha).low),
            "high": float(below.proportion_ci(1 - alpha).high),
            "p": float(above.pvalue),
            "p_against": float(below.pvalue),
            "detectable": arithmetic.detectable_share(n, margin, alpha),
            "needed": arithmetic.needed_trials(successes / n, margin, FEWEST, alpha),
        }


class Exact(Rule):
    """*Every deviation is within the margin*, the tolerance: an invariant.

    Supported or refuted, never inconclusive, however few deviations there are. Nothing
    is estimated, so both error rates are 0 for the cases examined; nothing is said of
    others. A deviation that overflowed is an error, not a refutation.
    """

    name = "exact"

    def check(self, margin: float) -> None:
        if not (isfinite(margin) and margin >= 0):
            raise ValueError(
                f"tolerance is {margin:g}: give a finite number, 0 or above"
            )

    def region(self, margin: float) -> tuple[float, float]:
        return -inf, margin

    def _sentence(self, margin: float, unit: str, alpha: float) -> str:
        return f"every deviation <= {_quantity(margin, unit)}"

    def units(self, values: Floats) -> Floats:
        if values.min() < 0:
            raise ValueError(
                f"a deviation is {values.min():g}: pass sizes, abs(x), or max(x, 0) "
                f"where only one side counts"
            )
        return values.ravel()

    def _test(
        self, units: Floats, margin: float, grain: float, alpha: float
    ) -> dict[str, Any]:
        return {"estimate": float(units.max()), "alpha": 0.0}

    def _verdict(self, decision: Decision, margin: float) -> Verdict:
        within = decision.estimate <= margin
        return Verdict.SUPPORTED if within else Verdict.REFUTED


superiority, noninferiority, equivalence = Superiority, NonInferiority, Equivalence


def trend(
    direction: Literal["falling", "rising"], margin: float | None = None
) -> Trend:
    """Claim *falls*, or *rises*, *by more than the margin*."""
    return Trend(margin, direction)


def frequency(*, at_least: float) -> Frequency:
    """Claim *succeeds with a probability above* `at_least`."""
    return Frequency(at_least)


def exact(*, tolerance: float) -> Exact:
    """Claim *never off by more than rounding*; a tolerance of 0 demands equal bits."""
    return Exact(tolerance)


def grain_of(unit: str, test_images: int) -> float:
    """Give the smallest difference that a measurement in this unit can show.

    For "points" one of `test_images`, in percent.
    """
    if unit == "points":
        return 100 / test_images
    if unit not in UNITS:
        choices = ", ".join(map(repr, ["points", *UNITS]))
        raise ValueError(
            f"unit {unit!r} has no grain: choose one of {choices}, or add it to UNITS "
            f"in claims/evidence/rules.py"
        )
    return UNITS[unit]


def _quantity(value: float, unit: str) -> str:
    return f"{value:g} {unit}".strip()
