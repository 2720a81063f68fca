"""One night: the same networks again, fresh evidence, what it changes, what is told."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np

from claims.claim import Place
from claims.evidence.family import FAMILY, welch_p
from claims.evidence.rules import FEWEST
from claims.nightly.allocation import choose, urgency
from claims.nightly.history import SEEDS, Block, History, Row
from claims.nightly.process import (
    Change,
    Key,
    Measured,
    Process,
    key_of,
    process_of,
)
from claims.nightly.standing import Standing

BASELINE = max(8, FEWEST)
"""Units of a new stratum that are compared with the stratum before."""

FRESH = 0.75
"""Share of the time, after the same networks again, for fresh evidence."""

DIGITS = 8
"""Significant digits of the values on file: they are compared by their seventh."""

OPPOSITE = {"supported": "against", "refuted": "for"}


class Source(Protocol):
    """Where a night's networks and values come from.

    Attributes
    ----------
    stratum
        Kind of machine and versions, with its id as ``stratum``.
    machine
        Which machine's cache the networks are in.
    workers
        How many processes it measures by.
    again
        How many known networks, or places of them, it has looked at again, by kind.
    """

    stratum: Row
    machine: str
    workers: int
    again: dict[str, int]

    def same(self, night: str, processes: Mapping[str, Place]) -> Iterator[Row]:
        """Measure known networks again: give news of what is not as it was.

        ``processes`` are the present ones, by their ids.
        """

    def cost(self, place: Place) -> float:
        """Return the seconds that measuring a place takes."""

    def network(self, setting: str) -> float:
        """Return the seconds that training a network of a setting takes."""

    def fresh(
        self, block: Block, places: Sequence[Place], seconds: float
    ) -> Iterator[Measured | Row]:
        """Train and measure within some time, and try the invariants in what is left.

        Gives what was measured, and news.
        """


def news(kind: str, key: Key, text: str, red: bool = False) -> Row:
    """Return a row of news, but for its night.

    Kinds are ``same``, ``retrained``, ``drift``, ``decided``, ``record``, ``stratum``,
    ``invariant`` and ``error``.
    """
    return {"kind": kind, "red": red, "claim": key[0], "place": key[1], "text": text}


class Night:
    """What is done each night.

    Parameters
    ----------
    history, standing
        Of the nights before; both grow.
    places
        All empirical places of the scale.
    source
        Where values come from.
    on_record
        From a place to the verdict on record.
    budget
        Seconds that a night may take.
    """

    def __init__(
        self,
        history: History,
        standing: Standing,
        places: Sequence[Place],
        source: Source,
        *,
        on_record: Mapping[Key, str],
        budget: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._history, self._standing, self._source = history, standing, source
        self._places = {key_of(place): place for place in places}
        self._demands = {
            key: place.demand(SEEDS)
            for key, place in self._places.items()
            if place.count(SEEDS)
        }
        self._on_record, self._budget, self._clock = on_record, budget, clock
        self._processes: dict[Key, Row] = {}
        self._accepted: dict[Key, int] | None = None  # of those

    def run(self, night: str) -> bool:
        """Go through a night; return False where this machine has done its part.

        What a call that was killed has left of it is completed.

        Parameters
        ----------
        night
            Its date, as ``2027-01-31``.
        """
        self._night, begun = night, self._clock()
        stratum = self._source.stratum["stratum"]
        turn = self._history.begin(night, stratum, self._source.machine)
        if turn is None:
            return False
        with turn:
            self._standing.follow()
            processes = self._present()
            asked = {row["process"]: self._places[k] for k, row in processes.items()}
            found = [*self._source.same(night, asked)]
            fresh = self._clock()
            left = max(0.0, self._budget - (fresh - begun))
            # As slow as the night before, which says nothing of tonight's networks.
            planned = left / self._standing.slowness(self._source.machine)
            # Code that gives other values gives no further evidence, anywhere: which
            # places it has changed only the known networks tell, and not of all.
            sound = not any(row["red"] for row in found)
            places = self._to_measure(turn.block, planned) if sound else []
            rows: list[tuple[Row, Row]] = []
            for item in self._source.fresh(turn.block, places, planned):
                if isinstance(item, Measured):
                    rows.append(self._rows(turn.block, item))
                else:
                    found.append(item)
            with self._history.locked():
                found += self._new_stratum()
                self._append(rows)
                self._standing.follow()
                self._tell([*found, *self._evident()])
                self._history.append("strata", self._unknown_strata())
            took = self._clock() - fresh
            seconds = {"planned": round(planned, 1), "took": round(took, 1)}
            turn.end(**seconds, **self._source.again)
        return True

    def _unknown_strata(self) -> list[Row]:
        """Return the row of this stratum, unless the history has it; lock held."""
        own = self._source.stratum
        return [] if own in self._history.rows("strata") else [own]

    def _new_stratum(self) -> Iterator[Row]:
        """Tell of a stratum that is not the first; lock held."""
        if not self._history.rows("strata"):
            return
        for own in self._unknown_strata():
            facts = ", ".join(f"{k} {v}" for k, v in own.items() if k != "stratum")
            text = f"new machine or versions, with baselines of their own: {facts}"
            yield news("stratum", ("", ""), text)

    def _present(self) -> dict[Key, Row]:
        """Return the present process of each place."""
        accepted = self._standing.accepted
        if self._accepted != accepted:
            self._accepted = dict(accepted)
            self._processes = {
                key: process_of(place, accepted.get(key, 0))
                for key, place in self._places.items()
            }
        return self._processes

    def _to_measure(self, block: Block, seconds: float) -> list[Place]:
        """Return what fits the time, of what this block has not measured."""
        source, standing, places = self._source, self._standing, self._places
        of = {key: row["process"] for key, row in self._present().items()}
        waiting = {
            key: demand
            for key, demand in self._demands.items()
            if not standing.measured(of[key], block.first_seed)
        }
        settings = {name for demand in waiting.values() for name in demand}
        chosen = choose(
            waiting,
            lambda key: urgency(standing.processes.get(of[key])),
            lambda key: source.cost(places[key]),
            {name: source.network(name) for name in settings},
            FRESH * seconds * source.workers,
        )
        return [places[key] for key in chosen]

    def _rows(self, block: Block, item: Measured) -> tuple[Row, Row]:
        process = self._processes[item.key]
        row = {
            "night": self._night,
            "block": block.first_seed,
            "process": process["process"],
            "values": [float(f"{value:.{DIGITS}g}") for value in item.values],
        }
        return process, row | ({"unmet": True} if item.unmet else {})

    def _append(self, rows: Sequence[tuple[Row, Row]]) -> None:
        known = self._standing.processes
        begun = [process for process, _ in rows if process["process"] not in known]
        self._history.append("processes", begun)
        self._history.append("values", [row for _, row in rows])

    def _evident(self) -> Iterator[Row]:
        """Give what tonight's values have brought about."""
        present = [row["process"] for row in self._present().values()]
        for process in self._standing.of(present):
            if process.visited != self._night:
                continue
            yield from self._decided(process)
            for change in process.changes:
                if change.night == self._night:
                    yield news("drift", process.key, moved(process, change), True)
            if text := other_stratum(process, self._night, self._standing.places):
                yield news("stratum", process.key, text)

    def _decided(self, process: Process) -> Iterator[Row]:
        verdict = self._on_record.get(process.key, "")
        for direction, night in process.decided.items():
            if night == self._night:
                text = f"{direction} the claim, after {process.units} units"
                told = f"{text} ({verdict} on record)" if verdict else text
                yield news("decided", process.key, told)
        if process.certain.get(OPPOSITE.get(verdict, "")) == self._night:
            text = (
                f"{verdict} on record, and most of {process.units} fresh units say "
                "the opposite, which is said wrongly of any place at all in at most "
                f"{FAMILY:.0%} of histories"
            )
            yield news("record", process.key, text, True)

    def _tell(self, found: Iterable[Row]) -> None:
        """Append news that no other call of the night has told; lock held."""
        told = [
            row for row in self._history.rows("news") if row["night"] == self._night
        ]
        rows = [{"night": self._night, **row} for row in found]
        self._history.append("news", [row for row in rows if row not in told])


