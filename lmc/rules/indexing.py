"""Rules of operations on positions: what finds them, and what is chosen by them.

Integers that a sort or ``topk`` over units returns are positions of units: they *name*
the units (``Axes.named``), and change as these are permuted.  A router names experts
so; what is indexed by its choice, scattered to it or sorted by it moves with them.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import gcd

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from lmc.axes import Axes, Block
from lmc.exported import operation_name
from lmc.operations import IDENTITIES
from lmc.rules.calls import Call, Refused, TooFew, rule, where
from lmc.units import Ints

GROUPED = frozenset("grouped_mm _grouped_mm grouped_mm_fallback".split())
"""Products of runs of rows, each with a matrix of its own."""


# What finds positions.


@rule("max", "min")
def _extremum(call: Call) -> Axes | list[Axes]:
    features = call.axes(0)
    if isinstance(call.node.meta["val"], Tensor):
        if call.has(1):
            return call.aligned(call.tensors)
        return call.algebra.reduce(features, range(len(features.sizes)), keep=False)
    dim = call.dim(1, features)
    features, named = _positions(call, features, dim, _indices_used(call.node))
    kept = call.algebra.reduce(features, [dim], bool(call.given("keepdim", False)))
    return [kept, replace(kept, named=named)]


@rule("argmax", "argmin")
def _extreme_position(call: Call) -> Axes:
    features = call.axes(0)
    if call.given("dim") is None:
        call.positions.pin(features)
        return Axes(call.sizes)
    dim = call.dim("dim", features)
    features, named = _positions(call, features, dim)
    kept = call.algebra.reduce(features, [dim], bool(call.given("keepdim", False)))
    return replace(kept, named=named)


@rule("topk")
def _largest(call: Call) -> list[Axes]:
    features = call.axes(0)
    dim = call.dim("dim", features, -1)
    features, named = _positions(call, features, dim, _indices_used(call.node))
    kept = call.algebra.reduce(features, [dim], keep=True)
    values, indices = (Axes(shape, kept.blocks) for shape in call.each)
    return [values, replace(indices, named=named)]


@rule("sort", "argsort", names=True)
def _sorted(call: Call) -> Axes | list[Axes]:
    features = call.axes(0)
    dim = call.dim("dim", features, -1)
    both = operation_name(call.node) == "sort"
    if features.named is not None:
        rows = _runs(call, features, features.named)
        values = Axes(features.sizes, (rows,), named=features.named)
        indices = Axes(features.sizes, (rows,))
    else:
        used = not both or _indices_used(call.node)
        features, named = _positions(call, features, dim, used)
        kept = call.algebra.reduce(features, [dim], keep=True)
        values = Axes(features.sizes, kept.blocks)
        indices = replace(values, named=named)
    return [values, indices] if both else indices


@rule("index_put")
def _inverse(call: Call) -> Axes:
    """Write positions 0, 1, ... where a sort's indices say: the indices' inverse."""
    order, values = call.given(1)[0], call.given(2)
    if not (
        len(call.given(1)) == 1
        and not call.given("accumulate", False)
        and _is_order(order)
        and operation_name(values) == "arange"
        and len(values.args) == 1
        and call.shapes[order].sizes == call.shapes[values].sizes == call.sizes
    ):
        raise Refused("no rule for")
    (rows,) = call.shapes[order].blocks or (None,)
    return Axes(call.sizes, named=rows)


# What is chosen by positions.


@rule("index", names=True)
def _index(call: Call) -> Axes:
    features, indices = call.axes(0), call.given(1)
    at = [dim for dim, index in enumerate(indices) if index is not None]
    first = indices[at[0]]
    if len(at) == 1 and first.meta["val"].dtype is not torch.bool:
        return _selected(call, features, at[0], first)
    call.positions.pin_named(features)
    for dim in at:
        call.ties.pin(call.shapes[indices[dim]])
    features = call.ties.pin(features, at)
    rank = max(len(call.shapes[indices[dim]].sizes) for dim in at)
    # The axes of the indices stand where theirs are, or in front if these are apart.
    together = at == [*range(at[0], at[-1] + 1)]
    start = at[0] if together else 0
    rest = [dim for dim in range(len(features.sizes)) if dim not in at]
    moved = {dim: n + rank * (n >= start) for n, dim in enumerate(rest)}
    blocks = (b.onto([moved[dim] for dim in b.dims]) for b in features.blocks)
    return Axes(call.sizes, tuple(blocks))


@rule("index_select", names=True)
def _index_select(call: Call) -> Axes:
    return _selected(call, call.axes(0), call.dim(1, call.axes(0)), call.given(2))


@rule("embedding", names=True)
def _embedding(call: Call) -> Axes:
    return _chosen(call, call.axes(0), 0, call.axes(1))


@rule("gather", names=True)
def _gather(call: Call) -> Axes:
    features, index = call.axes(0), call.axes(2)
    dim, rank = call.dim(1, features), len(features.sizes)
    call.positions.pin_named(features)
    _check_sizes(features, index, dim)
    named = _named(call, index, features.sizes[dim])
    if not named:
        features = call.ties.pin(features, [dim])
    own = [*range(dim), -1, *range(dim + 1, rank)]
    terms = [(features, own), (replace(index, named=None), range(rank))]
    terms += [(axes, [-1]) for axes in named]
    return call.algebra.combine(terms, range(rank), call.sizes)


@rule("scatter", "scatter_add", "scatter_reduce", names=True)
def _scatter(call: Call) -> Axes:
    base, index = call.axes(0), call.axes(2)
    dim, rank = call.dim(1, base), len(base.sizes)
    sources = [call.axes("src")] if call.has("src") else []
    for axes in (base, *sources):
        call.positions.pin_named(axes)
        _check_sizes(axes, index, dim)
    named = _named(call, index, base.sizes[dim])
    if not named:
        base = call.ties.pin(base, [dim])
        base = replace(base, even=base.even - {dim})
    own = [*range(dim), -1, *range(dim + 1, rank)]
    terms: list[tuple[Axes, Sequence[int]]] = [(base, range(rank))]
    terms += [(replace(index, named=None), own)]
    terms += [(axes, own) for axes in sources]
    terms += [(axes, [dim]) for axes in named]
    return call.algebra.combine(terms, range(rank), call.sizes)


@rule("one_hot", names=True)
def _one_hot(call: Call) -> Axes:
    index, rank = call.axes(0), len(call.sizes)
    terms: list[tuple[Axes, Sequence[int]]] = [
        (replace(index, named=None), range(rank - 1))
    ]
    terms += [(axes, [rank - 1]) for axes in _named(call, index, call.sizes[-1])]
    return call.algebra.combine(terms, range(rank), call.sizes)


# Rows that are sorted by what they name: experts, each with a run of rows.


@rule("histc", names=True)
def _counts(call: Call) -> Axes:
    features = call.axes(0)
    bins = call.sizes[0]
    if [call.given(2), call.given(3)] != [0, bins - 1]:
        raise Refused("no rule for bins that are no positions in")
    named = _named(call, features, bins)
    rank = len(features.sizes)
    rows = replace(features, named=None)
    terms = [(rows, range(rank)), *((axes, [rank]) for axes in named)]
    return call.algebra.combine(terms, [rank], call.sizes)


@rule("cumsum")
def _ends(call: Call) -> Axes:
    """Where the runs of rows end: read as one end for each, in their order."""
    waiting = [*call.node.users]
    while waiting:
        user = waiting.pop()
        if operation_name(user) in IDENTITIES:
            waiting += user.users
        elif operation_name(user) not in GROUPED:
            raise Refused("no rule for")
    return call.aligned([call.axes(0)])


@rule(*GROUPED)
def _grouped(call: Call) -> Axes:
    rows, weight = call.axes(0), call.axes(1)
    plain = len(rows.sizes) == 2 and len(weight.sizes) == 3 and call.has(2)
    if not plain or call.has("bias"):
        raise Refused("no rule for other products than of rows with matrices in")
    experts = weight.sizes[0]
    count = _length(call, experts)
    split = call.algebra.reshape(rows, (experts, count, rows.sizes[1]))
    made = call.algebra.combine(
        [(split, [0, 1, 2]), (weight, [0, 2, 3]), (call.axes(2), [0])],
        [0, 1, 3],
        (experts, count, weight.sizes[2]),
        product=True,
    )
    return call.algebra.reshape(made, call.sizes)


# What several rules share.


def _positions(
    call: Call, features: Axes, dim: int, used: bool = True
) -> tuple[Axes, Block | None]:
    """What the positions along an axis name, if they are used.

    Units over this axis and others as well have no name: they are pinned along it.
    """
    over = features.over(dim)
    if not used or not call.ties.free(Axes(features.sizes, over)):
        return features, None
    if len(over) > 1 or len(over[0].dims) > 1:
        return call.positions.pin(features, [dim]), None
    return features, replace(over[0], dims=(0,))


def _indices_used(node: Node) -> bool:
    """Whether the second of an operation's results, the indices, is of use."""
    return any(user.args[1] and user.users for user in node.users)


