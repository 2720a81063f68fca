"""The HTML page: one file, no network, from results to verdicts and their evidence.

Results of one scale have a row each; those of several scales stand side by side.
"""

import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from reports import accepted, plots
from reports.results import (
    STATUSES,
    Result,
    cited,
    cited_label,
    corrected,
    counts,
    number,
    probability,
    write_text,
)
from reports.scales import Row, by_claim, scales_of
from reports.terminal import shorten

LEANING = 0.05
"""A p-value by t below this is worth a second look, by sign flips."""

DISAGREE = 3
"""Times by which p by sign flips exceeds p by t before the page remarks on it."""

FLIPS = 20_000
"""So many random sign flips are taken where all of them are too many."""

UNITS = {r"seed \d+": "networks", r"\d+-\d+": "pairs", r"\d+\.\.\d+": "tuples"}
"""What independent units are, by the pattern of their names."""


def render(results: Sequence[Result], expected: Path = accepted.FOLDER) -> str:
    """Make the page; the same arguments and files give the same bytes.

    Parameters
    ----------
    results : sequence of Result
        Claims appear by topic, headlines first, in the order of the results. Of
        several for one claim, setting, variant and scale the newest counts.
    expected : Path
        Folder of what is on record, a file a scale: see `reports.accepted`.

    Returns
    -------
    str
        A whole HTML document that asks for nothing outside itself.
    """
    claims = by_claim(results)
    rows = list(chain.from_iterable(claims))
    kept = _results(rows)
    scales = scales_of(kept)
    parts = {scale: [r for r in kept if r.scale == scale] for scale in scales}
    records = {scale: accepted.read(scale, expected) for scale in scales}
    run = _run(kept)
    runs: dict[str, dict[str, str]] = {}
    if len(scales) > 1:
        runs = {scale: _run(part) for scale, part in parts.items()}
        run = {  # what all scales have in common is told once
            name: text
            for name, text in run.items()
            if all(told.get(name) == text for told in runs.values())
        }
    return _template().render(
        claims=claims,
        rows=rows,
        topics=list(dict.fromkeys(row.newest.topic for row in rows)),
        counts=counts(kept),
        counts_at={scale: counts(part) for scale, part in parts.items()},
        contradicting=[r for r in kept if r.status.key == "contradicts"],
        statuses=STATUSES,
        scales=scales,
        several=len(scales) > 1,
        level=", ".join(dict.fromkeys(filter(None, map(level, kept)))),
        holm=corrected(kept),
        on_record={r.place: records[r.scale].get((r.id, r.where)) for r in kept},
        run=run,
        runs=runs,
        plots=plots,
    )


def write(
    path: str | os.PathLike[str],
    results: Sequence[Result],
    expected: Path = accepted.FOLDER,
) -> None:
    """Render the page to `path`, whole or not at all. See `render`."""
    write_text(path, render(results, expected))


def level(result: Result) -> str:
    """Write the level of a result's interval, as ``99%``; "" where it has none."""
    if result.alpha is None or (result.low is None and result.high is None):
        return ""
    return f"{100 * (1 - 2 * result.alpha):g}%"


def numbers(result: Result, holm: float | None) -> list[tuple[str, str]]:
    """List what is told of a result beside its estimate, by name."""
    told = [
        (
            "Examples" if result.rule == "exact" else "n",
            str("-" if result.n is None else result.n),
        ),
        ("Interval", level(result)),
        ("p", "" if result.p is None else probability(result.p)),
        ("p, sign flips", "" if result.p_flip is None else probability(result.p_flip)),
        ("p, Page", "" if result.p_page is None else probability(result.p_page)),
        ("p, Holm", "" if holm is None else probability(holm)),
        (
            "p, against it",
            "" if result.p_against is None else probability(result.p_against),
        ),
        ("Spread", "" if result.spread is None else number(result.spread)),
        (
            "Detectable effect",
            "" if result.detectable is None else number(result.detectable),
        ),
    ]
    return [(name, text) for name, text in told if text]


def others(result: Result) -> list[dict[str, Any]]:
    """List the paper's numbers of other quantities than the one that was decided."""
    return [entry for entry in result.paper if entry.get("column") != "decided"]


