"""Where all processes stand after the nights so far: evidence, drift, estimates.

It follows a history: what was appended since the last look is added.  Two that follow
the same history stand alike.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from math import inf
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claims.evidence.drift import Alarm, Detectors
from claims.evidence.nights import (
    DECIDED,
    DIRECTIONS,
    any_place,
    beyond,
    listed,
    log_e,
)
from claims.nightly.history import History, Reader, Row
from claims.nightly.process import Key

YEAR = 365
"""Nights in which drift may give one false alarm, over all places."""

LOG_DECIDED = float(np.log(DECIDED))


class Step(NamedTuple):
    """Where a process stood after a night.

    Attributes
    ----------
    night
        Its date.
    log_e
        Logarithms of both e-values, by `DIRECTIONS`.
    mean
        Of all units so far.
    """

    night: str
    log_e: tuple[float, float]
    mean: float


class Change(NamedTuple):
    """An alarm of drift: the values of a process have moved within a stratum."""

    night: str
    since: str
    before: float
    after: float
    nights: int
    stratum: str


@dataclass
class Stretch:
    """Values of a process in one stratum, and the night of each."""

    nights: list[str] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(eq=False)
class Process:
    """One process of evidence.

    Attributes
    ----------
    row
        Of the history's table: what is asked where.
    steps
        A step for each night that measured it.
    decided
        From a direction to the night on which it was first decided.
    changes
        Alarms of drift.
    units
        How many independent units there were.
    certain
        Likewise to the night from which it may be said though it is one of many places.
    strata
        From a stratum to the values there, in their order.
    """

    row: Row
    steps: list[Step] = field(default_factory=list)
    decided: dict[str, str] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    hits: list[int] = field(default_factory=lambda: [0, 0])
    units: int = 0
    total: float = 0.0
    certain: dict[str, str] = field(default_factory=dict)
    strata: dict[str, Stretch] = field(default_factory=lambda: defaultdict(Stretch))

    @property
    def key(self) -> Key:
        """Where it is asked."""
        return self.row["claim"], self.row["place"]

    @property
    def name(self) -> str:
        """Claim and place."""
        return " ".join(self.key)

    @property
    def log_e(self) -> tuple[float, float]:
        """Logarithms of both e-values tonight."""
        return self.steps[-1].log_e if self.steps else (0.0, 0.0)

    @property
    def verdict(self) -> str:
        """The direction that was decided, first if both were; "" for none."""
        return min(self.decided, key=self.decided.__getitem__, default="")

    @property
    def visited(self) -> str:
        """The last night that measured it; "" for none."""
        return self.steps[-1].night if self.steps else ""


class Standing:
    """All processes of a history.

    Parameters
    ----------
    history
        That is followed.
    places
        How many empirical places the scale has, whatever was measured: the number by
        which statements about any place at all are corrected.
    """

    def __init__(self, history: History, places: int):
        self._history, self.places = history, places
        self._reader = Reader(history)
        self._level = any_place(places)
        self.processes: dict[str, Process] = {}
        self._blocks: dict[int, str] = {}  # to the stratum
        self.nights: list[str] = []
        self._detectors = Detectors()
        self._watched: dict[tuple[str, str], int] = {}
        self._rows: list[tuple[Process, str, list[str]]] = []
        self.accepted: Counter[Key] = Counter()
        self.measured: set[tuple[int, str]] = set()
        self.follow()

    def follow(self) -> None:
        """Add what was appended to the history."""
        with self._history.locked():  # so that no value lacks its process
            for row in self._reader.unread("accepted"):
                self.accepted[row["claim"], row["place"]] += 1
            for row in self._reader.unread("processes"):
                self.processes.setdefault(row["process"], Process(row))
            for row in self._reader.unread("blocks"):
                self._blocks[row["first_seed"]] = row["stratum"]
                if row["night"] not in self.nights[-1:]:
                    self.nights.append(row["night"])
            values = [*self._reader.unread("values")]
        for _, rows in groupby(values, key=itemgetter("block")):
            self._add([*rows])

    def _add(self, rows: Sequence[Row]) -> None:
        """Add rows of one block."""
        fresh = []
        for row in rows:
            visit = row["block"], row["process"]
            if visit not in self.measured:  # two calls may have had the same block
                self.measured.add(visit)
                fresh.append(row)
        processes = [self.processes[row["process"]] for row in fresh]
        for process, row in zip(processes, fresh, strict=True):
            process.units += len(row["values"])
            process.total += sum(row["values"])
        for process, hits in zip(processes, _hits(processes, fresh), strict=True):
            process.hits = [process.hits[0] + hits[0], process.hits[1] + hits[1]]
        for process, row, logs in zip(
            processes, fresh, self._evidence(processes), strict=True
        ):
            pair = (float(logs[0]), float(logs[1]))
            mean = process.total / process.units
            process.steps.append(Step(row["night"], pair, mean))
            for direction, value in zip(DIRECTIONS, pair, strict=True):
                if value >= LOG_DECIDED:
                    process.decided.setdefault(direction, row["night"])
                if value >= self._level:
                    process.certain.setdefault(direction, row["night"])
        self._watch(processes, fresh)

    @staticmethod
    def _evidence(processes: Sequence[Process]) -> NDArray[np.float64]:
        hits = [process.hits for process in processes]
        units = [[process.units] * 2 for process in processes]
        shares = [[p.row["null_for"], p.row["null_against"]] for p in processes]
        return log_e(hits, units, shares).reshape(-1, 2)

    def _watch(self, processes: Sequence[Process], rows: Sequence[Row]) -> None:
        """Show the means of a night's units to the detectors of their stratum.

        Blocks are independent draws, so that a mean of each is exchangeable too.
        """
        at = []
        for process, row in zip(processes, rows, strict=True):
            stratum = self._blocks[row["block"]]
            stretch = process.strata[stratum]
            stretch.nights += [row["night"]] * len(row["values"])
            stretch.values += row["values"]
            at.append(self._detector(process, stratum))
            self._rows[at[-1]][2].append(row["night"])
        means = [sum(row["values"]) / len(row["values"]) for row in rows]
        for found, alarm in self._detectors.feed(at, means):
            self._note(found, alarm)

    def _detector(self, process: Process, stratum: str) -> int:
        """Return the row of a process's detector in a stratum; begin it, if need be."""
        key = process.row["process"], stratum
        if key not in self._watched:
            # So many visits a year, over all places, give one false alarm.
            run_length = YEAR * self.places
            seed = int(process.row["process"], 16)
            self._watched[key] = self._detectors.add(run_length, seed)
            self._rows.append((process, stratum, []))
        return self._watched[key]

    def _note(self, found: int, alarm: Alarm) -> None:
        process, stratum, nights = self._rows[found]
        change = Change(
            nights[alarm.count - 1],
            nights[alarm.since],
            alarm.before,
            alarm.after,
            alarm.count - alarm.since,
            stratum,
        )
        del nights[: alarm.count]
        process.changes.append(change)

    def of(self, keys: Iterable[str]) -> list[Process]:
        """Return the processes of these ids that have begun."""
        return [self.processes[key] for key in keys if key in self.processes]

    def listed(self, processes: Sequence[Process], direction: str) -> list[Process]:
        """Return those that a list of tonight holds, at its false discovery rate.

        Over all places and both directions of the scale, measured or not.
        """
        logs = np.array([process.log_e for process in processes]).reshape(-1, 2)
        unseen = np.zeros(max(0, 2 * self.places - logs.size))
        chosen = listed(np.concatenate([logs.ravel(), unseen]))[: logs.size]
        column = DIRECTIONS.index(direction)
        return [
            process
            for process, found in zip(processes, chosen.reshape(-1, 2), strict=True)
            if found[column]
        ]


def _hits(processes: Sequence[Process], rows: Sequence[Row]) -> list[list[int]]:
    """Return how many of each row's units lie beyond the margin, by direction."""
    if not rows:
        return []
    counts = [len(row["values"]) for row in rows]
    lows = [-inf if p.row["low"] is None else p.row["low"] for p in processes]
    highs = [inf if p.row["high"] is None else p.row["high"] for p in processes]
    found = beyond(
        np.concatenate([row["values"] for row in rows]),
        np.repeat(lows, counts),
        np.repeat(highs, counts),
    )
    # Without its premise no unit speaks for a claim, or against it.
    found &= np.repeat([not row.get("unmet") for row in rows], counts)[:, None]
    starts = np.cumsum([0, *counts[:-1]])
    hits: list[list[int]] = np.add.reduceat(found.astype(int), starts).tolist()
    return hits
