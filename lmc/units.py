"""Which units of a model play the same part: ties between them, blocks, colours.

A *unit* starts as one position on one axis of a parameter or buffer.  Operations
tie units together (channel 3 of a layer's output is channel 3 of the next layer's
input), hold them as blocks of another unit (the channels of an attention head) or
tell them apart by position, which pins them.  Units that nothing tells apart may be
permuted; colour refinement on the graph of ties finds them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_NOWHERE = -1
"""In place of the unit that holds another one as part of a block."""


@dataclass(frozen=True, eq=False)
class Family:
    """Tied units that may be permuted among themselves, inside their blocks.

    Attributes
    ----------
    members
        A row for each of ``copies * size`` things that are exchanged, those of one
        block together: the units tied into the thing and all units that it holds.
        The same column of two things holds units of the same part.
    own
        Number of columns that are tied into the thing; the others are inside.
    size
        Number of things that are exchanged, in each block.
    parent
        The family whose things are the blocks, None at the top.
    """

    members: Ints
    own: int
    size: int
    parent: "Family | None"


class TooFine(Exception):
    """Parameters that were given units of their own at each batch position in vain."""

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
    """

    def __init__(self, alike: frozenset[str] = frozenset()) -> None:
        self.alike = alike
        self._fine: dict[int, str] = {}  # the parameter that a unit was made for
        self._leader: list[int] = []  # union-find over ties
        self._block: list[int] = []  # by leader: a unit that holds it
        self._reason: list[str | None] = []
        self._held: list[tuple[frozenset[int], str]] = []  # blocks with why they are
        self._ties: list[tuple[Ints, Ints, Hashes]] = []
        self._seen: list[tuple[Ints, Hashes]] = []
        self._touched: set[int] = set()
        self._tokens = 0

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
        self._block.extend([_NOWHERE] * count)
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
        label = _hash(
            _hash(places[0].ravel()) + _hash(places[1].ravel(), self._token())
        )
        self._ties.append((first, second, label))
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            self._touched.update((a, b))
            self._unite(a, b)

    def see(self, units: Ints, places: Ints) -> None:
        """Note that an operation sees these units: it tells them from others."""
        self._touched.update(units.ravel().tolist())
        self._seen.append((units.ravel(), _hash(places.ravel(), self._token())))

    def pin(self, units: Ints, reason: str) -> None:
        """Forbid permutations; the first reason is kept."""
        for unit in set(units.ravel().tolist()):
            self._touched.add(unit)
            leader = self.leader(unit)
            self._reason[leader] = self._reason[leader] or reason

    def clash(self, units: Ints, reason: str) -> None:
        """Pin what cannot be expressed, unless coarser units may express it.

        Raises
        ------
        TooFine
            Some of the units are those of a parameter at each batch position.
        """
        if self._fine:
            leaders = set(map(self.leader, units.ravel().tolist()))
            fine = {
                parameter
                for unit, parameter in self._fine.items()
                if self.leader(unit) in leaders
            }
            if fine:
                raise TooFine(frozenset(fine))
        self.pin(units, reason)

    def untouched(self, units: Ints) -> bool:
        """Whether nothing is known of these units yet."""
        return self._touched.isdisjoint(units.ravel().tolist())

    def blocks(self, rows: Ints, reason: str) -> Ints:
        """Return for each row of units the unit that holds the row as a block.

        A row that is one unit is its own block.  Rows that cut through blocks found
        before are pinned for ``reason``, as this algebra has no name for what moves
        them.
        """
        if rows.shape[1] == 1:
            return rows[:, 0]
        content = [frozenset(map(self.leader, row)) for row in rows.tolist()]
        if all(len(units) == 1 for units in content):
            return rows[:, 0]
        holders: dict[frozenset[int], int] = {}
        held: set[int] = set()
        for units in dict.fromkeys(content):
            found = {self.leader(b) for u in units if (b := self._block[u]) != _NOWHERE}
            if len(found) > 1 or found & held or not held.isdisjoint(units):
                self.clash(rows, reason)
                return self.new(len(rows), reason)
            holder = found.pop() if found else int(self.new(1)[0])
            holders[units] = holder
            held |= {holder, *units}
        for units, holder in holders.items():
            self._held.append((units, reason))
            for unit in units:
                self._block[unit] = holder
        return np.array([holders[units] for units in content])

    def reason(self, unit: int) -> str | None:
        """Return why a unit is pinned; None if it is not."""
        return self._reason[self.leader(unit)]

    def anchors(self, units: Ints) -> Ints | None:
        """Return what keeps each unit near its place; None if there is no such thing.

        That is the unit itself if it is pinned, else the pinned unit that holds it.
        """
        distinct, inverse = np.unique(units, return_inverse=True)
        found = []
        for unit in distinct.tolist():
            anchor, passed = unit, set()
            while anchor != _NOWHERE and self.reason(anchor) is None:
                if anchor in passed:
                    return None
                passed.add(anchor)
                anchor = self._holder(self.leader(anchor))
            if anchor == _NOWHERE:
                return None
            found.append(anchor)
        return np.array(found, np.int64)[inverse].reshape(units.shape)

    def _token(self) -> int:
        self._tokens += 1
        return self._tokens

    def _unite(self, a: int, b: int) -> None:
        a, b = self.leader(a), self.leader(b)
        if a == b:
            return
        if b < a:
            a, b = b, a
        self._leader[b] = a
        self._reason[a] = self._reason[a] or self._reason[b]
        mine, its = self._block[a], self._block[b]
        self._block[a] = its if mine == _NOWHERE else mine
        if _NOWHERE not in (mine, its) and self.leader(mine) != self.leader(its):
            one = np.zeros(1, np.int64)
            self._ties.append((np.array([mine]), np.array([its]), _hash(one, 0)))
            self._unite(mine, its)

    def families(self) -> Iterator[Family]:
        """Find what may be permuted: families with at least two things in a block.

        Parents come before their children.  Two units are exchanged only if they
        are tied to units of the same parts by the same operations, which colour
        refinement decides; a thing with two units of one colour is pinned, since it
        is not known which of them corresponds to which of another thing.
        """
        self._cut_cycles()
        self._pin_overlaps()
        count = len(self._leader)
        leaders = np.fromiter(map(self.leader, range(count)), np.int64, count)
        colour = self._colours(count)
        order = np.lexsort((np.arange(count), colour, leaders))
        doubled = np.zeros(count, bool)
        same = (leaders[order][1:] == leaders[order][:-1]) & (
            colour[order][1:] == colour[order][:-1]
        )
        doubled[leaders[order][1:][same]] = True
        for leader in np.flatnonzero(doubled).tolist():
            self.pin(np.array([leader]), "positions that are tied among themselves")
        self._pin_blocks()
        things: dict[int, list[int]] = {}
        for unit, leader in zip(order.tolist(), leaders[order].tolist(), strict=True):
            things.setdefault(leader, []).append(unit)
        inside: dict[int, list[int]] = {}
        for leader in things:
            inside.setdefault(self._holder(leader), []).append(leader)
        parts = _Parts(self, things, inside, colour.tolist())
        yield from parts.families([inside[_NOWHERE]], None)

    def _holder(self, leader: int) -> int:
        block = self._block[leader]
        return _NOWHERE if block == _NOWHERE else self.leader(block)

    def _cut_cycles(self) -> None:
        """Pin and free blocks that came to hold themselves by a tie."""
        for start in {self.leader(unit) for unit in range(len(self._leader))}:
            path, unit = [start], start
            while (unit := self._holder(unit)) != _NOWHERE and unit not in path:
                path.append(unit)
            if unit != _NOWHERE:
                self.pin(np.array(path), "a block is tied to what it holds")
                self._block[unit] = _NOWHERE

    def _pin_overlaps(self) -> None:
        """Pin blocks that came to share some of their units by ties, but not all."""
        blocks: dict[int, frozenset[int]] = {}
        for units, reason in self._held:
            content = frozenset(map(self.leader, units))
            for unit in content:
                if blocks.setdefault(unit, content) != content:
                    self.pin(np.array([*blocks[unit], *content]), reason)

    def _pin_blocks(self) -> None:
        """Pin what holds a pinned unit: it would move it."""
        for unit in range(len(self._leader)):
            leader = self.leader(unit)
            reason = self._reason[leader]
            while reason and (leader := self._holder(leader)) != _NOWHERE:
                self._reason[leader] = self._reason[leader] or reason

    def _colours(self, count: int) -> Hashes:
        """Refine: units differ if what sees them or what they are tied to differs.

        Colours are 64-bit hashes; for two different ones to be equal is as likely
        as one in 10^9 in a model with 100,000 units, and would not pass the
        certificate.
        """
        colour = np.zeros(count, np.uint64)
        for units, token in self._seen:
            np.add.at(colour, units, _hash(token))
        if not self._ties:
            return colour
        first, second, label = map(np.concatenate, zip(*self._ties, strict=True))
        there, back = _hash(label, 1), _hash(label, 2)
        number = 0
        while (found := len(np.unique(colour))) > number:
            number = found
            refined = _hash(colour)
            np.add.at(refined, first, _hash(colour[second] + there))
            np.add.at(refined, second, _hash(colour[first] + back))
            colour = refined
        return colour


