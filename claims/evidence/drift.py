"""Whether values have moved, and since when: conformal e-detectors.

While a place's values come from one distribution, in whatever order, the rank of each
among those before it is uniform and tells nothing of the next one's: a conformal
p-value, ties broken at random [1]_.  Nothing is assumed of the distribution, and no
baseline has to be known or estimated.  A bet on ``p`` multiplies by a function of
expectation 1 where ``p`` is uniform; here by the likelihood ratio of a normal score
that has moved by `SHIFTS`.  The Shiryaev-Roberts sum of all bets that begin at any time,

    R(n) = (1 + R(n - 1)) f(p(n)),   R(0) = 0,

is an e-detector [2]_ [3]_: ``R(n) - n`` is a martingale until something changes, so
that the mean time to ``R >= c`` is at least c, and the expected number of false alarms
of N values, each followed by a new start, at most N / c.  The mean of several
e-detectors is one.

References
----------
.. [1] V. Vovk, I. Nouretdinov, A. Gammerman, "Testing exchangeability on-line",
   *ICML*, 2003.
.. [2] V. Vovk, "Testing randomness online", *Statistical Science* 36(4), p. 595-611,
   2021, section 4: the conformal Shiryaev-Roberts procedure.
.. [3] J. Shin, A. Ramdas, A. Rinaldo, "E-detectors: a nonparametric framework for
   sequential change detection", *New England Journal of Statistics in Data Science*
   2(2), p. 229-260, 2024.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

SHIFTS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
"""Standard deviations that normal scores may have moved by, bet on in equal parts."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Alarm:
    """A change that was noticed.

    Attributes
    ----------
    at
        Index, among all values that the detector was fed, of that which gave the alarm.
    since
        Index of the first value after the change, by the bet that has won most.
    before, after
        Means of the values since the start, before and from `since` on.
    """

    at: int
    since: int
    before: float
    after: float


class Detector:
    """Watches the values of one place in one stratum.

    Parameters
    ----------
    run_length : float
        Least mean number of values between false alarms.
    seed : int
        Of the numbers that break ties: the same values give the same alarms, however
        they are divided into calls.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> values = generator.normal(size=200)
    >>> values[100:] += 3
    >>> [alarm] = Detector(run_length=1000, seed=0).feed(values)
    >>> alarm.since, alarm.at
    (100, 105)
    """

    def __init__(self, run_length: float, seed: int):
        self._threshold = np.log(run_length)
        self._generator = np.random.default_rng(seed)
        self._start = 0
        self._restart()

    def _restart(self) -> None:
        self._values: Floats = np.empty(0)
        # Of each shift: log of R, and all partial sums of the log bets.
        self._log_r = np.full(len(SHIFTS), -np.inf)
        self._sums = np.zeros((1, len(SHIFTS)))

    @property
    def count(self) -> int:
        """How many values it was fed since it began, or since the last alarm."""
        return len(self._values)

    @property
    def values(self) -> Floats:
        """Those values."""
        return self._values

    def feed(self, values: ArrayLike) -> list[Alarm]:
        """Look at further values, in their order; return the alarms that they give."""
        new = np.atleast_1d(np.asarray(values, dtype=float))
        ties = self._generator.random(len(new))
        alarms = []
        while len(new):
            looked = self._look(new, ties)
            if looked is None:
                break
            used, alarm = looked
            alarms.append(alarm)
            new, ties = new[used:], ties[used:]
        return alarms

    def _look(self, new: Floats, ties: Floats) -> tuple[int, Alarm] | None:
        """Go on until an alarm: return it and how many values that took."""
        bets = _log_bets(_p_values(self._values, new, ties))
        sums = self._sums[-1] + np.cumsum(bets, axis=0)
        # R(n) exp(-S(n)) = R(n - 1) exp(-S(n - 1)) + exp(-S(n - 1))
        terms = np.concatenate([[self._log_r - self._sums[-1]], -self._sums[-1:]])
        terms = np.concatenate([terms, -sums[:-1]])
        log_r = np.logaddexp.accumulate(terms, axis=0)[1:] + sums
        mean = np.logaddexp.reduce(log_r, axis=1) - np.log(len(SHIFTS))
        crossed = np.flatnonzero(mean >= self._threshold)
        used = int(crossed[0]) + 1 if len(crossed) else len(new)
        self._values = np.concatenate([self._values, new[:used]])
        self._sums = np.concatenate([self._sums, sums[:used]])
        self._log_r = log_r[used - 1]
        if not len(crossed):
            return None
        alarm = self._alarm()
        self._start += len(self._values)
        self._restart()
        return used, alarm

    def _alarm(self) -> Alarm:
        # The bet that began at k has won S(n) - S(k) by now.
        least = self._sums[:-1].min(axis=0)
        shift = int(np.argmax(self._sums[-1] - least))
        since = int(np.argmin(self._sums[:-1, shift]))
        return Alarm(
            at=self._start + len(self._values) - 1,
            since=self._start + since,
            before=float(self._values[:since].mean()) if since else np.nan,
            after=float(self._values[since:].mean()),
        )


def _p_values(old: Floats, new: Floats, ties: Floats) -> Floats:
    """Return each new value's rank among all before it and itself, between 0 and 1."""
    known = np.sort(old)
    less = np.searchsorted(known, new, side="left").astype(float)
    equal = np.searchsorted(known, new, side="right") - less
    earlier = np.tri(len(new), k=-1, dtype=bool)  # [i, j]: j came before i
    less += (earlier & (new[None, :] < new[:, None])).sum(axis=1)
    equal += 1 + (earlier & (new[None, :] == new[:, None])).sum(axis=1)
    ranks: Floats = len(old) + np.arange(1, len(new) + 1)
    # Nowhere 0 or 1, where a normal score would be infinite.
    return np.clip((less + ties * equal) / ranks, 1e-12, 1 - 1e-12)


def _log_bets(p: Floats) -> Floats:
    scores, shifts = special.ndtri(p)[:, None], np.array(SHIFTS)
    bets: Floats = shifts * scores - shifts**2 / 2
    return bets
