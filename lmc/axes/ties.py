"""What one operation says about units: which move together, and which must not move.

Two tensors are tied over the axes that they share.  Where each has one block there,
units at equal positions move together.  If one of the two has equal values where the
other has different ones, its unit *holds* those of the other: they move with it, as a
block.  Rows of a tensor that are seen as wholes are held likewise.  What tells
positions apart pins the units there, and so does whatever has no name in these terms.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from lmc.axes.arrays import numbered, occurrence, row_places, tells_apart
from lmc.axes.blocks import Axes, Block, Lettered
from lmc.units import Ints, Units

Placed = tuple[Ints, Ints]
"""Units, and the place of each."""


class Ties:
    """What one operation says about the units of its tensors.

    Parameters
    ----------
    units
        The units of the model.
    why
        The reason that is given for what is pinned.
    """

    def __init__(self, units: Units, why: str):
        self.units = units
        self.why = why

    # Of one tensor.

    def see(self, axes: Axes) -> None:
        """Note that an operation tells these units from all others."""
        for block in axes.blocks:
            self.units.see(block.units, block.places)

    def pin(self, axes: Axes, dims: Sequence[int] | None = None) -> Axes:
        """Tell the positions of these axes (all by default) apart; return the rest.

        Units over them are pinned; those over others as well move alike along them.
        By default those that the tensor's values name are pinned as well.
        """
        if dims is None:
            dims = range(len(axes.sizes))
            self.pin_named(axes)
        blocks = []
        for block in axes.blocks:
            kept = [dim for dim in block.dims if dim not in dims]
            if len(kept) == len(block.dims):
                blocks.append(block)
            elif kept and self._free(block):
                blocks.append(self._level(block, kept))
            else:
                self._pin(block)
        return Axes.made(axes.sizes, blocks, axes.even)

    def pin_named(self, axes: Axes) -> None:
        """Pin the units that a tensor's values name."""
        if axes.named is not None:
            self._pin(axes.named)

    def clash(self, block: Block, certain: bool = False) -> None:
        """Pin what cannot be expressed, as :meth:`lmc.units.Units.clash` does."""
        self.units.clash(block.units, self.why, certain)

    def free(self, axes: Axes) -> bool:
        """Whether any unit over a tensor's axes, or named by it, is not pinned."""
        named = () if axes.named is None else (axes.named,)
        return any(map(self._free, (*axes.blocks, *named)))

    def untouched(self, axes: Axes) -> bool:
        """Whether nothing is known yet of the units over a tensor's axes."""
        return all(self.units.untouched(block.units) for block in axes.blocks)

    def restricted(self, blocks: Sequence[Block], kept: Collection[int]) -> list[Block]:
        """Return blocks over some axes only, without those that others imply."""
        found = [b for block in blocks if (b := self._holders(block, kept)) is not None]
        # What moves many positions at once says more about them than what moves one.
        found.sort(
            key=lambda block: (
                -len(block.dims),
                block.repeats,
                len(np.unique(block.units)),
            )
        )
        widest: list[Block] = []
        for block in found:
            # Units over fewer axes hold those over more.
            if not any(set(block.dims) <= set(other.dims) for other in widest):
                widest.append(block)
        return widest

    def crossed(self, axes: Axes, merged: Sequence[Sequence[int]]) -> list[Block]:
        """Return blocks of which no two reach over axes that become one.

        ``merged`` are the axes that do.  Of blocks that meet there each combination
        of their units gets one of its own, which they hold.
        """
        free = [block for block in axes.blocks if self._free(block)]
        found = [b for b in axes.blocks if b not in free and not _meets(b, merged)]
        for dims in _linked([*merged, *(block.dims for block in free)]):
            mine = [block for block in free if not dims.isdisjoint(block.dims)]
            if len(mine) > 1 and any(_meets(block, merged) for block in mine):
                over = sorted({dim for block in mine for dim in block.dims})
                # Where one does not reach, others tell its places apart.
                spread = [block.spread(over, axes.sizes, over) for block in mine]
                mine = [self._combinations(spread)]
            found += mine
        return found

    # Of several tensors.

    def same(self, one: Block, other: Block) -> bool:
        """Whether the units of two blocks move together, position by position."""
        if one.units.shape != other.units.shape:
            return False
        pairs = zip(
            one.units.ravel().tolist(), other.units.ravel().tolist(), strict=True
        )
        return bool((one.places == other.places).all()) and all(
            self.units.leader(a) == self.units.leader(b) for a, b in pairs
        )

    def tie(
        self, mine: Sequence[Block], its: Sequence[Block], sizes: Mapping[int, int]
    ) -> None:
        """Tie the units of two tensors over the letters that both have."""
        for letters in _linked([block.dims for block in (*mine, *its)]):
            left = [b for b in mine if not letters.isdisjoint(b.dims)]
            right = [b for b in its if not letters.isdisjoint(b.dims)]
            if len(left) != 1 or len(right) != 1:  # pinned ones are rigid axes
                left, right = (list(filter(self._free, side)) for side in (left, right))
            if len(left) == len(right) == 1:
                dims = sorted(letters)
                self._match(left[0].spread(dims, sizes), right[0].spread(dims, sizes))
            else:  # one of them tells the positions apart, or they do not align
                rigid = not left or not right
                for block in (*left, *right):
                    self.clash(block, certain=rigid)

    def told_apart(self, block: Block, known: Sequence[Lettered]) -> Block:
        """Return units of their own for equal values that other tensors make unequal.

        ``known`` are all tensors that are combined, with that of the block.
        """
        if not block.repeats:
            return block
        sizes = dict(zip(block.dims, block.units.shape, strict=True))
        blocks, rigid = [block], Block((), np.zeros((), int), np.zeros((), int))
        for mine, present in known:
            common = present.keys() & sizes.keys()
            inside = self.restricted(mine, common)
            blocks += inside
            if not common.issubset(dim for b in inside for dim in b.dims):
                positions = np.arange(block.units.size).reshape(block.units.shape)
                rigid = Block(block.dims, 0 * block.units, positions)
        spread = [b.spread(block.dims, sizes, block.dims) for b in (*blocks, rigid)]
        arrays = [array for b in spread for array in (b.units, b.places)]
        if numbered(*arrays[:2]).max() == numbered(*arrays).max():
            return block
        return self._combinations(spread)

    # What these are made of.

    def _free(self, block: Block) -> bool:
        """Whether any unit of a block is not pinned."""
        return any(
            self.units.reason(unit) is None for unit in block.units.ravel().tolist()
        )

    def _pin(self, block: Block) -> None:
        self.units.pin(block.units, self.why)

    def _level(self, block: Block, dims: Sequence[int]) -> Block:
        """Tie units that differ along the other axes only, whose positions stay."""
        shape, rows, places = block.rows(dims)
        level = self.units.new(len(rows))
        columns = np.broadcast_to(np.arange(rows.shape[1]), rows.shape)
        self.units.tie(
            rows, np.broadcast_to(level[:, None], rows.shape), (places, columns)
        )
        level = level.reshape(shape)
        return Block(tuple(dims), level, np.zeros_like(level))

    def _holders(self, block: Block, kept: Collection[int]) -> Block | None:
        """Return the units that hold a block's rows, over some of its axes."""
        dims = tuple(dim for dim in block.dims if dim in kept)
        if len(dims) == len(block.dims):
            return block
        if not dims:
            return None
        shape, rows, places = block.rows(dims)
        self.units.see(block.units, block.places)
        if (rows == rows[:, :1]).all():
            units, places = rows[:, 0], row_places(rows[:, 0], places)
            return Block(dims, units.reshape(shape), places.reshape(shape)).tidy()
        anchors = self.units.anchors(rows)
        if anchors is not None:
            if tells_apart(anchors, places):  # the rows stay where they are
                return None
            if tells_apart(anchors.T, places.T):  # or what is in them does
                return self._level(block, dims)
        holders = self.units.blocks(rows, f"blocks that overlap: {self.why}")
        places = occurrence(holders, np.concatenate([rows, places], 1))
        return Block(dims, holders.reshape(shape), places.reshape(shape)).tidy()

    def _match(self, one: Block, other: Block) -> None:
        """Tie units at equal positions; what has equal values holds what has not."""
        if not one.repeats and not other.repeats:
            self.units.tie(one.units, other.units, (one.places, other.places))
            return
        arrays = one.units, one.places, other.units, other.places
        _, first = np.unique(numbered(*arrays), return_index=True)
        units, places, its_units, its_places = (a.ravel()[first] for a in arrays)
        mine, its = (units, places), (its_units, its_places)
        counts = [len(np.unique(numbered(*side))) for side in (mine, its)]
        if counts == [len(first)] * 2:
            self.units.tie(units, its_units, (places, its_places))
        elif counts[1] == len(first):
            self._hold(mine, its)
        elif counts[0] == len(first):
            self._hold(its, mine)
        else:  # each holds what both have in common
            cells = self.units.new(len(first))
            self._hold(mine, (cells, None))
            self._hold(its, (cells, None))

    def _hold(self, owners: Placed, content: tuple[Ints, Ints | None]) -> None:
        """Tie each unit, at each of its places, to what holds all that is there."""
        numbers = numbered(*owners)
        order = np.argsort(numbers, kind="stable")
        counts = np.bincount(numbers)
        if len(set(counts.tolist())) > 1:
            self.units.clash(np.append(owners[0], content[0]), self.why)
            return
        rows = content[0][order].reshape(len(counts), -1)
        if content[1] is None:
            rows = np.array([np.unique(row) for row in rows])
        else:
            self.units.see(rows, content[1][order].reshape(rows.shape))
        holders = self.units.blocks(rows, self.why)
        first = order.reshape(len(counts), -1)[:, 0]
        units, places = owners[0][first], owners[1][first]
        self.units.tie(units, holders, (places, 0 * places))

    def _combinations(self, blocks: Sequence[Block]) -> Block:
        """One unit for each combination of units of several blocks, which hold it.

        Each of them holds all combinations that it is part of.
        """
        shape = blocks[0].units.shape
        numbers = numbered(*(block.units for block in blocks))
        cells = self.units.new(int(numbers.max()) + 1)[numbers].reshape(shape)
        places = numbered(*(block.places for block in blocks)).reshape(shape)
        for units in (block.units.ravel() for block in blocks):
            if (units != units[0]).any():
                self._hold((units, 0 * units), (cells.ravel(), None))
        return Block(blocks[0].dims, cells, places)


def _meets(block: Block, runs: Sequence[Sequence[int]]) -> bool:
    """Whether a block reaches over an axis of any of these runs."""
    return any(not set(block.dims).isdisjoint(run) for run in runs)


def _linked(sets: Sequence[Sequence[int]]) -> list[set[int]]:
    """Unite sets that overlap."""
    united: list[set[int]] = []
    for members in map(set, sets):
        apart = [other for other in united if other.isdisjoint(members)]
        members = members.union(*(o for o in united if not o.isdisjoint(members)))
        united = [*apart, members]
    return united
