"""The HTML page: one file, no network, from results to verdicts and their evidence.

Results of one scale have a row each; those of several scales stand side by side.
"""

import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from reports import plots
from reports.results import (
    STATUSES,
    Result,
    cited,
    counts,
    number,
    probability,
    write_text,
)
from reports.scales import Row, by_claim, scales_of
from reports.terminal import shorten


def render(results: Sequence[Result], when: datetime | None = None) -> str:
    """Make the page; the same arguments give the same bytes.

    Parameters
    ----------
    results : sequence of Result
        Claims appear by topic, in the order of the results. Of several for one claim,
        setting, variant and scale the newest counts.
    when : datetime, optional
        When the session ended; left out of the page where unknown. Results of several
        scales are of several sessions: the page then gives the times of each scale's.

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
    run = _run(kept, when)
    runs: dict[str, dict[str, str]] = {}
    if len(scales) > 1:
        runs = {scale: _span(part) | _run(part) for scale, part in parts.items()}
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
        statuses=STATUSES,
        scales=scales,
        several=len(scales) > 1,
        run=run,
        runs=runs,
        plots=plots,
    )


def write(
    path: str | os.PathLike[str],
    results: Sequence[Result],
    when: datetime | None = None,
) -> None:
    """Render the page to `path`, whole or not at all. See `render`."""
    write_text(path, render(results, when))


def written(path: str | os.PathLike[str]) -> datetime:
    """When a file of results was written, in UTC, to the second."""
    return datetime.fromtimestamp(int(Path(path).stat().st_mtime), UTC)


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
        for text in (r.id, r.where, r.scale, r.status.word, r.sentence,
                     r.source, r.quantity, r.decision)
    )  # fmt: skip
    return " ".join(dict.fromkeys(words)).lower()


def _results(rows: Iterable[Row]) -> list[Result]:
    return list(chain.from_iterable(row.results.values() for row in rows))


def _run(results: Sequence[Result], when: datetime | None = None) -> dict[str, str]:
    """The header's facts; several values where results of several runs are shown."""

    def values(found: Sequence[str]) -> str:
        return ", ".join(sorted({text for text in found if text}))

    names = sorted({name for r in results for name in r.versions})
    seconds = sum(r.seconds or 0.0 for r in results)
    facts = {
        "Run": f"{when:%Y-%m-%d %H:%M} UTC" if when else "",
        "Scale": values([r.scale for r in results]),
        "Device": values([r.device for r in results]),
        "Commit": values([r.commit[:10] for r in results]),
        "Versions": ", ".join(
            f"{name} {values([r.versions.get(name, '') for r in results])}"
            for name in names
        ),
        "Measuring": f"{seconds:.0f} s" if results else "",
    }
    return {name: text for name, text in facts.items() if text}


def _span(results: Sequence[Result]) -> dict[str, str]:
    """How much was measured of a scale and when, as far as the times are known."""
    facts = {"Scale": results[0].scale, "Results": str(len(results))}
    if times := [r.when.astimezone(UTC) for r in results if r.measured_at]:
        first, last = min(times), max(times)
        day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
        facts["Measured"] = f"{first:%Y-%m-%d %H:%M} to {day}{last:%H:%M} UTC"
    return facts


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
        "linked": linked,
        "shorten": shorten,
        "search_text": search_text,
    }
    return environment.get_template("page.html")
