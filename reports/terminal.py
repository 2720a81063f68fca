"""Results as lines of text: one per claim and setting, then the counts."""

import re
from collections.abc import Sequence
from itertools import groupby

from reports.results import STATUSES, Result, cited, counts

VERDICT = max(len(status.short) for status in STATUSES.values()) + 1
PAPER = 6  # room that the paper's column keeps: one value


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
    When room is short the paper's column gives way first, then the claim's name,
    whose setting is kept; the measured value is never cut.
    """
    ordered = sorted(results, key=lambda result: result.topic)  # stable within topics
    names = [f"{result.claim} [{result.where}]" for result in ordered]
    found = [_found(result) for result in ordered]
    room = max(width, 80) - 1 - VERDICT
    # An error's text may be long: it takes the place of the paper's value too.
    measured = max(
        (len(text) for text, r in zip(found, ordered, strict=True) if not r.error),
        default=0,
    )
    measured = max(measured, len("measured"))
    least = max((len(r.where) + 10 for r in ordered), default=0)
    name = min(
        max(map(len, names), default=0),
        max(room - measured - 4 - PAPER, least),
        room - measured - 2,
    )
    paper = room - name - measured - 4
    head = f"{'claim':{name}}  {'measured':{measured}}  paper"
    rows = [("", "verdict".ljust(VERDICT), head)]
    for topic, group in groupby(zip(ordered, found, strict=True), lambda x: x[0].topic):
        rows.append(("", topic, ""))
        for result, text in group:
            cell = f"{_short(result, name):{name}}  "
            if result.error:
                cell += shorten(text, room - name - 2)
            else:
                cell += f"{text:{measured}}  {shorten(_paper(result), paper)}"
            status = result.status
            rows.append((status.colour, status.short.ljust(VERDICT), cell.rstrip()))
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
    return text if len(text) <= width else (text[: max(width - 1, 0)].rstrip() + "…")[: max(width, 0)]


def _short(result: Result, width: int) -> str:
    where = f" [{result.where}]"
    room = max(width - len(where), 3)
    if len(claim := result.claim) > room:  # both ends tell claims of a topic apart
        claim = claim[: room // 2] + "…" + claim[len(claim) - (room - 1) // 2 :]
    return shorten(claim + where, width)


def _found(result: Result) -> str:
    if result.error:
        return " ".join(result.error.split())
    return result.measured


def _paper(result: Result) -> str:
    return "; ".join(
        f"{cited(entry)} {entry.get('label', '')}".strip() for entry in result.paper[:3]
    )
