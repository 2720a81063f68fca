"""Where the marks of a result's plots lie; a template draws them as inline SVG.

Drawn by hand since matplotlib's SVG of the same plots is ten times as large, knows
nothing of the reader's colour scheme, and has no text under the pointer.
All lengths are pixels of a plot that is `WIDTH` wide.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, zip_longest
from statistics import mean, stdev
from textwrap import wrap
from typing import Any

from reports.axes import Axis, axis, log_axis, named_axis
from reports.results import Result, cited, cited_label, number

WIDTH = 360
LEFT, RIGHT = 34, 348  # of the curves' frame; values per pair use INSET on both sides
INSET = 14
TOP, BOTTOM = 24, 196
ROW = 36  # one column of the pairs, or one number of the paper
COLOURS = 6  # and as many dashes
MANY = 4  # lines from which on the pairs' own would hide them
DISCERNED = 20  # levels up to which each has a mark
LETTER = 6.2  # mean width of a tick's letter
SLANT = 50  # degrees, of names that are too long to stand side by side
LONGEST = 14  # letters of a slanted name


def curves(result: Result) -> dict[str, Any] | None:
    """Lay out each line's mean over pairs, a band of one deviation, every pair.

    The deviation is the sample standard deviation over pairs at one place. What
    curves hold is said in `results.check_curves`.
    """
    if not result.curves or not (lines := result.curves.get("lines")):
        return None
    places, x = _places_of(result.curves)
    found = {name: _moments(places, pairs) for name, pairs in lines.items()}
    if not any(found.values()):
        return None
    y = axis(
        [
            end
            for held in found.values()
            for _, values, m, s in held
            for end in (m - s, m + s, *(v for v in values if v is not None))
        ],
        BOTTOM,
        TOP,
    )
    drawn, told = [], []
    for index, (name, held) in enumerate(found.items()):
        if not held:
            continue
        means = [m for _, _, m, _ in held]
        edge = [(at, m + s) for at, _, m, s in held]
        edge += [(at, m - s) for at, _, m, s in held][::-1]
        pairs = [
            path(x, y, [(at, v) for (at, *_), v in zip(held, pair, strict=True)])
            for pair in zip(*(values for _, values, _, _ in held), strict=True)
            if any(v is not None for v in pair)
        ]
        several = len(pairs) > 1  # a single one has no deviation
        drawn.append(
            {
                "name": name,
                "colour": index % COLOURS,
                # Past the last colour the same ones come with other dashes.
                "dash": (index + index // COLOURS) % COLOURS,
                "band": path(x, y, edge) + "Z" if len(held) > 1 and several else "",
                "mean": path(x, y, [(at, m) for at, _, m, _ in held]),
                "points": [(x(at), y(m), number(m)) for at, _, m, _ in held],
                "table": {
                    at: f"{number(m)} ± {number(s)}" if several else number(m)
                    for at, _, m, s in held
                },
                "pairs": pairs if len(lines) <= MANY else [],
            }
        )
        told.append(
            f"{name or 'the mean'} lies between {number(min(means))} and "
            f"{number(max(means))}"
        )
    ticks, depth = _ticks(x)
    named = bool(result.curves.get("names"))
    return {
        "x": x,
        "y": y,
        "places": places,
        "ticks": ticks,
        "depth": depth,
        "x_label": wrap(result.curves.get("x_label", ""), int((RIGHT - LEFT) / LETTER)),
        "marked": len(places) == 1 or (named and len(places) <= DISCERNED),
        "lines": drawn,
        "unit": result.curves.get("unit")
        or ("value at each level" if named else "value"),
        "text": "; ".join(told),
    }


def _moments(
    places: Sequence[float], pairs: Sequence[Sequence[float | None]]
) -> list[tuple[float, tuple[float | None, ...], float, float]]:
    """Place, values of all pairs, their mean and deviation; not where all lack one."""
    return [
        (at, values, mean(known), stdev(known) if len(known) > 1 else 0.0)
        for at, values in zip(places, zip_longest(*pairs), strict=False)
        if (known := [v for v in values if v is not None])
    ]


def _places_of(curves: Mapping[str, Any]) -> tuple[Sequence[float], Axis]:
    """Where the values of curves lie, and the axis."""
    x = curves.get("x")
    if x is None:
        return range(len(curves["names"])), named_axis(curves["names"], LEFT, RIGHT)
    make = log_axis if curves.get("x_scale") == "log" else axis
    return x, make(x, LEFT, RIGHT)


def heads(curves: Mapping[str, Any]) -> list[str]:
    """Head each place of curves in a table: by its name, or else by its number."""
    if names := curves.get("names"):
        return list(names)
    return [number(at) for at in curves.get("x", [])]


def _ticks(x: Axis) -> tuple[list[dict[str, Any]], float]:
    """Lay out the ticks below an axis, and say how deep they reach.

    Names that are too long to stand side by side are slanted and, where they would
    still touch, some are left out.
    """
    room = min(
        (x(b) - x(a) for (a, _), (b, _) in pairwise(x.ticks)),
        default=RIGHT - LEFT,
    )
    longest = max(len(text) for _, text in x.ticks)
    if (longest + 1) * LETTER <= room:
        return [{"at": x(at), "text": text, "slant": 0} for at, text in x.ticks], 17.0
    skip = math.ceil(12 / (room * math.sin(math.radians(SLANT))))
    ticks = [
        {
            "at": x(at),
            # A module's name differs at its end.
            "text": text if len(text) <= LONGEST else "…" + text[1 - LONGEST :],
            "full": text,
            "slant": SLANT,
        }
        for at, text in x.ticks[::skip]
    ]
    letters = max(len(tick["text"]) for tick in ticks)
    return ticks, 12 + letters * LETTER * math.sin(math.radians(SLANT))


def path(x: Axis, y: Axis, points: Iterable[tuple[float, float | None]]) -> str:
    """Write the `d` of an SVG path; a missing value leaves a gap.

    A value between two gaps is a dash, since a point has no length to draw.

    Examples
    --------
    >>> to = axis([0, 1], 0, 10)
    >>> path(to, to, [(0, 0), (0.2, 0.2), (0.5, None), (1, 1)])
    'M0 0L2 2M10 10m-1.5 0h3'
    """
    runs: list[list[str]] = [[]]
    for across, up in points:
        if up is None:
            runs.append([])
        else:
            runs[-1].append(f"{x(across):g} {y(up):g}")
    return "".join(
        "M" + "L".join(run) + ("m-1.5 0h3" if len(run) == 1 else "")
        for run in runs
        if run
    )


def columns(result: Result) -> list[str]:
    """Every column of the pairs, in order of appearance, without the pair's name."""
    names = dict.fromkeys(name for pair in result.pairs for name in pair)
    return [name for name in names if name != "pair"]


