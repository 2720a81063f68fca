"""Weight matching as algorithm 1 of Git Re-Basin says it: to be read, and to compare.

:func:`lmc.weight_matching` finds the same, faster: it keeps costs from step to step,
and knows groups inside groups.
"""

import math
import time

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lmc.graph import State
from lmc.matching.result import Matching
from lmc.permutation import Permutation, reordered, site_order, units
from lmc.symmetry import Site, Symmetry

SLACK = 1e-12
"""Part of the objective that rounding may be: less is no gain."""


def plain_weight_matching(
    symmetry: Symmetry, a: State, b: State, *, generator: torch.Generator
) -> Matching:
    """Match the units of B to those of A by their weights, all costs anew at each step.

    Parameters
    ----------
    symmetry
        Groups of both networks, none of them inside another one.
    a, b
        State dicts of the two networks.
    generator
        Source of the order of the groups, the same as that of
        :func:`lmc.weight_matching`.

    Returns
    -------
    Matching

    Raises
    ------
    ValueError
        A group is inside another one.

    References
    ----------
    Ainsworth et al., Git Re-Basin (arXiv 2209.04836), algorithm 1.
    """
    began = time.perf_counter()
    if inner := [g.name for g in symmetry.groups.values() if g.parent is not None]:
        raise ValueError(
            f"group {inner[0]!r} is inside another one, which this algorithm does not "
            "know: use lmc.weight_matching"
        )
    norms = symmetry.graph.batch_norms
    statistics = {name for norm in norms for name in (norm.mean, norm.variance)}
    sites = {
        name: [site for site in group.sites if site.name not in statistics]
        for name, group in symmetry.groups.items()
    }
    acting: dict[str, list[tuple[str, Site]]] = {}
    for group, found in sites.items():
        for site in found:
            acting.setdefault(site.name, []).append((group, site))
    # Where a group is on two axes of one tensor, what both move together is in no cost.
    coupled = {g for g, own in sites.items() if len({s.name for s in own}) < len(own)}
    goal = {name: a[name].double() for name in acting}
    double = {name: b[name].double() for name in acting}
    indices = {
        name: torch.arange(group.size) for name, group in symmetry.groups.items()
    }

    def permuted(name: str, but: Site | None = None) -> Tensor:
        tensor = double[name]
        for group, site in acting[name]:
            if site is not but:
                order = site_order(site, indices[group], tensor.shape)
                tensor = reordered(tensor, site.axes, order)
        return tensor

    def objective() -> float:
        return math.fsum(float((goal[name] * permuted(name)).sum()) for name in goal)

    history = [objective()]
    solves, changed = 0, True
    groups = list(sites)
    while changed:
        changed = False
        for position in torch.randperm(len(groups), generator=generator).tolist():
            group = groups[position]
            own = torch.arange(len(indices[group]))
            # What each unit of A has in common with each unit of B, at all its places.
            costs = torch.zeros(len(own), len(own), dtype=torch.float64)
            for site in sites[group]:
                theirs = permuted(site.name, but=site)
                costs += units(goal[site.name], site) @ units(theirs, site).T
            partners = torch.from_numpy(linear_sum_assignment(costs, maximize=True)[1])
            solves += 1
            gain = float(costs[own, partners].sum() - costs[own, indices[group]].sum())
            before, indices[group] = indices[group], partners
            if group in coupled:
                gain = objective() - history[-1]
            if gain > SLACK * max(1.0, abs(history[-1])):
                history.append(history[-1] + gain)
                changed = True
            else:
                indices[group] = before
    history[-1] = objective()
    return Matching(
        Permutation(symmetry, indices),
        history[-1],
        tuple(history),
        solves,
        time.perf_counter() - began,
    )
