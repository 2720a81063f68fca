"""Activation matching: units are partners that are active on the same inputs."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from lmc.batches import as_arguments, pairs
from lmc.graph import Around, State
from lmc.matching.assignment import Assignment, Branch, branches
from lmc.matching.result import Matching
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
    a batch, then over batches with equal weight, in float64.  For each group the
    assignment with the largest sum of correlations is taken (summed over the places
    where the group appears, such as a residual stream), together with the groups
    inside its units.  A unit that is constant on the data correlates with nothing.
    Between units that are alike, as dead or duplicated ones, order decides, and not the
    last bits of correlations (see :func:`lmc.matching.assignment.best`).

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
        A state dict does not fit the model, there are no batches, a group (and what
        is inside its units) appears on no activation, activations are not finite,
        there is no such average, or no moments of such a dtype.

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
    for tree in trees:
        _check_seen(tree)
    moments = {
        (group.name, number): _Moments(len(tap.positions), dtype)
        for group in symmetry.groups.values()
        for number, tap in enumerate(group.activations)
    }
    taps = {key: symmetry.groups[key[0]].activations[key[1]] for key in moments}
    count = 0
    with torch.no_grad():
        for inputs, _ in pairs(batches):
            arguments = as_arguments(inputs)
            seen = [
                _record(symmetry, state, arguments, taps, dtype) for state in (a, b)
            ]
            for key, moment in moments.items():
                moment.add(seen[0][key], seen[1][key], by_samples=average == "samples")
            count += 1
    if count == 0:
        raise ValueError("no batches: give at least one pair of inputs and targets")
    scores: dict[str, Tensor] = {}
    constant: dict[str, Tensor] = {}
    for group in symmetry.groups.values():
        own = [moments[key] for key in moments if key[0] == group.name]
        units = group.copies * group.size
        scores[group.name] = torch.zeros(units, units, dtype=torch.float64)
        constant[group.name] = torch.zeros(units, dtype=torch.bool)
        if own:
            scores[group.name] = torch.stack([m.correlation() for m in own]).sum(0)
            constant[group.name] = torch.stack([m.constant()[0] for m in own]).all(0)
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


def _check_seen(tree: Branch) -> None:
    """Raise unless the units of a group or those inside them are seen."""
    for inner in tree.inside:
        _check_seen(inner)
    if not tree.group.activations and not tree.inside:
        raise ValueError(
            f"the units of group {tree.group.name!r} are no axis of any activation: "
            "use weight_matching for this model"
        )


class _Moments:
    """Averages over batches of first and second moments of two networks' units."""

    def __init__(self, size: int, dtype: torch.dtype):
        self.weight = 0
        self.mean = torch.zeros(2, size, dtype=dtype)
        self.square = torch.zeros(2, size, dtype=dtype)
        self.product = torch.zeros(size, size, dtype=dtype)

    def add(self, a: Tensor, b: Tensor, by_samples: bool) -> None:
        """Add one batch of activations, ``(samples, units)`` each, which are lost."""
        weight = len(a) if by_samples else 1
        self.product += weight * (a.T @ b).cpu() / len(a)
        for which, units in enumerate((a, b)):
            self.mean[which] += weight * units.mean(0).cpu()
            # In place: for new memory of this size the system would be asked anew.
            self.square[which] += weight * units.square_().mean(0).cpu()
        self.weight += weight

    def constant(self) -> Tensor:
        """Return which units of A and of B never vary, bool ``(2, units)``."""
        # Rounding leaves a constant unit a variance of this order instead of zero.
        rounding = 1e4 * torch.finfo(self.mean.dtype).eps
        return self._variance() <= rounding * self.square / self.weight

    def correlation(self) -> Tensor:
        """Return the ``(units of A, units of B)`` correlations, 0 for constant ones."""
        if not bool(self.square.isfinite().all()):
            raise ValueError(
                "activations are not finite: one of the networks has diverged"
            )
        constant = self.constant()
        deviation = self._variance().masked_fill(constant, 1.0).sqrt()
        mean = self.mean / self.weight
        covariance = self.product / self.weight - mean[0, :, None] * mean[1]
        correlation = covariance / (deviation[0, :, None] * deviation[1])
        return correlation.masked_fill(constant[0, :, None] | constant[1], 0.0).double()

    def _variance(self) -> Tensor:
        return (self.square - self.mean.square() / self.weight) / self.weight


Key = tuple[str, int]


def _record(
    symmetry: Symmetry,
    state: State,
    inputs: tuple[Any, ...],
    taps: Mapping[Key, Activation],
    dtype: torch.dtype,
) -> dict[Key, Tensor]:
    """Run a network; return the units of each tap as ``(samples, units)``."""
    wanted: dict[str, list[Key]] = {}
    for key, tap in taps.items():
        wanted.setdefault(tap.node, []).append(key)
    recorded: dict[Key, Tensor] = {}

    def recorder(node: str) -> Around:
        def around(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
            value: Tensor = operation(*args, **kwargs)
            for key in wanted[node]:
                positions = taps[key].positions
                units, axis = flattened(value, taps[key].axes)
                if not torch.equal(positions, torch.arange(units.shape[axis])):
                    units = units.index_select(axis, positions.to(value.device))
                # A copy: the model may go on to change the value in place.
                own = units.movedim(axis, -1).to(
                    dtype, copy=True, memory_format=torch.contiguous_format
                )
                recorded[key] = own.reshape(-1, len(positions))
            return value

        return around

    symmetry.graph.run(state, *inputs, around={node: recorder(node) for node in wanted})
    return recorded
