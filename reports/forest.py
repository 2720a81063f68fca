"""Forest plots: intervals of several results on one axis, a strip for each.

Each strip stands in a row of a table beside its numbers, so that it needs no labels.
"""

from collections.abc import Iterable
from typing import Any

from reports.axes import Axis, axis
from reports.results import Result

WIDTH, HEIGHT = 180, 22
INSET = 8


def common(results: Iterable[Result]) -> Axis | None:
    """Make the axis of several results with their margins and the paper's effects.

    None where nothing is drawn, or units differ: then they have no common axis.
    """
    shown = [r for r in results if r.estimate is not None]
    drawn = [r for r in shown if _is_drawn(r)]
    if not drawn or len({r.unit for r in shown}) > 1:
        return None
    inside: list[float | None] = [0.0]
    for r in drawn:
        inside += [r.estimate, r.low, r.high, *margins(r), r.effect]
    return axis((v for v in inside if v is not None), INSET, WIDTH - INSET, most=4)


def margins(result: Result) -> list[float]:
    """Return where the claim's region begins, or begins and ends."""
    if result.margin is None:
        return []
    if result.rule == "equivalence":
        return [-result.margin, result.margin]
    return [result.margin]


def _is_drawn(result: Result) -> bool:
    """Whether it has an interval, or is the value of a single unit."""
    return result.n == 1 or result.low is not None or result.high is not None


def strip(result: Result, x: Axis) -> dict[str, Any] | None:
    """Lay out one result's strip; None where it has no interval, but for a single unit.

    An end without a value is open, and reaches the strip's edge.
    """
    low, high = result.low, result.high
    if result.estimate is None or not _is_drawn(result):
        return None
    if low is None and high is None:
        low = high = result.estimate
    return {
        "zero": x(0) if x.low <= 0 <= x.high else None,
        "margins": [x(m) for m in margins(result)],
        "low": x.start if low is None else x(low),
        "high": x.stop if high is None else x(high),
        "estimate": x(result.estimate),
        "paper": None if result.effect is None else x(result.effect),
    }
