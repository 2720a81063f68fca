"""Cycle-consistent matching: all networks at once, to a common universe."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.polynomial import Polynomial
from torch import Tensor

from lmc.graph import State
from lmc.matching.assignment import best
from lmc.matching.many import (
    ManyMatching,
    compared,
    match_iteratively,
    over_pairs,
    several,
)
from lmc.matching.weights import weight_matching
from lmc.permutation import Permutation, flattened, unflattened, units
from lmc.symmetry import Site, Symmetry


def match_consistently(
    symmetry: Symmetry,
    states: Sequence[State],
    *,
    generator: torch.Generator,
    max_rounds: int = 100,
    tolerance: float = 1e-6,
) -> ManyMatching:
    """Match all networks to a common universe at once, by Frank-Wolfe.

    Every network has a doubly stochastic matrix for each group, which maps it to the
    universe; the permutation from one network to another is the one to the universe
    and back, so that permutations around any cycle compose to the identity.  The sum
    over all pairs of the mapped networks' inner products is raised for all networks
    and groups together: a step goes towards the permutations that the gradient
    prefers, as far as is best (the objective along the step is a polynomial, whose
    maximum is found exactly).  Each matrix is then rounded to the nearest permutation,
    and single networks are matched to the average of the others by weights
    (:func:`match_iteratively`), which can only raise the objective.  Where the same
    from the networks as they are, which costs little beside it, ends higher, that is
    returned.

    Parameters
    ----------
    symmetry
        Groups of all networks.
    states
        State dicts, at least two.
    generator
        Source of the orders in which single networks are matched in the end.
    max_rounds
        Upper bound on the number of steps.
    tolerance
        Relative rise of the objective below which it has converged.

    Returns
    -------
    ManyMatching
        Its history is that of the relaxed objective, its objective that of the
        permutations, of which the relaxation knows nothing.

    Raises
    ------
    ValueError
        There are fewer than two networks, one does not fit the model, or the model
        has groups inside groups (attention heads, grouped convolutions), for which
        the relaxation is not defined here.

    References
    ----------
    Crisostomi et al., C2M3: Cycle-Consistent Multi-Model Merging
    (arXiv 2405.17897), section 3.
    """
    began = time.perf_counter()
    if inner := [g.name for g in symmetry.groups.values() if g.parent is not None]:
        raise ValueError(
            f"group {inner[0]!r} is inside another one: cycle-consistent matching has "
            "no relaxation for that; use match_iteratively"
        )
    for state in several(states):
        symmetry.check(state)
    alone = match_iteratively(symmetry, states, generator=generator)
    joint = _Joint(symmetry, states)
    maps = joint.identity()
    history = [joint.objective(maps)]
    converged, rounds = False, 0
    while rounds < max_rounds and not converged:
        rounds += 1
        corners = [
            {name: _corner(slope) for name, slope in of_one.items()}
            for of_one in joint.gradient(maps)
        ]
        step, value = joint.best_step(maps, corners)
        converged = value - history[-1] <= tolerance * abs(history[-1])
        if value > history[-1]:
            maps = joint.towards(maps, corners, step)
            history.append(value)
    rounded = [
        Permutation(symmetry, {name: _rounded(m) for name, m in of_one.items()})
        for of_one in maps
    ]
    permuted = [p.apply(state) for p, state in zip(rounded, states, strict=True)]
    swept = match_iteratively(symmetry, permuted, _by_weights, generator=generator)
    found = [
        first.compose(then)
        for first, then in zip(rounded, swept.permutations, strict=True)
    ]
    objective = swept.objective
    if alone.objective > objective:
        found, objective = [*alone.permutations], alone.objective
    return ManyMatching(
        tuple(found),
        objective,
        tuple(history),
        rounds,
        converged,
        time.perf_counter() - began,
    )


Maps = list[dict[str, Tensor]]
"""For each network a doubly stochastic matrix for each group's name."""


