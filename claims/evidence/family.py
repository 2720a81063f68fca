"""All places of a scale together: what contradicts what was accepted.

A run is red where one of its places contradicts the accepted record. When nothing has
changed, that happens in at most `FAMILY` of all runs, over all places of the scale: a
fixed number, whatever was selected. Two reasons share the rate:

* An estimate away from the record by more than both spreads allow: a two-sample test
  per place at ``FAMILY / 2 / places`` (Bonferroni, so whatever places share). It is
  Welch's t with the fewest degrees of freedom that it can have, the smaller n less 1
  [1]_, and no standard error below the grain; it keeps that level for normal, skewed
  and heavy-tailed values of 5 to 16 units (by simulation). Values in two narrow
  clusters break it: all of the record in one and all of the run in the other happens
  once in ``2 ** (n + m - 1)``, 512 for 5 units each and 33,000 for 8. The price is
  power: with 450 places, a shift is seen in four runs of five if it is 6.5 standard
  deviations with 8 units, 2.8 with 16 and 20 with 5. Frequencies are compared by
  Fisher's exact test [2]_, which sees large samples alone.
* An opposite verdict, always. A place whose true effect lies exactly on the margin has
  supported record and refuted run, or the reverse, with probability ``2 * ALPHA**2``, 1
  in 20,000; two standard errors away it is 1 in 700,000. The half of `FAMILY` would be
  used up by 100 places exactly on their margins.

A claim for which nothing is accepted and that is refuted, and a broken invariant, are
red too. They have no part in the rate: the first is one look at a new claim, with
chance `ALPHA` at most; the second takes no chance.

References
----------
.. [1] B. L. Welch, "The generalization of 'Student's' problem when several different
   population variances are involved", *Biometrika* 34(1/2), p. 28-35, 1947.
.. [2] R. A. Fisher, "On the interpretation of chi-squared from contingency tables, and
   the calculation of P", *Journal of the Royal Statistical Society* 85(1), p. 87-94,
   1922.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from claims.evidence.decision import Decision

FAMILY = 0.01
"""Chance that a run is red by its empirical places though nothing has changed."""


def contradiction(accepted: Decision | None, decision: Decision, *, places: int) -> str:
    """Say what of a decision contradicts what was accepted.

    Parameters
    ----------
    accepted : Decision or its record, or None
        None where nothing has been accepted at this place.
    decision : Decision or its record
        What was measured now.
    places : int
        Empirical places of the whole scale, whatever was selected.

    Returns
    -------
    str
        One sentence with the numbers, or "".

    Examples
    --------
    >>> from claims.evidence.rules import superiority
    >>> before = superiority(2).decide([4.3, 5.1, 4.9, 6.1, 4.4, 7], unit="points")
    >>> now = superiority(2).decide([0.5, 0.9, -0.3, 0.1, 0.4, 0.8], unit="points")
    >>> for part in contradiction(before, now, places=450).split("; "):
    ...     print(part)
    Refuted: +0.4 points (spread 0.447, n = 6)
    accepted as supported: +5.3 points (spread 1.05, n = 6).
    """
    if places < 1:
        raise ValueError(
            f"places is {places}: give the number of empirical places of the whole "
            f"scale, whatever was selected"
        )
    refuted = decision.verdict == "refuted"
    if decision.rule == "exact":
        return (
            f"The invariant is broken: the largest of {decision.n} deviations is "
            f"{decision.estimate:.3g}, the tolerance {decision.margin:g}."
            if refuted
            else ""
        )
    now = _described(decision, decision.unit)
    if accepted is None:
        return f"Refuted, with nothing accepted yet: {now}." if refuted else ""
    before = _described(accepted, decision.unit)
    if {decision.verdict, accepted.verdict} == {"supported", "refuted"}:
        verdict = str(decision.verdict).capitalize()
        return f"{verdict}: {now}; accepted as {accepted.verdict}: {before}."
    p, level = moved_p(accepted, decision), FAMILY / 2 / places
    if p >= level:
        return ""
    return (
        f"The estimate has moved, from {before} to {now}: two-sample p = {p:.2g}, "
        f"below {FAMILY / 2:g} / {places} places."
    )


def moved_p(accepted: Decision, decision: Decision) -> float:
    """Give the two-sided p-value of the same true effect in record and run.

    Fisher's exact test for frequencies, else `welch_p`. 1 where a sample of one value
    tells no spread.
    """
    n, m = accepted.n, decision.n
    if decision.rule == "frequency":
        hits, more = round(accepted.estimate * n), round(decision.estimate * m)
        return float(stats.fisher_exact([[hits, n - hits], [more, m - more]]).pvalue)
    if min(n, m) < 2:
        return 1.0
    gap = decision.estimate - accepted.estimate
    first = max(accepted.spread, accepted.grain)
    second = max(decision.spread, decision.grain)
    return float(welch_p(gap, first, n, second, m))


def welch_p(
    gap: ArrayLike, spread: ArrayLike, n: int, other_spread: ArrayLike, m: int
) -> NDArray[np.float64]:
    """Welch's two-sided p with the fewest degrees of freedom that it can have."""
    error = np.sqrt(np.square(spread) / n + np.square(other_spread) / m)
    # Two samples without spread or grain differ for certain, or not at all.
    t = np.divide(
        np.abs(gap), error, out=np.where(np.equal(gap, 0), 0.0, np.inf), where=error > 0
    )
    p: NDArray[np.float64] = 2 * special.stdtr(min(n, m) - 1, -t)
    return p


def _described(measured: Decision, unit: str) -> str:
    estimate = f"{measured.estimate:+.3g} {unit}".strip()
    return f"{estimate} (spread {measured.spread:.3g}, n = {measured.n})"
