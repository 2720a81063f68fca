"""What the papers say: findings, each with the ids of the claims that decide it.

Read from ``claims/papers/*.toml``; ``claims/papers/__init__.py`` has their format.
"""

import os
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from reports.results import Result

CATALOGUE = Path(__file__).parents[1] / "claims" / "papers"

KINDS = ("I", "E", "I/E")

PAPER = "the paper"
"""Whose words quotes are, unless the file says otherwise."""


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
    scale
        The one whose results alone decide it; "" for all.
    quoted
        Whose words its quote is.
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
    scale: str = ""
    quoted: str = PAPER

    @property
    def others(self) -> str:
        """Whose words its quote is, if not the paper's; else ""."""
        return "" if self.quoted == PAPER or not self.quote else self.quoted

    @property
    def says(self) -> str:
        """What introduces its quote, or the sentence where there is none."""
        if not self.quote:
            return "Finding"
        return f"{self.quoted[:1].upper()}{self.quoted[1:]} says"

    def among(self, results: Iterable[Result], test: str) -> list[Result]:
        """Return the results of one of its tests that decide it."""
        return [r for r in results if r.id == test and self.scale in ("", r.scale)]


OPTIONAL = ("scale", "quoted")
KEYS = [field.name for field in fields(Entry)[2:] if field.name not in OPTIONAL]


@dataclass(frozen=True)
class Paper:
    """A paper: a file of the catalogue.

    Attributes
    ----------
    id
        Name of its file: the arXiv id, with the version where it matters.
    title, arxiv, version
        As its file says; "" where it doesn't.
    chief
        Ids of the entries that are its chief findings, by weight.
    entries
        Its findings, in the order of the file.
    """

    id: str
    title: str
    arxiv: str
    version: str
    chief: tuple[str, ...]
    entries: tuple[Entry, ...]


def read_papers(folder: str | os.PathLike[str] = CATALOGUE) -> list[Paper]:
    """Read all papers of a folder, those with the most entries first.

    Raises
    ------
    FileNotFoundError
        There is no paper in `folder`.
    ValueError
        A file or an entry is malformed, or an entry is there twice: names file, entry
        and what is wrong.
    """
    paths = sorted(Path(folder).glob("*.toml"))
    if not paths:
        raise FileNotFoundError(
            f"no papers (*.toml) in {folder}: they come with the checkout in "
            "claims/papers; name another folder with --catalogue"
        )
    found: dict[str, Entry] = {}
    papers = []
    for path in paths:
        try:
            held = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # TOML's own, or bytes that are no text
            raise ValueError(f"{path} is no TOML: {error}") from None
        entries = {}
        of_all = {"quoted": held["quoted"]} if "quoted" in held else {}
        for name, table in held.get("entries", {}).items():
            if name in found:
                where = f"{found[name].paper}.toml"
                raise ValueError(f"{path}, {name!r}: stands in {where} too; rename one")
            entries[name] = found[name] = _entry(path, name, table, of_all)
        papers.append(_paper(path, held, entries))
    return sorted(papers, key=lambda paper: -len(paper.entries))  # stable


@lru_cache
def headlines() -> tuple[str, ...]:
    """Return the claims that decide the papers' chief findings, by weight.

    Of each such finding the first of its tests.
    """
    found = []
    for paper in read_papers():
        entries = {entry.id: entry for entry in paper.entries}
        tests = [entries[name].tests for name in paper.chief]
        found += [names[0] for names in tests if names]
    return tuple(dict.fromkeys(found))


def _paper(path: Path, held: dict[str, Any], entries: dict[str, Entry]) -> Paper:
    """Check what a file says of its paper."""
    told = {key: held.get(key, "") for key in ("title", "arxiv", "version")}
    for key, value in told.items():
        if not isinstance(value, str):
            raise ValueError(f"{path}: {key!r} must be a string, got {value!r}")
    chief = held.get("chief", [])
    if not isinstance(chief, list) or not all(name in entries for name in chief):
        raise ValueError(
            f"{path}: 'chief' must be a list of ids of its entries, got {chief!r}"
        )
    return Paper(path.stem, **told, chief=(*chief,), entries=(*entries.values(),))


def _entry(path: Path, name: str, table: Any, of_all: dict[str, Any]) -> Entry:
    """Check one entry of a paper, and what its file says of all of them."""

    def wrong(what: str) -> ValueError:
        return ValueError(f"{path}, {name!r}: {what}")

    if not isinstance(table, dict):
        raise wrong(f"expected a table, got {table!r}")
    table = of_all | table
    if missing := [key for key in KEYS if key not in table]:
        raise wrong(f"missing {_quoted(missing)}; an entry needs {_quoted(KEYS)}")
    if unknown := [key for key in table if key not in (*KEYS, *OPTIONAL)]:
        known = _quoted([*KEYS, *OPTIONAL])
        raise wrong(f"unknown {_quoted(unknown)}; an entry has {known}")
    tests, reason = table["tests"], table["reason"]
    if not isinstance(tests, list) or not all(isinstance(t, str) for t in tests):
        raise wrong(f"'tests' must be a list of ids of claims, got {tests!r}")
    if len(set(tests)) < len(tests):
        raise wrong(f"'tests' names a claim twice: {_quoted(tests)}")
    for key in table:
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


def papers_named(papers: Sequence[Paper], name: str) -> list[Paper]:
    """Return a paper, or all its versions if none is given.

    A ValueError names the papers if there is none.
    """
    if found := [p for p in papers if name in (p.id, p.id.partition("v")[0])]:
        return found
    known = _quoted(sorted(paper.id for paper in papers))
    raise ValueError(f"no entry of paper {name!r}; the catalogue has {known}")