def _is_order(node: Node) -> bool:
    """Whether a node's values are the indices of a sort."""
    if operation_name(node) == "getitem":
        source, number = node.args
        assert isinstance(source, Node)
        return bool(number == 1) and operation_name(source) == "sort"
    return operation_name(node) == "argsort"


def _runs(call: Call, features: Axes, named: Block) -> Block:
    """The rows of a list of names in their order: in runs, one for each name.

    How long each run is depends on the data.  They are taken as equally long: units
    that play the same part have equally many rows.
    """
    if len(features.sizes) > 1:
        raise Refused("no rule for names on several axes in")
    (rows,), count = features.sizes, len(named.units)
    if not isinstance(call.given(0).meta["val"].shape[0], torch.SymInt):
        raise Refused(f"{rows} rows, whatever the number of samples, in")
    each = _length(call, count)
    at, place = np.arange(rows) // each, np.arange(rows) % each
    if call.given("descending", False):
        at = at[::-1]
    return Block((0,), named.units[at], named.places[at] * each + place)


def _length(call: Call, runs: int) -> int:
    """How long each run of rows is when all are equally long."""
    rows = call.axes(0).sizes[0]
    if rows % runs == 0:
        return rows // runs
    dynamic = isinstance(call.given(0).meta["val"].shape[0], torch.SymInt)
    if dynamic and call.shapes.factor % runs:
        raise TooFew(runs // gcd(rows, runs))
    raise Refused(f"{rows} rows that can't be shared out among {runs} units in")


def _named(call: Call, index: Axes, size: int) -> list[Axes]:
    """The axis that an index names, as an operand; none if it names no units."""
    if index.named is None:
        return []
    if len(index.named.units) != size:
        call.positions.pin_named(index)
        return []
    return [Axes((size,), (index.named,))]


def _check_sizes(features: Axes, index: Axes, dim: int) -> None:
    """Refuse an index that leaves out positions of an axis without looking at them."""
    for axis, (size, own) in enumerate(zip(features.sizes, index.sizes, strict=True)):
        if axis != dim and size != own:
            raise Refused("no rule for fewer indices than positions in")


def _selected(call: Call, table: Axes, dim: int, index: Node) -> Axes:
    """Entries of a table, by a list in the model's code or by what it computes."""
    known = call.shapes.constants.get(index)
    if known is None or known.ndim != 1:
        return _chosen(call, table, dim, call.shapes[index])
    positions = known.numpy().astype(np.int64) % table.sizes[dim]
    return replace(call.algebra.take(table, dim, positions), named=table.named)


def _chosen(call: Call, table: Axes, dim: int, index: Axes) -> Axes:
    """Entries of a table: one of its axes is replaced by those of the index."""
    ties, letters = call.ties, range(len(table.sizes))
    values = table.named
    if named := _named(call, index, table.sizes[dim]):
        rows = _rows_of_names(call, index)
        new = table.view is not None and ties.untouched(table)
        table = call.algebra.combine(
            [(named[0], [dim]), (table, letters)],
            letters,
            table.sizes,
            product=rows is not None,
        )
        if rows is not None:
            return replace(call.algebra.take(table, dim, rows), named=values)
        for block in table.over(dim):
            if block.dims != (dim,) and not call.shapes.units.coarsen(block.units):
                ties.clash(block)  # other units at each of the axis's positions
        alone = [block for block in table.blocks if block.dims != (dim,)]
        table = Axes(table.sizes, tuple(alone))
        if new and ties.free(table):
            call.shapes.refused.append(
                "no rule for other permutations in each of what is chosen by "
                f"{where(call.node)}"
            )
    table = ties.pin(table, [dim])
    added = len(index.sizes) - 1
    blocks = [
        b.onto([d + added if d > dim else d for d in b.dims]) for b in table.blocks
    ]
    blocks += [
        b.onto([d + dim for d in b.dims])
        for b in index.blocks
        if ties.free(Axes(index.sizes, (b,)))
    ]
    made = Axes(call.sizes, tuple(blocks), named=values)
    ties.see(made)
    return made


def _rows_of_names(call: Call, index: Axes) -> Ints | None:
    """What each row of a sorted list names, if rows move with what they name."""
    named = index.named
    if named is None or len(index.sizes) > 1:
        return None
    leader = call.shapes.units.leader
    at = {leader(unit): n for n, unit in enumerate(named.units.tolist())}
    for block in index.blocks:
        rows = [at.get(leader(unit)) for unit in block.units.tolist()]
        if len(at) == len(named.units) and None not in rows:
            return np.array(rows, np.int64)
    return None
