"""Rules of what only moves data."""

from math import prod

import numpy as np
from torch.fx import Node

from lmc.axes import Axes
from lmc.operations import RESHAPES
from lmc.rules.calls import Call, Refused, rule


@rule(*RESHAPES)
def _reshape(call: Call) -> Axes:
    if prod(call.axes(0).sizes) != prod(call.sizes):
        raise Refused("no rule for single bytes in")
    return call.algebra.reshape(call.axes(0), call.sizes)


@rule("permute")
def _permute(call: Call) -> Axes:
    return call.algebra.permute(call.axes(0), call.given(1))


@rule("transpose", "swapaxes", "swapdims")
def _transpose(call: Call) -> Axes:
    features = call.axes(0)
    first, second = call.dim(1, features), call.dim(2, features)
    order = list(range(len(features.sizes)))
    order[first], order[second] = second, first
    return call.algebra.permute(features, order)


@rule("t", "numpy_T", "mT", "adjoint")
def _turn(call: Call) -> Axes:
    rank = len(call.axes(0).sizes)
    return call.algebra.permute(call.axes(0), [*range(rank - 2), rank - 1, rank - 2])


@rule("movedim")
def _movedim(call: Call) -> Axes:
    features = call.axes(0)
    source, destination = (
        [dim % len(features.sizes) for dim in (d if isinstance(d, list) else [d])]
        for d in (call.given(1), call.given(2))
    )
    order = [dim for dim in range(len(features.sizes)) if dim not in source]
    for dim, to in sorted(zip(source, destination, strict=True), key=lambda x: x[1]):
        order.insert(to, dim)
    return call.algebra.permute(features, order)


@rule("expand", "expand_as", "broadcast_to")
def _expand(call: Call) -> Axes:
    return call.algebra.expand(call.axes(0), call.sizes)


@rule("cat", "concat", "concatenate")
def _cat(call: Call) -> Axes:
    parts = [call.shapes[tensor] for tensor in call.given(0)]
    dim = call.dim(1, parts[0])
    return call.algebra.cat([p for p in parts if p.sizes[dim]] or parts, dim)


@rule("stack")
def _stack(call: Call) -> Axes:
    dim = call.given(1, 0) % len(call.sizes)
    single = (*call.sizes[:dim], 1, *call.sizes[dim + 1 :])
    parts = [call.shapes[tensor] for tensor in call.given(0)]
    return call.algebra.cat([call.algebra.reshape(p, single) for p in parts], dim)


@rule(
    "chunk", "split", "split_with_sizes", "tensor_split", "unsafe_chunk", "unsafe_split"
)
def _split(call: Call) -> list[Axes]:
    features = call.axes(0)
    dim, start, parts = call.dim("dim", features), 0, []
    for shape in call.each:
        index = np.arange(start, start + shape[dim])
        parts.append(call.algebra.take(features, dim, index))
        start += shape[dim]
    return parts


@rule("unbind")
def _unbind(call: Call) -> list[Axes]:
    features = call.axes(0)
    dim = call.dim(1, features)
    return [
        call.algebra.reshape(call.algebra.take(features, dim, np.array([i])), shape)
        for i, shape in enumerate(call.each)
    ]


@rule("getitem")
def _getitem(call: Call) -> Axes:
    source, index = call.node.args
    assert isinstance(source, Node) and isinstance(index, int)
    return call.shapes.items(source)[index]


@rule("select")
def _select(call: Call) -> Axes:
    features = call.axes(0)
    dim, index = call.dim(1, features), call.given(2)
    if not isinstance(index, int):
        raise Refused("no rule for a computed index in")
    chosen = np.array([index % features.sizes[dim]])
    return call.algebra.reshape(call.algebra.take(features, dim, chosen), call.sizes)


@rule("slice", "narrow")
def _slice(call: Call) -> Axes:
    features = call.axes(0)
    dim = call.dim(1, features)
    if features.sizes[dim] == call.sizes[dim]:
        return features
    if call.sizes[dim] == 0:
        return Axes(call.sizes)
    start, step = call.given(2, 0) or 0, call.given("step", 1)
    if not isinstance(start, int) or not isinstance(step, int):
        if features.over(dim):
            raise Refused("no rule for computed bounds in")
        return Axes(call.sizes, features.blocks)
    start = max(start + features.sizes[dim], 0) if start < 0 else start
    index = start + step * np.arange(call.sizes[dim])
    return call.algebra.take(features, dim, index)


