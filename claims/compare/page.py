"""A comparison as an HTML page: one file, which asks for nothing outside itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from claims.compare import tables
from claims.compare.differences import Difference, by_method, settings_of
from claims.compare.measuring import Measured

WIDTH, INSET = 200, 6
"""Of the plot of an interval, and of its margins, in pixels."""


@dataclass(frozen=True)
class Axis:
    """From points of accuracy to pixels; the same for all intervals of a setting."""

    low: float
    high: float

    @classmethod
    def of(cls, shown: Sequence[Difference]) -> "Axis":
        """Return one that has room for all intervals, and for zero."""
        low = min([each.low for each in shown] + [0.0])
        high = max([each.high for each in shown] + [0.0])
        return cls(low, high if high > low else low + 1.0)

    def __call__(self, points: float) -> float:
        share = (points - self.low) / (self.high - self.low)
        return round(INSET + share * (WIDTH - 2 * INSET), 1)


def render(
    rows: Sequence[Measured], found: Sequence[Difference], looks: str, title: str
) -> str:
    """Return the page.

    Parameters
    ----------
    rows, found
        What was measured, and the differences.
    looks
        How fresh the networks are, as a sentence.
    title
        What was compared.
    """
    settings = []
    for setting in settings_of(rows):
        own = [each for each in found if each.setting == setting]
        methods = by_method(rows, setting)
        head, body = tables.cells(rows, setting)
        settings.append(
            {
                "name": setting,
                "head": head,
                "body": zip(body, [r[0].own for r in methods.values()], strict=True),
                "pairs": [row for row in rows if row.setting == setting],
                "differences": [(each, tables.difference_cells(each)) for each in own],
                "axis": Axis.of(own),
                "count": len(next(iter(methods.values()))),
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html").render(
        title=title,
        looks=looks,
        caption=tables.caption(found) if found else "",
        settings=settings,
        width=WIDTH,
    )
