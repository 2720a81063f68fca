"""Results as lines of text: one per claim and setting, then the counts.

Those of several scales stand in one line, a column for each scale.
"""

import re
from collections.abc import Sequence
from itertools import groupby

from reports.results import STATUSES, Result, cited, counts
from reports.scales import Row, by_claim, scales_of

VERDICT = max(len(status.short) for status in STATUSES.values()) + 1
PAPER = 16  # room that the paper's column asks for: a value with its spread


def lines(results: Sequence[Result], width: int = 80) -> list[tuple[str, str, str]]:
    """Lay results out in columns, grouped by topic.

    Parameters
    ----------
    results : sequence of Result
    width : int
        Columns of the terminal; below 80 the lines are made for 80.

    Returns
    -------
    list of (str, str, str)
        Colour (a pytest markup name, or ""), verdict padded to its column, and the
        rest of the line: claim with setting, measured with interval, the paper's.

    Notes
    -----
    Where a claim's name has no room beside its setting it stands above its settings.
    Only the paper's column and the text of an error are ever cut short.
    """
    room = max(width, 80) - 1 - VERDICT
    fine = [result for result in results if not result.error]
    measured = max((len(result.measured) for result in fine), default=0)
    measured = max(measured, len("measured"))
    whole = max((len(f"{r.claim} [{r.where}]") for r in results), default=0)
    wide = whole + measured + PAPER + 4 <= room
    # Stable sorts: topics in alphabetical order, claims as they come.
    ordered = sorted(results, key=lambda r: r.topic)
    first = {r.id: place for place, r in reversed(list(enumerate(ordered)))}
    ordered.sort(key=lambda r: first[r.id])
    name = whole if wide else max((len(r.where) + 2 for r in results), default=0)
    name = max(name, len("setting"))
    paper = room - name - measured - 4
    head = f"{'claim' if wide else 'setting':{name}}  {'measured':{measured}}  paper"
    rows = [("", "verdict".ljust(VERDICT), head)]
    for title, group in groupby(ordered, lambda r: r.topic if wide else r.id):
        rows.append(("", title, ""))
        for r in group:
            label = f"{r.claim} [{r.where}]" if wide else f"[{r.where}]"
            found = f"{r.measured:{measured}}  {shorten(_paper(r), paper)}"
            if r.error:  # it takes the place of the paper's value too
                found = shorten(" ".join(r.error.split()), room - name - 2)
            rest = f"{label:{name}}  {found}".rstrip()
            rows.append((r.status.colour, r.status.short.ljust(VERDICT), rest))
    return rows


def side_by_side(results: Sequence[Result], width: int = 80) -> list[str]:
    """Lay results of several scales out in columns, one for each scale.

    Parameters
    ----------
    results : sequence of Result
        Of several for one claim, setting, variant and scale the newest counts.
    width : int
        Columns of the terminal; below 80 the lines are made for 80.

    Returns
    -------
    list of str
        A line that says what the symbols mean, the heads, and for each claim its id
        and unit with its settings below: the symbol of the verdict and the measured
        value for each scale, nothing where there is none, and the paper's numbers.

    Notes
    -----
    Where the intervals of all scales do not fit, the estimates stand alone, and the
    last line says how wide a terminal would have to be.
    """
    claims, scales, room = by_claim(results), scales_of(results), max(width, 80) - 1
    rows = [row for claim in claims for row in claim]
    heads = ("setting", *scales)
    cells = [_cells(row, scales) for row in rows]
    sizes = _sizes([heads, *cells])
    wanted = sum(sizes) + 2 * len(sizes) + PAPER
    if wanted > room:
        cells = [_cells(row, scales, intervals=False) for row in rows]
        sizes = _sizes([heads, *cells])
    paper = room - sum(sizes) - 2 * len(sizes)

    def line(cells: Sequence[str], cited: str) -> str:
        return "  ".join([*map(str.ljust, cells, sizes), cited]).rstrip()

    present = {r.status.key for row in rows for r in row.results.values()}
    legend = [f"{s.symbol} {s.word}" for s in STATUSES.values() if s.key in present]
    text = ["   ".join(legend), "", line(heads, "in the paper")]
    below = iter(cells)
    for claim in claims:
        first = claim[0].newest
        text.append(f"{first.id}, in {first.unit}" if first.unit else first.id)
        for row in claim:
            text.append(line(next(below), shorten(_paper(row.newest), paper)))
            for scale, result in row.results.items():
                if result.error:
                    told = f"  {scale}: {' '.join(result.error.split())}"
                    text.append(shorten(told, room))
    if wanted > room:
        text += ["", f"without intervals: they need {wanted + 1} columns"]
    return text


def _cells(row: Row, scales: Sequence[str], intervals: bool = True) -> tuple[str, ...]:
    """Write a row's setting, and for each scale the verdict's symbol and the value."""
    cells = [f"[{row.newest.where}]"]
    for scale in scales:
        text = ""
        if result := row.results.get(scale):
            text = result.measured.removesuffix(result.unit).rstrip()
            if result.error:
                text = "error"
            elif result.estimate is not None and not intervals:
                text = text.split()[0]
            text = f"{result.status.symbol} {text}"
        cells.append(text)
    return tuple(cells)


def _sizes(rows: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def count_line(results: Sequence[Result]) -> str:
    """Write the counts, as ``31 supported, 2 refuted as declared, ...``."""
    text = ", ".join(
        f"{count} {STATUSES[key].counted}" for key, count in counts(results).items()
    )
    return re.sub(r"\b1 errors", "1 error", text)


def shorten(text: str, width: int) -> str:
    """Cut text to a width, and show that it was cut.

    Examples
    --------
    >>> shorten("VGG16/CIFAR-10", 8), shorten("VGG16", 8)
    ('VGG16/C…', 'VGG16')
    """
    if len(text) <= width:
        return text
    return text[: width - 1].rstrip() + "…" if width > 1 else ""


def _paper(result: Result) -> str:
    return "; ".join(
        f"{cited(entry).replace(' ', '')} {entry.get('label', '')}".strip()
        for entry in result.paper[:3]
    )
