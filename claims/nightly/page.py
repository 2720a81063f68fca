"""The page of a history: one file, no network."""

from itertools import groupby
from math import log
from pathlib import Path
from typing import Any

import jinja2

from claims.evidence.nights import DECIDED, DIRECTIONS
from claims.nightly.process import Process
from claims.nightly.report import KINDS, Report, line

WIDTH, HEIGHT = 120, 28
"""Of a sparkline, in pixels."""

POINTS = 40
"""Of a sparkline: as many of its nights are drawn, evenly taken."""

REDS = 10
"""Red nights of which the page says why, the last ones."""

FLOOR = -1.0
"""Evidence below a tenth is drawn as a tenth: it counts for nothing anyway."""

TEN, ROOF = log(10), log(DECIDED) / log(10) * 1.5


def render(report: Report) -> str:
    """Return the page of a report."""
    listed = {d: {p.name for p in found} for d, found in report.lists.items()}
    places = [
        {
            "name": process.name,
            "claim": process.key[0],
            "place": process.key[1],
            "process": process,
            "verdict": process.verdict,
            "listed": next((d for d in DIRECTIONS if process.name in listed[d]), ""),
            "e": [_power(value) for value in process.log_e],
            "evidence": evidence(process),
            "estimate": estimate(process),
        }
        for process in sorted(report.present, key=lambda process: process.key)
        if process.nights
    ]
    changes = [
        (process, change) for process in report.present for change in process.changes
    ]
    return _template().render(
        report=report,
        kinds=KINDS,
        line=line,
        places=places,
        months=calendar(report),
        red=[
            (night, [row for row in report.of(night) if row["red"]])
            for night in report.red_nights[::-1][:REDS]
        ],
        changes=sorted(changes, key=lambda pair: pair[1].night, reverse=True),
        asked=report.standing.places,
        directions=DIRECTIONS,
        width=WIDTH,
        height=HEIGHT,
        decided=_height(log(DECIDED) / TEN, FLOOR, ROOF),
    )


def calendar(report: Report) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return by month what each night's square says."""
    nights = [
        {
            "day": night[8:],
            "state": "red" if report.is_red(night) else "green",
            "text": f"{night}: {'red' if report.is_red(night) else 'green'}"
            f", {len(told)} news",
            "news": len(told),
        }
        | {"month": night[:7]}
        for night in report.nights
        for told in [report.of(night)]
    ]
    return [(m, [*days]) for m, days in groupby(nights, key=lambda day: day["month"])]


def evidence(process: Process) -> list[str]:
    """Return the paths of log10 of both e-values over nights, by direction."""
    return [
        _path([value / TEN for value in _some(values)], FLOOR, ROOF)
        for values in process.evidence
    ]


def estimate(process: Process) -> str:
    """Return the path of the running mean over nights."""
    means = _some(process.means)
    return _path(means, min(means), max(means))


def _some(values: list[float]) -> list[float]:
    """Return at most `POINTS` of some values, the last one among them."""
    skip = -(-len(values) // POINTS)
    return values[::-1][::skip][::-1]


def _path(values: list[float], low: float, high: float) -> str:
    step = WIDTH / max(1, len(values) - 1)
    points = [
        f"{round(k * step)} {_height(value, low, high)}"
        for k, value in enumerate(values)
    ]
    return "M" + "L".join(points) + ("h2" if len(points) == 1 else "")


def _height(value: float, low: float, high: float) -> int:
    share = 0.5 if high == low else (min(max(value, low), high) - low) / (high - low)
    return round(2 + (1 - share) * (HEIGHT - 4))


def _power(log_value: float) -> str:
    """Write an e-value.

    Examples
    --------
    >>> _power(log(213.4)), _power(log(0.31)), _power(log(4.2e7)), _power(-1e3)
    ('213', '0.31', '4e+07', '<0.01')
    """
    if log_value < log(0.01):
        return "<0.01"
    value = 10 ** min(log_value / TEN, 300)
    return (
        f"{value:.0e}"
        if value >= 1e5
        else f"{value:.0f}"
        if value >= 10
        else (f"{value:.2g}")
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
