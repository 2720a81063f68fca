"""Rules of convolutions."""

import numpy as np

from lmc.axes import Axes, Block, Ties
from lmc.rules.calls import Call, Refused, rule, where


@rule("conv1d", "conv2d", "conv3d")
def _convolution(call: Call) -> Axes:
    return _convolved(call, call.given("groups", 1), _kernel(call), inputs=1, outputs=0)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed_convolution(call: Call) -> Axes:
    return _convolved(call, call.given("groups", 1), _kernel(call), inputs=0, outputs=1)


def _kernel(call: Call) -> Axes:
    """A convolution's weight, its kernel axes pinned."""
    ties = Ties(call.shapes.units, f"kernel position in {where(call.node)}")
    return ties.pin(call.axes(1), range(2, len(call.axes(1).sizes)))


def _convolved(
    call: Call, groups: int, weight: Axes, inputs: int, outputs: int
) -> Axes:
    """A convolution whose weight has its input and output channels on these axes."""
    images, sample, channel, made = call.axes(0), 0, -1, -2
    rank = len(images.sizes)
    if rank != len(weight.sizes):
        raise Refused("no batch axis in")
    images = call.ties.pin(images, [d for d in range(2, rank) if _moves(call, d)])
    pixels = range(1, rank - 1)
    if groups == 1:
        letters = [channel, made] if inputs == 0 else [made, channel]
        terms = [
            (Axes(weight.sizes[:2], weight.without(range(2, rank)).blocks), letters)
        ]
    else:
        sides = _grouped(call, groups, weight)
        terms = [(sides[inputs], [channel]), (sides[outputs], [made])]
    sizes = (*images.sizes[:2], *call.sizes[2:])
    terms.append((Axes(sizes, images.blocks), [sample, channel, *pixels]))
    if call.has(2):
        terms.append((call.axes(2), [made]))
    return call.algebra.combine(terms, [sample, made, *pixels], call.sizes)


def _moves(call: Call, dim: int) -> bool:
    """Whether a convolution moves or mixes the positions along an axis of pixels."""

    def setting(which: str, default: int) -> int:
        given = call.given(which)
        given = [default] if given is None or isinstance(given, str) else given
        return int(given[(dim - 2) % len(given)])

    return (
        call.axes(1).sizes[dim] > 1
        or setting("stride", 1) > 1
        or setting("padding", 0) > 0
        or setting("output_padding", 0) > 0
    )


def _grouped(call: Call, groups: int, weight: Axes) -> tuple[Axes, Axes]:
    """The channels on both sides of a grouped convolution.

    Its weight has all channels of one side on axis 0, group by group, and the
    channels of one group of the other side on axis 1, which mean other units in each
    group.  The groups of both sides are the same.
    """
    algebra, units = call.algebra, call.shapes.units
    rows, columns = weight.sizes[:2]
    mine = [b for b in weight.blocks if b.dims == (0,)]
    if columns == 1 and 0 in weight.even:  # equal kernels, wherever the channels go
        mine = [Block((0,), units.new(rows), np.zeros(rows, np.int64))]
    outer = Axes((rows,), tuple(mine))
    split = algebra.reshape(outer, (groups, rows // groups))
    holders = algebra.reduce(split, [1], keep=False)
    if columns == 1:
        return outer, holders
    place = np.arange(rows) % (rows // groups)
    group = np.arange(rows) // (rows // groups)
    both = [b for b in weight.blocks if b.dims == (0, 1)]
    if not both:
        along = weight.over(1)
        new = call.ties.untouched(Axes(weight.sizes, along))
        if call.given(1).op != "placeholder" or not new or not _used_alike(call):
            raise Refused("no rule for a weight with other uses in")
        more = units.new((groups - 1) * columns)
        inner = np.append(along[0].units, more).reshape(groups, columns)
        places = np.repeat(place[:, None], columns, 1)
        both = [Block((0, 1), inner[group], places)]
        kept = [b for b in weight.blocks if b.dims != (1,)]
        call.shapes.refine(call.given(1), Axes(weight.sizes, (*kept, *both)))
    if (both[0].units != both[0].units[group * (rows // groups)]).any():
        raise Refused("no rule for a weight with units of its own in each row in")
    table = both[0].units[place == 0]
    inside = Axes((groups, columns), (Block((0, 1), table, np.zeros_like(table)),))
    algebra.combine(
        [(holders, [0]), (algebra.reduce(inside, [1], keep=False), [0])], [0], (groups,)
    )
    return outer, algebra.reshape(inside, (groups * columns,))


def _used_alike(call: Call) -> bool:
    """Whether a weight is used by such convolutions alone, of as many groups."""
    uses = [Call(user, call.shapes) for user in call.given(1).users]
    return all(
        use.node.target == call.node.target
        and use.given(1) is call.given(1)
        and use.given("groups", 1) == call.given("groups", 1)
        for use in uses
    )
