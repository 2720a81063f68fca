"""What the papers say, beside what has been measured of it.

The catalogue (claims/catalogue.toml) has an entry for every sentence of the papers,
with the ids of the claims that decide it; results say how those claims came out.
"""

import os
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from reports.results import STATUSES, Result, counts, newest, read
from reports.scales import scales_of

ROOT = Path(__file__).parents[1]
CATALOGUE = ROOT / "claims" / "catalogue.toml"
RECORDS = ROOT / "reports" / "records"
LATEST = ROOT / "reports" / "out" / "latest.jsonl"

KINDS = ("I", "E", "I/E")


@dataclass(frozen=True)
class Entry:
    """A sentence of a paper; the fields after `id` are the keys of its table.

    Attributes
    ----------
    id
        Name of the table, as ``renormalization/reshift-ruins``.
    paper
        arXiv id.
    source
        Section, figure, table.
    kind
        ``"I"`` an invariant, ``"E"`` an empirical claim, ``"I/E"`` one with both parts.
    sentence, numbers
        What the paper says, and its numbers ("" where it gives none).
    tests
        Ids of the claims that decide it.
    """

    id: str
    paper: str
    source: str
    kind: str
    sentence: str
    numbers: str
    tests: tuple[str, ...]


def read_catalogue(path: str | os.PathLike[str] = CATALOGUE) -> list[Entry]:
    """Read the catalogue.

    Raises
    ------
    FileNotFoundError
        There is none at `path`.
    ValueError
        It is malformed: names the file, the entry and what is wrong with it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no catalogue at {path}: it comes with the checkout as "
            "claims/catalogue.toml; name another with --catalogue"
        )
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # TOML's own, or bytes that are no text
        raise ValueError(f"{path} is no TOML: {error}") from None
    return [_entry(path, name, table) for name, table in tables.items()]


def _entry(path: Path, name: str, table: Any) -> Entry:
    """Check one table of the catalogue and make it an entry."""

    def wrong(what: str) -> ValueError:
        return ValueError(f"{path}, {name!r}: {what}")

    keys = [field.name for field in fields(Entry)][1:]
    if not isinstance(table, dict):
        raise wrong(f"expected a table, got {table!r}")
    if missing := [key for key in keys if key not in table]:
        raise wrong(f"missing {_quoted(missing)}; an entry needs {_quoted(keys)}")
    if unknown := [key for key in table if key not in keys]:
        raise wrong(f"unknown {_quoted(unknown)}; an entry has {_quoted(keys)}")
    tests = table["tests"]
    if not isinstance(tests, list) or not all(isinstance(t, str) for t in tests):
        raise wrong(f"'tests' must be a list of ids of claims, got {tests!r}")
    if len(set(tests)) < len(tests):
        raise wrong(f"'tests' names a claim twice: {_quoted(tests)}")
    for key in keys[:-1]:
        if not isinstance(table[key], str):
            raise wrong(f"{key!r} must be a string, got {table[key]!r}")
    if table["kind"] not in KINDS:
        raise wrong(f"'kind' is {table['kind']!r}; give one of {_quoted(KINDS)}")
    return Entry(id=name, **table | {"tests": tuple(tests)})


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))


def of_paper(entries: Sequence[Entry], paper: str) -> list[Entry]:
    """Return a paper's entries; a ValueError names the papers if it has none."""
    if found := [entry for entry in entries if entry.paper == paper]:
        return found
    papers = _quoted(dict.fromkeys(entry.paper for entry in entries))
    raise ValueError(f"no entry of paper {paper!r}; the catalogue has {papers}")


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
        never measured has no known test; its id stands there in parentheses.
    """
    scales = scales_of(results)
    rows = [("entry", "test", *scales)]
    for entry in entries:
        for claim in entry.tests:
            found = [result for result in results if result.id == claim]
            verdicts = [summary(r for r in found if r.scale == s) for s in scales]
            rows.append((entry.id, _test(claim, found), *verdicts))
        if not entry.tests:
            rows.append((entry.id, "no test", *[""] * len(scales)))
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
    """List the entries that no claim decides, with where the paper says it."""
    return columns([(e.id, e.paper, e.source) for e in entries if not e.tests])


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
