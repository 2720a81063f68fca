"""The HTML page: one file, no network, from results to verdicts and their evidence."""

import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import groupby
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
from reports.terminal import shorten


def render(results: Sequence[Result], when: datetime | None = None) -> str:
    """Make the page; the same arguments give the same bytes.

    Parameters
    ----------
    results : sequence of Result
        Claims appear by topic, in the order of the results.
    when : datetime, optional
        When the session ended; left out of the page where unknown.

    Returns
    -------
    str
        A whole HTML document that asks for nothing outside itself.
    """
    ordered = sorted(results, key=lambda r: r.topic)
    ids = {r.id: i for i, r in reversed(list(enumerate(ordered)))}
    ordered.sort(key=lambda r: ids[r.id])  # settings of one claim stand together
    return _template().render(
        results=ordered,
        claims=[list(group) for _, group in groupby(ordered, lambda r: r.id)],
        topics=list(dict.fromkeys(r.topic for r in ordered)),
        counts=counts(results),
        statuses=STATUSES,
        run=_run(results, when),
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


def search_text(result: Result) -> str:
    """What the free-text filter looks through, in lower case."""
    words = (result.id, result.where, result.status.word, result.sentence,
             result.source, result.quantity, result.decision)  # fmt: skip
    return " ".join(words).lower()


def _run(results: Sequence[Result], when: datetime | None) -> dict[str, str]:
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


def _template() -> jinja2.Template:
    environment: Any = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "probability": probability,
        "cell": cell,
        "cited": cited,
        "linked": linked,
        "shorten": shorten,
        "search_text": search_text,
    }
    return environment.get_template("page.html")
