"""Where the marks of a result's plots lie; `page.html` draws them as inline SVG.

Drawn by hand since matplotlib's SVG of the same plots is ten times as large, knows
nothing of the reader's colour scheme, and has no text under the pointer.
All lengths are pixels of a plot that is `WIDTH` wide.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from reports.results import Result, cited, number

WIDTH = 360
LEFT, RIGHT = 34, 348  # of the curves' frame; values per pair use INSET on both sides
INSET = 14
TOP, BOTTOM = 24, 196
ROW = 36  # one column of the pairs, or one number of the paper
COLOURS = 6


@dataclass(frozen=True)
class Axis:
    """A linear scale with its ticks; calling it gives a value's place."""

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[tuple[float, str], ...]

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.stop - self.start), 1)


def axis(values: Iterable[float], start: float, stop: float, most: int = 5) -> Axis:
    """Make an axis from `start` to `stop` for all values, with few round ticks.

    Examples
    --------
    >>> made = axis([0, 100], 0, 200)
    >>> [text for _, text in made.ticks], made(50)
    (['0', '20', '40', '60', '80', '100'], 100.0)
    """
    values = list(values) or [0.0, 1.0]
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: make room around it
        room = abs(low) / 10 or 1.0
        low, high = low - room, high + room
    unit = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(unit * k for k in (1, 2, 5, 10) if (high - low) / (unit * k) <= most)
    low, high = _whole(low / step, math.floor), _whole(high / step, math.ceil)
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    count = round(high - low)
    skip = math.ceil(count / most) if count > most else 1
    ticks = tuple(
        ((low + k) * step, number((low + k) * step, places))
        for k in range(0, count + 1, skip)
    )
    return Axis(low * step, high * step, start, stop, ticks)


def _whole(steps: float, toward: Any) -> int:
    # Without the rounding 0.30000000000000004 / 0.1 would open one step too many.
    return int(toward(round(steps, 6)))


def interval(result: Result) -> dict[str, Any] | None:
    """Lay out the estimate with its interval, beside zero and the claim's margin.

    An end without a value is open: its arrow points to the frame's edge.
    """
    low, high = result.low, result.high
    if result.estimate is None or (low is None and high is None):
        return None
    margins = set()
    if result.margin is not None:
        both = result.rule == "equivalence"
        margins = {result.margin, -result.margin} if both else {result.margin}
    inside = [v for v in (low, high, result.estimate, *margins) if v is not None]
    x = axis(inside, INSET, WIDTH - INSET)
    return {
        "x": x,
        "low": x.start if low is None else x(low),
        "high": x.stop if high is None else x(high),
        "open": (low is None, high is None),
        "estimate": x(result.estimate),
        "margins": [(x(m), number(m)) for m in sorted(margins)],
        "zero": x(0) if x.low < 0 < x.high else None,
        "text": f"Estimate {result.measured}; "
        + (f"the claim's margin is {number(result.margin)}." if margins else ""),
    }


