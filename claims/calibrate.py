"""``python -m claims calibrate``: how often is a run red where nothing has changed?

Record and run are drawn, disjoint, from the pooled networks of several whole runs on
disjoint seeds, the same networks at all places, as places share them.  Each slot of a
run, a pair of networks, comes from one of the runs for the record and from another one
for the run; so a place gets as many units as in a run, whatever it looks at.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from claims import expected
from claims.claim import Place, places_of
from claims.evidence import Decision, Verdict, contradiction, superiority
from claims.expected import Key
from fixtures import scales
from reports import results
from reports.results import Result

DRAWS = 1000

FAR = 2.5
"""Standard errors between record and run below which nothing is decided.

Opposite verdicts need each estimate to be 2.57 of its own errors or more from the
margin, on different sides, and estimates that contradict each other are even further
apart: so nothing is missed, and a few minutes are enough."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """A place's values of all runs.

    Attributes
    ----------
    place
        With the rule and its margin.
    values
        Shape (runs, units).
    slots
        From unit to the slot of its first network.
    unmet
        Of each run, whether it says that its networks are not what the claim is about.
        Then the verdict is inconclusive in the draws whose first slot it gives: as
        often as among the runs.
    """

    place: Place
    values: Floats
    slots: NDArray[np.int_]
    unmet: NDArray[np.bool_]
    known: dict[bytes, Decision] = field(default_factory=dict, repr=False)

    def drawn(self, sources: NDArray[np.int_]) -> Floats:
        """Return the values of draws, (draws, units), by the run of each slot."""
        return self.values[sources[:, self.slots], np.arange(self.values.shape[1])]

    def decide(self, values: Floats, unmet: bool = False) -> Decision:
        """Return what the place's rule says of some values, in whatever order."""
        values = np.sort(values)
        if (key := values.tobytes()) not in self.known:  # frequencies have few
            place, rule = self.place, self.place.claim.rule
            if rule.name == "trend":  # which its ends' difference decides
                rule = superiority()
            self.known[key] = rule.decide(
                values, margin=place.margin, unit=place.claim.unit, grain=place.grain
            )
        decision = self.known[key]
        return replace(decision, verdict=Verdict.INCONCLUSIVE) if unmet else decision


@dataclass
class Calibration:
    """What came of the draws.

    Attributes
    ----------
    draws
        How many.
    red
        In how many the run contradicts the record somewhere.
    places
        From a place to the draws in which it does.
    opposite
        From a place to those in which record and run are supported and refuted.
    """

    draws: int
    red: int = 0
    places: Counter[str] = field(default_factory=Counter)
    opposite: Counter[str] = field(default_factory=Counter)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the rate of red runs, by Clopper and Pearson.

        Examples
        --------
        >>> low, high = Calibration(1000, red=4).interval
        >>> round(low, 4), round(high, 4)
        (0.0011, 0.0102)
        """
        low, high = binomtest(self.red, self.draws).proportion_ci(0.95)
        return float(low), float(high)


def pooled(
    runs: Sequence[Mapping[Key, Result]], places: Iterable[Place]
) -> tuple[dict[Key, Pool], dict[str, list[str]]]:
    """Return each place's values of all runs, and which are left out, by reason."""
    pools: dict[Key, Pool] = {}
    left_out: dict[str, list[str]] = {}
    for place in places:
        key = (place.claim.id, place.name)
        found = [run.get(key) for run in runs]
        if lacking := [str(n) for n, r in enumerate(found, 1) if not (r and r.pairs)]:
            why = f"no values in run {', '.join(lacking)}"
            left_out.setdefault(why, []).append(" ".join(key))
            continue
        values = [[unit["decided"] for unit in r.pairs] for r in found]
        counts = [len(v) - v.count(None) for v in values]
        if {*counts} != {len(values[0])}:
            why = f"{', '.join(map(str, counts))} values"
            left_out.setdefault(why, []).append(" ".join(key))
            continue
        units = np.arange(len(values[0]))
        pools[key] = Pool(
            place,
            np.array(values, dtype=float),
            units * _networks(found[0]) // 2,
            np.array([r.decision.startswith("premise not met") for r in found]),
        )
    return pools, left_out


