"""Rules of what treats each position alike, and of tensors of equal values."""

import numpy as np

from lmc.axes import Algebra, Axes
from lmc.exported import operation_name
from lmc.operations import ELEMENTWISE, FACTORIES, IDENTITIES
from lmc.rules.calls import Call, Refused, rule, where
from lmc.units import MAY_BE_FREE


@rule(*ELEMENTWISE)
def _elementwise(call: Call) -> Axes:
    name = operation_name(call.node)
    if name == "prelu" and call.axes(1).sizes != (1,):
        return call.along(call.axes(0), [1], [1])
    if name in IDENTITIES:  # a second tensor says which dtype or device
        if call.given(0) in call.shapes.constants:
            call.shapes.constants[call.node] = call.shapes.constants[call.given(0)]
        return call.aligned([call.axes(0)])
    if name == "copy":  # what it is written into is read elsewhere
        why = f"{MAY_BE_FREE}: written into another tensor by {where(call.node)}"
        call.algebra = Algebra(call.shapes.units, why)
    return call.aligned(call.tensors)


@rule(*FACTORIES)
def _factory(call: Call) -> Axes:
    name = operation_name(call.node)
    if name in ("tril", "triu") and call.axes(0).blocks:
        raise Refused("units are told apart by")
    equal = name.removeprefix("new_").removesuffix("_like") in ("zeros", "ones", "full")
    if equal and not call.shapes.changes(call.node):
        return _even(call.sizes)
    users = [operation_name(user) for user in call.node.users]
    if equal and users in (["scatter"], ["scatter_add"]):  # read once, as it is
        return _even(call.sizes)
    return Axes(call.sizes)


def _even(sizes: tuple[int, ...]) -> Axes:
    """A tensor of equal values."""
    return Axes(sizes, (), frozenset(d for d, size in enumerate(sizes) if size > 1))


@rule("glu")
def _gated(call: Call) -> Axes:
    features = call.axes(0)
    dim = call.dim(1, features, -1)
    half = features.sizes[dim] // 2
    halves = [
        call.algebra.take(features, dim, np.arange(start, start + half))
        for start in (0, half)
    ]
    return call.aligned(halves)