def remark(result: Result) -> str:
    """Say where the sign-flip test contradicts a small p-value of the t-test.

    It does where the t-test's p of the direction that the values lean in, for the claim
    or against it, is below `LEANING`, and the sign-flip p of that direction above
    `DISAGREE` times the larger of it and the smallest that n units can give, ``2**-n``
    (of many units, ``1 / FLIPS``).  Then the t-test rests on normal tails that the
    values don't show: so do fewer than 1 in 50 of the samples of 5 to 10 normal values
    that lean.
    """
    p, against, flips = result.p, result.p_against, result.p_flip
    if p is None or against is None or flips is None or result.n is None:
        return ""
    least = max(2.0**-result.n, 1 / (FLIPS + 1))
    direction = "for the claim"
    if against < p:  # the sign-flip p of the other direction, but for ties
        p, flips, direction = against, 1 - flips + least, "against it"
    if p >= LEANING or flips <= DISAGREE * max(p, least):
        return ""
    return (
        f"The sign-flip test disagrees: p {direction} is {probability(flips)} where "
        f"the t-test has {probability(p)}. The one assumes values symmetric about "
        "their mean, the other normal ones."
    )


def units(result: Result) -> str:
    """Name a result's independent units: networks, pairs or tuples of them.

    By the first one's name: ``seed 100``, ``100-101`` or ``100..103``.
    """
    name = str(result.pairs[0].get("pair", "")) if result.pairs else ""
    for pattern, what in UNITS.items():
        if re.fullmatch(pattern, name):
            return what
    return "units"


def machine(result: Result) -> str:
    """Write where a result was measured, as ``cpu, Xeon, x86_64``."""
    return ", ".join(filter(None, [result.device, *result.machine.values()]))


def measured_at(result: Result) -> str:
    """Write when a result was measured, in UTC."""
    return f"{result.when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def linked(text: str) -> Markup:
    """Escape a source and turn ``arXiv:2402.05966v1`` into a link."""
    return Markup(
        re.sub(
            r"arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)",
            r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>',
            str(escape(text)),
        )
    )


def cell(value: Any) -> str:
    """Write an entry of a data table: numbers with four significant digits."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def search_text(row: Row) -> str:
    """What the free-text filter looks through, in lower case, each text once."""
    words = (
        text
        for r in row.results.values()
        for text in (r.id, r.where, r.scale, r.label, r.sentence,
                     r.source, r.quantity, r.decision)
    )  # fmt: skip
    return " ".join(dict.fromkeys(words)).lower()


def _results(rows: Iterable[Row]) -> list[Result]:
    return list(chain.from_iterable(row.results.values() for row in rows))


def _run(results: Sequence[Result]) -> dict[str, str]:
    """The header's facts; several values where results of several runs are shown."""
    if not results:
        return {}

    def values(found: Iterable[str]) -> str:
        return ", ".join(sorted({text for text in found if text}))

    names = sorted({name for r in results for name in r.versions})
    times = [r.when.astimezone(UTC) for r in results]
    first, last = min(times), max(times)
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    failed = {
        (fixture.get("name", ""), seed)
        for r in results
        for fixture in r.fixtures
        for seed in fixture.get("failed", [])
    }
    facts = {
        "Scale": values(r.scale for r in results),
        "Results": str(len(results)),
        "Measured": f"{first:%Y-%m-%d %H:%M} to {day}{last:%H:%M} UTC",
        "Seeds from": values(
            str(r.first_seed) for r in results if r.first_seed is not None
        ),
        "Networks that failed to train": str(len(failed) or ""),
        "Machine": "; ".join(sorted({machine(r) for r in results})),
        "Commit": values(r.commit[:10] for r in results),
        "Versions": ", ".join(
            f"{name} {values(r.versions.get(name, '') for r in results)}"
            for name in names
        ),
        "Measuring": f"{sum(r.seconds or 0.0 for r in results):.0f} s",
    }
    return {name: text for name, text in facts.items() if text}


def _template() -> jinja2.Template:
    environment: Any = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "results": _results,
        "number": number,
        "probability": probability,
        "cell": cell,
        "cited": cited,
        "cited_label": cited_label,
        "machine": machine,
        "measured_at": measured_at,
        "numbers": numbers,
        "others": others,
        "remark": remark,
        "units": units,
        "linked": linked,
        "shorten": shorten,
        "search_text": search_text,
    }
    return environment.get_template("page.html")
