"""Results as lines of text: one per claim and setting, then the counts."""

import re
from collections.abc import Sequence
from itertools import groupby

from reports.results import STATUSES, Result, cited, counts

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
