"""Activation matching as the implementation "A" of arXiv 2402.05966, Table 2.

Written anew from a description of it; whoever matches networks takes the library's.
"""

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import lmc
from lmc.graph import Around, State
from lmc.matching.assignment import best
from lmc.permutation import flattened

Taps = Mapping[tuple[str, int], Any]


def activation_matching_a(
    symmetry: lmc.Symmetry, a: State, b: State, batches: list[tuple[Tensor, Tensor]]
) -> lmc.Matching:
    """Match B to A by correlations from sums over all images, in float32.

    A first pass sums activations for their means, a second one the products of their
    deviations.  The bug that is known of it: sums go over the pixels of an activation
    too, and are divided by the number of images alone, so that a mean is too large by
    the number of pixels, and deviations are from there.

    Parameters as for :func:`lmc.activation_matching`; no group is inside another.
    """
    start = time.perf_counter()
    taps = {
        (group.name, number): tap
        for group in symmetry.groups.values()
        for number, tap in enumerate(group.activations)
    }
    images = sum(len(inputs) for inputs, _ in batches)
    mean: dict[Any, Any] = dict.fromkeys(taps, (0.0, 0.0))
    moments: dict[Any, Any] = dict.fromkeys(taps, (0.0, 0.0, 0.0))
    for inputs, _ in batches:
        seen = [_units(symmetry, state, inputs, taps) for state in (a, b)]
        for key in taps:
            sums = (side[key].sum(0) / images for side in seen)
            mean[key] = tuple(m + s for m, s in zip(mean[key], sums, strict=True))
    for inputs, _ in batches:
        seen = [_units(symmetry, state, inputs, taps) for state in (a, b)]
        for key in taps:
            x, y = (u[key] - m for u, m in zip(seen, mean[key], strict=True))
            new = (x.square().sum(0), y.square().sum(0), x.T @ y)
            moments[key] = tuple(
                m + s / images for m, s in zip(moments[key], new, strict=True)
            )
    moved, objective = {}, 0.0
    for name in symmetry.groups:
        scores = sum(
            _correlation(*found) for key, found in moments.items() if key[0] == name
        )
        moved[name] = best(scores)
        objective += float(scores[torch.arange(len(scores)), moved[name]].sum())
    permutation = lmc.Permutation.from_moved(symmetry, moved)
    seconds = time.perf_counter() - start
    return lmc.Matching(permutation, objective, (objective,), len(moved), seconds)


def _correlation(x: Tensor, y: Tensor, product: Tensor) -> Tensor:
    """Correlations, zero of units that do not vary."""
    size = (x[:, None] * y).sqrt()
    return torch.where(size > 0, product / size, 0.0).double().cpu()


def _units(
    symmetry: lmc.Symmetry, state: State, inputs: Tensor, taps: Taps
) -> dict[tuple[str, int], Tensor]:
    """Run a network; return each tap's units in float32, ``(places, units)``."""
    found: dict[tuple[str, int], Tensor] = {}

    def around(node: str) -> Around:
        def observed(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
            value: Tensor = operation(*args, **kwargs)
            for key, tap in taps.items():
                if tap.node == node:
                    units, axis = flattened(value, tap.axes)
                    own = units.movedim(axis, -1).flatten(0, -2)
                    found[key] = own[:, tap.positions.to(own.device)].float()
            return value

        return observed

    nodes = {tap.node for tap in taps.values()}
    with torch.no_grad():
        symmetry.graph.run(state, inputs, around={node: around(node) for node in nodes})
    return found
