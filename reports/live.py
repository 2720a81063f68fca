"""Verdict lines in the terminal as they come, and how long the rest takes."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from reports.deciding import duration
from reports.results import Result
from reports.terminal import HEAD, decided, heading

FEW = 10
"""Tests that have to be over before their pace corrects what is expected."""


class Writer(Protocol):
    """What of pytest's terminal reporter is used here."""

    def write(self, content: str, **markup: bool) -> None:
        """Write text."""

    def write_line(self, line: str) -> None:
        """Write a line."""


class Progress:
    """How long the tests that are left take, by what tests took before.

    Parameters
    ----------
    costs
        Seconds that a test has taken, by its node id.
    clock
        Returns the seconds since some time.
    """

    def __init__(
        self, costs: Mapping[str, float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._costs, self._clock = costs, clock
        self._pending: set[str] = set()
        self._total, self._spent = 0, 0.0
        self._workers, self._started = 0, clock()

    def begin(self, tests: Iterable[str]) -> None:
        """Note what one worker will run, or could: all of them have the same tests."""
        if not self._workers:
            self._pending = {*tests}
            self._total = len(self._pending)
        self._workers += 1

    def over(self, test: str) -> None:
        """Note that a test is over; the clock begins with the first."""
        if test in self._pending:
            self._pending.remove(test)
            self._spent += self._expected(test)

    def start(self) -> None:
        """Begin to count: whatever was trained before is no measuring."""
        self._started = self._clock()

    def line(self) -> str:
        """Say how far it is, as ``120 of 667 tests, about 12 min left``."""
        done = self._total - len(self._pending)
        told = f"{done} of {self._total} tests"
        if not self._pending or not (done >= FEW or self._costs):
            return told
        left = sum(map(self._expected, self._pending)) / max(1, self._workers)
        if done >= FEW:  # what was remembered, or another machine, changes the pace
            took = self._clock() - self._started
            left *= took * max(1, self._workers) / self._spent
        return f"{told}, about {duration(left)} left"

    def _expected(self, test: str) -> float:
        known = self._costs
        usual = sum(known.values()) / len(known) if known else 1.0
        return max(known.get(test, usual), 1e-3)


class Live:
    """Writes a line for each result as it comes, with its claim above the first.

    On a terminal a last line says how far it is, and is written over.
    """

    def __init__(self, writer: Writer, width: int, in_place: bool) -> None:
        self._writer, self._width, self._in_place = writer, width, in_place
        self._claim = ""
        self.open = False  # whether the last line is there
        self.told: set[tuple[str, str, str, str]] = set()

    def tell(self, result: Result) -> None:
        """Write a result's line."""
        self.close()
        if not self.told:
            self._writer.write_line(HEAD)
        if self._claim != result.id:
            self._claim = result.id
            self._writer.write_line(heading(result))
        colour, verdict, rest = decided(result, self._width)
        self._writer.write(verdict, **({colour: True} if colour else {}))
        self._writer.write_line(rest)
        self.told.add(result.place)

    def show(self, line: str) -> None:
        """Write how far it is, where it can be written over."""
        if self._in_place:
            self._writer.write(f"\r{line[: self._width - 1]}\x1b[K")
            self.open = True

    def close(self) -> None:
        """Take the last line away."""
        if self.open:
            self._writer.write("\r\x1b[K")
            self.open = False
