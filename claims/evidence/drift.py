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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

SHIFTS = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])
"""Standard deviations that normal scores may have moved by, bet on in equal parts."""

ROOM = 64
"""Values that a detector has room for at first."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Alarm:
    """A change that was noticed.

    Attributes
    ----------
    since
        Index of the first value after the change, by the bet that has won most, among
        the `count` values that the detector has seen since its start.
    count
        The last of them gave the alarm.
    before, after
        Means of the values before `since`, and from there on.
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
    >>> detectors.add(run_length=10_000, seed=0)
    0
    >>> values = np.random.default_rng(0).normal(size=120)
    >>> values[100:] += 3
    >>> alarms = [alarm for value in values for alarm in detectors.feed([0], [value])]
    >>> [(row, alarm.since, alarm.count) for row, alarm in alarms]
    [(0, 100, 105)]
    """

    def __init__(self) -> None:
        self._generators: list[np.random.Generator] = []
        self._threshold = np.empty(0)
        self._count = np.empty(0, dtype=int)
        self._values, self._ties = np.empty((0, ROOM)), np.empty((0, ROOM))
        # Of each shift: log of R, sum of the log bets, its least value and where.
        shape = (0, len(SHIFTS))
        self._log_r, self._sum, self._least = (np.empty(shape) for _ in range(3))
        self._since = np.empty(shape, dtype=int)

    def add(self, run_length: float, seed: int) -> int:
        """Begin a detector, and return its row.

        Parameters
        ----------
        run_length : float
            Least mean number of values between false alarms.
        seed : int
            Of the numbers that break ties: the same values give the same alarms.
        """
        generator = np.random.default_rng(seed)
        self._generators.append(generator)
        self._threshold = np.append(self._threshold, np.log(run_length))
        self._count = np.append(self._count, 0)
        room = self._values.shape[1]
        self._values = np.vstack([self._values, np.full(room, np.inf)])
        self._ties = np.vstack([self._ties, generator.random(room)])
        zeros = np.zeros(len(SHIFTS))
        self._log_r = np.vstack([self._log_r, zeros - np.inf])
        self._sum = np.vstack([self._sum, zeros])
        self._least = np.vstack([self._least, zeros])
        self._since = np.vstack([self._since, zeros.astype(int)])
        return len(self._generators) - 1

    def values(self, row: int) -> Floats:
        """Return what a detector has seen since its start, or its last alarm."""
        return self._values[row, : self._count[row]].copy()

    def feed(self, rows: list[int], values: list[float]) -> list[tuple[int, Alarm]]:
        """Show one further value to each of some detectors; return their alarms.

        Who gives an alarm begins anew with the next value.
        """
        at, new = np.asarray(rows, dtype=int), np.asarray(values, dtype=float)
        if (self._count[at] == self._values.shape[1]).any():
            self._double_room()
        p = self._p_values(at, new)
        bets = SHIFTS * special.ndtri(p)[:, None] - SHIFTS**2 / 2
        self._log_r[at] = np.logaddexp(0, self._log_r[at]) + bets
        self._sum[at] += bets
        self._values[at, self._count[at]] = new
        self._count[at] += 1
        mean = np.logaddexp.reduce(self._log_r[at], axis=1) - np.log(len(SHIFTS))
        alarms = [
            (int(row), self._alarm(row)) for row in at[mean >= self._threshold[at]]
        ]
        lower = self._sum[at] < self._least[at]
        self._least[at] = np.where(lower, self._sum[at], self._least[at])
        self._since[at] = np.where(lower, self._count[at][:, None], self._since[at])
        return alarms

    def _p_values(self, at: NDArray[np.int_], new: Floats) -> Floats:
        """Return each new value's rank among all before it and itself, as a share."""
        known, count = self._values[at, : self._count[at].max()], self._count[at]
        # What is not there yet is infinite.
        less = np.count_nonzero(known < new[:, None], axis=1)
        equal = 1 + np.count_nonzero(known == new[:, None], axis=1)
        p = (less + self._ties[at, count] * equal) / (count + 1)
        # Nowhere 0 or 1, where a normal score would be infinite.
        clipped: Floats = np.clip(p, 1e-12, 1 - 1e-12)
        return clipped

    def _alarm(self, row: int) -> Alarm:
        # The bet that began at k has won S(n) - S(k) by now; at the least S(k), most.
        shift = int(np.argmax(self._sum[row] - self._least[row]))
        since, values = int(self._since[row, shift]), self.values(row)
        alarm = Alarm(
            since=since,
            count=len(values),
            before=float(values[:since].mean()) if since else float("nan"),
            after=float(values[since:].mean()),
        )
        self._count[row], self._values[row] = 0, np.inf
        self._ties[row] = self._generators[row].random(self._ties.shape[1])
        self._log_r[row] = -np.inf
        self._sum[row] = self._least[row] = self._since[row] = 0
        return alarm

    def _double_room(self) -> None:
        room = self._values.shape[1]
        more = np.full((len(self._values), room), np.inf)
        self._values = np.hstack([self._values, more])
        ties = [generator.random(room) for generator in self._generators]
        self._ties = np.hstack([self._ties, np.array(ties)])
