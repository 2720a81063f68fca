"""The map of where the order flips: RESCALE minus REPAIR over a factor's levels."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean, stdev

from reports.results import Result, number

TOPIC = "order"
"""The topic of claims about that difference."""

CLEAR = 2.0
"""Standard errors from zero at which a cell says who is ahead."""


@dataclass(frozen=True)
class Cell:
    """The mean difference at a level, with its standard error over pairs."""

    level: str
    mean: float
    error: float | None

    @property
    def ahead(self) -> str:
        """``"rescale"``, ``"repair"``, or "" where neither is, beyond chance."""
        if self.error is None or abs(self.mean) <= CLEAR * self.error:
            return ""
        return "rescale" if self.mean > 0 else "repair"

    @property
    def text(self) -> str:
        """The difference with its standard error."""
        spread = "" if self.error is None else f" ± {number(self.error, 1)}"
        return f"{'+' if self.mean > 0 else ''}{number(self.mean, 1)}{spread}"


@dataclass(frozen=True)
class Line:
    """A factor, in a variant, at a scale: its levels in their order."""

    result: Result
    factor: str
    cells: tuple[Cell, ...]


def lines(results: Iterable[Result]) -> list[Line]:
    """Return a line for every trend of the topic whose levels were measured."""
    found = []
    for result in results:
        names = (result.curves or {}).get("names") or []
        if result.topic != TOPIC or result.rule != "trend" or not names:
            continue
        cells = []
        for name in names:
            values = [pair.get(name) for pair in result.pairs]
            known = [float(v) for v in values if isinstance(v, int | float)]
            if known:
                several = len(known) > 1
                error = stdev(known) / len(known) ** 0.5 if several else None
                cells.append(Cell(str(name), mean(known), error))
        factor = (result.curves or {}).get("x_label") or result.claim
        found.append(Line(result, factor, tuple(cells)))
    return found
