"""Scales of the plots, with their ticks: linear, logarithmic, or names in a row."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from reports.results import number


@dataclass(frozen=True)
class Axis:
    """A scale with its ticks; calling it gives a value's place in pixels.

    On a logarithmic scale `low`, `high` and all values are above zero.
    """

    low: float
    high: float
    start: float
    stop: float
    ticks: tuple[tuple[float, str], ...]
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        share = (value - low) / (high - low)
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
        for k in range(count + 1)
        if (low + k) % skip == 0  # so that zero keeps its tick
    )
    return Axis(low * step, high * step, start, stop, ticks)


def _whole(steps: float, toward: Any) -> int:
    # Without the rounding 0.30000000000000004 / 0.1 would open one step too many.
    return int(toward(round(steps, 6)))


def log_axis(values: Iterable[float], start: float, stop: float, most: int = 5) -> Axis:
    """Make a logarithmic axis for values above zero; it begins and ends at a tick.

    Ticks are the first of these with at most `most` gaps: all of one digit, 1-2-5,
    1-3, the powers of ten, every second of them, and so on.

    Examples
    --------
    >>> made = log_axis([0.001, 0.1], 0, 200)
    >>> [text for _, text in made.ticks], made(0.01)
    (['0.001', '0.003', '0.01', '0.03', '0.1'], 100.0)
    """
    values = list(values) or [1.0]
    low, high = min(values), max(values)
    if high <= low * (1 + 1e-9):  # one value: make room around it
        low, high = low / 2, high * 2
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high)) + 1
    digits: Sequence[int]
    for digits in (range(1, 10), (1, 2, 5), (1, 3)):
        # By text, so that a tick is 0.3 and not 3 * 10**-1 = 0.30000000000000004.
        grid = [float(f"{d}e{e}") for e in range(first, last + 1) for d in digits]
        ticks = _around(grid, low, high)
        if len(ticks) <= most + 1:
            break
    else:
        skip = math.ceil((last - first) / most)
        grid = [float(f"1e{e}") for e in range(first, last + skip, skip)]
        ticks = _around(grid, low, high)
    named = tuple((tick, f"{tick:g}") for tick in ticks)
    return Axis(ticks[0], ticks[-1], start, stop, named, log=True)


def _around(grid: Sequence[float], low: float, high: float) -> list[float]:
    """Cut a grid to the narrowest part of it that holds both ends."""
    first = max(k for k, at in enumerate(grid) if at <= low * (1 + 1e-9))
    last = min(k for k, at in enumerate(grid) if at >= high * (1 - 1e-9))
    return list(grid[first : last + 1])


def named_axis(names: Sequence[str], start: float, stop: float) -> Axis:
    """Make an axis on which name number k stands at k, in the middle of its share.

    Examples
    --------
    >>> made = named_axis(["half", "whole"], 0, 200)
    >>> [(made(at), text) for at, text in made.ticks]
    [(50.0, 'half'), (150.0, 'whole')]
    """
    return Axis(-0.5, len(names) - 0.5, start, stop, tuple(enumerate(names)))
