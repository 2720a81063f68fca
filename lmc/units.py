"""What is known of a model's units: ties between them, blocks, and what sees them.

A *unit* starts as one position on one axis of a parameter or buffer.  Operations
tie units together (channel 3 of a layer's output is channel 3 of the next layer's
input), hold them as blocks of another unit (the channels of an attention head) or
tell them apart by position, which pins them.  :mod:`lmc.families` finds what may be
permuted.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

MAY_BE_FREE = "may be free"
"""In the reason of what is pinned only because the algebra has no name for it."""


@dataclass(frozen=True, eq=False)
class Holding:
    """A unit that moves as a row of others does, with the operation that says so."""

    holder: int
    content: Ints
    operation: int
    reason: str


class TooFine(Exception):
    """Parameters that were given units of their own at each batch position in vain.

    See :mod:`lmc.axes.refining`.
    """

    def __init__(self, parameters: frozenset[str]):
        super().__init__(*sorted(parameters))
        self.parameters = parameters


class Units:
    """A growing set of units with what has been found out about them.

    Parameters
    ----------
    alike
        Parameters whose units are the same at all batch positions: it was found
        that they cannot be told apart there.

    Attributes
    ----------
    holdings
        What holds what.
    ties
        Pairs of units that move together, with a label for each pair: equal ones
        where operations tie alike.
    seen
        Units that an operation sees, with a label for each: equal ones where it
        treats them alike.
    too_fine
        Parameters of which coarser units are to be asked for when all is known.

    Examples
    --------
    Of two units that are tied, each speaks for both:

    >>> units = Units()
    >>> inner, outer = units.new(4), units.new(2)
    >>> holders = units.blocks(inner.reshape(2, 2), "an operation")
    >>> units.tie(outer, holders, (0 * outer, 0 * outer))
    >>> units.pin(holders, "seen from outside")
    >>> units.reason(outer[0])
    'seen from outside'
    """

    def __init__(self, alike: frozenset[str] = frozenset()) -> None:
        self.alike = alike
        self._fine: dict[int, str] = {}  # the parameter that a unit was made for
        self.too_fine: frozenset[str] = frozenset()
        self._leader: list[int] = []  # union-find over ties
        self._reason: list[str | None] = []
        self.holdings: list[Holding] = []
        self._found: dict[frozenset[int], int] = {}  # by content: what holds it
        self._holders: dict[int, list[int]] = {}  # by leader: the units that hold it
        self.ties: list[tuple[Ints, Ints, Hashes]] = []
        self.seen: list[tuple[Ints, Hashes]] = []
        self._touched: set[int] = set()
        self._tokens = 0

    @property
    def count(self) -> int:
        """Number of units."""
        return len(self._leader)

    def new(
        self, count: int, reason: str | None = None, fine: str | None = None
    ) -> Ints:
        """Add units, pinned if there is a reason; return their numbers.

        ``fine`` is the parameter that they are the units of at each batch position.
        """
        first = len(self._leader)
        if fine is not None:
            self._fine.update(dict.fromkeys(range(first, first + count), fine))
        self._leader.extend(range(first, first + count))
        self._reason.extend([reason] * count)
        return np.arange(first, first + count)

    def leader(self, unit: int) -> int:
        """Return the unit that stands for all that are tied to this one."""
        leaders = self._leader
        while leaders[unit] != unit:
            leaders[unit] = leaders[leaders[unit]]
            unit = leaders[unit]
        return unit

    def tie(self, first: Ints, second: Ints, places: tuple[Ints, Ints]) -> None:
        """Demand that units move together, one by one.

        ``places`` tell a unit's several occurrences in each array apart.
        """
        first, second = first.ravel(), second.ravel()
        label = hashed(
            hashed(places[0].ravel()) + hashed(places[1].ravel(), self._token())
        )
        self.ties.append((first, second, label))
        ours, theirs = first.tolist(), second.tolist()
        self._touched.update(ours, theirs)
        for a, b in zip(ours, theirs, strict=True):
            self._unite(a, b)

    def see(self, units: Ints, places: Ints) -> None:
        """Note that an operation sees these units: it tells them from others."""
        self._touched.update(units.ravel().tolist())
        self.seen.append((units.ravel(), hashed(places.ravel(), self._token())))

    def pin(self, units: Ints, reason: str) -> None:
        """Forbid permutations; the first reason is kept."""
        for unit in set(units.ravel().tolist()):
            self._touched.add(unit)
            leader = self.leader(unit)
            self._reason[leader] = self._reason[leader] or reason

    def clash(self, units: Ints, reason: str, certain: bool = False) -> None:
        """Pin what cannot be expressed, unless coarser units may express it.

        The reason says that it may be free unless it is ``certain`` not to be.

        Raises
        ------
        TooFine
            Some of the units are those of a parameter at each batch position.
        """
        self.coarsen_now(units)
        self.pin(units, reason if certain else f"{MAY_BE_FREE}: {reason}")

    def coarsen(self, units: Ints) -> bool:
        """Ask for coarser units, once all is known, if any of these are fine."""
        fine = self._fine_parameters(units)
        self.too_fine |= fine
        return bool(fine)

    def coarsen_now(self, units: Ints) -> None:
        """Ask for coarser units at once, if any of these are fine ones."""
        if fine := self._fine_parameters(units):
            raise TooFine(fine)

    def _fine_parameters(self, units: Ints) -> frozenset[str]:
        """The parameters that these are the units of at each batch position."""
        if not self._fine:
            return frozenset()
        leaders = set(map(self.leader, units.ravel().tolist()))
        return frozenset(
            parameter
            for unit, parameter in self._fine.items()
            if self.leader(unit) in leaders
        )

    def untouched(self, units: Ints) -> bool:
        """Whether nothing is known of these units yet."""
        return self._touched.isdisjoint(units.ravel().tolist())

    def blocks(self, rows: Ints, reason: str) -> Ints:
        """Return for each row of units the unit that holds the row as a block.

        A row that is one unit is its own block.  Rows that overlap each other are
        pinned for ``reason``, as this algebra has no name for what moves them; rows
        that cut through blocks found before are looked into by
        :mod:`lmc.families`.
        """
        if rows.shape[1] == 1:
            return rows[:, 0]
        content = [frozenset(map(self.leader, row)) for row in rows.tolist()]
        if all(len(units) == 1 for units in content):
            return rows[:, 0]
        distinct = dict(zip(content, rows, strict=True))
        if sum(map(len, distinct)) > len(frozenset[int]().union(*distinct)):
            self.clash(rows, reason)
            return self.new(len(rows), f"{MAY_BE_FREE}: {reason}")
        operation = self._token()
        for units, row in distinct.items():
            if units not in self._found:
                self._found[units] = int(self.new(1)[0])
            holder = self._found[units]
            self.holdings.append(Holding(holder, row, operation, reason))
            for unit in units:
                self._holders.setdefault(unit, []).append(holder)
        return np.array([self._found[units] for units in content])

    def reason(self, unit: int) -> str | None:
        """Return why a unit is pinned; None if it is not."""
        return self._reason[self.leader(unit)]

    def anchors(self, units: Ints) -> Ints | None:
        """Return what keeps each unit near its place; None if there is no such thing.

        That is the unit itself if it is pinned, else a pinned unit that holds it.
        """
        distinct, inverse = np.unique(units, return_inverse=True)
        found = []
        for unit in distinct.tolist():
            waiting, passed = [unit], {unit}
            while waiting and self.reason(waiting[0]) is None:
                holders = self._holders.get(self.leader(waiting.pop(0)), [])
                waiting += [holder for holder in holders if holder not in passed]
                passed.update(holders)
            if not waiting:
                return None
            found.append(waiting[0])
        return np.array(found, np.int64)[inverse].reshape(units.shape)

    def _token(self) -> int:
        self._tokens += 1
        return self._tokens

    def _unite(self, a: int, b: int) -> None:
        leaders = self._leader
        a, b = leaders[a], leaders[b]  # mostly all the way
        if a == b:
            return
        if leaders[a] != a or leaders[b] != b:
            a, b = self.leader(a), self.leader(b)
            if a == b:
                return
        if b < a:
            a, b = b, a
        leaders[b] = a
        if self._reason[b] is not None:
            self._reason[a] = self._reason[a] or self._reason[b]
        if b in self._holders:
            self._holders.setdefault(a, []).extend(self._holders.pop(b))


def hashed(values: NDArray[Any], salt: int = 0) -> Hashes:
    """Mix integers to 64 bits (splitmix64), so that sums of hashes tell sets apart."""
    mixed = values.astype(np.uint64) + np.uint64(
        (salt + 1) * 0x9E3779B97F4A7C15 % 2**64
    )
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
