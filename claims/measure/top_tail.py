"""Matching by the large singular values alone, against matching by the rest.

Also at one distance of the whole networks, so that only what is aligned differs (a
question that arXiv 2402.04051 raises).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

import lmc
from claims.measure.pairs import Pair
from claims.measure.singular import LARGE
from lmc.features import alignment
from lmc.graph import Graph, State

SAME_DISTANCE = 0.01
"""Relative difference up to which two distances count as equal."""

MOVES_PER_UNIT = 10
"""Random transpositions, for each hidden unit, that shuffle a network for good."""

Move = tuple[str, int, int]
"""Two units of a group that change places."""


class Arm(NamedTuple):
    """One of the two matchings: distance to A, R of large triples, accuracy.

    The accuracy is the midpoint's on the test set, in percent.
    """

    distance: float
    alignment: float
    accuracy: float


def split_spectrum(
    graph: Graph, state: State, gamma: float = LARGE
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split each weight matrix into its large singular triples and the others.

    A triple is large if its value is above gamma times its layer's largest.  The two
    networks, in float64, have weights that add up to the given ones; biases, and all
    parameters that are no weights of layers, are zero in both.
    """
    top, tail = (
        {name: torch.zeros_like(v, dtype=torch.float64) for name, v in state.items()}
        for _ in range(2)
    )
    for layer in graph.layers:
        weight = state[layer.weight].detach().double()
        u, values, v = torch.linalg.svd(weight.flatten(1), full_matrices=False)
        large = values > gamma * values[0]
        for part, chosen in ((top, large), (tail, ~large)):
            part[layer.weight] = ((u * (values * chosen)) @ v).view_as(weight)
    return top, tail


def random_moves(
    symmetry: lmc.Symmetry, count: int, generator: torch.Generator
) -> list[Move]:
    """Draw transpositions: each a unit out of all groups and another of its group.

    Groups of one unit, and groups inside the units of others, are left out.
    """
    groups = [g for g in symmetry.groups.values() if g.parent is None and g.size > 1]
    units = [(group.name, unit) for group in groups for unit in range(group.size)]
    moves = []
    for _ in range(count):
        draw = int(torch.randint(len(units), (), generator=generator))
        name, first = units[draw]
        size = symmetry.groups[name].size
        step = int(torch.randint(1, size, (), generator=generator))
        moves.append((name, first, (first + step) % size))
    return moves


def moved(permutation: lmc.Permutation, moves: Sequence[Move]) -> lmc.Permutation:
    """Return a permutation after some transpositions, one after another."""
    indices = {name: p.clone() for name, p in permutation.indices.items()}
    for name, first, second in moves:
        indices[name][[first, second]] = indices[name][[second, first]]
    return lmc.Permutation(permutation.symmetry, indices)


def degraded_to(
    permutation: lmc.Permutation, a: State, b: State, distance: float, seed: int
) -> lmc.Permutation:
    """Move random units of B until it is as far from A as a given distance.

    Parameters
    ----------
    permutation, a, b
        Of B, which it brings nearer to A than ``distance``.
    distance
        What is to be reached, within 1%: the smallest number of transpositions in a
        fixed sequence, by bisection, that reaches it where one fewer does not.  It is
        an error if a network that is shuffled for good is still nearer.
    seed
        Of that sequence.
    """
    symmetry = permutation.symmetry
    units = sum(group.size * group.copies for group in symmetry.groups.values())
    generator = torch.Generator().manual_seed(seed)
    moves = random_moves(symmetry, MOVES_PER_UNIT * units, generator)

    def after(count: int) -> float:
        return lmc.l2_distance(a, moved(permutation, moves[:count]).apply(b))

    # Short of it after `near` moves, there after `far` (or as far as moves go).
    near, far = 0, len(moves)
    if after(near) >= distance:
        far = near
    while far - near > 1:
        count = (near + far) // 2
        near, far = (near, count) if after(count) >= distance else (count, far)
    reached = after(far)
    if abs(reached / distance - 1) > SAME_DISTANCE:
        raise ValueError(
            f"random transpositions bring the distance to {reached:.6g} where "
            f"{distance:.6g} is asked for: the two matchings have no common distance"
        )
    return moved(permutation, moves[:far])


def top_against_tail(pair: Pair, equal: bool = True) -> tuple[Arm, Arm]:
    """Match a pair by large singular triples, and by the others.

    At ``equal`` distance, the matching that brings the whole networks nearer is
    degraded by random transpositions until their distance is the other one's, within
    1%; otherwise both are left as they were found.
    """

    def measure() -> list[Arm]:
        setting, seed = pair.setting, pair.a.seed
        symmetry, a, b = setting.symmetry, pair.a.state, pair.b.state
        parts = zip(
            *(split_spectrum(symmetry.graph, end) for end in (a, b)), strict=True
        )
        found = [setting.match("weights", *part, seed).permutation for part in parts]
        if equal:
            distances = [lmc.l2_distance(a, p.apply(b)) for p in found]
            nearer = distances.index(min(distances))
            found[nearer] = degraded_to(found[nearer], a, b, max(distances), seed)
        return [_arm(pair, p) for p in found]

    top, tail = pair.values("top-against-tail", {"equal": equal}, measure)
    return Arm(*top), Arm(*tail)


def _arm(pair: Pair, permutation: lmc.Permutation) -> Arm:
    setting, a = pair.setting, pair.a.state
    b = permutation.apply(pair.b.state)
    _, accuracy = setting.evaluate(lmc.interpolate(a, b, 0.5))
    r = alignment(setting.symmetry.graph, a, b, LARGE)
    return Arm(lmc.l2_distance(a, b), r, accuracy)