def moved(process: Process, change: Change) -> str:
    """Say in one sentence what has changed, and since when.

    Only where the same networks gave the same values tonight are there any to have
    moved, and detectors see one kind of machine and versions each.
    """
    unit = process.row["unit"]
    what = f"{_number(change.before)} to {_number(change.after)} {unit}".rstrip()
    return (
        f"values have moved from {what} since the night of {change.since} "
        f"({change.nights} nights); neither code, as the same networks measure what "
        "they did, nor machine or versions have changed, so that seeds, data or "
        "training are what is left"
    )


def other_stratum(process: Process, night: str, places: int) -> str:
    """Say whether a stratum differs from the one before; "" if not.

    Once, on the night that gives it `BASELINE` units.
    """
    for old, new in pairwise(dict.fromkeys(process.strata)):
        strata = np.repeat(process.strata, process.counts)
        nights = np.repeat(process.nights, process.counts)[strata == new]
        if len(nights) < BASELINE or nights[BASELINE - 1] != night:
            continue
        values = np.array(process.values)
        before, after = values[strata == old], values[strata == new][:BASELINE]
        if len(before) < BASELINE:
            continue
        spreads = before.std(ddof=1), after.std(ddof=1)
        gap = after.mean() - before.mean()
        p = welch_p(gap, spreads[0], len(before), spreads[1], len(after))
        if p < FAMILY / places:
            return (
                f"the machine or versions of this night give {_number(after.mean())} "
                f"where those before gave {_number(before.mean())}"
            )
    return ""


def _number(value: float) -> str:
    return f"{value:.3g}"
