"""Simulated years: nights as they are, but for networks, which are drawn values.

A pair's values at all places that share networks come from one pair of the record, as
residuals about each place's median: nothing is assumed of their distribution, or of what
they share.  Or they are skewed, exponential.  Under the null half of all pairs lie
beyond each margin.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from claims.claim import Place
from claims.evidence.nights import DECIDED, DIRECTIONS
from claims.evidence.rules import ALPHA
from claims.nightly.history import SEEDS, Block, History, Row
from claims.nightly.night import Night
from claims.nightly.process import Key, Measured, key_of
from claims.nightly.standing import Standing
from reports.results import Result

BEGIN = date(2027, 1, 1)

Floats = NDArray[np.float64]


@dataclass
class Drawn:
    """Values instead of networks; a source of nights.

    Attributes
    ----------
    residuals
        Of each place about its median.
    seed
        Of the draws.
    skewed
        Whether to draw exponential values of the same spread instead.
    effects
        From a place to by how much it lies on the claim's side of its margin; on the
        margin elsewhere.
    shifts
        From a place to the night from which it is shifted, and by how much.
    found
        News of the same networks, by night.
    """

    residuals: Mapping[Key, Floats]
    seed: int
    skewed: bool = False
    effects: Mapping[Key, float] = field(default_factory=dict)
    shifts: Mapping[Key, tuple[str, float]] = field(default_factory=dict)
    found: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    stratum: Row = field(default_factory=lambda: {"stratum": "simulated"})
    machine: str = "simulated"
    workers: int = 1

    def same(self, night: str, processes: Mapping[str, Place]) -> Iterator[Row]:
        """Give what was planted."""
        yield from self.found.get(night, ())

    def cost(self, place: Place) -> float:
        """Return 0: all places are measured."""
        return 0.0

    def network(self, setting: str) -> float:
        """Return 0."""
        return 0.0

    def fresh(
        self, block: Block, places: Sequence[Place], seconds: float
    ) -> Iterator[Measured]:
        """Draw the values of the block's units."""
        generator = np.random.default_rng([self.seed, block.first_seed])
        # One draw a network, which all places that look at its setting share.
        settings = sorted({place.uses[0] for place in places})
        drawn = dict(
            zip(settings, generator.random((len(settings), SEEDS)), strict=True)
        )
        for place in places:
            yield Measured(key_of(place), self._values(place, drawn, block.night))

    def _values(
        self, place: Place, drawn: Mapping[str, Floats], night: str
    ) -> list[float]:
        key = key_of(place)
        shares = drawn[place.uses[0]][: _units(place)]
        low, high = place.claim.rule.region(place.margin)
        if place.claim.rule.name == "frequency":
            return (shares < place.margin).astype(float).tolist()
        own = self.residuals[key]
        if self.skewed:
            spread = own.std() or place.grain
            values = -spread * (np.log1p(-shares) + np.log(2))
        else:
            values = own[(shares * len(own)).astype(int)]
        since, shift = self.shifts.get(key, ("", 0.0))
        if since and night >= since:
            values = values + shift
        effect = self.effects.get(key, 0.0)
        if np.isinf(high):
            return (low + effect + values).tolist()
        # Nearer to the range's other end than to its middle is nobody.
        return np.maximum(high - effect + values, low + 1e-9 * high).tolist()


def _units(place: Place) -> int:
    return place.count(SEEDS) // (place.claim.tuple_size or 2)


def residuals_of(record: Sequence[Result]) -> dict[Key, Floats]:
    """Return the values of each empirical place on record, less their median."""
    found = {}
    for result in record:
        if result.kind == "empirical":
            values = [float(unit["decided"]) for unit in result.pairs]
            found[result.id, result.where] = np.array(values) - median(values)
    return found


@dataclass
class Year:
    """A simulated year, and what came of it.

    Parameters
    ----------
    folder
        Of its history.
    places
        Where claims are asked.
    source
        Of the values.
    """

    folder: Path
    places: Sequence[Place]
    source: Drawn

    def __post_init__(self) -> None:
        self.history = History(self.folder)
        self.standing = Standing(self.history, len(self.places))
        self.false_lists = 0
        """Nights with anything on a list though nothing is true."""

    def run(self, nights: int) -> "Year":
        """Go through some nights."""
        for day in range(nights):
            night = Night(
                self.history,
                self.standing,
                self.places,
                self.source,
                on_record={},
                night=night_of(day),
                budget=3600.0,
            )
            night.run()
            present = [*self.standing.processes.values()]
            listed = [self.standing.listed(present, d) for d in DIRECTIONS]
            self.false_lists += any(
                process.key not in self.source.effects
                for found in listed
                for process in found
            )
        return self

    @property
    def processes(self) -> list:
        """All processes."""
        return [*self.standing.processes.values()]

    @property
    def decided(self) -> int:
        """How many processes, by place and direction, were ever decided."""
        return sum(len(process.decided) for process in self.processes)

    @property
    def certain(self) -> bool:
        """Whether anything was said of any place at all."""
        return any(process.certain for process in self.processes)

    @property
    def alarms(self) -> int:
        """How many alarms of drift there were."""
        return sum(len(process.changes) for process in self.processes)


def night_of(day: int) -> str:
    """Return the date of a simulated night.

    Examples
    --------
    >>> night_of(0), night_of(31)
    ('2027-01-01', '2027-02-01')
    """
    return (BEGIN + timedelta(days=day)).isoformat()