class _Parts:
    """What tied units, known by their leaders, consist of and hold."""

    def __init__(
        self,
        units: Units,
        members: dict[int, list[int]],
        inside: dict[int, list[int]],
        colour: list[int],
    ):
        self._units = units
        self._members = members
        self._inside = inside
        self._colour = colour
        self._kinds: dict[object, int] = {}
        self._known: dict[int, tuple[int, int]] = {}

    def families(
        self, blocks: list[list[int]], parent: Family | None
    ) -> Iterator[Family]:
        """Split each block's things by kind; the blocks agree in what they hold."""
        split = [self._by_kind(block) for block in blocks]
        for kind, first in split[0].items():
            things = [thing for parts in split for thing in parts[kind]]
            insides = [self._inside.get(thing, []) for thing in things]
            if len(first) > 1 and self._units.reason(first[0]) is None:
                members = np.array([self._tree(thing) for thing in things])
                own = len(self._members[first[0]])
                family = Family(members, own, len(first), parent)
                yield family
                yield from self.families(insides, family)
            elif parent is not None:  # one thing in each block
                yield from self.families(insides, parent)
            else:  # fixed things, each with insides of its own
                for inside in insides:
                    yield from self.families([inside], None)

    def _tree(self, thing: int) -> list[int]:
        """List a thing's units and those of everything inside it, kind by kind."""
        units = list(self._members[thing])
        for parts in self._by_kind(self._inside.get(thing, [])).values():
            for part in parts:
                units += self._tree(part)
        return units

    def _by_kind(self, block: list[int]) -> dict[int, list[int]]:
        """Group by kind, in the order of the units that came first into the model."""
        kinds: dict[int, list[int]] = {}
        for thing in sorted(block, key=lambda thing: self._know(thing)[0]):
            kinds.setdefault(self._know(thing)[1], []).append(thing)
        # Equal orders in all blocks, whatever comes first in each.
        return dict(sorted(kinds.items(), key=lambda item: item[0]))

    def _know(self, thing: int) -> tuple[int, int]:
        """Return the first unit of a thing with all inside, and the thing's kind."""
        if thing not in self._known:
            held = [self._know(part) for part in self._inside.get(thing, [])]
            members = self._members[thing]
            key = (
                self._units.reason(thing) is not None,
                tuple(self._colour[unit] for unit in members),
                tuple(sorted(kind for _, kind in held)),
            )
            kind = self._kinds.setdefault(key, len(self._kinds))
            self._known[thing] = min([*members, *(first for first, _ in held)]), kind
        return self._known[thing]


def _hash(values: NDArray[Any], salt: int = 0) -> Hashes:
    """Mix integers to 64 bits (splitmix64), so that sums of hashes tell sets apart."""
    mixed = values.astype(np.uint64) + np.uint64(
        (salt + 1) * 0x9E3779B97F4A7C15 % 2**64
    )
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
