"""Where all processes stand after the nights so far: evidence, drift, estimates.

It follows a history: what was appended since the last look is added.  Two that follow
the same history stand alike.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from math import inf, nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from claims.evidence.drift import Alarm, Detectors
from claims.evidence.nights import DIRECTIONS, any_place, beyond, listed, log_e
from claims.nightly.history import History, Reader, Row
from claims.nightly.process import Change, Key, Process

YEAR = 365
"""Nights in which drift may give one false alarm, over all places."""

Floats = NDArray[np.float64]


class Standing:
    """All processes of a history.

    Parameters
    ----------
    history
        That is followed.
    places
        How many empirical places the scale has, whatever was measured: the number by
        which statements about any place at all are corrected.

    Attributes
    ----------
    processes
        By their ids.
    nights
        In their order.
    accepted
        How often a person has accepted other values at a place.
    """

    def __init__(self, history: History, places: int):
        self._history, self.places = history, places
        self._reader = Reader(history)
        self._level = any_place(places)
        self.processes: dict[str, Process] = {}
        self._blocks: dict[int, Row] = {}
        self.nights: list[str] = []
        self._detectors = Detectors()
        self.accepted: Counter[Key] = Counter()
        self._watched: dict[tuple[Process, str], int] = {}
        self.follow()

    def follow(self) -> None:
        """Add what was appended to the history."""
        with self._history.locked():  # so that no value lacks its process
            for row in self._reader.unread("accepted"):
                self.accepted[row["claim"], row["place"]] += 1
            for row in self._reader.unread("processes"):
                self.processes.setdefault(row["process"], Process(row))
            for row in self._reader.unread("blocks"):
                self._blocks[row["first_seed"]] = row
                if row["night"] not in self.nights[-1:]:
                    self.nights.append(row["night"])
            values = self._reader.unread("values")
        new: dict[Process, int] = {}  # to the first of its new visits
        for row in values:
            process = self.processes[row["process"]]
            if row["block"] not in process.blocks:  # two calls may have had the same
                new.setdefault(process, len(process.nights))
                process.visit(self._blocks[row["block"]], row)
        if new:
            sums = _sums(new)
            self._weigh(new, sums)
            self._watch(new, (sums[:, 3] / sums[:, 2]).tolist())

    def _weigh(self, new: Mapping[Process, int], sums: Floats) -> None:
        """Turn new visits into evidence."""
        often = [len(process.nights) - first for process, first in new.items()]
        running = _running(sums, often, [process.sums for process in new])
        hits, units, total = running[:, :2], running[:, 2], running[:, 3]
        shares = [[p.row["null_for"], p.row["null_against"]] for p in new]
        logs = log_e(hits, units[:, None], np.repeat(shares, often, axis=0))
        evidence, means = logs.T.tolist(), (total / units).tolist()
        end = 0
        for process, length in zip(new, often, strict=True):
            these, end = slice(end, end + length), end + length
            process.sums = running[end - 1].tolist()
            process.weigh([logs[these] for logs in evidence], means[these], self._level)

    def _watch(self, new: Mapping[Process, int], means: Iterable[float]) -> None:
        """Show the mean of each visit's units to the detector of its stratum.

        Blocks are independent draws, so that these means are exchangeable too.
        """
        shown: dict[tuple[Process, str], list[float]] = defaultdict(list)
        following = iter(means)
        for process, first in new.items():
            for stratum in process.strata[first:]:
                shown[process, stratum].append(next(following))
        missing = [key for key in shown if key not in self._watched]
        # So many visits a year, over all places, give one false alarm.
        begun = self._detectors.add(
            YEAR * self.places,
            [int(process.row["process"], 16) for process, _ in missing],
        )
        self._watched |= zip(missing, begun, strict=True)
        watched = {self._watched[key]: key for key in shown}
        table = np.array([*zip_longest(*shown.values(), fillvalue=nan)]).T
        for detector, alarm in self._detectors.feed([*watched], table):
            process, stratum = watched[detector]
            process.changes.append(_change(alarm, process, stratum))

    def measured(self, process: str, block: int) -> bool:
        """Return whether a block has visited a process, by their ids."""
        return process in self.processes and block in self.processes[process].blocks

    def of(self, keys: Iterable[str]) -> list[Process]:
        """Return the processes of these ids that have begun."""
        return [self.processes[key] for key in keys if key in self.processes]

    def slowness(self, machine: str) -> float:
        """Return by what factor a machine's last night took longer than planned."""
        for row in reversed(self._blocks.values()):
            if row["machine"] == machine and row.get("planned"):
                return max(1.0, row["took"] / row["planned"])
        return 1.0

    def lists(self, processes: Sequence[Process]) -> dict[str, list[Process]]:
        """Return tonight's lists by direction, at their false discovery rate.

        Over all places and both directions of the scale, measured or not.
        """
        logs = np.array([process.log_e for process in processes]).reshape(-1, 2)
        unseen = np.zeros(max(0, 2 * self.places - logs.size))
        chosen = listed(np.concatenate([logs.ravel(), unseen]))[: logs.size]
        return {
            direction: [processes[k] for k in np.flatnonzero(found).tolist()]
            for direction, found in zip(
                DIRECTIONS, chosen.reshape(-1, 2).T, strict=True
            )
        }


def _sums(new: Mapping[Process, int]) -> Floats:
    """Return by how much each new visit adds to `Process.sums`; shape (visits, 4)."""
    often = [len(process.nights) - first for process, first in new.items()]
    counts = _flat(process.counts[first:] for process, first in new.items())
    met = _flat(process.met[first:] for process, first in new.items())
    values = _flat(process.values[int(process.sums[2]) :] for process in new)
    lows = [-inf if p.row["low"] is None else p.row["low"] for p in new]
    highs = [inf if p.row["high"] is None else p.row["high"] for p in new]
    low, high = (np.repeat(np.repeat(b, often), counts) for b in (lows, highs))
    # Without its premise no unit speaks for a claim, or against it.
    hits = beyond(values, low, high) & np.repeat(met, counts)[:, None]
    each = np.column_stack([hits, np.ones(len(values)), values])
    sums: Floats = np.add.reduceat(each, np.cumsum(counts) - counts)
    return sums


def _flat(lists: Iterable[Sequence[float]]) -> NDArray:
    return np.array([*chain.from_iterable(lists)])


def _running(sums: Floats, lengths: Sequence[int], before: ArrayLike) -> Floats:
    """Sum on along groups of rows of these lengths, from what was before each group.

    Examples
    --------
    >>> _running(np.ones((5, 1)), [2, 3], [[10.0], [20.0]]).ravel().tolist()
    [11.0, 12.0, 21.0, 22.0, 23.0]
    """
    group = np.repeat(np.arange(len(lengths)), lengths)
    at = np.arange(len(sums)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    table = np.zeros((len(lengths), max(lengths), sums.shape[1]))
    table[group, at] = sums
    table[:, 0] += np.asarray(before)
    running: Floats = table.cumsum(axis=1)[group, at]
    return running


def _change(alarm: Alarm, process: Process, stratum: str) -> Change:
    nights = [
        n for n, s in zip(process.nights, process.strata, strict=True) if s == stratum
    ]
    return Change(
        nights[alarm.count - 1],
        nights[alarm.since],
        alarm.before,
        alarm.after,
        alarm.count - alarm.since,
        stratum,
    )
