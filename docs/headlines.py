"""The README's table of the papers' chief findings: made of the record.

``python -m docs.headlines`` writes it anew, after a record has been taken.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from reports.coverage import RECORDS
from reports.overview import Claim, chosen
from reports.results import VERDICTS, Result, read, write_text
from reports.scales import by_claim

README = Path(__file__).parents[1] / "README.md"
RECORD = RECORDS / "digits.jsonl"

BEGIN, END = "<!-- headlines: python -m docs.headlines -->\n", "<!-- end -->\n"

FIRST = "plain-vgg weights"
"""The papers' first setting, shown rather than others."""

HEADS = ("Chief findings", "Verdicts", "One of them", "Measured", "In the paper")


def table(results: Sequence[Result]) -> str:
    """Return the table, in Markdown: a row for each finding that was measured."""
    claims = [Claim(tuple(rows)) for rows in by_claim(results)]
    rows = [HEADS, ("---",) * len(HEADS)]
    for headline in chosen(claims):
        found = headline.claim.results
        beside = [r for r in found if r.in_paper] or found
        one = next((r for r in beside if r.where == FIRST), beside[0])
        counts = Counter(r.verdict for r in found)
        verdicts = ", ".join(f"{counts[v]} {v}" for v in VERDICTS if counts[v])
        measured = f"{one.measured}<br><small>{one.quantity}</small>"
        rows.append((one.sentence, verdicts, one.where, measured, one.in_paper))
    return "".join(f"| {' | '.join(_plain(cell) for cell in row)} |\n" for row in rows)


def _plain(cell: str) -> str:
    return " ".join(cell.split()).replace("|", r"\|")


def with_table(readme: str, results: Sequence[Result]) -> str:
    """Return the README with its table as the results have it.

    Raises
    ------
    ValueError
        The README doesn't say where: names the lines that it needs.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(
            f"no place for the table: give the README the lines {BEGIN!r} and {END!r}"
        )
    return f"{before}{BEGIN}{table(results)}{END}{after}"


if __name__ == "__main__":
    kept = README.read_text(encoding="utf-8")
    write_text(README, with_table(kept, read(RECORD)))