def levels_of(result: Result) -> list[str]:
    """Columns of the pairs that are drawn as a trend's curve already."""
    names = (result.curves or {}).get("names") or []
    return [
        name for name in names if result.rule == "trend" and name in columns(result)
    ]


def values(result: Result) -> dict[str, Any] | None:
    """Lay out one row per column of the pairs, then one per number of the paper.

    The levels of a trend are drawn as a curve already: of them only those that the
    paper has numbers of are repeated.
    """
    lines, levels = list((result.curves or {}).get("lines", {})), levels_of(result)
    paper = [entry for entry in result.paper if entry.get("value") is not None]
    cited_columns = {entry.get("column") for entry in paper}
    found = {
        name: held
        for name in columns(result)
        if (held := _held(result, name))
        and (name not in levels or name in cited_columns)
    }
    if not found:
        return None
    inside = [value for held in found.values() for value in held]
    for entry in paper:
        spread = entry.get("spread") or 0.0
        inside += [entry["value"] - spread, entry["value"] + spread]
    x = axis(inside, INSET, WIDTH - INSET)
    rows: list[dict[str, Any]] = []
    for name, held in found.items():
        middle = mean(held)
        rows.append(
            {
                "label": name,
                "value": number(middle, _places(x)),
                "colour": lines.index(name) % COLOURS if name in lines else None,
                "mean": x(middle),
                "dots": [x(v) for v in held],
            }
        )
    cites: list[dict[str, Any]] = []
    for entry in paper:
        spread = entry.get("spread") or 0.0
        cites.append(
            {
                "label": cited_label(entry),
                "value": cited(entry),
                "at": x(entry["value"]),
                "low": x(entry["value"] - spread),
                "high": x(entry["value"] + spread),
            }
        )
    return {
        "x": x,
        "rows": rows,
        "cites": cites,
        "height": ROW * (len(rows) + len(cites)) + (22 if cites else 0) + 24,
        "text": "Means over pairs: "
        + ", ".join(f"{row['label']} {row['value']}" for row in rows)
        + (". In the paper: " if cites else "")
        + ", ".join(f"{cite['label']} {cite['value']}" for cite in cites)
        + ".",
    }


def _held(result: Result, name: str) -> list[float]:
    found = (pair.get(name) for pair in result.pairs)
    return [float(value) for value in found if isinstance(value, int | float)]


def _places(x: Axis) -> int:
    """One decimal more than the ticks have."""
    return max(len(text.partition(".")[2]) for _, text in x.ticks) + 1
