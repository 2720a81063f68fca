"""Finer units for a parameter: as its first use tells them apart.

A parameter starts with one unit for each position of each axis.  Where its first use
combines it with a tensor that has joint units over several axes, its own units over
these are joint as well.  In a *batched* product (:func:`torch.bmm`, an einsum, grouped
products) it even gets units of its own at each batch position: all experts' matrices
are one parameter, and each expert's hidden units may be permuted apart from the
others'.

That is a guess, for nothing is known yet of what follows: an embedding may be shared
by all experts, or a bias.  Such *fine* units are made with the name of their parameter
(``fine`` of :meth:`lmc.units.Units.new`).  Where the algebra, or :mod:`lmc.families`
when all is known, would pin any of them because their parts in the batch can't be told
apart, it raises :class:`lmc.units.TooFine` instead, and ``lmc.discovery`` begins anew
with the parameters in ``Units.alike``, to which :func:`refined` gives one unit for all
batch positions.
"""

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from lmc.axes.blocks import Axes, Block, Operand
from lmc.axes.ties import Ties


def refined(
    operands: Sequence[Operand],
    out: Sequence[int],
    product: bool,
    ties: Ties,
    tensors: dict[str, Axes],
) -> list[Operand]:
    """Give parameters that had no use yet units as fine as their first use.

    Parameters
    ----------
    operands
        Tensors that are combined, with a letter for each axis.
    out
        The letters of the result.
    product
        Whether this is a matrix product, where a parameter gets units at each batch
        position.
    ties
        What the operation says about units.
    tensors
        Axes of the parameters by name: those of refined ones are replaced.

    Examples
    --------
    Two experts' matrices, from three channels that they share to four hidden units.
    Axes 0 and 2 get eight units, and axis 0 units that hold the four of each expert:

    >>> from lmc.axes.blocks import fresh
    >>> from lmc.units import Units
    >>> units = Units()
    >>> up = fresh(units, (2, 3, 4), parameter="up")
    >>> tokens, tensors = fresh(units, (2, 5, 3)), {"up": up}
    >>> operands = [(tokens, [0, 1, 2]), (up, [0, 2, 3])]
    >>> _ = refined(operands, [0, 1, 3], True, Ties(units, "bmm"), tensors)
    >>> [(block.dims, block.units.shape) for block in tensors["up"].blocks]
    [((1,), (3,)), ((0, 2), (2, 4)), ((0,), (2,))]
    """
    found = list(operands)
    for i, (axes, letters) in enumerate(operands):
        others = [*found[:i], *found[i + 1 :]]
        if axes.view is not None and ties.untouched(axes):
            joint = _joint(axes, letters, others, out, product, ties)
            found[i] = (_replaced(axes, joint, ties, tensors), letters)
    return found


def _joint(
    axes: Axes,
    letters: Sequence[int],
    others: Sequence[Operand],
    out: Sequence[int],
    product: bool,
    ties: Ties,
) -> list[Block]:
    """Joint blocks for a parameter with one new block over each of its axes.

    Over letters that the other operands have too, its units are as theirs.  Over
    the letters that the result has from it alone, they are its own at each
    position of the batch letters, which all have.
    """
    known = [other.lettered(its) for other, its in others]
    theirs = {letter for _, present in known for letter in present}
    blocks = [block for mine, _ in known for block in mine]
    sizes = {n: size for n, size in zip(letters, axes.sizes, strict=True) if size > 1}
    common = sizes.keys() & theirs
    batch = sorted(common & set(out))
    own = sorted((sizes.keys() - theirs) & set(out))
    assert axes.view is not None
    name, _ = axes.view
    joint: list[Block] = []
    if product and own and len(own + batch) > 1 and name not in ties.units.alike:
        joint = _batched(name, blocks, batch, own, sizes, ties)
    if any(len(common.intersection(block.dims)) > 1 for block in blocks):
        for block in ties.restricted(blocks, common):
            if len(block.dims) > 1:
                distinct, inverse = np.unique(block.units, return_inverse=True)
                units = ties.units.new(len(distinct))[inverse]
                units = units.reshape(block.units.shape)
                joint.append(Block(block.dims, units, block.places))
    at = {letter: dim for dim, letter in enumerate(letters)}
    return [block.onto([at[letter] for letter in block.dims]) for block in joint]


def _batched(
    name: str,
    blocks: Sequence[Block],
    batch: Sequence[int],
    own: Sequence[int],
    sizes: Mapping[int, int],
    ties: Ties,
) -> list[Block]:
    """Units over own letters at each batch position, and those that hold them."""
    shape = [sizes[letter] for letter in (*batch, *own)]
    count = prod(shape[: len(batch)])
    held = ties.restricted(blocks, batch)
    if len(held) > 1 or any(len(block.dims) < len(batch) for block in held):
        return []  # no one unit holds what is at a batch position
    units = ties.units.new(prod(shape), fine=name)
    table = units.reshape(shape)
    plain = Block(tuple(range(len(shape))), table, np.zeros_like(table))
    made = [plain.onto([*batch, *own])]
    if batch:
        holders = ties.units.blocks(units.reshape(count, -1), ties.why)
        base = ties.units.new(count).reshape(shape[: len(batch)])
        block = Block(tuple(batch), base, np.zeros_like(base))
        ties.units.tie(base, holders, (block.places, block.places))
        if held:
            ties.tie([block], held, sizes)
        else:
            ties.units.pin(base, ties.why)
        made.append(block)
    return made


def _replaced(
    axes: Axes, joint: Sequence[Block], ties: Ties, tensors: dict[str, Axes]
) -> Axes:
    """A parameter with joint blocks in place of those over the same axes."""
    covered = {dim for block in joint for dim in block.dims}
    kept = [block for block in axes.blocks if covered.isdisjoint(block.dims)]
    for block in axes.blocks:
        if block not in kept:
            ties.units.pin(block.units, "replaced by more precise units")
    found = (*kept, *joint)
    assert axes.view is not None
    name, dims = axes.view
    home = {dim: axis for dim, axis in enumerate(dims) if axis is not None}
    tensors[name] = Axes(
        tensors[name].sizes,
        tuple(block.onto([home[dim] for dim in block.dims]) for block in found),
    )
    return Axes(axes.sizes, found)
