"""The list of claims, as a page of the site: made of ``claims/papers``."""

from collections.abc import Sequence
from pathlib import Path

from reports.catalogue import Entry, Paper, read_papers
from reports.results import write_text

KINDS = {"E": "empirical", "I": "invariant", "I/E": "invariant and empirical"}

_SPECIAL = str.maketrans({c: f"\\{c}" for c in r"\`*_{}[]<>#|$"})


def page(papers: Sequence[Paper]) -> str:
    """Return the page: each finding of each paper, with the claims that decide it.

    Examples
    --------
    >>> entry = Entry("a/b", "1234", "Table 1", "E", "It is.", "", "", ("a/c",), "")
    >>> paper = Paper("1234", "Basins", "", "", (), (entry,))
    >>> print(page([paper]).partition("## ")[2])
    Basins, arXiv 1234
    <BLANKLINE>
    It is.
    : Table 1, empirical. Decided by `a/c`.
    <BLANKLINE>
    """
    entries = [entry for paper in papers for entry in paper.entries]
    tested = sum(bool(entry.tests) for entry in entries)
    parts = [
        "# Claims of the papers",
        f"{len(entries)} findings, {tested} of them with claims that decide them. The "
        "id of a claim is its topic and its name: `pytest claims/ -k name` asks it, "
        "with `_` for `-`.",
    ]
    for paper in papers:
        title = f"{_plain(paper.title)}, " if paper.title else ""
        parts.append(f"## {title}arXiv {paper.id}")
        parts += map(_item, paper.entries)
    return "\n\n".join(parts) + "\n"


def _item(entry: Entry) -> str:
    said = f"{_plain(entry.where)}, {KINDS[entry.kind]}."
    if entry.tests:
        said += f" Decided by {', '.join(f'`{test}`' for test in entry.tests)}."
    else:
        said += f" Not asked: {_plain(entry.reason)}"
    return f"{_plain(entry.sentence)}\n: {said}"


def _plain(text: str) -> str:
    """Return text on one line in which nothing is markup."""
    return " ".join(text.split()).translate(_SPECIAL)


def write(path: Path) -> None:
    """Write the page; one that is the same already is left alone."""
    made = page(read_papers())
    if not path.exists() or path.read_text(encoding="utf-8") != made:
        write_text(path, made)
