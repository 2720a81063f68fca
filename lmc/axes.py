"""The algebra of tensor axes: where the units are in the values of a graph.

The axes of a tensor are described by *blocks*: an array of units over some of its
axes.  A plain layer's output has one block over its channel axis; queries have one
over heads and channels together.  Axes in no block are *rigid*: their positions are
told apart.  Operations that only move data (view, permute, cat, slice) do to the
arrays what they do to the tensor; all others combine or reduce blocks.  Along *even*
axes all values are equal.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
from torch import Tensor

from lmc.units import Ints, Units

View = tuple[str, tuple[int | None, ...]]
"""The name of a parameter, and for each axis of a view of it the parameter's axis."""


@dataclass(frozen=True, eq=False)
class Block:
    """Units over some axes of a tensor.

    Attributes
    ----------
    dims
        The axes, ascending.
    units
        The unit at each position of these axes.
    places
        Tells the occurrences of one unit apart, alike for all units; 0 where each
        unit occurs once.  Positions of one unit and one place hold equal values.
    """

    dims: tuple[int, ...]
    units: Ints
    places: Ints

    @cached_property
    def repeats(self) -> bool:
        """Whether any values are equal: those at positions of one unit and place."""
        return _repeats(self.units, self.places)


@dataclass(frozen=True)
class Axes:
    """What is known of a tensor's axes.

    Attributes
    ----------
    sizes
        Their sizes.
    blocks
        The units over them.
    even
        Axes along which all values are equal, as they come by ``expand``.
    view
        The parameter or buffer that the tensor is, and which axis of it each axis is
        (None where a size of 1 was added); None for a tensor that was computed, or
        that has other uses as well.
    named
        Of a tensor of integers that are positions on an axis: the block over that axis
        (of whatever tensor), as dims ``(0,)``.  When its units are permuted, the
        integers change as their positions do.
    """

    sizes: tuple[int, ...]
    blocks: tuple[Block, ...] = ()
    even: frozenset[int] = frozenset()
    view: "View | None" = None
    named: Block | None = None

    def over(self, dim: int) -> tuple[Block, ...]:
        """Return the blocks that reach over an axis."""
        return tuple(block for block in self.blocks if dim in block.dims)

    def without(self, dims: Sequence[int]) -> "Axes":
        """Forget the blocks that reach over any of these axes."""
        gone = set(dims)
        kept = tuple(b for b in self.blocks if gone.isdisjoint(b.dims))
        return Axes(self.sizes, kept, self.even)


