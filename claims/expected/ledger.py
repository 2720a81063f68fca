"""Ledgers of the seeds that were looked at: the repository's, and a lab's own.

A ledger is a TOML file of entries, ``[[looked]]`` with what was looked at and why, and
``[[reserved]]`` with what nobody may look at yet.
"""

import json
import tomllib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reports.results import write_text


def spans(seeds: Sequence[int]) -> str:
    """Write seeds by their runs.

    Examples
    --------
    >>> spans([100, 101, 102, 105])
    '100-102, 105'
    """
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)


def seeds_of(entries: Iterable[dict[str, Any]]) -> set[int]:
    """Return the seeds of some entries.

    Examples
    --------
    >>> sorted(seeds_of([{"seeds": "100-102, 105"}]))
    [100, 101, 102, 105]
    """
    found: set[int] = set()
    for entry in entries:
        for run in entry["seeds"].split(", "):
            first, _, last = run.partition("-")
            found |= {*range(int(first), int(last or first) + 1)}
    return found


def entries(ledger: Path, scale: str, kind: str = "looked") -> list[dict[str, Any]]:
    """Return a ledger's entries of one scale and kind; none where there is no file."""
    if not ledger.exists():
        return []
    found = tomllib.loads(ledger.read_text(encoding="utf-8")).get(kind, [])
    return [entry for entry in found if entry["scale"] == scale]


def noted_seeds(ledger: Path, scale: str) -> set[int]:
    """Return which seeds of a scale a ledger says were looked at."""
    return seeds_of(entries(ledger, scale))


def note_seeds(
    ledger: Path, scale: str, seeds: Sequence[int], commit: str, reason: str
) -> None:
    """Append to a ledger that seeds were looked at today."""
    entry = (
        f"\n[[looked]]\nscale = {json.dumps(scale)}\n"
        f"seeds = {json.dumps(spans(seeds))}\n"
        f"looked_at = {datetime.now(UTC):%Y-%m-%d}\n"
        f"commit = {json.dumps(commit)}\nexploratory = false\n"
        f"why = {json.dumps(reason, ensure_ascii=False)}\n"
    )
    before = ledger.read_text(encoding="utf-8") if ledger.exists() else ""
    write_text(ledger, before + entry)
