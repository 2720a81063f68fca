"""Simulated years: nights as they are, but for networks, whose values are drawn."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from math import inf
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from scipy import stats

from claims.claim import Place, places_of
from claims.evidence.family import FAMILY
from claims.evidence.nights import LIST_RATE
from claims.evidence.rules import ALPHA
from claims.nightly.drawn import Drawn, Floats, residuals_of
from claims.nightly.history import History
from claims.nightly.night import Night
from claims.nightly.process import Key, Process, key_of
from claims.nightly.standing import YEAR, Standing
from fixtures import scales
from reports.results import Result

BEGIN = date(2027, 1, 1)


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
        self.false_shares: list[float] = []
        """By night, the share of its lists, for and against, that is wrong."""

    def run(self, nights: int) -> "Year":
        """Go through some nights."""
        night = Night(
            *(self.history, self.standing, self.places, self.source),
            on_record={},
            budget=3600.0,
        )
        for day in range(nights):
            night.run(night_of(day))
            self.false_shares.append(self._false_share(night_of(day)))
        return self

    def _false_share(self, night: str) -> float:
        shifts = self.source.shifts.items()
        true = {key for key, (since, _) in shifts if night >= since}
        true |= self.source.effects.keys()
        listed = self.standing.lists(self.processes)
        right = sum(process.key in true for process in listed["for"])
        count = sum(map(len, listed.values()))
        return 1 - right / count if count else 0.0

    @property
    def processes(self) -> list[Process]:
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


class Counts(NamedTuple):
    """What came of a simulated year.

    Attributes
    ----------
    processes
        By place and direction.
    decided
        How many of them were ever decided.
    certain
        Whether anything was said of any place at all.
    alarms
        Of drift.
    false
        The share of a night's list that is wrong, on average.
    """

    processes: int
    decided: int
    certain: bool
    alarms: int
    false: float


def simulate(
    record: Sequence[Result],
    folder: Path,
    years: int,
    nights: int,
    count: int,
    each: Callable[..., Iterable[Counts]] = map,
) -> tuple[list[str], bool]:
    """Simulate years without, then one with, true effects and shifts.

    Parameters
    ----------
    record
        Results at one scale, whose values are drawn from.
    folder
        Where histories are kept, one year's at a time.
    years, nights, count
        How many, of how many nights, at how many of the record's places.
    each
        Goes through years, such as an executor's ``map``.

    Returns
    -------
    lines, failed
        What came of it, and whether a rate is above what is promised by more than
        chance explains.
    """
    lines, failed = [], False
    for name, skewed in (("residuals of the record", False), ("skewed", True)):
        year = partial(_year, record, folder, nights, count, skewed)
        done = list(each(year, range(years)))
        of = sum(counts.processes for counts in done)
        wrong = sum(counts.decided for counts in done)
        certain = sum(counts.certain for counts in done)
        alarms = sum(counts.alarms for counts in done)
        false = float(np.mean([counts.false for counts in done]))
        lines += [
            f"{name}, {years} years of {nights} nights at {of // (2 * years)} places, "
            "half of all pairs beyond each margin:",
            f"  processes ever decided: {wrong} of {of}, {wrong / of:.3%} "
            f"({ALPHA:.1%})",
            f"  false share of a night's list, on average: {false:.3%} "
            f"({LIST_RATE:.0%})",
            f"  years with a statement about any place: {certain} ({FAMILY:.0%})",
            f"  alarms of drift: {alarms} ({years * nights / YEAR:.2g} by its rate)",
        ]
        # One-sided 99.9%, each: what places share makes the first two vary by more.
        failed |= stats.binom.sf(certain - 1, years, FAMILY) < 0.001
        failed |= stats.poisson.sf(alarms - 1, years * nights / YEAR) < 0.001
        failed |= false > LIST_RATE or wrong / of > 2 * ALPHA
    return [*lines, *_noticed(record, folder, nights, count)], bool(failed)


def _year(
    record: Sequence[Result],
    folder: Path,
    nights: int,
    count: int,
    skewed: bool,
    seed: int,
) -> Counts:
    """Simulate a year in which nothing is true, and forget its history."""
    residuals = residuals_of(record)
    with TemporaryDirectory(dir=folder) as own:
        year = Year(
            Path(own),
            _drawn_at(record, residuals, count),
            Drawn(residuals, seed, skewed),
        ).run(nights)
    return Counts(
        processes=2 * len(year.processes),
        decided=year.decided,
        certain=year.certain,
        alarms=year.alarms,
        false=float(np.mean(year.false_shares)),
    )


def _drawn_at(
    record: Sequence[Result], residuals: Mapping[Key, Floats], count: int
) -> list[Place]:
    """Return the first places whose values can be drawn."""
    asked = places_of(scales.get(record[0].scale))
    return [place for place in asked if key_of(place) in residuals][:count]


def _noticed(
    record: Sequence[Result], folder: Path, nights: int, count: int
) -> list[str]:
    """Say how soon true effects are decided, and shifts are noticed."""
    residuals = residuals_of(record)
    places = _drawn_at(record, residuals, count)
    from_day = min(100, nights // 2)
    # Where more is more in favour of the claim, however widely values spread.
    moving = [
        place
        for place in places
        if place.claim.rule.name in ("superiority", "non-inferiority", "trend")
        and residuals[key_of(place)].std()
    ]
    # A difference must be above the margin: true effects are two margins.
    superior = [place for place in moving if place.claim.rule.name == "superiority"]
    effects = {key_of(place): place.margin for place in superior[::4]}
    still = [place for place in moving if key_of(place) not in effects]
    shifts = {
        key_of(place): (night_of(from_day), float(residuals[key_of(place)].std()))
        for place in still[::3]
    }
    source = Drawn(residuals, seed=1000, effects=effects, shifts=shifts)
    year = Year(folder / "effects", places, source).run(nights)
    days = {night_of(day): day for day in range(nights)}
    decided = [
        days[process.decided["for"]] + 1 if "for" in process.decided else inf
        for process in year.processes
        if process.key in effects
    ]
    delays = [
        min((days[c.night] - from_day + 1 for c in process.changes), default=inf)
        for process in year.processes
        if process.key in shifts
    ]
    false = float(np.mean(year.false_shares))
    return [
        f"of {len(decided)} true effects of two margins "
        f"{np.isfinite(decided).mean():.0%} are decided, the median after "
        f"{median(decided):g} nights; false share of the list {false:.3%}",
        f"of {len(delays)} shifts by a standard deviation from night {from_day} on, "
        f"{np.isfinite(delays).mean():.0%} are noticed, the median after "
        f"{median(delays):g} nights",
    ]


def night_of(day: int) -> str:
    """Return the date of a simulated night.

    Examples
    --------
    >>> night_of(0), night_of(31)
    ('2027-01-01', '2027-02-01')
    """
    return (BEGIN + timedelta(days=day)).isoformat()
