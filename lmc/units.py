"""Which units of a model play the same part: ties between them, blocks, colours.

A *unit* starts as one position on one axis of a parameter or buffer.  Operations
tie units together (channel 3 of a layer's output is channel 3 of the next layer's
input), hold them as blocks of another unit (the channels of an attention head) or
tell them apart by position, which pins them.  Units that nothing tells apart may be
permuted; colour refinement on the graph of ties and blocks finds them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]

MAY_BE_FREE = "may be free"
"""In the reason of what is pinned only because the algebra has no name for it."""

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

    @property
    def copies(self) -> int:
        """Number of blocks."""
        return len(self.members) // self.size


@dataclass(frozen=True, eq=False)
class _Block:
    """A unit that moves as a row of others does, with the operation that says so."""

    holder: int
    content: Ints
    operation: int
    reason: str


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

    Examples
    --------
    Four units in two blocks, and two others that are tied to the blocks:

    >>> units = Units()
    >>> inner, outer = units.new(4), units.new(2)
    >>> units.see(inner, 0 * inner)  # something treats all four alike
    >>> holders = units.blocks(inner.reshape(2, 2), "an operation")
    >>> units.tie(outer, holders, (0 * outer, 0 * outer))
    >>> [(family.size, family.copies) for family in units.families()]
    [(2, 1), (2, 2)]
    """

    def __init__(self, alike: frozenset[str] = frozenset()) -> None:
        self.alike = alike
        self._fine: dict[int, str] = {}  # the parameter that a unit was made for
        self._too_fine: frozenset[str] = frozenset()
        self._leader: list[int] = []  # union-find over ties
        self._reason: list[str | None] = []
        self._blocks: list[_Block] = []
        self._found: dict[frozenset[int], int] = {}  # by content: what holds it
        self._holders: dict[int, list[int]] = {}  # by leader: the units that hold it
        self._shared: dict[int, str] = {}  # by leader: why its order stays as it is
        self._parent: dict[int, int] = {}  # by leader, once settled
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

    def clash(self, units: Ints, reason: str, certain: bool = False) -> None:
        """Pin what cannot be expressed, unless coarser units may express it.

        The reason says that it may be free unless it is ``certain`` not to be.

        Raises
        ------
        TooFine
            Some of the units are those of a parameter at each batch position.
        """
        self._coarsen(units)
        self.pin(units, reason if certain else f"{MAY_BE_FREE}: {reason}")

    def coarsen(self, units: Ints) -> bool:
        """Have :meth:`families` ask for coarser units if any of these are fine."""
        fine = self._fine_parameters(units)
        self._too_fine |= fine
        return bool(fine)

    def _coarsen(self, units: Ints) -> None:
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
        that cut through blocks found before are looked into by :meth:`settle`.
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
            self._blocks.append(_Block(holder, row, operation, reason))
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
        a, b = self.leader(a), self.leader(b)
        if a == b:
            return
        if b < a:
            a, b = b, a
        self._leader[b] = a
        self._reason[a] = self._reason[a] or self._reason[b]
        if b in self._holders:
            self._holders.setdefault(a, []).extend(self._holders.pop(b))

    def shared(self, unit: int) -> str | None:
        """Return why a unit stays in its order beside others in its block, if it does.

        It moves with the block.  Known once the families are.
        """
        return self._shared.get(self.leader(unit))

    def families(self) -> Iterator[Family]:
        """Find what may be permuted: families with at least two things in a block.

        Parents come before their children.  Two units are exchanged only if they
        are tied to units of the same parts by the same operations, which colour
        refinement decides; a thing with two units of one colour is pinned, since it
        is not known which of them corresponds to which of another thing.

        Raises
        ------
        TooFine
            Units of a parameter at each batch position can't be told apart.
        """
        if self._too_fine:
            raise TooFine(self._too_fine)
        self._settle()
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
            why = f"{MAY_BE_FREE}: positions that are tied among themselves"
            self.pin(np.array([leader]), why)
        self._pin_blocks()
        things: dict[int, list[int]] = {}
        for unit, leader in zip(order.tolist(), leaders[order].tolist(), strict=True):
            things.setdefault(leader, []).append(unit)
        inside: dict[int, list[int]] = {}
        for leader in things:
            inside.setdefault(self._holder(leader), []).append(leader)
        parts = _Parts(self, things, inside, colour.tolist())
        yield from parts.families([inside[_NOWHERE]], None)

    def _settle(self) -> None:
        """Find what holds what: arrange the blocks as a forest.

        Of blocks that cross, as attention heads cross what all heads share, those
        that hold more than the others do are kept.  The others stay in their order.

        Raises
        ------
        TooFine
            Blocks that cross hold units of a parameter at each batch position.
        """
        self._unite_equal()
        inside = self._insides()
        around: dict[int, list[int]] = {}
        for holder, content in inside.items():
            for unit in content:
                around.setdefault(unit, []).append(holder)
        for unit, holders in around.items():
            if (reason := self._reason[unit]) is not None:  # they would move it
                self.pin(np.array(holders), reason)
        leaves = _leaves(inside)
        rivals = _Rivals(self, leaves)
        moving = {holder for holder in inside if self._reason[holder] is None}
        while crossing := _crossing(leaves, around, moving):
            for pair in crossing:
                loser = rivals.loser(*pair)
                self._coarsen(np.array([*leaves[loser]]))
                self._shared[loser] = (
                    f"shared by blocks that are permuted, and {MAY_BE_FREE}: "
                    f"{rivals.reasons[loser]}"
                )
            moving -= self._shared.keys()
        for unit in {*around, *inside}:
            own = leaves.get(unit, frozenset())
            holders = [
                holder
                for holder in around.get(next(iter(own), unit), [])
                if holder not in self._shared
                and (unit in inside[holder] or (own and own < leaves[holder]))
            ]
            if holders:
                self._parent[unit] = min(
                    holders,
                    key=lambda h: (h not in moving, len(leaves[h]), len(inside[h])),
                )

    def _unite_equal(self) -> None:
        """Tie what holds the same."""
        while True:
            inside = self._insides()
            found: dict[frozenset[int], int] = {}
            pairs = [
                (found.setdefault(content, holder), holder)
                for holder, content in _leaves(inside).items()
            ]
            both = np.array(
                [
                    (one, other)
                    for one, other in pairs
                    if one != other
                    and one not in inside[other]
                    and other not in inside[one]
                ]
            )
            if not len(both):
                return
            # Both ways and at once, so that no two of these ties differ.
            first, second = np.concatenate([both, both[:, ::-1]]).T
            self.tie(first, second, (0 * first, 0 * first))

    def _insides(self) -> dict[int, frozenset[int]]:
        """What each holder holds, with all inside that; pin what would hold itself."""
        contents: dict[int, set[int]] = {}
        for block in self._blocks:
            content = contents.setdefault(self.leader(block.holder), set())
            content.update(map(self.leader, block.content.tolist()))
        found: dict[int, frozenset[int]] = {}

        def visit(holder: int, path: tuple[int, ...]) -> frozenset[int]:
            if holder not in found:
                path = (*path, holder)
                everything = set(contents[holder])
                for unit in contents[holder]:
                    if unit in path:
                        cycle = np.array(path[path.index(unit) :])
                        self.pin(cycle, "a block is tied to what it holds")
                    elif unit in contents:
                        everything |= visit(unit, path)
                found[holder] = frozenset(everything - {holder})
            return found[holder]

        for holder in contents:
            visit(holder, ())
        return found

    def _holder(self, leader: int) -> int:
        return self._parent.get(leader, _NOWHERE)

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
        colour = self._told_apart(count)
        for units, token in self._seen:
            np.add.at(colour, units, _hash(token))
        edges = [*self._ties]
        for block in self._blocks:  # what is held differs as what holds it does
            holder = np.full(len(block.content), block.holder)
            edges.append((holder, block.content, _hash(np.zeros_like(holder), 3)))
        if not edges:
            return colour
        first, second, label = map(np.concatenate, zip(*edges, strict=True))
        there, back = _hash(label, 1), _hash(label, 2)
        number = 0
        while (found := len(np.unique(colour))) > number:
            number = found
            refined = _hash(colour)
            np.add.at(refined, first, _hash(colour[second] + there))
            np.add.at(refined, second, _hash(colour[first] + back))
            colour = refined
        return colour

    def _told_apart(self, count: int) -> Hashes:
        """A colour of its own for each unit that holds others and does not move.

        What is shared by blocks gets equal ones in each block that holds it.
        """
        colour = np.zeros(count, np.uint64)
        for block in self._blocks:
            if self.reason(block.holder) is not None:
                colour[block.holder] = _hash(np.array([block.holder]), 4)[0]
        members: dict[int, list[int]] = {}
        for unit in range(count if self._shared else 0):
            if (leader := self.leader(unit)) in self._shared:
                members.setdefault(leader, []).append(unit)
        number: dict[int, int] = {}
        for leader in sorted(members, key=lambda leader: members[leader][0]):
            parent = self._holder(leader)
            start = number.get(parent, 0)
            number[parent] = start + len(members[leader])
            numbers = np.arange(start, number[parent])
            colour[members[leader]] = _hash(numbers, 5)
        return colour


