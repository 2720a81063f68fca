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
from reports.results import Result, write_text

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


def rule_of(decision: str) -> str:
    """Return the part of a decision's statement that no measurement changes.

    Where it is not that of what is on file, another rule, or margin, decides now, and
    nothing is accepted.

    Examples
    --------
    >>> rule_of("falls by more than 1 points, alpha 0.005; Page's p over 3 levels 0.02")
    'falls by more than 1 points, alpha 0.005'
    >>> rule_of("premise not met: no gap (mean > 2 points, alpha 0.005)")
    'mean > 2 points, alpha 0.005'
    """
    if decision.startswith("premise not met"):
        decision = decision.rpartition(" (")[2].removesuffix(")")
    return decision.partition("; ")[0]


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