def _networks(result: Result) -> int:
    """Return how many networks of a setting each unit has."""
    seeds = max((len(f["seeds"]) for f in result.fixtures), default=0)
    return max(1, seeds // len(result.pairs))


def sources(
    generator: np.random.Generator, draws: int, runs: int, slots: int
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return from which run each slot of a record, and of a run, is; never the same."""
    record = generator.integers(runs, size=(draws, slots))
    other = generator.integers(runs - 1, size=(draws, slots))
    return record, other + (other >= record)


def calibrate(
    pools: Mapping[Key, Pool], places: int, *, draws: int = DRAWS, seed: int = 0
) -> Calibration:
    """Draw records and runs and count contradictions between them.

    Parameters
    ----------
    pools
        See `pooled`.
    places
        How many the scale has that could contradict a record.
    draws
        How many records and runs.
    seed
        Of the draws.
    """
    found, red = Calibration(draws), np.zeros(draws, dtype=bool)
    runs = len(next(iter(pools.values())).values)
    slots = 1 + max(int(pool.slots.max()) for pool in pools.values())
    drawn = sources(np.random.default_rng(seed), draws, runs, slots)
    for key, pool in pools.items():
        records, repeats = (pool.drawn(source) for source in drawn)
        unmet = [pool.unmet[source[:, pool.slots[0]]] for source in drawn]
        for draw in np.flatnonzero(_far_apart(records, repeats)):
            old = pool.decide(records[draw], unmet[0][draw])
            new = pool.decide(repeats[draw], unmet[1][draw])
            if {old.verdict, new.verdict} == {Verdict.SUPPORTED, Verdict.REFUTED}:
                found.opposite[" ".join(key)] += 1
            if contradiction(old, new, places=places):
                found.places[" ".join(key)] += 1
                red[draw] = True
    found.red = int(red.sum())
    return found


def _far_apart(records: Floats, repeats: Floats) -> NDArray[np.bool_]:
    distance = np.abs(records.mean(axis=1) - repeats.mean(axis=1))
    error = np.sqrt(
        (records.var(axis=1, ddof=1) + repeats.var(axis=1, ddof=1)) / records.shape[1]
    )
    return (distance > FAR * error) & (distance > 0)


def verdicts(runs: Sequence[Mapping[Key, Result]]) -> Counter[tuple[str, str]]:
    """Count places by their verdicts in two runs, in the order of the alphabet.

    All pairs of runs are compared, at all places of claims that both have.
    """
    found: Counter[tuple[str, str]] = Counter()
    for one, other in combinations(runs, 2):
        for key in one.keys() & other.keys():
            if one[key].kind != "invariant":
                first, second = sorted((one[key].verdict, other[key].verdict))
                found[first, second] += 1
    return found


def read_runs(paths: Sequence[Path]) -> tuple[str, list[dict[Key, Result]]]:
    """Return the scale of several runs and their results.

    Raises
    ------
    ValueError
        There are fewer than two, they are of several scales, or share seeds.
    """
    if len(paths) < 2:
        raise ValueError("one run is not enough: give the results of two or more")
    runs = [results.newest(results.read(path)) for path in paths]
    names = sorted({r.scale for run in runs for r in run})
    if len(names) != 1:
        raise ValueError(f"the runs are of several scales, {', '.join(names)}")
    seeds: dict[tuple[str, int], int] = {}
    for number, run in enumerate(runs):
        for looked in (f for r in run for f in r.fixtures):
            for seed in looked["seeds"]:
                if (first := seeds.setdefault((looked["key"], seed), number)) != number:
                    raise ValueError(
                        f"{paths[first]} and {paths[number]} share networks, such as "
                        f"{looked['name']} seed {seed}: give runs on disjoint seeds"
                    )
    return names[0], [expected.by_key(run) for run in runs]


def report(
    paths: Sequence[Path], *, draws: int = DRAWS, seed: int = 0, most: int = 10
) -> int:
    """Calibrate some runs; return exit status 1 where more than 1% of runs are red.

    "More" beyond what chance explains: the interval's lower end is above 1%.
    """
    scale, runs = read_runs(paths)
    places = [p for p in places_of(scales.get(scale)) if p.claim.kind != "invariant"]
    pools, left_out = pooled(runs, places)
    if not pools:
        raise ValueError(f"no place of scale {scale} has values in all of the runs")
    found = calibrate(pools, len(places), draws=draws, seed=seed)
    low, high = found.interval
    pairs = verdicts(runs)
    changed = {" / ".join(k): n for k, n in pairs.items() if k[0] != k[1]}
    print(
        *(f"left out, {why}: {', '.join(names)}" for why, names in left_out.items()),
        f"scale {scale}, {len(pools)} of {len(places)} places drawn, {len(runs)} runs, "
        f"{draws} draws",
        f"red runs: {found.red} of {draws}, {100 * found.red / draws:.2g}% "
        f"[{100 * low:.2g}, {100 * high:.2g}]",
        "places most often red: " + _counted(found.places, most),
        "supported in one and refuted in the other: "
        f"{found.opposite.total()} of {draws * len(pools)}, "
        + _counted(found.opposite, most),
        f"verdicts of two given runs: {pairs.total() - sum(changed.values())} of "
        f"{pairs.total()} alike, others: {_counted(changed, most)}",
        sep="\n",
    )
    return int(low > 0.01)


def _counted(counts: Mapping[Any, int], most: int) -> str:
    return (
        ", ".join(f"{what} ({n})" for what, n in Counter(counts).most_common(most))
        or "none"
    )
