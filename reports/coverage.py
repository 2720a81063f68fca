"""What the papers say, beside what has been measured of it.

The catalogue has an entry for every finding of the papers, with the ids of the claims
that decide it; results say how those claims came out.
"""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from reports.catalogue import Entry
from reports.results import STATUSES, Result, counts, newest, read
from reports.scales import scales_of

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "reports" / "records"
LATEST = ROOT / "reports" / "out" / "latest.jsonl"


def kept_results() -> list[Path]:
    """Return the files of results of this checkout, from old to new."""
    return [*sorted(RECORDS.glob("*.jsonl")), *([LATEST] if LATEST.is_file() else [])]


def read_newest(paths: Iterable[str | os.PathLike[str]]) -> list[Result]:
    """Read files of results, from old to new, and keep each claim's newest.

    Errors are those of `reports.results.read`.
    """
    return newest(result for path in paths for result in read(path))


def table(entries: Sequence[Entry], results: Sequence[Result]) -> str:
    """Lay entries out beside what was measured of them.

    Parameters
    ----------
    entries : sequence of Entry
    results : sequence of Result
        One for each claim, setting, variant and scale, as from `read_newest`.

    Returns
    -------
    str
        A line per entry and claim that decides it: the entry's id, the test, and for
        each scale how many settings and variants came out how. A claim that was
        never measured has no known test; its id stands there in parentheses. Where no
        claim decides the entry, the reason stands there.
    """
    scales = scales_of(results)
    rows = [("entry", "test", *scales)]
    for entry in entries:
        for claim in entry.tests:
            found = entry.among(results, claim)
            verdicts = [summary(r for r in found if r.scale == s) for s in scales]
            rows.append((entry.id, _test(claim, found), *verdicts))
        if not entry.tests:
            rows.append((entry.id, f"no test: {entry.reason}", *[""] * len(scales)))
    return columns(rows)


def summary(results: Iterable[Result]) -> str:
    """Count verdicts, as ``supported 4, inconclusive 1``."""
    found = counts(results)
    return (
        ", ".join(f"{STATUSES[key].counted} {n}" for key, n in found.items() if n)
        or "not measured"
    )


def _test(claim: str, results: Collection[Result]) -> str:
    """Return the node id of a claim's test, without parameters."""
    if not results:
        return f"({claim})"
    return max(results, key=lambda result: result.when).nodeid.partition("[")[0]


def missing(entries: Sequence[Entry]) -> str:
    """List the entries that no claim decides: where the paper says it, and why not."""
    return columns([(e.id, e.paper, e.where, e.reason) for e in entries if not e.tests])


def columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Align rows of cells, two blanks apart.

    Examples
    --------
    >>> print(columns([("entry", "test"), ("a/b", "no test")]))
    entry  test
    a/b    no test
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def count_line(entries: Sequence[Entry]) -> str:
    """Write the counts, as ``85 entries: 40 with a test, 45 without``."""
    tested = sum(bool(entry.tests) for entry in entries)
    noun = "entry" if len(entries) == 1 else "entries"
    counted = f"{tested} with a test, {len(entries) - tested} without"
    return f"{len(entries)} {noun}: {counted}"
