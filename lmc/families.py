"""Which units play the same part, and may be permuted among themselves.

Units that nothing tells apart may be exchanged; colour refinement on the graph of ties
and blocks finds them.  Blocks form a forest, but for those that cross each other, as
the heads of a layer and the channels that all of these heads share: two permutations,
of the heads and of the channels, which commute.  Each kind is found while the other is
told apart.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lmc.units import MAY_BE_FREE, Hashes, Ints, TooFine, Units, hashed

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


class Families:
    """All families of a model's units, with at least two things in a block.

    Iterating goes through them, parents before their children.  Two units are
    exchanged only if they are tied to units of the same parts by the same operations,
    which colour refinement decides; a thing with two units of one colour is pinned,
    since it is not known which of them corresponds to which of another thing.

    Parameters
    ----------
    units
        With all that is known of them; what turns out to be fixed is pinned.

    Raises
    ------
    lmc.units.TooFine
        Units of a parameter at each batch position can't be told apart, or are held
        by blocks that cross.

    Examples
    --------
    Four units in two blocks, and two others that are tied to the blocks:

    >>> units = Units()
    >>> inner, outer = units.new(4), units.new(2)
    >>> units.see(inner, 0 * inner)  # something treats all four alike
    >>> holders = units.blocks(inner.reshape(2, 2), "an operation")
    >>> units.tie(outer, holders, (0 * outer, 0 * outer))
    >>> [(family.size, family.copies) for family in Families(units)]
    [(2, 1), (2, 2)]
    """

    def __init__(self, units: Units):
        if units.too_fine:
            raise TooFine(units.too_fine)
        self._units = units
        self._found: list[Family] = []
        self._of: dict[int, tuple[Family, int]] = {}  # by thing: family and row
        _unite_equal(units)
        nesting = _Nesting(units)
        moving, shared = nesting.settled(nesting.movable())
        for holder in shared:
            units.coarsen_now(np.array([*nesting.leaves[holder]]))
        self._shared = {
            holder: f"shared by blocks that are permuted, and {MAY_BE_FREE}: {reason}"
            for holder, reason in shared.items()
        }
        for family in _Arrangement(nesting, moving, pin=True).families():
            self._add(family)
        first = moving
        while shared and moving:  # blocks that cross those that moved before
            moving, shared = nesting.settled(set(shared))
            beside = first - nesting.across(moving, first)
            arrangement = _Arrangement(nesting, moving | beside)
            unsure = self._add_across(arrangement, moving) | arrangement.fixed.keys()
            for block in moving - unsure:
                across = nesting.across({block}, nesting.movable())
                if block in self._of or self._all_permuted(across):
                    del self._shared[block]

    def __iter__(self) -> Iterator[Family]:
        return iter(self._found)

    def shared(self, unit: int) -> str | None:
        """Return why it is not known whether a unit may leave its order in its block.

        It moves with the block; None where it may, or where others tell it apart.
        """
        return self._shared.get(self._units.leader(unit))

    def _all_permuted(self, blocks: Collection[int]) -> bool:
        """Whether all blocks of a kind inside one block may be permuted.

        Then whatever else moves them may be undone, and they may be told apart without
        loss.
        """
        if any(block not in self._of for block in blocks):
            return False
        families = {self._of[block][0] for block in blocks}
        return len({family.parent for family in families}) == len(families)

    def _things(self, family: Family) -> list[int]:
        return [self._units.leader(row) for row in family.members[:, 0].tolist()]

    def _add(self, family: Family) -> None:
        self._found.append(family)
        rows = enumerate(self._things(family))
        self._of.update((thing, (family, row)) for row, thing in rows)

    def _add_across(
        self, arrangement: "_Arrangement", moving: Collection[int]
    ) -> set[int]:
        """Add the families of blocks that cross others, and what is inside them.

        Returns what may be free, but not in step with the blocks found before.
        """
        added, unsure = set[Family](), set[int]()
        for family in arrangement.families():
            things = self._things(family)
            around = [arrangement.around(thing, self._of) for thing in things]
            blocks = [None if at is None else self._of[at] for at in around]
            parent = None if blocks[0] is None else blocks[0][0]
            if not (parent in added or all(thing in moving for thing in things)):
                continue  # found before
            expected: list[tuple[Family, int] | None] = [None]
            if parent is not None:
                expected = [(parent, row) for row in range(len(parent.members))]
            if blocks != [block for block in expected for _ in range(family.size)]:
                unsure.update(things)
                continue
            # What stayed where it was before moves with what holds it.
            replaced = {self._of[thing][0] for thing in things if thing in self._of}
            self._found = [known for known in self._found if known not in replaced]
            own = replace(family, parent=parent)
            self._add(own)
            added.add(own)
        return unsure


def _unite_equal(units: Units) -> None:
    """Tie what holds the same."""
    while True:
        inside = _insides(units)
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
        units.tie(first, second, (0 * first, 0 * first))


def _insides(units: Units) -> dict[int, frozenset[int]]:
    """What each holder holds, with all inside that; pin what would hold itself."""
    contents: dict[int, set[int]] = {}
    for holding in units.holdings:
        content = contents.setdefault(units.leader(holding.holder), set())
        content.update(map(units.leader, holding.content.tolist()))
    found: dict[int, frozenset[int]] = {}

    def visit(holder: int, path: tuple[int, ...]) -> frozenset[int]:
        if holder not in found:
            path = (*path, holder)
            everything = set(contents[holder])
            for unit in contents[holder]:
                if unit in path:
                    cycle = np.array(path[path.index(unit) :])
                    units.pin(cycle, "a block is tied to what it holds")
                elif unit in contents:
                    everything |= visit(unit, path)
            found[holder] = frozenset(everything - {holder})
        return found[holder]

    for holder in contents:
        visit(holder, ())
    return found


def _leaves(inside: dict[int, frozenset[int]]) -> dict[int, frozenset[int]]:
    """Of what each block holds, that which holds nothing itself."""
    return {
        holder: frozenset(unit for unit in content if unit not in inside)
        for holder, content in inside.items()
    }


class _Nesting:
    """Which blocks hold what, and which of them cross.

    Attributes
    ----------
    units
        The units; what holds pinned ones is pinned.
    inside
        By leader: what a block holds, with all inside that.
    leaves
        Of these, what holds nothing itself.
    around
        By leader: the blocks that hold it.
    """

    def __init__(self, units: Units):
        self.units = units
        self.inside = _insides(units)
        self.leaves = _leaves(self.inside)
        self.around: dict[int, list[int]] = {}
        for holder, content in self.inside.items():
            for unit in content:
                self.around.setdefault(unit, []).append(holder)
        for unit, holders in self.around.items():
            if (reason := units.reason(unit)) is not None:  # they would move it
                units.pin(np.array(holders), reason)
        self._rivals = _Rivals(units, self.leaves)

    def movable(self) -> set[int]:
        """Return the blocks that nothing pins."""
        return {holder for holder in self.inside if self.units.reason(holder) is None}

    def settled(self, blocks: set[int]) -> tuple[set[int], dict[int, str]]:
        """Choose blocks that do not cross; return them and the others, with reasons.

        Of blocks that cross, as attention heads cross what all heads share, those that
        hold more than the others do are kept.
        """
        moving, others = set(blocks), dict[int, str]()
        while crossing := self._crossing(moving):
            for pair in crossing:
                loser = self._rivals.loser(*pair)
                others[loser] = self._rivals.reasons[loser]
            moving -= others.keys()
        return moving, others

    def across(self, blocks: set[int], others: set[int]) -> set[int]:
        """Return those of other blocks that cross any of some blocks."""
        found: set[int] = set()
        for block in blocks:
            leaves = self.leaves[block]
            beside = {holder for leaf in leaves for holder in self.around[leaf]}
            found.update(
                other
                for other in beside & others - found
                if not (leaves <= self.leaves[other] or self.leaves[other] <= leaves)
            )
        return found

    def _crossing(self, moving: set[int]) -> set[tuple[int, int]]:
        """Find pairs of blocks with units in common, of which none holds the other."""
        pairs: set[tuple[int, int]] = set()
        nested: set[tuple[int, int]] = set()
        leaves = self.leaves
        for unit, holders in self.around.items():
            if unit in leaves:
                continue
            found = [holder for holder in holders if holder in moving]
            for pair in pairwise(sorted(found, key=lambda holder: len(leaves[holder]))):
                if pair not in nested and pair not in pairs:
                    (nested if leaves[pair[0]] <= leaves[pair[1]] else pairs).add(pair)
        return pairs


class _Rivals:
    """Blocks that cross each other: which of them to keep."""

    def __init__(self, units: Units, leaves: dict[int, frozenset[int]]):
        self._leaves = leaves
        self.reasons: dict[int, str] = {}
        self._operations: dict[int, set[int]] = {}
        self._kin: dict[int, frozenset[int]] = {}
        together: dict[int, set[int]] = {}
        for holding in units.holdings:
            holder = units.leader(holding.holder)
            self.reasons.setdefault(holder, holding.reason)
            self._operations.setdefault(holder, set()).add(holding.operation)
            together.setdefault(holding.operation, set()).update(leaves[holder])
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


class _Arrangement:
    """Blocks as a forest, of which some move and those that cross these do not.

    Parameters
    ----------
    nesting
        Which blocks hold what.
    moving
        Blocks that do not cross.
    pin
        Whether to pin what is fixed, whichever blocks move.

    Attributes
    ----------
    fixed
        Things that are not exchanged, with reasons.
    """

    def __init__(self, nesting: _Nesting, moving: set[int], pin: bool = False):
        self._nesting = nesting
        self._units = units = nesting.units
        self._apart = nesting.movable() - moving
        self._parent = dict(self._parents(moving))
        self._leaders = np.fromiter(
            map(units.leader, range(units.count)), np.int64, units.count
        )
        self._colour = self._colours()
        self._order = np.lexsort((np.arange(units.count), self._colour, self._leaders))
        self.fixed = self._staying()
        if pin:
            for thing, reason in self.fixed.items():
                units.pin(np.array([thing]), reason)

    def families(self) -> Iterator[Family]:
        """Go through the families, parents before their children."""
        order, leaders = self._order, self._leaders
        things: dict[int, list[int]] = {}
        for unit, leader in zip(order.tolist(), leaders[order].tolist(), strict=True):
            things.setdefault(leader, []).append(unit)
        inside: dict[int, list[int]] = {}
        for leader in things:
            inside.setdefault(self._holder(leader), []).append(leader)
        parts = _Parts(things, inside, self.fixed, self._colour.tolist())
        yield from parts.families([inside[_NOWHERE]], None)

    def around(self, thing: int, some: Collection[int]) -> int | None:
        """Return the innermost block around a thing that is one of some."""
        while (thing := self._holder(thing)) != _NOWHERE:
            if thing in some:
                return thing
        return None

    def _holder(self, leader: int) -> int:
        return self._parent.get(leader, _NOWHERE)

    def _parents(self, moving: set[int]) -> Iterator[tuple[int, int]]:
        """What holds each unit, of the blocks that are not told apart."""
        inside, leaves, around = (
            self._nesting.inside,
            self._nesting.leaves,
            self._nesting.around,
        )
        for unit in {*around, *inside}:
            own = leaves.get(unit, frozenset())
            holders = [
                holder
                for holder in around.get(next(iter(own), unit), [])
                if holder not in self._apart
                and (unit in inside[holder] or (own and own < leaves[holder]))
            ]
            if holders:
                yield (
                    unit,
                    min(
                        holders,
                        key=lambda h: (h not in moving, len(leaves[h]), len(inside[h])),
                    ),
                )

    def _staying(self) -> dict[int, str]:
        """Things that are not exchanged, with reasons, and what would move them."""
        found: dict[int, str] = {}
        for leader in dict.fromkeys(self._leaders.tolist()):
            if (reason := self._units.reason(leader)) is not None:
                found[leader] = reason
        leaders, colour = self._leaders[self._order], self._colour[self._order]
        same = (leaders[1:] == leaders[:-1]) & (colour[1:] == colour[:-1])
        why = f"{MAY_BE_FREE}: positions that are tied among themselves"
        for leader in np.unique(leaders[1:][same]).tolist():
            found.setdefault(leader, why)
        for thing, reason in [*found.items()]:
            while (thing := self._holder(thing)) != _NOWHERE:
                found.setdefault(thing, reason)
        return found

    def _colours(self) -> Hashes:
        """Refine: units differ if what sees them or what they are tied to differs.

        Colours are 64-bit hashes; for two different ones to be equal is as likely
        as one in 10^9 in a model with 100,000 units, and would not pass the
        certificate.
        """
        colour = self._told_apart()
        for units, token in self._units.seen:
            np.add.at(colour, units, hashed(token))
        edges = [*self._units.ties]
        for holding in self._units.holdings:  # what is held differs as its holder does
            holder = np.full(len(holding.content), holding.holder)
            edges.append((holder, holding.content, hashed(np.zeros_like(holder), 3)))
        if not edges:
            return colour
        first, second, label = map(np.concatenate, zip(*edges, strict=True))
        there, back = hashed(label, 1), hashed(label, 2)
        number = 0
        while (found := len(np.unique(colour))) > number:
            number = found
            refined = hashed(colour)
            np.add.at(refined, first, hashed(colour[second] + there))
            np.add.at(refined, second, hashed(colour[first] + back))
            colour = refined
        return colour

    def _told_apart(self) -> Hashes:
        """A colour of its own for each unit that holds others and does not move.

        What crosses blocks that move gets equal ones in each block that holds it.
        """
        colour = np.zeros(self._units.count, np.uint64)
        for holding in self._units.holdings:
            if self._units.reason(holding.holder) is not None:
                own = np.array([holding.holder])
                colour[own] = hashed(own, 4)
        if not self._apart:
            return colour
        members: dict[int, list[int]] = {}
        for unit, leader in enumerate(self._leaders.tolist()):
            members.setdefault(leader, []).append(unit)
        # In the order in which they are permuted while others are told apart.
        first = {
            leader: min(
                members[unit][0] for unit in (leader, *self._nesting.inside[leader])
            )
            for leader in self._apart
        }
        number: dict[int, int] = {}
        for leader in sorted(self._apart, key=lambda leader: (first[leader], leader)):
            parent = self._holder(leader)
            start = number.get(parent, 0)
            number[parent] = start + len(members[leader])
            numbers = np.arange(start, number[parent])
            colour[members[leader]] = hashed(numbers, 5)
        return colour


class _Parts:
    """What tied units, known by their leaders, consist of and hold.

    Parameters
    ----------
    members
        For each thing its units, those of the same part at the same place.
    inside
        For each thing those that it holds.
    fixed
        Things that are not exchanged.
    colour
        Of each unit.
    """

    def __init__(
        self,
        members: dict[int, list[int]],
        inside: dict[int, list[int]],
        fixed: Collection[int],
        colour: Sequence[int],
    ):
        self._members = members
        self._inside = inside
        self._fixed = fixed
        self._colour = colour
        self._kinds: dict[object, int] = {}
        self._known: dict[int, tuple[int, int]] = {}

    def families(
        self, blocks: list[list[int]], parent: Family | None
    ) -> Iterator[Family]:
        """Split each block's things by kind; the blocks agree in what they hold."""
        if not any(blocks):
            return
        split = [self._by_kind(block) for block in blocks]
        for kind, first in split[0].items():
            things = [thing for parts in split for thing in parts[kind]]
            insides = [self._inside.get(thing, []) for thing in things]
            if len(first) > 1 and first[0] not in self._fixed:
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
        if inside := self._inside.get(thing):
            for parts in self._by_kind(inside).values():
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
                thing in self._fixed,
                tuple(self._colour[unit] for unit in members),
                tuple(sorted(kind for _, kind in held)),
            )
            kind = self._kinds.setdefault(key, len(self._kinds))
            self._known[thing] = min([*members, *(first for first, _ in held)]), kind
        return self._known[thing]
