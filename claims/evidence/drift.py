"""Whether values have moved, and since when: conformal e-detectors.

While a place's values come from one distribution, in whatever order, the rank of each
among those before it is uniform and tells nothing of the next one's: a conformal
p-value, ties broken at random [1]_.  Nothing is assumed of the distribution, and no
baseline has to be known or estimated.  A bet on ``p`` multiplies by a function of
expectation 1 where ``p`` is uniform; here by the likelihood ratio of a normal score
that has moved by `SHIFTS`.  The Shiryaev-Roberts sum of the bets that begin at any
time,

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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

SHIFTS = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
"""Standard deviations that normal scores may have moved by, bet on in equal parts."""

ROOM = 64
"""Values that a detector has room for at first."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int_]


@dataclass(frozen=True)
class Alarm:
    """A change that was noticed.

    Attributes
    ----------
    since
        Index of the first value after the change, by the bet that has won most, among
        all values that the detector was ever shown.
    count
        How many these are; the last of them gave the alarm.
    before, after
        Means of the values from there on, and of those before, but not before the
        last alarm.
    """

    since: int
    count: int
    before: float
    after: float


class Detectors:
    """Watch many sequences of values, each by a detector of its own.

    All arrays have a row for each detector.

    Examples
    --------
    >>> detectors = Detectors()
    >>> detectors.add(run_length=10_000, seeds=[0])
    range(0, 1)
    >>> values = np.random.default_rng(0).normal(size=120)
    >>> values[100:] += 3
    >>> [(row, alarm)] = detectors.feed([0], [values])
    >>> row, alarm.since, alarm.count
    (0, 100, 105)
    """

    def __init__(self) -> None:
        self._generators: list[np.random.Generator] = []
        self._threshold = np.empty(0)
        # Values that were ever shown; until the last alarm.
        self._count, self._start = np.empty((2, 0), dtype=int)
        # A value that is not there yet, or was before an alarm, is infinite.
        self._values, self._ties, self._scores = np.empty((3, 0, ROOM))
        self._log_r = np.empty((0, len(SHIFTS)))

    def add(self, run_length: float, seeds: Sequence[int]) -> range:
        """Begin a detector for each seed, and return their rows.

        Parameters
        ----------
        run_length : float
            Least mean number of values between false alarms.
        seeds : sequence of int
            Of the numbers that break ties: the same values give the same alarms.
        """
        room, more = self._values.shape[1], len(seeds)
        generators = [np.random.default_rng(seed) for seed in seeds]
        self._generators += generators
        ties = np.array([generator.random(room) for generator in generators])
        threshold = np.full(more, np.log(run_length))
        none, absent = np.zeros(more, dtype=int), np.full((more, room), np.inf)
        nothing = np.full((more, len(SHIFTS)), -np.inf)
        self._threshold = np.append(self._threshold, threshold)
        self._count, self._start = (
            np.append(old, none) for old in (self._count, self._start)
        )
        self._values = np.append(self._values, absent, axis=0)
        self._scores = np.append(self._scores, absent, axis=0)
        self._ties = np.append(self._ties, ties.reshape(more, room), axis=0)
        self._log_r = np.append(self._log_r, nothing, axis=0)
        return range(len(self._generators) - more, len(self._generators))

    def values(self, row: int) -> Floats:
        """Return what a detector was shown since its start, or its last alarm."""
        return self._values[row, self._start[row] : self._count[row]].copy()

    def feed(self, rows: Sequence[int], values: ArrayLike) -> list[tuple[int, Alarm]]:
        """Show further values to some detectors; return their alarms.

        Who gives an alarm begins anew with the next value.  Values that are shown
        together give the same alarms as one after the other.

        Parameters
        ----------
        rows : sequence of int, length m
            Which detectors, each once.
        values : array_like, shape (m, t)
            In their order: at least one, and NaN after those of a detector that is
            shown fewer than t.

        Returns
        -------
        list of tuple of int and Alarm
            With the detector's row; the alarms of one in their order.
        """
        at, new = np.asarray(rows, dtype=int), np.asarray(values, dtype=float)
        alarms = []
        while new.size:
            used, alarmed = self._feed(at, new)
            at, used, new = at[alarmed], used[alarmed], new[alarmed]
            alarms += [(row, self._alarm(row)) for row in at.tolist()]
            # Who gave an alarm goes on with what is left, moved to the front.
            columns = used[:, None] + np.arange(new.shape[1])
            padded = np.pad(new, ((0, 0), (0, 1)), constant_values=np.nan)
            new = np.take_along_axis(padded, np.minimum(columns, new.shape[1]), axis=1)
            going = ~np.isnan(new)
            at = at[going.any(axis=1)]
            new = new[going.any(axis=1)][:, going.any(axis=0)]
        return alarms

    def _feed(self, at: Integers, new: Floats) -> tuple[Integers, NDArray[np.bool_]]:
        """Show values, as far as an alarm; return how many, and who gave one."""
        while (self._count[at] + new.shape[1] > self._values.shape[1]).any():
            self._double_room()
        columns = self._count[at, None] + np.arange(new.shape[1])
        scores = special.ndtri(self._p_values(at, columns, new))
        log_r = _shiryaev_roberts(self._log_r[at], _log_bets(scores))
        mean = np.logaddexp.reduce(log_r, axis=-1) - np.log(len(SHIFTS))
        there = ~np.isnan(new)
        reached = there & (mean >= self._threshold[at, None])
        alarmed = reached.any(axis=1)
        shown = np.count_nonzero(there, axis=1)
        used = np.where(alarmed, reached.argmax(axis=1) + 1, shown)
        seen = np.arange(new.shape[1]) < used[:, None]
        self._values[at[:, None], columns] = np.where(seen, new, np.inf)
        self._scores[at[:, None], columns] = scores
        self._count[at] += used
        self._log_r[at] = log_r[np.arange(len(at)), used - 1]
        return used, alarmed

    def _p_values(self, at: Integers, columns: Integers, new: Floats) -> Floats:
        """Return each new value's rank among all before it and itself, as a share."""
        known = self._values[at, : columns.max(initial=0) + 1]
        less, equal = np.empty((2, *new.shape), dtype=int)
        for k, (column, values) in enumerate(zip(columns.T, new.T, strict=True)):
            less[:, k] = np.count_nonzero(known < values[:, None], axis=1)
            equal[:, k] = 1 + np.count_nonzero(known == values[:, None], axis=1)
            known[np.arange(len(at)), column] = values
        count = columns - self._start[at, None] + 1
        p = (less + self._ties[at[:, None], columns] * equal) / count
        # Nowhere 0 or 1, where a normal score would be infinite.
        clipped: Floats = np.clip(p, 1e-12, 1 - 1e-12)
        return clipped

    def _alarm(self, row: int) -> Alarm:
        start, count = int(self._start[row]), int(self._count[row])
        won = np.cumsum(_log_bets(self._scores[row, start:count]), axis=0)
        # What a bet that began at k has won: most, where others had won least by then.
        before = np.vstack([np.zeros(len(SHIFTS)), won[:-1]])
        shift = np.argmax(won[-1] - before.min(axis=0))
        since = int(np.argmin(before[:, shift]))
        values = self.values(row)
        alarm = Alarm(
            since=start + since,
            count=count,
            before=float(values[:since].mean()) if since else float("nan"),
            after=float(values[since:].mean()),
        )
        self._start[row], self._values[row, :count] = count, np.inf
        self._log_r[row] = -np.inf
        return alarm

    def _double_room(self) -> None:
        room = self._values.shape[1]
        ties = np.array([generator.random(room) for generator in self._generators])
        self._ties = np.hstack([self._ties, ties])
        absent = np.full_like(ties, np.inf)
        self._values = np.hstack([self._values, absent])
        self._scores = np.hstack([self._scores, absent])


def _log_bets(scores: Floats) -> Floats:
    """Return the log likelihood ratios of normal scores, by shift along a last axis."""
    return scores[..., None] * SHIFTS - SHIFTS**2 / 2


def _shiryaev_roberts(log_r: Floats, log_bets: Floats) -> Floats:
    """Go on with the logs of the sums R, by value along the axis before the last.

    With ``S(n)`` the sum of n log bets ::

        R(n) = exp(S(n)) (R(0) + 1 + exp(-S(1)) + ... + exp(-S(n - 1)))
    """
    total = np.cumsum(log_bets, axis=-2)
    begun = np.concatenate([np.logaddexp(log_r, 0)[:, None], -total[:, :-1]], axis=-2)
    sums: Floats = total + np.logaddexp.accumulate(begun, axis=-2)
    return sums
