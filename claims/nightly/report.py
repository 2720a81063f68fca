"""What is told of a night, in words; page, feed and badges are made of it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from claims.evidence.nights import DIRECTIONS
from claims.nightly.history import Row
from claims.nightly.process import Process
from claims.nightly.standing import Standing

KINDS = {
    "same": "same networks, other values",
    "retrained": "trained again, another network",
    "drift": "drift",
    "record": "against the record",
    "error": "error",
    "invariant": "broken invariant",
    "decided": "decided",
    "stratum": "machine or versions",
}
"""What kinds of news are called; those that make a night red come first."""


FIRST = 12
"""News that are told at once, beside the red ones."""

AGAIN = {
    "fixed": "places of the fixed ones measured again",
    "stored": "places of nights before measured again",
    "retrained": "trained again",
}
"""What was done with known networks, by its name in the table of blocks."""


@dataclass(frozen=True)
class Report:
    """A history after its last night.

    Attributes
    ----------
    scale
        Its name.
    standing
        Of all processes.
    present
        The processes that are asked now.
    news
        All rows of news.
    blocks, strata
        Rows of these tables.
    """

    scale: str
    standing: Standing
    present: Sequence[Process]
    news: Sequence[Row]
    blocks: Sequence[Row]
    strata: Sequence[Row]

    @cached_property
    def nights(self) -> list[str]:
        """All nights, in order."""
        return sorted({row["night"] for row in self.blocks})

    @property
    def night(self) -> str:
        """The last one."""
        return self.nights[-1]

    @cached_property
    def tonight(self) -> list[Row]:
        """News of the last night, red first."""
        return self.of(self.night)

    def of(self, night: str) -> list[Row]:
        """Return a night's news, red first, by kind."""
        kinds = [*KINDS]
        rows = [row for row in self.news if row["night"] == night]
        return sorted(rows, key=lambda row: (not row["red"], kinds.index(row["kind"])))

    def is_red(self, night: str) -> bool:
        """Return whether a night was red."""
        return night in self.red_nights

    @cached_property
    def red_nights(self) -> list[str]:
        """All red nights, in order."""
        return sorted({row["night"] for row in self.news if row["red"]})

    @property
    def red(self) -> bool:
        """Whether the last night was red."""
        return self.is_red(self.night)

    def decided(self, direction: str) -> list[Process]:
        """Return the present processes that are decided in a direction."""
        return [process for process in self.present if process.verdict == direction]

    @cached_property
    def lists(self) -> dict[str, list[Process]]:
        """Tonight's lists, by direction."""
        return self.standing.lists(self.present)

    @cached_property
    def paragraph(self) -> str:
        """The last night in words."""
        visited = [p for p in self.present if p.visited == self.night]
        kinds = Counter(row["kind"] for row in self.tonight if row["red"])
        why = ", ".join(f"{n} x {KINDS[kind]}" for kind, n in kinds.items())
        new = [row for row in self.tonight if row["kind"] == "decided"]
        counts = [len(self.decided(direction)) for direction in DIRECTIONS]
        listed = [len(self.lists[direction]) for direction in DIRECTIONS]
        lines = [
            f"The night of {self.night} at {self.scale} is "
            + (f"RED: {why}." if self.red else "green: everything still holds."),
            *self._again(),
            "No fresh evidence is taken until that is mended, or accepted."
            if {"same", "retrained"} & kinds.keys()
            else f"Fresh networks were measured at {len(visited)} of "
            f"{self.standing.places} places.",
            f"Places decided by all {len(self.nights)} nights: {counts[0]} for their "
            f"claim, {counts[1]} against it, {len(new)} of them new.",
            "Tonight's list, of which at most one in twenty is wrong on average, "
            f"holds {listed[0]} for and {listed[1]} against.",
        ]
        return " ".join(lines)

    def _again(self) -> Iterator[str]:
        """Say which known networks were looked at again, where there are any."""
        calls = [r for r in self.blocks if r["night"] == self.night and r["ended"]]
        counts = {kind: sum(row.get(kind, 0) for row in calls) for kind in AGAIN}
        if any(counts.values()):
            told = ", ".join(f"{counts[kind]} {text}" for kind, text in AGAIN.items())
            all_of_it = not any(row["planned"] for row in calls)
            yield f"Known networks: {told}{'; which took the budget' * all_of_it}."

    def lines(self) -> list[str]:
        """Return the first news of the last night, a line each, and how many more."""
        told = [line(row) for row in self.tonight[: self.first]]
        more = len(self.tonight) - len(told)
        return [*told, f"{more} more on the page"] if more else told

    @property
    def first(self) -> int:
        """How many of its news are told at once: all red ones, and `FIRST` others."""
        return sum(row["red"] for row in self.tonight) + FIRST


def line(row: Row) -> str:
    """Write a row of news.

    Examples
    --------
    >>> row = {"kind": "drift", "red": True, "claim": "minimal/x", "place": "mlp"}
    >>> line(row | {"text": "values have moved"})
    'RED: drift: minimal/x mlp: values have moved'
    """
    where = f"{row['claim']} {row['place']}".strip()
    told = f"{KINDS[row['kind']]}: {where + ': ' if where else ''}{row['text']}"
    return f"RED: {told}" if row["red"] else told
