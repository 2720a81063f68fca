"""The ways to match two networks that claims compare, by name."""

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any

import torch

import lmc
from lmc.graph import State

if TYPE_CHECKING:
    from claims.bench.networks import Setting

Matcher = Callable[["Setting", State, State, int], lmc.Matching]
"""From a setting, two networks of it and a seed."""

METHODS = ("weights", "activations")
"""The matching methods that most claims are decided for."""


def _weights(
    setting: "Setting", a: State, b: State, seed: int, **options: Any
) -> lmc.Matching:
    generator = torch.Generator().manual_seed(seed)
    return lmc.weight_matching(setting.symmetry, a, b, generator=generator, **options)


def _activations(
    setting: "Setting", a: State, b: State, seed: int, **options: Any
) -> lmc.Matching:
    batches = setting.batches("train")
    return lmc.activation_matching(setting.symmetry, a, b, batches, **options)


STEPS = 500
"""Of Adam in a straight-through search, rounded up to whole epochs."""


def _straight_through(
    setting: "Setting", a: State, b: State, seed: int, **options: Any
) -> lmc.Matching:
    generator = torch.Generator().manual_seed(seed)
    batches = setting.batches("train")
    return lmc.straight_through(
        setting.symmetry,
        a,
        b,
        batches,
        generator=generator,
        lr=1e-3,
        epochs=ceil(STEPS / len(batches)),
        **options,
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
    # Git Re-Basin's algorithm 3 begins at what weight matching finds ...
    "ste": _straight_through,
    # ... and here at B as it is, so that all it finds comes from the loss.
    "ste-from-b": partial(_straight_through, start="b"),
}
"""Name to matcher."""
