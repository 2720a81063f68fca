"""Results as lines of text: one per claim and setting, then the counts.

Those of several scales stand in one line, a column for each scale.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from reports import accepted
from reports.catalogue import headlines
from reports.results import STATUSES, Result, number, worded
from reports.scales import Row, by_claim, rank, scales_of

PAPER = 11  # room that the paper's column asks for: a value with its spread


def lines(results: Sequence[Result], width: int = 80) -> list[tuple[str, str, str]]:
    """Lay results out in columns, headline claims first, then grouped by topic.

    Parameters
    ----------
    results : sequence of Result
    width : int
        Columns of the terminal; below 80 the lines are made for 80.

    Returns
    -------
    list of (str, str, str)
        Colour (a pytest markup name, or ""), verdict padded to its column, and the
        rest of the line: claim with setting, measured with interval, the margin, the
        paper's value of the same quantity, and the share of it that was measured.

    Notes
    -----
    Where a claim's name has no room beside its setting it stands above its settings,
    with the unit. Where the share has no room beside that, its interval is left out,
    or the share; only the paper's column and the text of an error are ever cut short.
    """
    verdicts = max(map(len, ["verdict", *map(_verdict, results)])) + 2
    room = max(width, 80) - 1 - verdicts
    fine = [result for result in results if not result.error]

    def size(texts: Sequence[str], head: str) -> int:
        return max(map(len, [head, *texts]))

    paper = size([_paper(r) for r in fine], "paper") if any(map(_paper, fine)) else 0
    whole = size([f"{r.claim} [{r.where}]" for r in results], "claim")
    measured = size([r.measured for r in fine], "measured")
    share = size([r.of_effect for r in fine], "") if any(map(_paper, fine)) else 0
    margin = size([_margin(r) for r in fine], "margin")
    wide = whole + measured + margin + paper + share + 8 <= room
    if wide:
        name = whole
    else:
        name = size([f"[{r.where}]" for r in results], "setting")
        measured = size([_bare(r) for r in fine], "measured")
    paper = min(paper, max(0, room - name - measured - margin - 6))
    left = room - name - measured - margin - paper - 8
    shares = next(
        (
            told
            for told in (
                {r.place: r.of_effect for r in fine},
                {r.place: r.of_effect.split(" ")[0] for r in fine},
            )
            if size(list(told.values()), "share") <= left
        ),
        {},
    )

    def line(*cells: str) -> str:
        sizes = (name, measured, margin, paper, 0)
        return "  ".join(map(str.ljust, cells, sizes)).rstrip()

    head = line(
        "claim" if wide else "setting",
        "measured",
        "margin",
        shorten("paper", paper),
        "share" if any(shares.values()) else "",
    )
    rows = [("", "verdict".ljust(verdicts), head)]
    # Stable sorts: claims as they come within what ranks alike.
    ordered = sorted(results, key=rank)
    first = {r.id: place for place, r in reversed(list(enumerate(ordered)))}
    ordered.sort(key=lambda r: first[r.id])
    for title, held in groupby(ordered, lambda r: _topic(r) if wide else r.id):
        group = list(held)
        rows.append(("", title if wide else heading(group[0]), ""))
        for r in group:
            label = f"{r.claim} [{r.where}]" if wide else f"[{r.where}]"
            rest = line(
                label,
                r.measured if wide else _bare(r),
                _margin(r),
                shorten(_paper(r), paper),
                shares.get(r.place, ""),
            )
            if r.error:  # it takes the place of all numbers
                told = shorten(" ".join(r.error.split()), room - name - 2)
                rest = f"{label:{name}}  {told}"
            rows.append((r.status.colour, _verdict(r).ljust(verdicts), rest))
    return rows


def _topic(result: Result) -> str:
    return "headline" if result.id in headlines() else result.topic


def decided(result: Result, width: int = 80) -> tuple[str, str, str]:
    """Lay one result out as a line of its own, as it comes; below `heading`.

    Colour, verdict and rest as from `lines`, in columns below `HEAD`.
    """
    verdict = _verdict(result).ljust(13)
    room = max(width, 80) - 1 - len(verdict)
    place = f"[{result.where}]"
    if result.error:
        told = f"{place}  {' '.join(result.error.split())}"
    else:
        told = _in_columns(place, _bare(result), _margin(result), _paper(result))
    return result.status.colour, verdict, shorten(told, room)


def _in_columns(*cells: str) -> str:
    """Align cells as most of them need it."""
    return " ".join(map(str.ljust, cells, (27, 17, 6, 0))).rstrip()


HEAD = "verdict      " + _in_columns("setting", "measured", "margin", "paper")
"""Above the lines of `decided`."""


def _margin(result: Result) -> str:
    """Write what a claim must exceed, or stay within."""
    if result.margin is None:
        return ""
    sign = {"equivalence": "±", "exact": "≤"}.get(result.rule, ">")
    return f"{sign}{number(result.margin)}"


def heading(result: Result) -> str:
    """Write what stands above a claim's places: its id and unit."""
    return f"{result.id}, in {result.unit}" if result.unit else result.id


