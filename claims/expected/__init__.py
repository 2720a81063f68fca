"""Accepted verdicts, one TOML file a scale: data, written by ``claims accept``.

Per claim a table, per place ("setting variant", or "setting") what was decided there
and, in ``why``, what a person says about it.  Nobody types the figures.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reports.results import Result, write_text

FOLDER = Path(__file__).parent

DIGITS = 4
"""Significant digits of the numbers on file."""

_FLOATS = ("estimate", "spread", "grain")

Key = tuple[str, str]
"""A claim's id, and a place as in "plain-vgg weights"."""

_HEAD = """\
# What was accepted at scale {scale}: written by `python -m claims accept`.
# By hand change nothing; a `why` is given to that command.
"""


def path(scale: str) -> Path:
    """Return the file of a scale."""
    return FOLDER / f"{scale}.toml"


@dataclass(frozen=True)
class Entry:
    """What was accepted at a place, and of what.

    Attributes
    ----------
    verdict, leaning, estimate, spread, n, grain
        As in `claims.evidence.Decision`.
    rule
        What was decided, in words, see `rule_of`.
    first_seed
        Of the networks.
    why
        What a person says about the verdict.
    """

    verdict: str
    estimate: float
    spread: float
    n: int
    grain: float = 0.0
    leaning: str = ""
    rule: str = ""
    first_seed: int | None = None
    why: str = ""

    @classmethod
    def of(cls, result: Result, why: str = "") -> "Entry":
        """Take what has to be kept of a result, its numbers rounded."""
        same = {n: getattr(result, n) for n in ("verdict", "n", "leaning")}
        rounded = {n: float(f"{getattr(result, n):.{DIGITS}g}") for n in _FLOATS}
        rule = rule_of(result.decision)
        return cls(**same, **rounded, rule=rule, first_seed=result.first_seed, why=why)

    def stale(self, decision: str) -> bool:
        """Say whether another rule, or margin, decides now: then nothing is accepted.

        Parameters
        ----------
        decision
            The statement of a decision, or of a record of one.
        """
        return self.rule != rule_of(decision)


def rule_of(decision: str) -> str:
    """Return the part of a decision's statement that no measurement changes.

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


def load(scale: str) -> dict[Key, Entry]:
    """Return what was accepted at a scale; nothing where there is no file.

    Raises
    ------
    ValueError
        The file is not one that `write` has written: says where and what to do.
    """
    file = path(scale)
    if not file.exists():
        return {}
    try:
        tables = tomllib.loads(file.read_text(encoding="utf-8"))
        return {
            (claim, place): _entry(entry)
            for claim, places in tables.items()
            for place, entry in places.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not what `python -m claims accept` writes ({error}): restore "
            "it with git, or accept a record of the whole scale anew"
        ) from None


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


def _entry(table: Mapping[str, Any]) -> Entry:
    """Make an entry; TOML's ``9`` is a float where one is meant."""
    entry = Entry(**table)
    return replace(entry, **{name: float(getattr(entry, name)) for name in _FLOATS})


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
