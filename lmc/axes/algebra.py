"""What becomes of a tensor's axes in an operation: the steps that rules are made of.

Operations that only move data do to the arrays of units what they do to the tensor;
all others combine tensors as an einsum does, which ties them over the axes that they
share, or reduce one.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

import numpy as np

from lmc.axes.blocks import Axes, Block, Lettered, Operand
from lmc.axes.refining import refined
from lmc.axes.ties import Ties
from lmc.units import Ints, Units


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

    Attributes
    ----------
    ties
        What is said about the units on the way; rules that pin go there.
    """

    def __init__(self, units: Units, why: str, tensors: dict[str, Axes] | None = None):
        self.ties = Ties(units, why)
        self.tensors = {} if tensors is None else tensors

    # What only moves data.

    def take(self, axes: Axes, dim: int, index: Ints) -> Axes:
        """Select positions of an axis: slices, splits, rolls, flips."""
        sizes = _resized(axes.sizes, dim, len(index))
        blocks = []
        for block in axes.blocks:
            if dim in block.dims:
                at = block.dims.index(dim)
                units, places = (a.take(index, at) for a in (block.units, block.places))
                block = Block(block.dims, units, places).tidy()
                if not block.dims:  # a single unit, which leaves no axis behind
                    self.ties.units.see(block.units, block.places)
            blocks.append(block)
        even = axes.even | {dim} if len(set(index.tolist())) == 1 else axes.even
        return Axes.made(sizes, blocks, even)

    @staticmethod
    def windows(axes: Axes, dim: int, index: Ints) -> Axes:
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
                block = Block((*block.dims, last), units, places).tidy()
            blocks.append(block)
        sizes = (*_resized(axes.sizes, dim, len(index)), index.shape[1])
        return Axes.made(sizes, blocks)

    @staticmethod
    def permute(axes: Axes, order: Sequence[int]) -> Axes:
        """Reorder the axes: axis ``i`` of the result is axis ``order[i]``."""
        order = [dim % len(order) for dim in order]
        blocks = [b.onto([order.index(dim) for dim in b.dims]) for b in axes.blocks]
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
        merged = [before for before, _ in runs if len(before) > 1]
        blocks, even = [], set[int]()
        for block in self.ties.crossed(axes, merged):
            touched = sorted({of[dim] for dim in block.dims})
            before = [dim for run in touched for dim in run[0]]
            after = tuple(dim for run in touched for dim in run[1])
            spread = block.spread(before, axes.sizes, axes.even)
            shape = [sizes[dim] for dim in after]
            new = Block(
                after, spread.units.reshape(shape), spread.places.reshape(shape)
            )
            even |= new.even
            blocks.append(new.tidy())
        even |= {
            dim
            for before, after in runs
            if all(d in axes.even or axes.sizes[d] == 1 for d in before)
            for dim in after
            if sizes[dim] > 1
        }
        result = Axes.made(sizes, blocks, even)
        if axes.view is None or _wide(axes.sizes) != _wide(sizes):
            return result
        name, dims = axes.view
        kept = iter([d for d, size in zip(dims, axes.sizes, strict=True) if size > 1])
        dims = tuple(next(kept) if size > 1 else None for size in sizes)
        return replace(result, view=(name, dims))

    @staticmethod
    def expand(axes: Axes, sizes: Sequence[int]) -> Axes:
        """Stretch axes of size 1, and add axes in front."""
        offset = len(sizes) - len(axes.sizes)
        blocks = tuple(b.onto([dim + offset for dim in b.dims]) for b in axes.blocks)
        even = {dim + offset for dim in axes.even}
        old = [1] * offset + list(axes.sizes)
        even |= {d for d, size in enumerate(sizes) if size > 1 and old[d] == 1}
        return Axes(tuple(sizes), blocks, frozenset(even))

    def cat(self, parts: Sequence[Axes], dim: int) -> Axes:
        """Concatenate along an axis; the other axes of all parts are tied."""
        dims = sorted({d for part in parts for b in part.over(dim) for d in b.dims})
        letters = range(len(parts[0].sizes))
        rest = [part.without(dims or [dim]) for part in parts]
        others = self.combine(
            [
                (part, [*letters[:dim], -1 - i, *letters[dim + 1 :]])
                for i, part in enumerate(rest)
            ],
            letters,
            _resized(parts[0].sizes, dim, sum(part.sizes[dim] for part in parts)),
        )
        if not dims:
            return others
        segments = [self._segment(part, dims) for part in parts]
        at = dims.index(dim)
        units = np.concatenate([block.units for block in segments], at)
        places = np.concatenate(
            [block.places * len(parts) + i for i, block in enumerate(segments)], at
        )
        joined = Block(tuple(dims), units, places).tidy()
        return Axes.made(others.sizes, [*others.blocks, joined])

    def _segment(self, axes: Axes, dims: Sequence[int]) -> Block:
        """One operand of a concatenation as a block over the axes of all blocks."""
        own = tuple(b for b in axes.blocks if not set(dims).isdisjoint(b.dims))
        if len(own) == 1:
            return own[0].spread(dims, axes.sizes, axes.even)
        self.ties.pin(Axes(axes.sizes, own))
        shape = [axes.sizes[dim] for dim in dims]
        # Equal values may be permuted like whatever they meet.
        why = None if axes.even.issuperset(dims) else self.ties.why
        units = self.ties.units.new(prod(shape), why).reshape(shape)
        return Block(tuple(dims), units, np.zeros_like(units))

    # What computes.

    def combine(
        self,
        operands: Sequence[Operand],
        out: Sequence[int],
        sizes: Sequence[int],
        product: bool = False,
    ) -> Axes:
        """Combine tensors as an einsum does; each axis has a number for a letter.

        Axes of one letter move together; an axis of size 1 is stretched, as is an
        even one.  Letters that are missing from ``out`` are summed over.  In a matrix
        ``product`` a new parameter gets units of its own at each batch position
        (:mod:`lmc.axes.refining`).

        Examples
        --------
        A linear layer ties the columns of its weight to its inputs; the result has the
        units of the rows:

        >>> from lmc.axes import fresh
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
        operands = refined(operands, out, product, self.ties, self.tensors)
        for axes, _ in operands:
            self.ties.see(axes)
        known = [axes.lettered(letters) for axes, letters in operands]
        for i, (mine, present) in enumerate(known):
            for its, shared in known[:i]:
                common = {n: size for n, size in present.items() if n in shared}
                self.ties.tie(
                    self.ties.restricted(its, common),
                    self.ties.restricted(mine, common),
                    common,
                )
        everything = [block for mine, _ in known for block in mine]
        chosen = [
            self.ties.told_apart(block, known)
            for block in self.ties.restricted(everything, set(out))
        ]
        at = {letter: dim for dim, letter in enumerate(out)}
        result = Axes.made(
            sizes,
            [block.onto([at[letter] for letter in block.dims]) for block in chosen],
            _stretched(operands, known, out),
        )
        self.ties.see(result)
        return result

    def reduce(self, axes: Axes, dims: Sequence[int], keep: bool) -> Axes:
        """Sum, average or maximize over axes, symmetric in their positions."""
        gone = {dim % len(axes.sizes) for dim in dims}
        letters = range(len(axes.sizes))
        kept = [dim for dim in letters if dim not in gone]
        reduced = self.combine([(axes, letters)], kept, [axes.sizes[d] for d in kept])
        if not keep:
            return reduced
        sizes = tuple(1 if dim in gone else size for dim, size in enumerate(axes.sizes))
        blocks = tuple(b.onto([kept[dim] for dim in b.dims]) for b in reduced.blocks)
        return Axes(sizes, blocks)


def _resized(sizes: tuple[int, ...], dim: int, size: int) -> tuple[int, ...]:
    """A shape with another size of one axis."""
    return (*sizes[:dim], size, *sizes[dim + 1 :])


def _wide(sizes: Sequence[int]) -> list[int]:
    """The sizes above 1."""
    return [size for size in sizes if size > 1]


def _stretched(
    operands: Sequence[Operand], known: Sequence[Lettered], out: Sequence[int]
) -> set[int]:
    """Axes of a result along which all operands are even."""
    present = {letter for _, sizes in known for letter in sizes}
    even = {letters[dim] for axes, letters in operands for dim in axes.even}
    return {dim for dim, letter in enumerate(out) if letter in even - present}


def _runs(
    before: Sequence[int], after: Sequence[int]
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Split two shapes into the shortest runs of axes with equal products.

    Examples
    --------
    >>> _runs((2, 3, 4), (6, 2, 2))
    [((0, 1), (0,)), ((2,), (1, 2))]
    """
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