def _bare(result: Result) -> str:
    """Write what was measured without its unit."""
    return result.measured.removesuffix(result.unit).rstrip()


def _paper(result: Result) -> str:
    return result.in_paper.replace(" ", "")


def _verdict(result: Result) -> str:
    """Write a verdict in few words; upper case and ``!`` ask for attention.

    A refutation in lower case is on record; an inconclusive one that leans, or has too
    few units, says so instead.
    """
    if result.status.key == "contradicts":
        return f"! {result.verdict}"
    if result.status.key in ("refuted", "error"):
        return result.verdict.upper()
    if result.progress:
        return "no verdict"
    return f"leans {result.leaning}" if result.leaning else result.verdict


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
        value for each scale, nothing where there is none, and the paper's value of the
        same quantity.

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
        text.append(heading(claim[0].newest))
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
            text = _bare(result)
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
    """Write the counts, as ``3 supported, 2 refuted (1 as on record), ...``."""

    waiting = sum(r.status.key == "waiting" for r in results)

    def count(verdict: str, what: str, part: Sequence[Result]) -> str:
        found = sum(r.verdict == verdict for r in results if r.status.key != "waiting")
        return f"{found} {verdict}" + (f" ({len(part)} {what})" if part else "")

    known = [r for r in results if r.status.key == "known"]
    leaning = [r for r in results if r.leaning and r.verdict == "inconclusive"]
    errors = sum(r.verdict == "error" for r in results)
    return ", ".join(
        [
            count("supported", "", []),
            count("refuted", "as on record", known),
            count("inconclusive", "leaning", leaning),
            *([f"{waiting} without a verdict yet"] if waiting else []),
            f"{errors} error" + ("s" if errors != 1 else ""),
        ]
    )


def contradictions(results: Sequence[Result]) -> list[str]:
    """Tell what contradicts the record: a head, and a line each; none, no lines.

    Errors are not among them: their lines say what is wrong already.
    """
    found = [result for result in results if result.status.key == "contradicts"]
    if not found:
        return []
    head = f"{len(found)} contradict{'s' if len(found) == 1 else ''} the record:"
    several = len(scales_of(results)) > 1
    return [head, *(f"  {_named(r, several)}: {r.red}" for r in found)]


def news(results: Sequence[Result], expected: Path = accepted.FOLDER) -> list[str]:
    """Tell what differs from the record without contradicting it: as `contradictions`.

    Verdict, or leaning. A place of which nothing is on record differs from nothing.

    Parameters
    ----------
    results : sequence of Result
    expected : Path
        Folder of what is on record; a result itself has but the verdict of that.
    """
    scales = scales_of(results)
    records = {scale: accepted.read(scale, expected) for scale in scales}
    told = []
    for r in results:
        if not r.accepted or r.red:
            continue
        now, known = worded(r.verdict, r.leaning), r.accepted
        entry = records[r.scale].get((r.id, r.where))
        if entry is not None and entry.verdict == r.accepted:
            known = worded(entry.verdict, entry.leaning)
        elif r.verdict == r.accepted:  # whether that leaned is not known any more
            continue
        if now != known:
            told.append(f"  {_named(r, len(scales) > 1)}: {now}, on record: {known}")
    head = f"{len(told)} differ{'s' if len(told) == 1 else ''} from the record:"
    return [head, *told] if told else []


def _named(result: Result, several: bool) -> str:
    """Write a place, with its scale where there are several."""
    scale = f" at {result.scale}" if several else ""
    return f"{result.id} [{result.where}]{scale}"


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
