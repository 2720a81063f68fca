"""Ways to match two networks, all with one signature, by name."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from lmc.batches import logits_of
from lmc.graph import State
from lmc.matching.activations import activation_matching
from lmc.matching.straight_through import straight_through
from lmc.matching.weights import weight_matching
from lmc.permutation import Permutation
from lmc.symmetry import Symmetry

Matcher = Callable[
    [Symmetry, State, State, Iterable[Any], torch.Generator], Permutation
]
"""Matches B to A: called as ``matcher(symmetry, a, b, batches, generator)``.

The permutation that it returns brings B near A.  It leaves both networks as they are,
and draws random numbers from the generator only.  A matcher of one's own serves
wherever one of the built-in ones does.
"""


def _none(
    symmetry: Symmetry, a: State, b: State, _: Iterable[Any], __: torch.Generator
) -> Permutation:
    symmetry.check(a)
    symmetry.check(b)
    return Permutation.identity(symmetry)


def _weights(
    symmetry: Symmetry,
    a: State,
    b: State,
    _: Iterable[Any],
    generator: torch.Generator,
) -> Permutation:
    return weight_matching(symmetry, a, b, generator=generator).permutation


def _activations(
    symmetry: Symmetry,
    a: State,
    b: State,
    batches: Iterable[Any],
    _: torch.Generator,
) -> Permutation:
    return activation_matching(symmetry, a, b, batches).permutation


def _straight_through(
    symmetry: Symmetry,
    a: State,
    b: State,
    batches: Iterable[Any],
    generator: torch.Generator,
) -> Permutation:
    def loss(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(logits_of(outputs), targets)

    found = straight_through(symmetry, a, b, batches, generator=generator, loss=loss)
    return found.permutation


MATCHERS: Mapping[str, Matcher] = {
    "none": _none,
    "weights": _weights,
    "activations": _activations,
    "straight-through": _straight_through,
}
"""The built-in matchers: none, by weights, by activations, by the loss at the midpoint.

``"weights"`` takes the better of two descents, see :func:`lmc.weight_matching`.
"""

NEED_BATCHES = frozenset({"activations", "straight-through"})
"""Those that look at data."""


def matcher(match: str | Matcher) -> Matcher:
    """Return a matcher by its name, or the function itself.

    Raises
    ------
    ValueError
        There is no matcher of that name.

    Examples
    --------
    >>> matcher("best")
    Traceback (most recent call last):
    ...
    ValueError: unknown matcher 'best': choose none, weights, activations, \
straight-through, or give a function (symmetry, a, b, batches, generator)
    """
    if not isinstance(match, str):
        return match
    if match not in MATCHERS:
        raise ValueError(
            f"unknown matcher {match!r}: choose {', '.join(MATCHERS)}, or give a "
            "function (symmetry, a, b, batches, generator)"
        )
    return MATCHERS[match]
