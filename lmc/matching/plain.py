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
from lmc.permutation import Permutation, units
from lmc.symmetry import Symmetry


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
    names = list(dict.fromkeys(s.name for found in sites.values() for s in found))
    goal = {name: a[name].double() for name in names}
    double = {name: tensor.double() for name, tensor in b.items()}
    indices = dict(Permutation.identity(symmetry).indices)

    def permuted() -> dict[str, Tensor]:
        return Permutation(symmetry, indices).apply(double)

    def objective() -> float:
        now = permuted()
        return math.fsum(float((goal[name] * now[name]).sum()) for name in names)

    history = [objective()]
    solves, changed = 0, True
    groups = list(sites)
    while changed:
        changed = False
        for position in torch.randperm(len(groups), generator=generator).tolist():
            group, now = groups[position], permuted()
            # What each unit of A has in common with each unit of B, at all its places.
            costs = torch.stack(
                [units(goal[s.name], s) @ units(now[s.name], s).T for s in sites[group]]
            ).sum(0)
            partners = torch.from_numpy(linear_sum_assignment(costs, maximize=True)[1])
            solves += 1
            gain = float(costs[torch.arange(len(partners)), partners].sum())
            gain -= float(costs.trace())
            if gain > 1e-12:
                indices[group] = indices[group][partners]
                history.append(history[-1] + gain)
                changed = True
    history[-1] = objective()
    return Matching(
        Permutation(symmetry, indices),
        history[-1],
        tuple(history),
        solves,
        time.perf_counter() - began,
    )
