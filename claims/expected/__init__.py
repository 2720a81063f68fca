"""Accepted verdicts, one TOML file a scale: data, written by ``claims accept``.

Per claim a table, per place ("setting variant", or "setting") what was decided there
and, in ``why``, what a person says about it.  Nobody types the figures.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reports import accepted
from reports.accepted import Entry
from reports.results import Result, rule_of, write_text

FOLDER = Path(__file__).parent

DIGITS = 4
"""Significant digits of the numbers on file."""

Key = tuple[str, str]
"""A claim's id, and a place as in "plain-vgg weights"."""

_HEAD = """\
# What was accepted at scale {scale}: written by `python -m claims accept`.
# By hand change nothing; a `why` is given to that command.
"""


def path(scale: str) -> Path:
    """Return the file of a scale."""
    return FOLDER / f"{scale}.toml"


def load(scale: str) -> dict[Key, Entry]:
    """Return what was accepted at a scale; nothing where there is no file."""
    return accepted.read(scale, FOLDER)


def entry_of(result: Result, why: str = "") -> Entry:
    """Take what has to be kept of a result, its numbers rounded."""
    same = {n: getattr(result, n) for n in ("verdict", "n", "leaning", "first_seed")}
    rounded = {
        name: float(f"{getattr(result, name):.{DIGITS}g}")
        for name in ("estimate", "spread", "grain")
    }
    return Entry(**same, **rounded, rule=rule_of(result.decision), why=why)


def write(scale: str, entries: Mapping[Key, Entry]) -> None:
    """Write what is accepted at a scale: sorted, one line a place."""
    lines, before = [_HEAD.format(scale=scale)], ""
    for (claim, place), entry in sorted(entries.items()):
        if claim != before:
            lines.append(f"\n[{json.dumps(claim)}]\n")
            before = claim
        values = ", ".join(
            f"{name} = {_toml(value)}"
            for name, value in asdict(entry).items()
            if value is not None
        )
        lines.append(f"{json.dumps(place)} = {{ {values} }}\n")
    write_text(path(scale), "".join(lines))


def by_key(results: Iterable[Result]) -> dict[Key, Result]:
    """Return results by their keys; the later of two at one place stays."""
    return {(r.id, r.where): r for r in results}


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
