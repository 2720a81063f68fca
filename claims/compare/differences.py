"""Paired differences between a method of one's own and the others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from claims.compare.measuring import Measured
from claims.evidence import FEWEST
from claims.evidence.arithmetic import t_interval

FAMILY = 0.05
"""Chance that any of the differences shown is called one though there is none."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean over pairs of one's own method's value minus another one's, in points.

    Attributes
    ----------
    setting
        Where.
    of, against
        What is compared: two matchers, or two renormalizations.
    what
        By what: ``"barrier"``, of which less is better, or the midpoint's accuracy,
        after ``"repair"`` of two matchers, ``"after weights"`` of two renormalizations.
    mean, low, high
        With an interval that holds for all differences shown together (Bonferroni).
    p
        Two-sided, of a paired t-test, corrected for their number by Holm's method.
    n
        Number of pairs.
    """

    setting: str
    of: str
    against: str
    what: str
    mean: float
    low: float
    high: float
    p: float
    n: int

    @property
    def outcome(self) -> str:
        """``"better"``, ``"worse"`` or ``""`` where that is open."""
        if self.p >= FAMILY:
            return ""
        return "better" if (self.mean > 0) != (self.what == "barrier") else "worse"


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", *Scandinavian
    Journal of Statistics* 6(2), p. 65-70, 1979.

    Examples
    --------
    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    highest, found = 0.0, [0.0] * len(p_values)
    for rank, at in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        found[at] = highest
    return found


class _Paired(NamedTuple):
    """What a difference is of, and its value for each pair."""

    setting: str
    of: str
    against: str
    what: str
    values: NDArray[np.float64]


def differences(
    rows: Sequence[Measured], grain: float, renormalizer: str = ""
) -> list[Difference]:
    """Compare one's own methods with all others, on the same pairs.

    Parameters
    ----------
    rows
        All that was measured.
    grain
        The smallest difference in points that the test set can show.
    renormalizer
        The name of a renormalizer of one's own, a key of ``Measured.midpoints``: it is
        compared with all others at the midpoints of each matching.

    Raises
    ------
    ValueError
        There are too few pairs.
    """
    family = [*_by_matcher(rows), *_by_renormalizer(rows, renormalizer)]
    if few := {each.setting for each in family if len(each.values) < FEWEST}:
        raise ValueError(
            f"{', '.join(sorted(few))}: fewer than {FEWEST} pairs decide nothing"
        )
    level = FAMILY / 2 / max(len(family), 1)
    found, p_values = [], []
    for setting, of, against, what, values in family:
        n = len(values)
        mean, error, low, high = map(float, t_interval(values, grain, level))
        p_values.append(2 * float(special.stdtr(n - 1, -abs(mean) / error)))
        found.append(
            Difference(
                setting=setting,
                of=of,
                against=against,
                what=what,
                mean=mean,
                low=low,
                high=high,
                p=p_values[-1],
                n=n,
            )
        )
    corrected = zip(found, holm(p_values), strict=True)
    return [replace(difference, p=p) for difference, p in corrected]


def by_method(rows: Sequence[Measured], setting: str) -> dict[str, list[Measured]]:
    """Return a setting's rows by method, in the order of its pairs."""
    found: dict[str, list[Measured]] = {}
    for row in rows:
        if row.setting == setting:
            found.setdefault(row.method, []).append(row)
    return found


def settings_of(rows: Sequence[Measured]) -> list[str]:
    """Return all settings, in order."""
    return list(dict.fromkeys(row.setting for row in rows))


def _by_matcher(rows: Sequence[Measured]) -> Iterator[_Paired]:
    """Give what there is to compare by method: one's own less each other one."""
    for setting in settings_of(rows):
        methods = by_method(rows, setting)
        for own in (name for name, found in methods.items() if found[0].own):
            for other in methods:
                for what in methods[own][0].accuracies if other != own else ():
                    ours, theirs = (
                        np.array([row.accuracies[what] for row in methods[name]])
                        for name in (own, other)
                    )
                    yield _Paired(setting, own, other, what, ours - theirs)


def _by_renormalizer(rows: Sequence[Measured], renormalizer: str) -> Iterator[_Paired]:
    """Give what there is to compare by renormalization: one's own less each other."""
    if not renormalizer:
        return
    for setting in settings_of(rows):
        for name, found in by_method(rows, setting).items():
            columns = {
                what: np.array([row.midpoints[what] for row in found])
                for what in found[0].midpoints
            }
            for other, theirs in columns.items():
                if other != renormalizer:
                    ours = columns[renormalizer] - theirs
                    yield _Paired(setting, renormalizer, other, f"after {name}", ours)
