"""Rules of what sums, averages or maximizes over axes, or in windows of pixels."""

import numpy as np
from torch import Tensor

from lmc.axes import Axes
from lmc.exported import operation_name
from lmc.operations import POOLING
from lmc.rules.calls import Call, rule
from lmc.units import Ints


@rule(
    "mean",
    "sum",
    "amax",
    "amin",
    "var",
    "std",
    "prod",
    "logsumexp",
    "linalg_vector_norm",
    "any",
    "all",
)
def _reduction(call: Call) -> Axes:
    features = call.axes(0)
    reduced = call.given("dim")
    if reduced is None or reduced == []:
        reduced = range(len(features.sizes))
    if isinstance(reduced, int):
        reduced = [reduced]
    return call.algebra.reduce(features, reduced, bool(call.given("keepdim", False)))


@rule(*POOLING)
def _pooling(call: Call) -> Axes | list[Axes]:
    name, value = operation_name(call.node), call.node.meta["val"]
    algebra, features = call.algebra, call.axes(0)
    rank = len(features.sizes)
    pixels = range(rank - POOLING[name], rank)
    alone = [block for block in features.blocks if set(block.dims) <= {*pixels}]
    call.ties.pin(Axes(features.sizes, tuple(alone)))
    rest = tuple(block for block in features.blocks if block not in alone)
    pooled = Axes(features.sizes, rest)
    if any(pooled.over(dim) for dim in pixels) and "upsample" not in name:
        # Units at each pixel: those of one window become one.
        for dim in pixels:
            pooled = algebra.windows(pooled, dim, _windows(call, dim))
        inside = range(rank, rank + len(pixels))
        pooled = algebra.reduce(pooled, inside, keep=False)
    else:
        pooled = call.ties.pin(pooled, pixels)
    call.ties.see(pooled)
    if isinstance(value, Tensor):
        return Axes(call.sizes, pooled.blocks)
    return [Axes(shape, pooled.blocks) for shape in call.each]  # indices as well


def _windows(call: Call, dim: int) -> Ints:
    """The positions along an axis that each window of a pooling holds.

    Windows that are cut short hold positions of their own again.
    """
    name = operation_name(call.node)
    shape, value = call.axes(0).sizes, call.node.meta["val"]
    made = call.sizes if isinstance(value, Tensor) else call.each[0]
    axis, before, after = dim - len(shape) + POOLING[name], shape[dim], made[dim]

    def setting(which: str, default: int) -> int:
        given = call.given(which)
        if given is None or given == []:
            return default
        return int(given[axis % len(given)] if isinstance(given, list) else given)

    if name.startswith("adaptive"):
        each = np.arange(after)
        start, end = each * before // after, -(-(each + 1) * before // after)
        width = int((end - start).max())
        return np.minimum(start[:, None] + np.arange(width), end[:, None] - 1)
    kernel = setting("kernel_size", 1)
    start = setting("stride", kernel) * np.arange(after) - setting("padding", 0)
    index = start[:, None] + setting("dilation", 1) * np.arange(kernel)
    inside = (index >= 0) & (index < before)
    first = index[np.arange(after), inside.argmax(1)]
    return np.where(inside, index, first[:, None])
