"""The map of where the order flips: RESCALE minus REPAIR, cell by cell."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.special import stdtrit

from reports.results import Result, cited, listed, number

TOPIC = "order"
"""The topic of claims about that difference."""

FACTORS = {
    "convolutions": "depth",
    "multiple of the smallest weight decay": "weight decay",
    "width over the centre's": "width",
}
"""Names of the factors whose axes are labelled otherwise."""

CELLS = ("order/cell", "order/uncorrected-cell")
"""Claims whose places are cells; those of the others are a trend's levels."""

HEADLINE = "renormalization/rescale-beats-repair"
"""The claim beside which the paper's own difference stands."""

CONFIDENCE = 0.95
"""Of a cell's interval, by Student's t."""


@dataclass(frozen=True)
class Cell:
    """The mean difference of some networks, with its interval over pairs.

    Attributes
    ----------
    level
        What the networks are called.
    mean, low, high
        In points; without an interval where there is one pair.
    paper
        How the paper gives it, "" where it is measured.
    """

    level: str
    mean: float
    low: float | None = None
    high: float | None = None
    paper: str = ""

    @classmethod
    def measured(cls, level: str, values: Sequence[float]) -> "Cell":
        """Return the cell of pairs' differences."""
        middle, n = mean(values), len(values)
        if n < 2:
            return cls(level, middle)
        quantile = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2))
        half = quantile * stdev(values) / n**0.5
        return cls(level, middle, middle - half, middle + half)

    @property
    def ahead(self) -> str:
        """``"rescale"``, ``"repair"``, or "" where the interval has zero in it."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return ""
        return "rescale" if self.mean > 0 else "repair"

    @property
    def outcome(self) -> str:
        """What is ahead, in words; of one pair nothing can be told."""
        if self.low is None:
            return "one pair"
        ahead = {"rescale": "RESCALE ahead", "repair": "REPAIR ahead"}
        return ahead.get(self.ahead, "neither")

    @property
    def text(self) -> str:
        """The difference with its interval."""
        if self.paper:
            return self.paper
        text = f"{'+' if self.mean > 0 else ''}{number(self.mean, 1)}"
        if self.low is None or self.high is None:
            return text
        return f"{text} [{number(self.low, 1)}, {number(self.high, 1)}]"


@dataclass(frozen=True)
class Line:
    """Cells side by side: a factor's levels, or the networks of a scale.

    Attributes
    ----------
    result
        Of the trend, or of the first cell.
    factor, where, note
        What differs between the cells, in which networks, and what is claimed.
    cells
        In their order; the paper's own last.
    """

    result: Result
    factor: str
    where: str
    note: str
    cells: tuple[Cell, ...]

    @property
    def protocol(self) -> str:
        """By which statistics RESCALE and REPAIR work: the glossary has both."""
        return f"{'un' if _uncorrected(self.result) else ''}corrected statistics"


def mapped(result: Result) -> bool:
    """Whether a result's claim is about the difference that the map shows."""
    return result.topic == TOPIC or result.id == HEADLINE


def factors(found: Sequence[Line]) -> str:
    """Name what differs between the cells of lines, as ``epochs and width``."""
    names = (FACTORS.get(line.factor, line.factor) for line in found)
    return listed([*dict.fromkeys(names)])


def lines(results: Sequence[Result]) -> list[Line]:
    """Return the lines of all trends and cells of the topic that were measured."""
    return [*_networks(results), *_trends(results)]


def _trends(results: Sequence[Result]) -> list[Line]:
    found = []
    for result in results:
        names = (result.curves or {}).get("names") or []
        if result.topic != TOPIC or result.rule != "trend" or not names:
            continue
        cells = [
            Cell.measured(str(name), values)
            for name in names
            if (values := _values(result, name))
        ]
        factor = (result.curves or {}).get("x_label") or result.claim
        note = f"{result.label.capitalize()}: {result.sentence}"
        cells += _papers(result, results)
        found.append(Line(result, factor, result.where, note, tuple(cells)))
    return found


def _networks(results: Sequence[Result]) -> list[Line]:
    rows: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        if result.id in CELLS and _values(result, "decided"):
            place = (result.scale, result.id, result.variant)
            rows.setdefault(place, []).append(result)
    return [
        Line(
            row[0],
            "networks",
            row[0].variant,
            row[0].sentence,
            (
                *(Cell.measured(r.setting, _values(r, "decided")) for r in row),
                *_papers(row[0], results),
            ),
        )
        for row in rows.values()
    ]


def _uncorrected(result: Result) -> bool:
    return "uncorrected" in f"{result.id} {result.variant} {result.quantity}"


def _values(result: Result, name: str) -> list[float]:
    values = (pair.get(name) for pair in result.pairs)
    return [float(value) for value in values if isinstance(value, int | float)]


def _papers(result: Result, results: Iterable[Result]) -> list[Cell]:
    """Return the paper's cell, of its own networks by the protocol of its code.

    That corrects statistics: none where uncorrected ones are shown.  Nor where its
    number is not among the results of the scale.
    """
    if _uncorrected(result):
        return []
    for other in results:
        if (other.id, other.variant) != (HEADLINE, result.variant):
            continue
        if other.scale == result.scale and other.effect is not None:
            told = cited({"value": other.effect, "spread": other.effect_spread})
            return [Cell("the paper's", other.effect, paper=told)]
    return []
