"""Activation matching: units are partners that are active on the same inputs."""

import time
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from lmc.graph import State
from lmc.matching.assignment import Assignment, Branch, branches
from lmc.matching.pair import crossing, own_sites
from lmc.matching.result import Matching
from lmc.moments import Covariances
from lmc.observing import observe_both
from lmc.permutation import Permutation, flattened
from lmc.symmetry import Activation, Symmetry


def activation_matching(
    symmetry: Symmetry,
    a: State,
    b: State,
    batches: Iterable[Any],
    *,
    dtype: torch.dtype = torch.float64,
    average: Literal["batches", "samples"] = "batches",
) -> Matching:
    """Match the units of B to those of A by the correlation of their activations.

    One pass over the data for all layers: means, second moments and products of the
    activations behind each nonlinearity are averaged over the pixels and samples of
    a batch, then over batches with equal weight, in float64.  Both networks run in
    lockstep, so that of activations only their moments are kept.  For each group the
    assignment with the largest sum of correlations is taken (summed over the places
    where the group appears, such as a residual stream), together with the groups
    inside its units.  A unit that is constant on the data correlates with nothing.
    Between units that are alike, as dead or duplicated ones, order decides, and not the
    last bits of correlations (see :func:`lmc.matching.assignment.best`).  Groups that
    cross others, as channels that all heads share, may be on no activation by
    themselves: they keep their order, with a warning.

    Parameters
    ----------
    symmetry
        Groups of both networks.
    a, b
        State dicts of the two networks.
    batches
        Pairs of inputs and targets, as a data loader gives them; the targets are
        not used.  Several inputs of a model are given as a tuple.
    dtype
        In which moments are gathered and averaged, whatever the networks are in:
        ``torch.float64``, or ``torch.float32``, which is there to be compared with
        it.
    average
        Over batches with equal weight, or over samples with equal weight.

    Returns
    -------
    Matching

    Raises
    ------
    ValueError
        A state dict does not fit the model, there are no samples, a group (and what
        is inside its units) appears on no activation and crosses no other, activations
        are not finite, there is no such average, or no moments of such a dtype.

    Warns
    -----
    UnseenWarning
        A group that crosses others appears on no activation.

    References
    ----------
    Ainsworth et al., Git Re-Basin (arXiv 2209.04836), section 3.1; averages as in
    arXiv 2402.05966, appendix D.2.
    """
    start = time.perf_counter()
    if average not in ("batches", "samples"):
        raise ValueError(f"unknown average {average!r}: choose 'batches' or 'samples'")
    if dtype not in (torch.float64, torch.float32):
        # Units would count as constant whose variance is lost in rounding: all.
        raise ValueError(f"moments in {dtype} are too coarse: use float64 or float32")
    symmetry.check(a)
    symmetry.check(b)
    trees = branches(symmetry)
    _check_seen(symmetry, trees)
    taps = {
        (group.name, number): tap
        for group in symmetry.groups.values()
        for number, tap in enumerate(group.activations)
    }
    wanted: dict[str, list[Key]] = {}
    for key, tap in taps.items():
        wanted.setdefault(tap.node, []).append(key)
    moments: dict[Key, Covariances] = {}
    for node, ours, theirs in observe_both(symmetry.graph, a, b, batches, wanted):
        for key in wanted[node]:
            one, other = (_units(value, taps[key], dtype) for value in (ours, theirs))
            if key not in moments:
                moments[key] = Covariances(one.shape[1], dtype, one.device)
            moments[key].add(one, other, by_samples=average == "samples")
    scores: dict[str, Tensor] = {}
    constant: dict[str, Tensor] = {}
    for group in symmetry.groups.values():
        own = [moments[group.name, n] for n in range(len(group.activations))]
        units = group.copies * group.size
        scores[group.name] = torch.zeros(units, units, dtype=torch.float64)
        constant[group.name] = torch.zeros(units, dtype=torch.bool)
        if own:
            correlations = torch.stack([m.correlation() for m in own])
            scores[group.name] = correlations.sum(0).cpu()
            still = torch.stack([m.constant()[0] for m in own])
            constant[group.name] = still.all(0).cpu()
    moved: dict[str, Tensor] = {}
    solves = 0
    for tree in trees:
        found = Assignment(tree, scores)
        moved.update(found.moved)
        solves += found.solves
    unmatched = sum(float(matrix.diagonal().sum()) for matrix in scores.values())
    objective = sum(
        float(matrix[torch.arange(len(matrix)), moved[name]].sum())
        for name, matrix in scores.items()
    )
    return Matching(
        Permutation.from_moved(symmetry, moved),
        objective,
        (unmatched, objective),
        solves,
        time.perf_counter() - start,
        constant,
    )


def _check_seen(symmetry: Symmetry, trees: Sequence[Branch]) -> None:
    """Raise unless each group, or one inside its units, is seen; or it crosses another.

    Then it keeps its order, with a warning.
    """
    holding = {group.parent for group in symmetry.groups.values()}
    unseen = [
        group.name
        for tree in trees
        for group in tree.groups()
        if not group.activations and group.name not in holding
    ]
    if not unseen:
        return
    own = own_sites(symmetry)
    across = crossing(own)
    for name in unseen:
        if across.isdisjoint(site.name for site in own[name]):
            raise ValueError(
                f"the units of group {name!r} are no axis of any activation: "
                "use weight_matching for this model"
            )
    warnings.warn(
        f"the units of {', '.join(map(repr, unseen))} are no axis of any activation, "
        "as other groups cross theirs: they keep their order; weight_matching matches "
        "them too",
        UnseenWarning,
        stacklevel=3,
    )


class UnseenWarning(UserWarning):
    """Units that activation matching leaves in their order, as it does not see them."""


Key = tuple[str, int]
"""A group's name and the number of one of its activations."""


def _units(value: Tensor, tap: Activation, dtype: torch.dtype) -> Tensor:
    """Return the units of a tap as ``(samples, units)``, in memory of their own."""
    units, axis = flattened(value, tap.axes)
    if not torch.equal(tap.positions, torch.arange(units.shape[axis])):
        units = units.index_select(axis, tap.positions.to(value.device))
    own = units.movedim(axis, -1).to(
        dtype, copy=True, memory_format=torch.contiguous_format
    )
    return own.reshape(-1, len(tap.positions))
