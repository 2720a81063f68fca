"""A comparison as text for the terminal, and as LaTeX for a paper."""

import statistics
import textwrap
from collections.abc import Sequence

from claims.compare.differences import (
    FAMILY,
    Difference,
    by_method,
    settings_of,
)
from claims.compare.measuring import Measured
from claims.compare.methods import short

WIDTH = 80
"""Of sentences in the terminal."""

BASE = "weights"
"""The method by whose seconds all are divided."""


def cells(rows: Sequence[Measured], setting: str) -> tuple[list[str], list[list[str]]]:
    """Lay a setting's means out.

    Returns
    -------
    head
        Names of columns.
    body
        A row for each method: accuracies with their standard deviations over pairs,
        then objective, distance, seconds, and the median over pairs of the seconds'
        ratio to those of `BASE`.
    """
    methods = by_method(rows, setting)
    columns = [*next(iter(methods.values()))[0].accuracies]
    head = ["method", *columns, "objective", "distance", "seconds", "ratio"]
    body = []
    for name, found in methods.items():
        pairs = zip(found, methods.get(BASE, found), strict=True)
        ratio = statistics.median(row.seconds / base.seconds for row, base in pairs)
        body.append(
            [
                short(name),
                *(_spread([row.accuracies[what] for row in found]) for what in columns),
                f"{statistics.mean(row.objective for row in found):.4g}",
                f"{statistics.mean(row.distance for row in found):.4g}",
                f"{statistics.mean(row.seconds for row in found):.2g}",
                f"{ratio:.2g}" if BASE in methods else "-",
            ]
        )
    return head, body


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.1f}"
    return f"{mean} ± {statistics.stdev(values):.1f}" if len(values) > 1 else mean


def text(rows: Sequence[Measured], found: Sequence[Difference], looks: str) -> str:
    """Return all settings' tables for the terminal, with the differences' signs."""
    parts = [textwrap.fill(looks, WIDTH, break_on_hyphens=False)]
    for setting in settings_of(rows):
        head, body = cells(rows, setting)
        count = len(by_method(rows, setting)[rows[0].method])
        parts += ["", f"{setting}, {count} pairs: mean ± standard deviation"]
        turned = [list(column) for column in zip(head, *body, strict=True)]
        parts += _aligned(turned)
        own = [each for each in found if each.setting == setting]
        if own:
            parts += ["", f"{setting}, differences in points"]
            parts += _aligned(
                [
                    ["of", "against", "what", "mean", "interval", "p", ""],
                    *(difference_cells(each) for each in own),
                ]
            )
    if found:
        parts += ["", textwrap.fill(caption(found), WIDTH)]
    return "\n".join(parts)


def difference_cells(each: Difference) -> list[str]:
    """Return a difference as a row: of, against, what, mean, interval, p, outcome."""
    return [
        short(each.of),
        short(each.against),
        each.what,
        f"{each.mean:+.2f}",
        f"[{each.low:.2f}, {each.high:.2f}]",
        "<0.001" if each.p < 0.001 else f"{each.p:.3f}",
        each.outcome or "open",
    ]


def caption(found: Sequence[Difference]) -> str:
    """Say what intervals and p-values mean."""
    return (
        f"{len(found)} differences, paired over independent pairs of networks, by "
        f"t-tests; p-values are corrected for their number (Holm), intervals hold for "
        f"all of them together at {1 - FAMILY:.0%} (Bonferroni). Of a barrier less is "
        "better, of an accuracy more."
    )


def latex(rows: Sequence[Measured], found: Sequence[Difference], looks: str) -> str:
    """Return a table for each setting, for the package booktabs.

    Cells that differ from one's own method have a star.
    """
    parts = [f"% {looks}", f"% {caption(found)}" if found else "% No differences."]
    starred = {_place(each) for each in found if each.outcome}
    for setting in settings_of(rows):
        methods = by_method(rows, setting)
        head, body = cells(rows, setting)
        count = len(methods[rows[0].method])
        about = f"{setting}: mean ± standard deviation over {count} pairs of networks."
        if found:
            own = sorted({short(each.of) for each in found})
            about += (
                f" Stars: different from {' or '.join(own)} by paired t-tests at "
                f"{FAMILY:.0%}, corrected for {len(found)} differences (Holm)."
            )
        parts += [
            "",
            r"\begin{table}",
            rf"\caption{{{escaped(about)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(map(escaped, head)) + r" \\",
            r"\midrule",
        ]
        for name, row in zip(methods, body, strict=True):
            marked = [
                escaped(cell) + (r"$^*$" if (setting, name, what) in starred else "")
                for what, cell in zip(head, row, strict=True)
            ]
            parts.append(" & ".join(marked) + r" \\")
        parts += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(parts) + "\n"


def _place(each: Difference) -> tuple[str, str, str]:
    """Return whose cell one's own method is held against: setting, row, column."""
    if each.what.startswith("after "):
        return each.setting, each.what.removeprefix("after "), each.against
    return each.setting, each.against, each.what


def escaped(text: str) -> str:
    r"""Return text with LaTeX's special characters escaped.

    Examples
    --------
    >>> print(escaped("50 ± 1 % of my_net"))
    50 $\pm$ 1 \% of my\_net
    """
    plain = "".join(f"\\{c}" if c in "&%$#_{}" else c for c in text)
    return plain.replace("±", r"$\pm$")


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
