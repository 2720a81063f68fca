"""What is known of a tensor's axes: blocks of units, and axes of equal values."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
from torch import Tensor

from lmc.axes.arrays import parallel, repeats
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
        return repeats(self.units, self.places)

    @property
    def even(self) -> set[int]:
        """The axes, of sizes above 1, along which all its values are equal."""
        return {
            dim
            for at, dim in enumerate(self.dims)
            if self.units.shape[at] > 1
            and all((a == a.take([0], at)).all() for a in (self.units, self.places))
        }

    def onto(self, dims: Sequence[int]) -> "Block":
        """Return the same units over other axes: one for each of its own, in turn.

        Examples
        --------
        >>> units = np.array([[0, 1, 2], [3, 4, 5]])
        >>> turned = Block((0, 1), units, 0 * units).onto([4, 3])
        >>> turned.dims, turned.units.tolist()
        ((3, 4), [[0, 3], [1, 4], [2, 5]])
        """
        turn = np.argsort(dims)
        return Block(
            tuple(sorted(dims)), self.units.transpose(turn), self.places.transpose(turn)
        )

    def spread(
        self,
        dims: Sequence[int],
        sizes: Sequence[int] | Mapping[int, int],
        even: Collection[int] = (),
    ) -> "Block":
        """Return it over more axes; the new ones tell its places apart.

        Even ones do not: all values along them are equal.
        """
        shape = [sizes[dim] for dim in dims]
        own = [sizes[dim] if dim in self.dims else 1 for dim in dims]
        new = [1 if dim in self.dims or dim in even else sizes[dim] for dim in dims]
        rigid = np.arange(prod(new)).reshape(new)
        places = self.places.reshape(own) * prod(new) + rigid
        units = np.broadcast_to(self.units.reshape(own), shape)
        return Block(tuple(dims), units, np.broadcast_to(places, shape))

    def rows(self, dims: Sequence[int]) -> tuple[list[int], Ints, Ints]:
        """Return the sizes of some of its axes, and a row for each position of them.

        There are two arrays of rows: of units, and of places.
        """
        front = [self.dims.index(dim) for dim in dims]
        shape = [self.units.shape[at] for at in front]
        units, places = (
            np.moveaxis(array, front, range(len(front))).reshape(prod(shape), -1)
            for array in (self.units, self.places)
        )
        return shape, units, places

    def tidy(self) -> "Block":
        """Leave out the axes that it does not vary along."""
        kept, units, places = list(self.dims), self.units, self.places
        for dim in self.dims:
            at = kept.index(dim)
            first = units.take([0], at)
            if (units == first).all() and parallel(places, at):
                units, places = first.squeeze(at), places.take([0], at).squeeze(at)
                kept.remove(dim)
        if len(np.unique(units)) == units.size:
            places = np.zeros_like(units)
        return Block(tuple(kept), units, places)


class Lettered(NamedTuple):
    """A tensor whose axes have numbers for letters, as in an einsum.

    Attributes
    ----------
    blocks
        Its blocks, over letters.
    sizes
        The sizes of the letters along which its values may differ.
    """

    blocks: list[Block]
    sizes: dict[int, int]


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
    view: View | None = None
    named: Block | None = None

    @classmethod
    def made(
        cls, sizes: Sequence[int], blocks: Iterable[Block], even: Iterable[int] = ()
    ) -> "Axes":
        """Return the axes of a computed tensor, with the blocks that have any."""
        kept = tuple(block for block in blocks if block.dims)
        return cls(tuple(sizes), kept, frozenset(even))

    def over(self, dim: int) -> tuple[Block, ...]:
        """Return the blocks that reach over an axis."""
        return tuple(block for block in self.blocks if dim in block.dims)

    def without(self, dims: Sequence[int]) -> "Axes":
        """Forget the blocks that reach over any of these axes."""
        gone = set(dims)
        kept = tuple(b for b in self.blocks if gone.isdisjoint(b.dims))
        return Axes(self.sizes, kept, self.even)

    def lettered(self, letters: Sequence[int]) -> Lettered:
        """Return the blocks over letters, one for each axis, instead of axes."""
        blocks = [b.onto([letters[dim] for dim in b.dims]) for b in self.blocks]
        sizes = {
            letter: size
            for dim, (letter, size) in enumerate(zip(letters, self.sizes, strict=True))
            if size > 1 and dim not in self.even
        }
        return Lettered(blocks, sizes)


Operand = tuple[Axes, Sequence[int]]
"""A tensor that is combined with others, and a letter for each of its axes."""


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