class _Joint:
    """The relaxed objective of cycle-consistent matching."""

    def __init__(self, symmetry: Symmetry, states: Sequence[State]):
        self._groups = symmetry.groups
        self._sites: dict[str, list[tuple[str, Site]]] = {}
        counted = set(compared(symmetry))
        for group in symmetry.groups.values():
            for site in group.sites:
                if site.name in counted:
                    self._sites.setdefault(site.name, []).append((group.name, site))
        self._states = [
            {name: state[name].detach().double() for name in self._sites}
            for state in states
        ]
        # The objective has each network's maps once for each axis they act on.
        self._degree = 2 * max(
            (len(sites) for sites in self._sites.values()), default=0
        )

    def identity(self) -> Maps:
        return [
            {name: torch.eye(g.size).double() for name, g in self._groups.items()}
            for _ in self._states
        ]

    def objective(self, maps: Maps) -> float:
        return over_pairs([self._mapped(i, maps[i]) for i in range(len(maps))])

    def gradient(self, maps: Maps) -> Maps:
        """Derivative of the objective by each entry of each map."""
        mapped = [self._mapped(i, own) for i, own in enumerate(maps)]
        total = {n: torch.stack([m[n] for m in mapped]).sum(0) for n in self._sites}
        slopes: Maps = []
        for index, own in enumerate(maps):
            slope = {
                n: torch.zeros(g.size, g.size).double() for n, g in self._groups.items()
            }
            for name, sites in self._sites.items():
                others = total[name] - mapped[index][name]
                for number, (group, site) in enumerate(sites):
                    rest = sites[:number] + sites[number + 1 :]
                    tensor = self._map(self._states[index][name], rest, own)
                    slope[group] += (units(others, site) @ units(tensor, site).T).cpu()
            slopes.append(slope)
        return slopes

    def towards(self, maps: Maps, corners: Maps, step: float) -> Maps:
        return [
            {name: (1 - step) * own[name] + step * to[name] for name in own}
            for own, to in zip(maps, corners, strict=True)
        ]

    def best_step(self, maps: Maps, corners: Maps) -> tuple[float, float]:
        """Where on the way to the corners the objective is largest, and that value."""
        nodes = (1 - np.cos(np.linspace(0, np.pi, self._degree + 1))) / 2
        values = [self.objective(self.towards(maps, corners, x)) for x in nodes]
        fitted = Polynomial.fit(nodes, values, self._degree)
        turning = fitted.deriv().roots()
        inside = turning[abs(turning.imag) < 1e-9].real
        steps = [0.0, 1.0, *(float(x) for x in inside if 0 < x < 1)]
        step = max(steps, key=fitted)
        return step, self.objective(self.towards(maps, corners, step))

    def _mapped(self, index: int, own: dict[str, Tensor]) -> dict[str, Tensor]:
        state = self._states[index]
        return {
            name: self._map(state[name], sites, own)
            for name, sites in self._sites.items()
        }

    def _map(
        self, tensor: Tensor, sites: Sequence[tuple[str, Site]], own: dict[str, Tensor]
    ) -> Tensor:
        for group, site in sites:
            flat, axis = flattened(tensor, site.axes)
            rows = flat.movedim(axis, 0)
            taken = rows[site.positions.to(rows.device)]
            mixed = torch.tensordot(own[group].to(rows.device), taken, dims=1)
            rows = rows.index_put((site.positions.to(rows.device),), mixed)
            tensor = unflattened(rows.movedim(0, axis), tensor, site.axes)
        return tensor


def _corner(slope: Tensor) -> Tensor:
    """The permutation matrix that goes farthest along a slope."""
    size = len(slope)
    return torch.eye(size).double()[_rounded(slope)]


def _rounded(matrix: Tensor) -> Tensor:
    """The nearest permutation, as indices."""
    return best(matrix)


def _by_weights(
    symmetry: Symmetry,
    a: State,
    b: State,
    _: Iterable[Any],
    generator: torch.Generator,
) -> Permutation:
    """From where B is: a descent from elsewhere would forget what was found."""
    return weight_matching(
        symmetry, a, b, generator=generator, start="identity"
    ).permutation
