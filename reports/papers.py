"""A paper's findings, in its order, with how each came out at each scale."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import wrap

from reports.catalogue import Entry, Paper
from reports.coverage import summary
from reports.results import Result
from reports.scales import scales_of

SUPPORTED, MIXED, REFUTED, UNDECIDED, UNMEASURED, UNASKED = (
    "supported", "mixed", "refuted", "undecided", "unmeasured", "unasked"
)  # fmt: skip

OUTCOMES = {
    SUPPORTED: "supported at every place that is decided",
    MIXED: "supported at some places, refuted at others",
    REFUTED: "refuted at every place that is decided",
    UNDECIDED: "not decided at any place",
    UNMEASURED: "not measured yet",
    UNASKED: "can't be asked",
}
"""How a finding came out, over all places of the claims that decide it."""


@dataclass(frozen=True)
class Finding:
    """An entry of a paper beside what was measured of it.

    Attributes
    ----------
    entry
        What the paper says.
    results
        Of all claims that decide it, in their order.
    """

    entry: Entry
    results: tuple[Result, ...]

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`; what is inconclusive decides nothing."""
        if not self.entry.tests:
            return UNASKED
        verdicts = {r.verdict for r in self.results} - {"error"}
        if not verdicts:
            return UNMEASURED
        if {"supported", "refuted"} <= verdicts:
            return MIXED
        decided = verdicts - {"inconclusive"}
        return decided.pop() if decided else UNDECIDED


def findings(paper: Paper, results: Sequence[Result]) -> list[Finding]:
    """Return a paper's findings: its chief ones first, then in the paper's order.

    What it only raises comes last; what says no section stands before that.
    """
    found = [
        Finding(
            entry, tuple(r for test in entry.tests for r in entry.among(results, test))
        )
        for entry in paper.entries
    ]

    def place(finding: Finding) -> tuple[int, tuple[int, ...]]:
        if finding.entry.id in paper.chief:
            return 0, (paper.chief.index(finding.entry.id),)
        return section(finding.entry.where)

    return sorted(found, key=place)  # stable


def section(where: str) -> tuple[int, tuple[int, ...]]:
    """Rank a place in a paper: sections, appendices, unknown ones, what is raised.

    Examples
    --------
    >>> section("section 4.1, Table 1; appendix F.1"), section("appendix E.2, Fig. 9")
    ((1, (4, 1)), (2, (5, 2)))
    >>> section("section not known"), section("raised by it: section 4.1")
    ((3, ()), (4, ()))
    """
    if where.startswith("raised"):
        return 4, ()
    if found := re.search(r"section (\d+(?:\.\d+)*)", where):
        return 1, tuple(map(int, found[1].split(".")))
    if found := re.search(r"appendix ([A-Z])(?:\.(\d+))?", where):
        return 2, (ord(found[1]) - ord("A") + 1, int(found[2] or 0))
    return 3, ()


def in_words(found: Sequence[Finding]) -> str:
    """Say in one sentence how many findings came out how, and why some can't be asked.

    It counts findings, each over all its places, and so says nothing of scales.
    """
    counted = Counter(finding.outcome for finding in found)
    told = []
    for outcome, words in OUTCOMES.items():
        if count := counted[outcome]:
            verb = "" if outcome == UNASKED else "is " if count == 1 else "are "
            why = _reasons(found) if outcome == UNASKED else ""
            told.append(f"{count} {verb}{words}{why}")
    noun = "finding" if len(found) == 1 else "findings"
    return f"Of {len(found)} {noun} {'; '.join(told)}."


def _reasons(found: Sequence[Finding]) -> str:
    """Give the reasons why findings can't be asked that more than one has."""
    reasons = Counter(f.entry.reason for f in found if f.outcome == UNASKED)
    common = [f"{reason} ({n})" for reason, n in reasons.most_common() if n > 1]
    if not common:
        return f": {'; '.join(reasons)}" if len(reasons) < 3 else ", each for a reason"
    rest = "; others each for a reason" if len(common) < len(reasons) else ""
    return f": {'; '.join(common)}{rest}"


def text(paper: Paper, results: Sequence[Result], width: int = 80) -> str:
    """Lay a paper's findings out as text, as `python -m reports paper` prints them."""
    found = findings(paper, results)
    lines = [f"arXiv:{paper.id}  {paper.title}", "", *wrap(in_words(found), width)]
    for finding in found:
        entry = finding.entry
        lines += ["", *wrap(entry.sentence, width)]
        lines += _below(entry.where, width)
        if entry.quote:
            by = f"{entry.others}: " if entry.others else ""
            lines += _below(f'{by}"{" ".join(entry.quote.split())}"', width)
        if not entry.tests:
            lines += _below(f"can't be asked: {entry.reason}", width)
        elif not finding.results:
            lines += _below("not measured yet", width)
        for claim, held in groupby(finding.results, lambda r: r.id):
            lines += _below(claim, width)
            lines += _came_out(list(held), width)
    return "\n".join(lines)


def _came_out(results: Sequence[Result], width: int) -> list[str]:
    """Write how one claim came out at each scale, with the paper's values beside."""
    lines = []
    for scale in scales_of(results):
        at = [r for r in results if r.scale == scale]
        lines += _below(f"scale {scale}: {summary(at)}", width, 4)
        for r in at:
            if r.in_paper and r.estimate is not None:
                share = f" ({r.of_effect} of it)" if r.of_effect else ""
                told = f"{r.where}: {r.measured}, in the paper {r.in_paper}{share}"
                lines += _below(f"{r.status.symbol} {told}", width, 6)
    return lines


def _below(line: str, width: int, indent: int = 2) -> list[str]:
    blank = " " * indent
    return wrap(line, width, initial_indent=blank, subsequent_indent=blank + "  ")