def curves(result: Result) -> dict[str, Any] | None:
    """Lay out each method's mean over pairs, a band of one deviation, every pair.

    The deviation is the sample standard deviation over pairs at one lambda.
    """
    if not result.curves or not result.curves.get("lines"):
        return None
    lambdas = result.curves["lambda"]
    lines = {
        name: [pair for pair in pairs if pair]
        for name, pairs in result.curves["lines"].items()
    }
    bands = {name: _moments(pairs) for name, pairs in lines.items()}
    seen = [v for pairs in lines.values() for pair in pairs for v in pair]
    ends = [m + sign * s for b in bands.values() for m, s in b if m is not None
            for sign in (-1, 1)]  # fmt: skip
    x = axis(lambdas, LEFT, RIGHT)
    y = axis([v for v in seen + ends if v is not None], BOTTOM, TOP)
    drawn = []
    for index, (name, pairs) in enumerate(lines.items()):
        held = [(a, m, s) for a, (m, s) in zip(lambdas, bands[name], strict=True)
                if m is not None]  # fmt: skip
        edge = [(a, m + s) for a, m, s in held] + [(a, m - s) for a, m, s in held][::-1]
        drawn.append(
            {
                "name": name,
                "colour": index % COLOURS,
                "band": path(x, y, edge) + "Z" if len(held) > 1 else "",
                "mean": path(x, y, [(a, m) for a, m, _ in held]),
                "points": [(x(a), y(m), number(m)) for a, m, _ in held],
                "pairs": [path(x, y, zip(lambdas, p, strict=True)) for p in pairs],
            }
        )
    count = max(map(len, lines.values()))
    return {
        "x": x,
        "y": y,
        "lines": drawn,
        "unit": result.curves.get("unit", ""),
        "text": f"Mean over {count} pairs with one standard deviation, and each pair: "
        + "; ".join(
            f"{name} lies between {number(min(means))} and {number(max(means))}"
            for name, band in bands.items()
            if (means := [m for m, _ in band if m is not None])
        )
        + ".",
    }


def _moments(pairs: Sequence[Sequence[Any]]) -> list[tuple[float | None, float]]:
    """Mean and deviation over pairs at each lambda; None where no pair has a value."""
    moments: list[tuple[float | None, float]] = []
    for values in zip(*pairs, strict=True):
        held = [v for v in values if v is not None]
        moments.append(
            (mean(held) if held else None, stdev(held) if len(held) > 1 else 0.0)
        )
    return moments


def path(x: Axis, y: Axis, points: Iterable[tuple[float, float | None]]) -> str:
    """Write the `d` of an SVG path; a missing value leaves a gap.

    Examples
    --------
    >>> to = axis([0, 1], 0, 10)
    >>> path(to, to, [(0, 0), (0.5, None), (1, 1)])
    'M0.0 0.0M10.0 10.0'
    """
    parts, pen = [], "M"
    for across, up in points:
        if up is not None:
            parts.append(f"{pen}{x(across)} {y(up)}")
        pen = "M" if up is None else "L"
    return "".join(parts)


def columns(result: Result) -> list[str]:
    """Every column of the pairs, in order of appearance, without the pair's name."""
    names = dict.fromkeys(name for pair in result.pairs for name in pair)
    return [name for name in names if name != "pair"]


def values(result: Result) -> dict[str, Any] | None:
    """Lay out one row per column of the pairs, then one per number of the paper."""
    lines = list((result.curves or {}).get("lines", {}))
    paper = [entry for entry in result.paper if entry.get("value") is not None]
    found = {name: held for name in columns(result) if (held := _held(result, name))}
    if not found:
        return None
    inside = [value for held in found.values() for _, value in held]
    for entry in paper:
        spread = entry.get("spread") or 0.0
        inside += [entry["value"] - spread, entry["value"] + spread]
    x = axis(inside, INSET, WIDTH - INSET)
    rows: list[dict[str, Any]] = []
    for name, held in found.items():
        middle = mean(value for _, value in held)
        rows.append(
            {
                "label": name,
                "value": number(middle, _places(x)),
                "colour": lines.index(name) % COLOURS if name in lines else None,
                "mean": x(middle),
                "dots": [(x(v), f"pair {pair}: {number(v)}") for pair, v in held],
            }
        )
    cites: list[dict[str, Any]] = []
    for entry in paper:
        spread = entry.get("spread") or 0.0
        cites.append(
            {
                "label": entry.get("label", ""),
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


def _held(result: Result, name: str) -> list[tuple[str, float]]:
    return [
        (str(pair.get("pair", index)), float(value))
        for index, pair in enumerate(result.pairs)
        if isinstance(value := pair.get(name), int | float)
    ]


def _places(x: Axis) -> int:
    """One decimal more than the ticks have."""
    return max(len(text.partition(".")[2]) for _, text in x.ticks) + 1
