"""What the papers say, beside what has been measured of it.

The catalogue (claims/papers/*.toml) has an entry for every finding of the papers, with
the ids of the claims that decide it; results say how those claims came out.
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
CATALOGUE = ROOT / "claims" / "papers"
RECORDS = ROOT / "reports" / "records"
LATEST = ROOT / "reports" / "out" / "latest.jsonl"

KINDS = ("I", "E", "I/E")


@dataclass(frozen=True)
class Entry:
    """A finding of a paper; the fields after `paper` are the keys of its table.

    Attributes
    ----------
    id
        Name of the table, as ``renormalization/reshift-ruins``.
    paper
        Name of its file: the arXiv id, with the version where it matters.
    where
        Section, figure, table.
    kind
        ``"I"`` an invariant, ``"E"`` an empirical claim, ``"I/E"`` one with both parts.
    sentence, quote, numbers
        What the paper says, in words that may turn out false and in its own, and its
        numbers that stand in no table ("" where there are none).
    tests
        Ids of the claims that decide it.
    reason
        Why there are none, or "".
    """

    id: str
    paper: str
    where: str
    kind: str
    sentence: str
    quote: str
    numbers: str
    tests: tuple[str, ...]
    reason: str


KEYS = [field.name for field in fields(Entry)][2:]


def read_catalogue(folder: str | os.PathLike[str] = CATALOGUE) -> list[Entry]:
    """Read the entries of all papers of a folder.

    Raises
    ------
    FileNotFoundError
        There is no paper in `folder`.
    ValueError
        An entry is malformed, or is there twice: names file, entry and what is wrong.
    """
    paths = sorted(Path(folder).glob("*.toml"))
    if not paths:
        raise FileNotFoundError(
            f"no papers (*.toml) in {folder}: they come with the checkout in "
            "claims/papers; name another folder with --catalogue"
        )
    found: dict[str, Entry] = {}
    for path in paths:
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8")).get("entries", {})
        except ValueError as error:  # TOML's own, or bytes that are no text
            raise ValueError(f"{path} is no TOML: {error}") from None
        for name, table in tables.items():
            if name in found:
                where = f"{found[name].paper}.toml"
                raise ValueError(f"{path}, {name!r}: stands in {where} too; rename one")
            found[name] = _entry(path, name, table)
    return list(found.values())


def _entry(path: Path, name: str, table: Any) -> Entry:
    """Check one entry of a paper."""

    def wrong(what: str) -> ValueError:
        return ValueError(f"{path}, {name!r}: {what}")

    if not isinstance(table, dict):
        raise wrong(f"expected a table, got {table!r}")
    if missing := [key for key in KEYS if key not in table]:
        raise wrong(f"missing {_quoted(missing)}; an entry needs {_quoted(KEYS)}")
    if unknown := [key for key in table if key not in KEYS]:
        raise wrong(f"unknown {_quoted(unknown)}; an entry has {_quoted(KEYS)}")
    tests, reason = table["tests"], table["reason"]
    if not isinstance(tests, list) or not all(isinstance(t, str) for t in tests):
        raise wrong(f"'tests' must be a list of ids of claims, got {tests!r}")
    if len(set(tests)) < len(tests):
        raise wrong(f"'tests' names a claim twice: {_quoted(tests)}")
    for key in KEYS:
        if key != "tests" and not isinstance(table[key], str):
            raise wrong(f"{key!r} must be a string, got {table[key]!r}")
    if table["kind"] not in KINDS:
        raise wrong(f"'kind' is {table['kind']!r}; give one of {_quoted(KINDS)}")
    if bool(tests) == bool(reason):
        raise wrong(
            "'tests' and 'reason' are both "
            + ("given; drop the reason" if tests else "empty; give either")
        )
    return Entry(name, path.stem, **table | {"tests": tuple(tests)})


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))


def of_paper(entries: Sequence[Entry], paper: str) -> list[Entry]:
    """Return a paper's entries, of all its versions if none is given.

    A ValueError names the papers if it has none.
    """
    if found := [e for e in entries if paper in (e.paper, e.paper.partition("v")[0])]:
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
        never measured has no known test; its id stands there in parentheses. Where no
        claim decides the entry, the reason stands there.
    """
    scales = scales_of(results)
    rows = [("entry", "test", *scales)]
    for entry in entries:
        for claim in entry.tests:
            found = [result for result in results if result.id == claim]
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