@rule("roll")
def _roll(call: Call) -> Axes:
    features = call.axes(0)
    dims = call.given(2, [])
    if not dims:
        raise Refused("no rule for flattened axes in")
    for shift, dim in zip(call.given(1), dims, strict=True):
        index = np.roll(np.arange(features.sizes[dim]), shift)
        features = call.algebra.take(features, dim % len(features.sizes), index)
    return features


@rule("flip")
def _flip(call: Call) -> Axes:
    features = call.axes(0)
    for dim in call.given(1):
        index = np.arange(features.sizes[dim])[::-1]
        features = call.algebra.take(features, dim % len(features.sizes), index)
    return features


@rule("repeat", "tile")
def _repeat(call: Call) -> Axes:
    features = call.axes(0)
    new = len(call.sizes) - len(features.sizes)
    features = call.algebra.reshape(features, (*[1] * new, *features.sizes))
    for dim, size in enumerate(call.sizes):
        index = np.arange(size) % features.sizes[dim]
        features = call.algebra.take(features, dim, index)
    return features


@rule("repeat_interleave")
def _repeat_interleave(call: Call) -> Axes:
    features, count = call.axes(0), call.given("repeats")
    if not isinstance(count, int) or call.given("dim") is None:
        raise Refused("no rule for flattened axes or computed counts in")
    dim = call.dim("dim", features)
    index = np.arange(features.sizes[dim] * count) // count
    return call.algebra.take(features, dim, index)


@rule("pad", "constant_pad_nd")
def _pad(call: Call) -> Axes:
    features, widths = call.axes(0), call.given(1)
    dims = [len(features.sizes) - 1 - i // 2 for i in range(len(widths))]
    padded = [dim for dim, width in zip(dims, widths, strict=True) if width != 0]
    return Axes(call.sizes, call.ties.pin(features, padded).blocks)


@rule("unfold")
def _unfold(call: Call) -> Axes:
    features = call.axes(0)
    dim, size, step = call.dim(1, features), call.given(2), call.given(3)
    starts = step * np.arange(call.sizes[dim])
    return call.algebra.windows(features, dim, starts[:, None] + np.arange(size))


@rule("im2col")
def _im2col(call: Call) -> Axes:
    features = call.axes(0)
    kernel, dilation, padding, stride = (
        call.given(which) for which in ("kernel_size", "dilation", "padding", "stride")
    )
    if len(features.sizes) != 4:
        raise Refused("no batch axis in")
    features = call.ties.pin(features, [2 + i for i in (0, 1) if padding[i]])
    for dim in (2, 3):
        i = dim - 2
        padded = features.sizes[dim] + 2 * padding[i]
        count = (padded - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        index = stride[i] * np.arange(count)[:, None]
        index = index + dilation[i] * np.arange(kernel[i]) - padding[i]
        # What is read of the padding is on axes along which no units are left.
        features = call.algebra.windows(
            features, dim, index.clip(0, features.sizes[dim] - 1)
        )
    turned = call.algebra.permute(features, [0, 1, 4, 5, 2, 3])
    return call.algebra.reshape(turned, call.sizes)


@rule("col2im")
def _col2im(call: Call) -> Axes:
    features, kernel = call.axes(0), call.given("kernel_size")
    *batch, _, places = features.sizes
    channels = call.sizes[len(batch)]
    split = call.algebra.reshape(features, (*batch, channels, *kernel, places))
    kept = call.ties.pin(split, range(len(batch) + 1, len(split.sizes)))
    return Axes(call.sizes, kept.blocks)


@rule("channel_shuffle")
def _channel_shuffle(call: Call) -> Axes:
    (batch, channels, *pixels), groups = call.axes(0).sizes, call.given(1)
    split = call.algebra.reshape(
        call.axes(0), (batch, groups, channels // groups, *pixels)
    )
    order = [0, 2, 1, *range(3, len(split.sizes))]
    return call.algebra.reshape(call.algebra.permute(split, order), call.sizes)


@rule("pixel_shuffle")
def _pixel_shuffle(call: Call) -> Axes:
    *batch, channels, height, width = call.axes(0).sizes
    r, algebra, n = call.given(1), call.algebra, len(batch)
    split = algebra.reshape(
        call.axes(0), (*batch, channels // r**2, r, r, height, width)
    )
    order = [*range(n), n, n + 3, n + 1, n + 4, n + 2]
    return algebra.reshape(algebra.permute(split, order), call.sizes)
