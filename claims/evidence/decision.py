"""What a decision rule gives."""

from dataclasses import dataclass
from enum import StrEnum


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
    rule, statement : str
        The rule's name, and the claim as it was decided, with margin and alpha.
    verdict : Verdict
        Supported: the interval lies on the claim's side of the margin. Refuted: it
        lies on the other side. Inconclusive: it contains the margin, or there are
        fewer than `rules.FEWEST` units.
    estimate : float
        The measured effect; for "exact" the largest deviation.
    spread : float
        Standard deviation of the values; 0 for one unit.
    margin : float
        The boundary on the scale of the estimate, so that it can be drawn beside it:
        ``-margin`` for non-inferiority, the half-width of the range for equivalence.
    alpha : float
        Bound on each error rate; 0 for "exact", which takes no chance.
    unit : str
        Unit of estimate, interval, spread, margin, detectable and grain.
    grain : float
        The standard error is taken to be at least ``grain / sqrt(n)``.
    leaning : str
        "for" or "against" where units suffice, the verdict is inconclusive and `p` or
        `p_against` is below `rules.LEANING`; else "".
    low, high : float or None
        Interval of level ``1 - 2 * alpha``; None for "exact" and for one unit.
    p, p_against : float or None
        One-sided p-values for the claim (of the hypothesis that it is wrong) and
        against it (that it is right); None as `low`.
    p_flip : float or None
        `p` by the exact sign-flip test, which assumes that values are symmetric about
        their mean and nothing else; None for "exact" and "frequency".
    p_page : float or None
        Page's, for a trend over two units or more.
    detectable : float or None
        The smallest true effect, counted from the margin towards the claim's side,
        that this n and spread would have declared supported with probability 80%. For
        equivalence: a margin within which a true mean of 0 would have been, at least;
        above `margin`, the study was too small. None where none would do.
    needed : int or None
        Units that would give a verdict, either way, with probability 80% (equivalence:
        about 80%) if the true effect and spread are those measured; None where there is
        a verdict, or where 10,000 units would not do.
    """

    rule: str
    statement: str
    verdict: Verdict
    estimate: float
    spread: float
    n: int
    margin: float
    alpha: float
    unit: str
    grain: float
    leaning: str = ""
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_against: float | None = None
    p_flip: float | None = None
    p_page: float | None = None
    detectable: float | None = None
    needed: int | None = None
