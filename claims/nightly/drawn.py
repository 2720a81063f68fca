"""Drawn values instead of networks: a source of simulated nights.

A pair's values at all places that share networks come from one pair of the record, as
residuals about each place's median: nothing is assumed of their distribution, or of
what they share.  Or they are skewed, exponential.  Under the null half of all pairs lie
beyond each margin.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claims.claim import Place
from claims.nightly.history import SEEDS, Block, Row
from claims.nightly.process import Key, Measured, key_of
from reports.results import Result

Floats = NDArray[np.float64]


class Law(NamedTuple):
    """How values of a place are drawn.

    Attributes
    ----------
    units
        Of a block.
    quantile
        From shares between 0 and 1 to what values add to the centre.
    centre, least
        The median of the values, and their lower end.
    """

    units: int
    quantile: Callable[[Floats], Floats]
    centre: float
    least: float


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
    again: dict[str, int] = field(default_factory=dict)
    _laws: dict[Key, "Law"] = field(default_factory=dict)

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
            shares = drawn[place.uses[0]]
            yield Measured(key_of(place), self._values(place, shares, block.night))

    def _values(self, place: Place, shares: Floats, night: str) -> list[float]:
        key = key_of(place)
        if key not in self._laws:
            self._laws[key] = self._law(place)
        law = self._laws[key]
        values = law.quantile(shares[: law.units])
        since, shift = self.shifts.get(key, ("", 0.0))
        if since and night >= since:
            values = values + shift
        return np.maximum(law.centre + values, law.least).tolist()

    def _law(self, place: Place) -> "Law":
        """Return by what law the values of a place are drawn."""
        units = place.count(SEEDS) // (place.claim.tuple_size or 2)
        low, high = place.claim.rule.region(place.margin)
        if place.claim.rule.name == "frequency":
            return Law(
                units, lambda shares: (shares < place.margin).astype(float), 0.0, -inf
            )
        own = self.residuals[key_of(place)]
        spread = own.std() or place.grain
        effect = self.effects.get(key_of(place), 0.0)
        # Nearer to the range's other end than to its middle is nobody.
        centre, least = (
            (low + effect, -inf)
            if np.isinf(high)
            else (high - effect, low + 1e-9 * high)
        )
        if self.skewed:
            # Exponential about its median.
            return Law(
                units,
                lambda shares: -spread * (np.log1p(-shares) + np.log(2)),
                centre,
                least,
            )
        return Law(
            units, lambda shares: own[(shares * len(own)).astype(int)], centre, least
        )


def residuals_of(record: Sequence[Result]) -> dict[Key, Floats]:
    """Return the values of each empirical place on record, less their median."""
    found = {}
    for result in record:
        if result.kind == "empirical":
            values = [float(unit["decided"]) for unit in result.pairs]
            found[result.id, result.where] = np.array(values) - median(values)
    return found
