"""Which networks methods are tried on, and who has looked at them before.

A method may be tuned on networks that everybody has seen.  What is said about it comes
from others: each comparison takes seeds that nobody has looked at, and notes them in
the ledger of this lab, ``looked.toml`` in the cache folder, before it looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from claims import expected
from claims.expected.ledger import entries, note_seeds, seeds_of, spans
from fixtures.folders import cache_folder

FIRST = 10_000_000
"""First seed of comparisons, which nights, from seed 10,000 on, do not come to."""

EXPLORATORY = 0
"""First seed of the networks that methods are tuned on, at every scale."""


@dataclass(frozen=True)
class Looks:
    """Seeds that are looked at, and the earlier looks at any of them.

    Attributes
    ----------
    scale, count
        Of which scale, and how many networks of each setting.
    seeds
        Those that the networks are of: twice as many, as some fail and are replaced.
    before
        Entries of the ledgers, from old to new.
    """

    scale: str
    count: int
    seeds: Sequence[int]
    before: Sequence[dict[str, Any]]

    @property
    def sentence(self) -> str:
        """Say how fresh these seeds are."""
        networks = (
            f"The first {self.count} networks that train from seeds "
            f"{spans(self.seeds)} of scale {self.scale}"
        )
        if not self.before:
            return f"{networks}: nobody had looked at these seeds before."
        *_, last = sorted(self.before, key=lambda entry: entry["looked_at"])
        times = "once" if len(self.before) == 1 else f"{len(self.before)} times"
        return (
            f"{networks}, of which some or all were looked at {times} before, last on "
            f"{last['looked_at']} ({last['why']}): whatever was chosen after such a "
            "look is not confirmed here."
        )


def ledger() -> Path:
    """Return this lab's ledger."""
    return cache_folder() / "looked.toml"


def take(
    scale: str, count: int, why: str, commit: str, first: int | None = None
) -> Looks:
    """Take seeds to compare on, and note that they are looked at.

    Parameters
    ----------
    scale
        Of which scale.
    count
        How many networks of each setting.
    why, commit
        What the ledger's entry says.
    first
        The first of them; None for the first ones from `FIRST` on that no ledger has.

    Raises
    ------
    ValueError
        They are reserved for a record that is not yet there.
    """
    ledger().parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(ledger().with_name(".looked.toml.lock")):
        looked = _looked(scale)
        if first is None:
            first = _fresh(seeds_of(looked))
        seeds = range(first, first + 2 * count)
        public = expected.FOLDER / "ledger.toml"
        reserved = seeds_of(entries(public, scale, "reserved")) - seeds_of(looked)
        if taken := sorted(reserved & {*seeds}):
            raise ValueError(
                f"seeds {spans(taken)} of scale {scale} are reserved for its record, "
                "and nobody may look at them yet: leave out --first-seed"
            )
        note_seeds(ledger(), scale, seeds, commit, why)
    touched = [entry for entry in looked if seeds_of([entry]) & {*seeds}]
    return Looks(scale, count, seeds, touched)


def _looked(scale: str) -> list[dict[str, Any]]:
    public = entries(expected.FOLDER / "ledger.toml", scale)
    return [*public, *entries(ledger(), scale)]


def _fresh(looked: set[int]) -> int:
    """Return the first even seed after all that comparisons have looked at."""
    first = max([seed + 1 for seed in looked if seed >= FIRST], default=FIRST)
    return first + first % 2
