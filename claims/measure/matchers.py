"""The ways to match two networks that claims compare, by name.

Each states the protocol of the published code, so that a new default of the library
changes no claim.
"""

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any

import torch
from torch import Tensor

import lmc
from claims.measure.published import activation_matching_a as published_a
from lmc.graph import State

Batches = list[tuple[Tensor, Tensor]]
"""Images ``(N, C, H, W)`` and labels ``(N,)``."""

Matcher = Callable[[lmc.Symmetry, Batches, State, State, int], lmc.Matching]
"""From groups, training batches, two networks and a seed."""

METHODS = ("weights", "activations")
"""The matching methods that most claims are decided for."""


def _weights(
    symmetry: lmc.Symmetry, _: Batches, a: State, b: State, seed: int, **options: Any
) -> lmc.Matching:
    """By coordinate descent from the identity, with costs in float64."""
    protocol = {
        "buffers": False,
        "max_sweeps": 100,
        "start": "identity",
        "restarts": 1,
        "dtype": torch.float64,
    }
    generator = torch.Generator().manual_seed(seed)
    return lmc.weight_matching(
        symmetry, a, b, generator=generator, **(protocol | options)
    )


def _activations(
    symmetry: lmc.Symmetry,
    batches: Batches,
    a: State,
    b: State,
    _: int,
    dtype: torch.dtype = torch.float64,
    average: Any = "batches",
) -> lmc.Matching:
    """By correlations, from averages over batches of moments in float64."""
    return lmc.activation_matching(
        symmetry, a, b, batches, dtype=dtype, average=average
    )


STEPS = 500
"""Of Adam in a straight-through search, rounded up to whole epochs."""


def _straight_through(
    symmetry: lmc.Symmetry,
    batches: Batches,
    a: State,
    b: State,
    seed: int,
    **start: Any,
) -> lmc.Matching:
    generator = torch.Generator().manual_seed(seed)
    return lmc.straight_through(
        symmetry,
        a,
        b,
        batches,
        generator=generator,
        lr=1e-3,
        lam=0.5,
        max_sweeps=100,
        epochs=ceil(STEPS / len(batches)),
        **({"start": "a"} | start),
    )


MATCHERS: dict[str, Matcher] = {
    "weights": _weights,
    # The best of ten descents in orders of their own.
    "weights-restarts": partial(_weights, restarts=10),
    # BatchNorm's running statistics in the cost, as in the published code.
    "weights-buffers": partial(_weights, buffers=True),
    "activations": _activations,
    # Moments in float32 instead of float64; of all samples instead of batches.
    "activations-float32": partial(_activations, dtype=torch.float32),
    "activations-samples": partial(_activations, average="samples"),
    # The published implementation that the paper compares with, its bug and all.
    "activations-a": lambda groups, data, a, b, _: published_a(groups, a, b, data),
    # Git Re-Basin's algorithm 3 begins at what weight matching finds ...
    "ste": _straight_through,
    # ... and here at B as it is, so that all it finds comes from the loss.
    "ste-from-b": partial(_straight_through, start="b"),
}
"""Name to matcher."""
