"""The algebra of tensor axes: which of them must be permuted together.

An axis is a row-major product of *factors*: flattening ``C x H x W`` gives an axis
with the factors C, H and W, and only C may be free.  Two axes that an operation
ties together are *unified* factor by factor; a factor that an operation tells apart
by position is *pinned*, with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod


class Factor:
    """A set of ``size`` positions that are permuted as one, or not at all."""

    def __init__(self, size: int, reason: str | None = None):
        self.size = size
        self.reason = reason
        """Why no permutation is allowed; None for a free factor."""
        self._bound: Axis | None = None

    def bind(self, axis: Axis) -> None:
        """Replace this factor by an equal one, or by the product it consists of."""
        for factor in axis:
            factor.pin(self.reason)
        self._bound = axis

    def pin(self, reason: str | None) -> None:
        """Forbid permutations; the first reason is kept."""
        for factor in resolve((self,)):
            factor.reason = factor.reason or reason


Axis = tuple[Factor, ...]


def axis(size: int, reason: str | None = None) -> Axis:
    """Return a new axis of one factor (none for size 1: nothing to permute)."""
    return (Factor(size, reason),) if size != 1 else ()


def resolve(factors: Iterable[Factor]) -> Axis:
    """Return the factors that stand for the given ones after all unifications."""
    resolved: list[Factor] = []
    for factor in factors:
        if factor._bound is None:
            resolved.append(factor)
        else:
            resolved.extend(resolve(factor._bound))
    return tuple(resolved)


def size_of(factors: Iterable[Factor]) -> int:
    """Return the number of positions of an axis."""
    return prod(factor.size for factor in factors)


def pin(axes: Iterable[Axis], reason: str) -> None:
    """Forbid permutations of all the given axes."""
    for factors in axes:
        for factor in factors:
            factor.pin(reason)


def unify(first: Axis, second: Axis, why: str) -> None:
    """Demand that two axes of equal size are permuted alike.

    Where one axis is a product and the other a single factor, the factor becomes
    that product.  Where the two products cannot be aligned (6 x 4 with 4 x 6), no
    permutation is common to both that this algebra can name: the rest is pinned.
    """
    left, right = list(resolve(first)), list(resolve(second))
    if size_of(left) != size_of(right):
        raise ValueError(f"axes of {size_of(left)} and {size_of(right)}: {why}")
    while left:
        a, b = left[0], right[0]
        if a is not b:
            if a.size == b.size:
                a.bind((b,))
            elif a.size % b.size == 0:
                left[:1] = split(a, b.size)
                continue
            elif b.size % a.size == 0:
                right[:1] = split(b, a.size)
                continue
            else:
                pin((tuple(left), tuple(right)), f"factors do not align: {why}")
                return
        # Binding may have changed what stands further right.
        left, right = list(resolve(left[1:])), list(resolve(right[1:]))


def split(factor: Factor, outer: int) -> Axis:
    """Make a factor the product of ``outer`` and the rest."""
    parts = (Factor(outer), Factor(factor.size // outer))
    factor.bind(parts)
    return parts


def reshape(axes: Sequence[Axis], sizes: Sequence[int], why: str) -> list[Axis]:
    """Regroup the factors of a row-major tensor into axes of the given sizes."""
    rest = list(resolve(factor for factors in axes for factor in factors))
    regrouped: list[Axis] = []
    for size in sizes:
        taken: list[Factor] = []
        while size_of(taken) != size:
            needed = size // size_of(taken)
            aligned = size % size_of(taken) == 0 and (
                rest[0].size <= needed or rest[0].size % needed == 0
            )
            if not aligned:
                pin(axes, f"axes do not align: {why}")
                return [axis(size, f"axes do not align: {why}") for size in sizes]
            if rest[0].size > needed:
                rest[:1] = split(rest[0], needed)
            taken.append(rest.pop(0))
        regrouped.append(tuple(taken))
    return regrouped
