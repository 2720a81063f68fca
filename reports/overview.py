"""What the first page shows: the outcome in words, headlines, claims by scale."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from reports.catalogue import headlines
from reports.forest import common
from reports.results import STATUSES, Result, Status, counts, listed, number
from reports.scales import Row, scales_of

DECIMALS = ((100, 0), (10, 1), (0.1, 2))
"""Decimals of a range of numbers, by the least size of its largest."""

SHOWN = 6
"""Results of a headline that stand on the first page."""


@dataclass(frozen=True)
class Claim:
    """A claim, wherever it was measured."""

    rows: tuple[Row, ...]

    @property
    def newest(self) -> Result:
        """The result whose sentence is that of today."""
        return max((row.newest for row in self.rows), key=lambda r: r.when)

    @property
    def results(self) -> list[Result]:
        """All its results, place by place."""
        return [*chain.from_iterable(row.results.values() for row in self.rows)]

    @property
    def differs(self) -> bool:
        """Whether some place has different verdicts at two scales."""
        return any(row.differs for row in self.rows)

    @property
    def headline(self) -> bool:
        """Whether it decides a chief finding of a paper."""
        return self.newest.id in headlines()

    def at(self, scale: str) -> list[Result]:
        """Return its results at a scale."""
        return [r for r in self.results if r.scale == scale]

    def words(self) -> str:
        """Return what is searched beside id and sentence, each text once."""
        texts = (
            text
            for r in self.results
            for text in (r.source, r.quantity, r.setting, r.variant)
        )
        labels = (e.get("label", "") for r in self.results for e in r.paper)
        return " ".join(dict.fromkeys(filter(None, chain(texts, labels))))


def tally(results: Sequence[Result]) -> list[tuple[Status, int]]:
    """Count results by their status, leaving out what there is none of."""
    return [(STATUSES[key], n) for key, n in counts(results).items() if n]


def short(result: Result) -> str:
    """Write a verdict in few words; a leaning stands for an inconclusive one."""
    if result.status.key == "contradicts":
        return f"{result.verdict}, contradicts"
    return f"leans {result.leaning}" if result.leaning else result.outcome


def in_common(results: Sequence[Result]) -> str:
    """Return the label that all results have; "" where they differ."""
    found = {r.label for r in results}
    return found.pop() if len(found) == 1 else ""


def standing(results: Sequence[Result]) -> float | None:
    """Return how far results speak for a claim, from -1 to 1: to sort by."""
    decided = [r for r in results if r.verdict != "error" and not r.progress]
    if not decided:
        return None
    sides = Counter(r.verdict for r in decided)
    return (sides["supported"] - sides["refuted"]) / len(decided)


def span(results: Sequence[Result]) -> str:
    """Write what was measured: an estimate with its interval, or several's range."""
    measured = [r for r in results if r.estimate is not None]
    if len(measured) < 2:
        return measured[0].measured if measured else ""
    values = [r.estimate for r in measured if r.estimate is not None]
    return _range(values, measured[0].unit)


def in_paper(results: Sequence[Result]) -> str:
    """Write the paper's values of the quantity that was measured, as a range."""
    found = {r.in_paper: r.effect for r in results if r.effect is not None}
    if len(found) < 2:
        return next(iter(found), "")
    return _range([v for v in found.values() if v is not None])


def shares(results: Sequence[Result]) -> dict[str, str]:
    """Write the shares of the paper's effect measured at each scale, as a range."""
    found = [r for r in results if r.share is not None]
    told = {}
    for scale in scales_of(found):
        at = [r for r in found if r.scale == scale]
        values = [r.share for r in at if r.share is not None]
        told[scale] = _range(values) if len(at) > 1 else at[0].of_effect
    return told


def _range(values: Sequence[float], unit: str = "") -> str:
    low, high = (number(v, _places(values)) for v in (min(values), max(values)))
    return f"{low if low == high else f'{low} to {high}'} {unit}".strip()


def _places(values: Sequence[float]) -> int | None:
    """Few decimals where values are large, None (three digits) where all are small."""
    largest = max(map(abs, values))
    return next((places for least, places in DECIMALS if largest >= least), None)


def outcome(claims: Sequence[Claim]) -> list[str]:
    """Say in words what a report's results come to."""
    results = [*chain.from_iterable(claim.results for claim in claims)]
    if not results:
        return ["No claim has been decided yet."]
    empirical = [r for r in results if r.kind != "invariant"]
    found = Counter(r.verdict for r in empirical)
    waiting = [r for r in empirical if r.status.key == "waiting"]
    undecided = found["inconclusive"] - len(waiting)
    leaning = sum(bool(r.leaning) for r in empirical if r.verdict == "inconclusive")
    scales = scales_of(results)
    told = [
        f"{_many(len(claims), 'claim')}, measured at {_many(len(results), 'place')} "
        f"(settings and variants) at scale{'s' if len(scales) > 1 else ''} "
        f"{listed(scales)}.",
    ]
    if empirical:
        told.append(
            f"Of {_many(len(empirical), 'empirical result')} {found['supported']} are "
            f"supported, {found['refuted']} refuted and {undecided} "
            "inconclusive" + (f", {leaning} of which lean." if leaning else ".")
        )
    for scale in scales_of(waiting):
        at = [r.progress for r in waiting if r.scale == scale]
        told.append(
            f"{len(at)} {'has' if len(at) == 1 else 'have'} no verdict yet: scale "
            f"{scale} has {' or '.join(dict.fromkeys(at))} so far."
        )
    exact = [r for r in results if r.kind == "invariant"]
    if exact:
        broken = sum(r.verdict != "supported" for r in exact)
        supported = found["supported"] + len(exact) - broken
        told.append(
            (
                f"{broken} of {len(exact)} invariants are broken"
                if broken
                else f"All {len(exact)} invariants hold up to rounding"
            )
            + (f"; in all {supported} results are supported." if empirical else ".")
        )
    red = [r for r in results if r.status.key == "contradicts"]
    errors = found["error"] + sum(r.verdict == "error" for r in exact)
    if not red and not errors:
        told.append("Nothing contradicts what is on record, and nothing failed.")
    if errors:
        told.append(f"{_many(errors, 'result')} ended in an error.")
    return told


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


@dataclass(frozen=True)
class Headline:
    """A claim on a chief finding of a paper, with the results to be shown."""

    claim: Claim
    shown: tuple[Result, ...]
    more: int
    axis: Any


def headline(claim: Claim) -> Headline:
    """Choose what to show of a headline: what the paper has a number of comes first."""
    results = sorted(claim.results, key=lambda r: not r.in_paper)  # stable
    shown = results[: SHOWN + (len(results) == SHOWN + 1)]  # a link takes a line too
    return Headline(claim, tuple(shown), len(results) - len(shown), common(shown))


def chosen(claims: Iterable[Claim]) -> list[Headline]:
    """Return the headlines among claims, in the order of `headlines`."""
    order = headlines()
    found = {claim.newest.id: claim for claim in claims if claim.headline}
    return [headline(found[name]) for name in order if name in found]