class Algebra:
    """Operations on axes, on units that they share.

    ``lmc/docs/algebra.md`` works through examples.

    Parameters
    ----------
    units
        The units of the model.
    why
        The reason that is given for what is pinned.
    tensors
        Axes of the parameters and buffers by name; those that had no use yet are
        replaced here by more precise ones.
    """

    def __init__(self, units: Units, why: str, tensors: dict[str, Axes] | None = None):
        self.units = units
        self.why = why
        self.tensors = {} if tensors is None else tensors

    # What only moves data.

    def take(self, axes: Axes, dim: int, index: Ints) -> Axes:
        """Select positions of an axis: slices, splits, rolls, flips."""
        sizes = _replaced(axes.sizes, dim, len(index))
        blocks = []
        for block in axes.blocks:
            if dim in block.dims:
                at = block.dims.index(dim)
                units, places = (a.take(index, at) for a in (block.units, block.places))
                block = _tidy(block.dims, units, places)
                if not block.dims:  # a single unit, which leaves no axis behind
                    self.units.see(block.units, block.places)
            blocks.append(block)
        even = axes.even | {dim} if len(set(index.tolist())) == 1 else axes.even
        return _made(sizes, blocks, even)

    def windows(self, axes: Axes, dim: int, index: Ints) -> Axes:
        """Gather positions of an axis: ``index`` is ``(windows, positions in each)``.

        The windows take the axis's place, the positions in them become the last axis.
        """
        last = len(axes.sizes)
        blocks = []
        for block in axes.blocks:
            if dim in block.dims:
                at = block.dims.index(dim)
                shape = [
                    *block.units.shape[:at],
                    *index.shape,
                    *block.units.shape[at + 1 :],
                ]
                taken = np.arange(index.size).reshape(
                    -1, *[1] * (block.units.ndim - at - 1)
                )
                # A unit that is in many windows is told apart by its places in them.
                places = block.places.take(index.ravel(), at) * index.size + taken
                units, places = (
                    np.moveaxis(array.reshape(shape), at + 1, -1)
                    for array in (block.units.take(index.ravel(), at), places)
                )
                block = _tidy((*block.dims, last), units, places)
            blocks.append(block)
        return _made((*_replaced(axes.sizes, dim, len(index)), index.shape[1]), blocks)

    def permute(self, axes: Axes, order: Sequence[int]) -> Axes:
        """Reorder the axes: axis ``i`` of the result is axis ``order[i]``."""
        order = [dim % len(order) for dim in order]
        blocks = []
        for block in axes.blocks:
            dims = [order.index(dim) for dim in block.dims]
            turn = np.argsort(dims)
            blocks.append(
                Block(
                    tuple(sorted(dims)),
                    block.units.transpose(turn),
                    block.places.transpose(turn),
                )
            )
        even = frozenset(order.index(dim) for dim in axes.even)
        view = axes.view and (axes.view[0], tuple(axes.view[1][dim] for dim in order))
        return Axes(tuple(axes.sizes[d] for d in order), tuple(blocks), even, view)

    def reshape(self, axes: Axes, sizes: Sequence[int]) -> Axes:
        """Regroup a row-major tensor's axes.

        Examples
        --------
        Two channels of three pixels, flattened:

        >>> units = Units()
        >>> channels = Axes((2, 3), (Block((0,), units.new(2), np.zeros(2, int)),))
        >>> (block,) = Algebra(units, "").reshape(channels, (6,)).blocks
        >>> block.units.tolist(), block.places.tolist()
        ([0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2])
        """
        runs = _runs(axes.sizes, sizes)
        of = {dim: run for run in runs for dim in run[0]}
        blocks, even = [], set[int]()
        for block in self._one_for_each_run(axes, runs):
            touched = sorted({of[dim] for dim in block.dims})
            before = [dim for run in touched for dim in run[0]]
            after = [dim for run in touched for dim in run[1]]
            units, places = self._spread(block, before, axes.sizes, axes.even)
            shape = [sizes[dim] for dim in after]
            units, places = units.reshape(shape), places.reshape(shape)
            even |= _constant(after, units, places)
            blocks.append(_tidy(after, units, places))
        even |= {
            dim
            for before, after in runs
            if all(d in axes.even or axes.sizes[d] == 1 for d in before)
            for dim in after
            if sizes[dim] > 1
        }
        result = _made(tuple(sizes), blocks, even)
        if axes.view is None or _wide(axes.sizes) != _wide(sizes):
            return result
        name, dims = axes.view
        kept = iter([d for d, size in zip(dims, axes.sizes, strict=True) if size > 1])
        dims = tuple(next(kept) if size > 1 else None for size in sizes)
        return replace(result, view=(name, dims))

    def _one_for_each_run(
        self, axes: Axes, runs: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> list[Block]:
        """Blocks of which no two reach over axes that become one."""
        merged = [run[0] for run in runs if len(run[0]) > 1]
        free = [block for block in axes.blocks if self._free(block)]
        groups = _linked([*merged, *(block.dims for block in free)])
        found = [b for b in axes.blocks if b not in free and not _meets(b, merged)]
        for dims in groups:
            mine = [block for block in free if not dims.isdisjoint(block.dims)]
            if len(mine) > 1 and any(_meets(block, merged) for block in mine):
                mine = [self._crossed(mine, axes)]
            found += mine
        return found

    def _crossed(self, blocks: Sequence[Block], axes: Axes) -> Block:
        """One unit for each combination of units of several blocks, which hold it."""
        dims = sorted({dim for block in blocks for dim in block.dims})
        # Where one does not reach, others tell its places apart.
        spread = [self._spread(b, dims, axes.sizes, dims) for b in blocks]
        return Block(tuple(dims), *self._cells(spread))

    def _cells(self, arrays: Sequence[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
        """Units and places for each combination of several arrays' units.

        Each of those holds all combinations that it is part of.
        """
        shape = arrays[0][0].shape
        numbers = _numbered(*(units for units, _ in arrays))
        cells = self.units.new(int(numbers.max()) + 1)[numbers].reshape(shape)
        places = _numbered(*(places for _, places in arrays)).reshape(shape)
        for units, _ in arrays:
            if (units != units.flat[0]).any():
                self._hold((units.ravel(), 0 * units.ravel()), (cells.ravel(), None))
        return cells, places

    def expand(self, axes: Axes, sizes: Sequence[int]) -> Axes:
        """Stretch axes of size 1, and add axes in front."""
        offset = len(sizes) - len(axes.sizes)
        blocks = tuple(
            Block(tuple(dim + offset for dim in b.dims), b.units, b.places)
            for b in axes.blocks
        )
        even = {dim + offset for dim in axes.even}
        old = [1] * offset + list(axes.sizes)
        even |= {d for d, size in enumerate(sizes) if size > 1 and old[d] == 1}
        return Axes(tuple(sizes), blocks, frozenset(even))

    def cat(self, parts: Sequence[Axes], dim: int) -> Axes:
        """Concatenate along an axis."""
        dims = sorted({d for part in parts for b in part.over(dim) for d in b.dims})
        letters = range(len(parts[0].sizes))
        rest = [part.without(dims or [dim]) for part in parts]
        others = self.combine(
            [
                (part, [*letters[:dim], -1 - i, *letters[dim + 1 :]])
                for i, part in enumerate(rest)
            ],
            letters,
            _replaced(parts[0].sizes, dim, sum(part.sizes[dim] for part in parts)),
        )
        if not dims:
            return others
        arrays = [self._segment(part, dims) for part in parts]
        at = dims.index(dim)
        units = np.concatenate([units for units, _ in arrays], at)
        places = np.concatenate(
            [places * len(parts) + i for i, (_, places) in enumerate(arrays)], at
        )
        return _made(others.sizes, [*others.blocks, _tidy(dims, units, places)])

    # What computes.

    def combine(
        self,
        operands: Sequence[tuple[Axes, Sequence[int]]],
        out: Sequence[int],
        sizes: Sequence[int],
        product: bool = False,
    ) -> Axes:
        """Combine tensors as an einsum does; each axis has a number for a letter.

        Axes of one letter move together; an axis of size 1 is stretched, as is an
        even one.  Letters that are missing from ``out`` are summed over.  In a matrix
        ``product`` a new parameter gets units of its own at each batch position.

        Examples
        --------
        A linear layer ties the columns of its weight to its inputs; the result has the
        units of the rows:

        >>> from lmc.families import Families
        >>> units = Units()
        >>> inputs, weight = fresh(units, (3,)), fresh(units, (2, 3))
        >>> operands = [(inputs, [0]), (weight, [1, 0])]
        >>> result = Algebra(units, "linear").combine(operands, [1], (2,))
        >>> result.blocks[0].units.tolist()
        [3, 4]
        >>> [sorted(thing) for thing in next(iter(Families(units))).members.tolist()]
        [[0, 5], [1, 6], [2, 7]]
        """
        operands = self._refined(operands, out, product)
        for axes, _ in operands:
            self.see(axes)
        known = [_lettered(axes, letters) for axes, letters in operands]
        for i, (mine, present) in enumerate(known):
            for its, shared in known[:i]:
                common = {n: size for n, size in present.items() if n in shared}
                self._tie(
                    self._restricted(its, common),
                    self._restricted(mine, common),
                    common,
                )
        everything = [block for mine, _ in known for block in mine]
        chosen = [
            self._told_apart(block, known)
            for block in self._restricted(everything, set(out))
        ]
        at = {letter: dim for dim, letter in enumerate(out)}
        result = _made(
            tuple(sizes),
            [_turned(tuple(at[d] for d in b.dims), b.units, b.places) for b in chosen],
            _stretched(operands, out),
        )
        self.see(result)
        return result

    def reduce(self, axes: Axes, dims: Sequence[int], keep: bool) -> Axes:
        """Sum, average or maximize over axes, symmetric in their positions."""
        gone = {dim % len(axes.sizes) for dim in dims}
        letters = range(len(axes.sizes))
        kept = [dim for dim in letters if dim not in gone]
        reduced = self.combine([(axes, letters)], kept, [axes.sizes[d] for d in kept])
        if not keep:
            return reduced
        sizes = [1 if dim in gone else size for dim, size in enumerate(axes.sizes)]
        blocks = [
            Block(tuple(kept[dim] for dim in b.dims), b.units, b.places)
            for b in reduced.blocks
        ]
        return Axes(tuple(sizes), tuple(blocks))

    def blocks(self, block: Block, kept: Collection[int]) -> Block | None:
        """Return the units that hold a block's rows, over some of its axes."""
        dims = [dim for dim in block.dims if dim in kept]
        if len(dims) == len(block.dims):
            return block
        if not dims:
            return None
        shape, rows, places = _rows(block, dims)
        self.units.see(block.units, block.places)
        if (rows == rows[:, :1]).all():
            units, places = rows[:, 0], _row_places(rows[:, 0], places)
            return _tidy(dims, units.reshape(shape), places.reshape(shape))
        anchors = self.units.anchors(rows)
        if anchors is not None:
            if _tells_apart(anchors, places):  # the rows stay where they are
                return None
            if _tells_apart(anchors.T, places.T):  # or what is in them does
                return self._level(block, dims)
        holders = self.units.blocks(rows, f"blocks that overlap: {self.why}")
        places = _occurrence(holders, np.concatenate([rows, places], 1))
        return _tidy(dims, holders.reshape(shape), places.reshape(shape))

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
        return _made(axes.sizes, blocks, axes.even)

    def pin_named(self, axes: Axes) -> None:
        """Pin the units that a tensor's values name."""
        if axes.named is not None:
            self._pin(axes.named)

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

    def free(self, axes: Axes) -> bool:
        """Whether any unit over a tensor's axes, or named by it, is not pinned."""
        named = () if axes.named is None else (axes.named,)
        return any(map(self._free, (*axes.blocks, *named)))

    def _free(self, block: Block) -> bool:
        """Whether any unit of a block is not pinned."""
        return any(
            self.units.reason(unit) is None for unit in block.units.ravel().tolist()
        )

    def _pin(self, block: Block) -> None:
        self.units.pin(block.units, self.why)

    def clash(self, block: Block, certain: bool = False) -> None:
        """Pin what cannot be expressed, as :meth:`lmc.units.Units.clash` does."""
        self.units.clash(block.units, self.why, certain)

    def _level(self, block: Block, dims: Sequence[int]) -> Block:
        """Tie units that differ along the other axes only, whose positions stay."""
        shape, rows, places = _rows(block, dims)
        level = self.units.new(len(rows))
        columns = np.broadcast_to(np.arange(rows.shape[1]), rows.shape)
        self.units.tie(
            rows, np.broadcast_to(level[:, None], rows.shape), (places, columns)
        )
        level = level.reshape(shape)
        return Block(tuple(dims), level, np.zeros_like(level))

    def _refined(
        self,
        operands: Sequence[tuple[Axes, Sequence[int]]],
        out: Sequence[int],
        product: bool,
    ) -> list[tuple[Axes, Sequence[int]]]:
        """Give parameters that had no use yet units as fine as their first use."""
        refined = list(operands)
        for i, (axes, letters) in enumerate(operands):
            others = [*refined[:i], *refined[i + 1 :]]
            if axes.view is not None and all(
                self.units.untouched(block.units) for block in axes.blocks
            ):
                axes = self._refine(axes, letters, others, out, product)
                refined[i] = (axes, letters)
        return refined

    def _refine(
        self,
        axes: Axes,
        letters: Sequence[int],
        others: Sequence[tuple[Axes, Sequence[int]]],
        out: Sequence[int],
        product: bool,
    ) -> Axes:
        """Joint blocks for a parameter with one new block over each of its axes.

        Over letters that the other operands have too, its units are as theirs.  Over
        the letters that the result has from it alone, they are its own at each
        position of the batch letters, which all have.
        """
        known = [_lettered(*other) for other in others]
        theirs = {letter for _, present in known for letter in present}
        blocks = [block for mine, _ in known for block in mine]
        size = {
            letter: size
            for letter, size in zip(letters, axes.sizes, strict=True)
            if size > 1
        }
        common = size.keys() & theirs
        batch = sorted(common & set(out))
        own = sorted((size.keys() - theirs) & set(out))
        assert axes.view is not None
        name, dims = axes.view
        joint: list[Block] = []
        if product and own and len(own + batch) > 1 and name not in self.units.alike:
            joint = self._batched(name, blocks, batch, own, size)
        if any(len(common.intersection(block.dims)) > 1 for block in blocks):
            for block in self._restricted(blocks, common):
                if len(block.dims) > 1:
                    distinct, inverse = np.unique(block.units, return_inverse=True)
                    units = self.units.new(len(distinct))[inverse]
                    units = units.reshape(block.units.shape)
                    joint.append(Block(block.dims, units, block.places))
        at = {letter: dim for dim, letter in enumerate(letters)}
        new = [_turned(tuple(at[n] for n in b.dims), b.units, b.places) for b in joint]
        covered = {dim for block in new for dim in block.dims}
        kept = [block for block in axes.blocks if covered.isdisjoint(block.dims)]
        for block in axes.blocks:
            if block not in kept:
                self.units.pin(block.units, "replaced by more precise units")
        found = (*kept, *new)
        home = {dim: axis for dim, axis in enumerate(dims) if axis is not None}
        self.tensors[name] = Axes(
            self.tensors[name].sizes,
            tuple(
                _turned(tuple(home[d] for d in b.dims), b.units, b.places)
                for b in found
            ),
        )
        return Axes(axes.sizes, found)

    def _batched(
        self,
        name: str,
        blocks: Sequence[Block],
        batch: Sequence[int],
        own: Sequence[int],
        size: Mapping[int, int],
    ) -> list[Block]:
        """Units over own letters at each batch position, and those that hold them."""
        shape = [size[letter] for letter in (*batch, *own)]
        count = prod(shape[: len(batch)])
        held = self._restricted(blocks, batch)
        if len(held) > 1 or any(len(block.dims) < len(batch) for block in held):
            return []  # no one unit holds what is at a batch position
        units = self.units.new(prod(shape), fine=name)
        made = [_turned((*batch, *own), units.reshape(shape), np.zeros(shape, int))]
        if batch:
            holders = self.units.blocks(units.reshape(count, -1), self.why)
            base = self.units.new(count).reshape(shape[: len(batch)])
            block = Block(tuple(batch), base, np.zeros_like(base))
            self.units.tie(base, holders, (block.places, block.places))
            if held:
                self._tie([block], held, size)
            else:
                self._pin(block)
            made.append(block)
        return made

    def _told_apart(
        self, block: Block, known: Sequence[tuple[list[Block], dict[int, int]]]
    ) -> Block:
        """Units of their own for equal values that other operands make unequal."""
        if not block.repeats:
            return block
        sizes = dict(zip(block.dims, block.units.shape, strict=True))
        blocks, rigid = [block], Block((), np.zeros((), int), np.zeros((), int))
        for mine, present in known:
            common = present.keys() & sizes.keys()
            inside = self._restricted(mine, common)
            blocks += inside
            if not common.issubset(dim for b in inside for dim in b.dims):
                rigid = Block(block.dims, 0 * block.units, _positions(block.units))
        spread = [
            self._spread(b, block.dims, sizes, block.dims) for b in (*blocks, rigid)
        ]
        if len(set(_numbered(*spread[0]))) == len(set(_numbered(*sum(spread, ())))):
            return block
        return Block(block.dims, *self._cells(spread))

    def _restricted(
        self, blocks: Sequence[Block], kept: Collection[int]
    ) -> list[Block]:
        """Blocks over some letters only, without those that others imply."""
        found = [b for block in blocks if (b := self.blocks(block, kept)) is not None]
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

    def _tie(
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
                one = self._spread(left[0], dims, sizes)
                other = self._spread(right[0], dims, sizes)
                self._match(one, other)
            else:  # one of them tells the positions apart, or they do not align
                rigid = not left or not right
                for block in (*left, *right):
                    self.clash(block, certain=rigid)

    def _match(self, one: tuple[Ints, Ints], other: tuple[Ints, Ints]) -> None:
        """Tie units at equal positions; what has equal values holds what has not."""
        if not _repeats(*one) and not _repeats(*other):
            self.units.tie(one[0], other[0], (one[1], other[1]))
            return
        _, first = np.unique(_numbered(*one, *other), return_index=True)
        one, other = (
            (units.ravel()[first], places.ravel()[first])
            for units, places in (one, other)
        )
        pairs = _numbered(*one), _numbered(*other)
        counts = [len(np.unique(numbers)) for numbers in pairs]
        if counts == [len(first)] * 2:
            self.units.tie(one[0], other[0], (one[1], other[1]))
        elif counts[1] == len(first):
            self._hold(one, other)
        elif counts[0] == len(first):
            self._hold(other, one)
        else:  # each holds what both have in common
            cells = self.units.new(len(first))
            self._hold(one, (cells, None))
            self._hold(other, (cells, None))

    def _hold(
        self, owners: tuple[Ints, Ints], content: tuple[Ints, Ints | None]
    ) -> None:
        """Tie each unit, at each of its places, to what holds all that is there."""
        numbers = _numbered(*owners)
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

    def _spread(
        self,
        block: Block,
        dims: Sequence[int],
        sizes: Sequence[int] | Mapping[int, int],
        even: Collection[int] = (),
    ) -> tuple[Ints, Ints]:
        """A block's arrays over more axes; the new ones tell its places apart.

        Even ones do not: all values along them are equal.
        """
        shape = [sizes[dim] for dim in dims]
        own = [sizes[dim] if dim in block.dims else 1 for dim in dims]
        new = [1 if dim in block.dims or dim in even else sizes[dim] for dim in dims]
        rigid = np.arange(prod(new)).reshape(new)
        places = block.places.reshape(own) * prod(new) + rigid
        units = np.broadcast_to(block.units.reshape(own), shape)
        return units, np.broadcast_to(places, shape)

    def _segment(self, axes: Axes, dims: Sequence[int]) -> tuple[Ints, Ints]:
        """One operand of a concatenation as arrays over the axes of all blocks."""
        own = [b for b in axes.blocks if not set(dims).isdisjoint(b.dims)]
        if len(own) == 1:
            return self._spread(own[0], dims, axes.sizes, axes.even)
        for block in own:
            self._pin(block)
        shape = [axes.sizes[dim] for dim in dims]
        # Equal values may be permuted like whatever they meet.
        why = None if axes.even.issuperset(dims) else self.why
        units = self.units.new(prod(shape), why).reshape(shape)
        return units, np.zeros_like(units)


def fresh(
    units: Units,
    sizes: Sequence[int],
    reason: str | None = None,
    parameter: str | None = None,
) -> Axes:
    """Return axes with a new unit for each position, pinned if there is a reason.

    ``parameter`` is the one that the tensor is, if it has a single use.
    """
    blocks = (
        Block((dim,), units.new(size, reason), np.zeros(size, np.int64))
        for dim, size in enumerate(sizes)
        if size > 1
    )
    view = None if parameter is None else (parameter, tuple(range(len(sizes))))
    return Axes(tuple(sizes), tuple(blocks), view=view)


def constant(value: Tensor) -> Axes:
    """Return the axes of a tensor that is no parameter: rigid, or even."""
    even = (
        dim
        for dim, size in enumerate(value.shape)
        if size > 1 and bool((value == value.narrow(dim, 0, 1)).all())
    )
    return Axes(tuple(value.shape), (), frozenset(even))


def _wide(sizes: Sequence[int]) -> list[int]:
    """The sizes above 1."""
    return [size for size in sizes if size > 1]


def _rows(block: Block, dims: Sequence[int]) -> tuple[list[int], Ints, Ints]:
    """The sizes of some of a block's axes, and a row for each position of them."""
    front = [block.dims.index(dim) for dim in dims]
    shape = [block.units.shape[at] for at in front]
    rows, places = (
        np.moveaxis(array, front, range(len(front))).reshape(prod(shape), -1)
        for array in (block.units, block.places)
    )
    return shape, rows, places


def _tells_apart(anchors: Ints, places: Ints) -> bool:
    """Whether no two rows have an anchor with an equal place in common."""
    keys = np.stack([anchors, places, np.arange(len(anchors))[:, None] + 0 * anchors])
    of_row = np.unique(keys.reshape(3, -1), axis=1)
    return len(np.unique(of_row[:2], axis=1).T) == len(of_row.T)


def _lettered(axes: Axes, letters: Sequence[int]) -> tuple[list[Block], dict[int, int]]:
    """Blocks over letters instead of axes, and the letters' sizes but for 1."""
    blocks = [
        _turned(tuple(letters[dim] for dim in b.dims), b.units, b.places)
        for b in axes.blocks
    ]
    present = {
        letter: size
        for dim, (letter, size) in enumerate(zip(letters, axes.sizes, strict=True))
        if size > 1 and dim not in axes.even
    }
    return blocks, present


def _stretched(
    operands: Sequence[tuple[Axes, Sequence[int]]], out: Sequence[int]
) -> set[int]:
    """Axes of a result along which all operands are even."""
    present = {n for axes, letters in operands for n in _lettered(axes, letters)[1]}
    even = {letters[dim] for axes, letters in operands for dim in axes.even}
    return {dim for dim, letter in enumerate(out) if letter in even - present}


def _tidy(dims: Sequence[int], units: Ints, places: Ints) -> Block:
    """Leave out the axes that a block does not vary along."""
    kept = list(dims)
    for dim in dims:
        at = kept.index(dim)
        first = units.take([0], at)
        if (units == first).all() and _parallel(places, at):
            units, places = first.squeeze(at), places.take([0], at).squeeze(at)
            kept.remove(dim)
    if len(np.unique(units)) == units.size:
        places = np.zeros_like(units)
    return Block(tuple(kept), units, places)


def _parallel(places: Ints, at: int) -> bool:
    """Whether equal places stay equal along an axis, and different ones different."""
    rows = np.moveaxis(places, at, 0).reshape(places.shape[at], -1)
    number = len(np.unique(rows[0]))
    return all(
        len(np.unique(np.stack([rows[0], row]), axis=1).T)
        == number
        == len(np.unique(row))
        for row in rows[1:]
        if not (row - row[:1] == rows[0] - rows[0][:1]).all()
    )


def _turned(dims: tuple[int, ...], units: Ints, places: Ints) -> Block:
    """A block with its axes brought into ascending order."""
    turn = np.argsort(dims)
    return Block(tuple(sorted(dims)), units.transpose(turn), places.transpose(turn))


def _made(
    sizes: tuple[int, ...], blocks: Iterable[Block], even: Iterable[int] = ()
) -> Axes:
    """Axes with the blocks that have any extent left."""
    kept = tuple(block for block in blocks if block.dims)
    return Axes(sizes, kept, frozenset(even))


def _replaced(sizes: tuple[int, ...], dim: int, size: int) -> tuple[int, ...]:
    return (*sizes[:dim], size, *sizes[dim + 1 :])


def _occurrence(units: Ints, rows: Ints) -> Ints:
    """Number the occurrences of each unit: 0, 1, ..., alike where rows are equal."""
    if len(np.unique(units)) == len(units):
        return np.zeros_like(units)
    _, first, inverse = np.unique(
        np.column_stack([units, rows]), axis=0, return_index=True, return_inverse=True
    )
    chosen = np.sort(first)  # the first of equal ones
    order = np.argsort(units[chosen], kind="stable")
    ordered = units[chosen][order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    numbers = np.zeros(len(units), np.int64)
    numbers[chosen[order]] = np.arange(len(chosen)) - np.repeat(starts, lengths)
    return numbers[first[inverse.ravel()]]


def _row_places(units: Ints, rows: Ints) -> Ints:
    """One place for each row of places, unequal where a unit's rows are."""
    together = np.column_stack([units, rows])
    if len(np.unique(together[:, :2], axis=0)) == len(np.unique(together, axis=0)):
        return rows[:, 0]
    return _occurrence(units, rows)


def _numbered(*arrays: Ints) -> Ints:
    """Number the combinations of several arrays' values, position by position."""
    numbers = np.zeros(arrays[0].size, np.int64)
    for array in arrays:
        values, own = np.unique(array, return_inverse=True)
        numbers = numbers * len(values) + own.ravel()
        numbers = np.unique(numbers, return_inverse=True)[1].ravel()
    return numbers


def _positions(like: Ints) -> Ints:
    """The number of each position of an array."""
    return np.arange(like.size).reshape(like.shape)


def _repeats(units: Ints, places: Ints) -> bool:
    """Whether several positions have one unit and one place."""
    if len(np.unique(units)) == units.size:
        return False
    return bool(_numbered(units, places).max() + 1 < units.size)


def _constant(dims: Sequence[int], units: Ints, places: Ints) -> set[int]:
    """Axes along which a block's units and places are equal."""
    return {
        dim
        for at, dim in enumerate(dims)
        if units.shape[at] > 1
        and all((a == a.take([0], at)).all() for a in (units, places))
    }


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


def _runs(
    before: Sequence[int], after: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Split two shapes into the shortest runs of axes with equal products."""
    runs = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right = [i] if i < len(before) else [], [j] if j < len(after) else []
        i, j = i + len(left), j + len(right)
        while prod(before[d] for d in left) != prod(after[d] for d in right):
            if prod(before[d] for d in left) < prod(after[d] for d in right):
                left.append(i)
                i += 1
            else:
                right.append(j)
                j += 1
        runs.append((tuple(left), tuple(right)))
    return runs