class _Rivals:
    """Blocks that cross each other: which of them to keep."""

    def __init__(self, units: Units, leaves: dict[int, frozenset[int]]):
        self._leaves = leaves
        self.reasons: dict[int, str] = {}
        self._operations: dict[int, set[int]] = {}
        self._kin: dict[int, frozenset[int]] = {}
        together: dict[int, set[int]] = {}
        for block in units._blocks:
            holder = units.leader(block.holder)
            self.reasons.setdefault(holder, block.reason)
            self._operations.setdefault(holder, set()).add(block.operation)
            together.setdefault(block.operation, set()).update(leaves[holder])
        self._together = together

    def loser(self, one: int, other: int) -> int:
        """Return the one that holds less beside what the other's like hold."""
        rest = [
            len(self._leaves[mine] - self._all_like(its))
            for mine, its in ((one, other), (other, one))
        ]
        if rest[0] != rest[1]:
            return other if rest[0] > rest[1] else one
        return max(one, other, key=lambda holder: min(self._operations[holder]))

    def _all_like(self, holder: int) -> frozenset[int]:
        """What all blocks hold that the same operations found."""
        if holder not in self._kin:
            found = (self._together[number] for number in self._operations[holder])
            self._kin[holder] = frozenset[int]().union(*found)
        return self._kin[holder]


def _leaves(inside: dict[int, frozenset[int]]) -> dict[int, frozenset[int]]:
    """Of what each block holds, that which holds nothing itself."""
    return {
        holder: frozenset(unit for unit in content if unit not in inside)
        for holder, content in inside.items()
    }


def _crossing(
    leaves: dict[int, frozenset[int]], around: dict[int, list[int]], moving: set[int]
) -> set[tuple[int, int]]:
    """Find pairs of blocks that have units in common, of which none holds the other."""
    pairs: set[tuple[int, int]] = set()
    nested: set[tuple[int, int]] = set()
    for unit, holders in around.items():
        if unit in leaves:
            continue
        found = [holder for holder in holders if holder in moving]
        for pair in pairwise(sorted(found, key=lambda holder: len(leaves[holder]))):
            if pair not in nested and pair not in pairs:
                (nested if leaves[pair[0]] <= leaves[pair[1]] else pairs).add(pair)
    return pairs


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
