"""Matching: the permutation of one network's units that brings it near another.

A permutation found from A to B means: B permuted by it lies near A.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lmc.graph import Around, State
from lmc.permutation import Permutation, mask_site, permute_site, units
from lmc.symmetry import Site, Symmetry


@dataclass(frozen=True, eq=False)
class Matching:
    """A permutation from A to B with what it attained and what it took.

    Attributes
    ----------
    permutation
        ``permutation.apply(b)`` lies near ``a``.
    objective
        What was maximized: the inner product of A's and the permuted B's weights
        (weight matching), or the sum of the matched units' correlations.
    history
        The objective at the start and after each step that raised it.
    solves
        Number of linear assignment problems solved.
    seconds
        Wall-clock time.
    constant
        For each group's name, which units of A are constant on the data: bool,
        ``(size,)``.  Activations cannot tell them apart, so that their partners are
        arbitrary.  Empty for weight matching.
    """

    permutation: Permutation
    objective: float
    history: tuple[float, ...]
    solves: int
    seconds: float
    constant: Mapping[str, Tensor] = field(default_factory=dict)

    def mask_constant(self, state: State) -> dict[str, Tensor]:
        """Return a state dict with zeros wherever a constant unit takes part.

        What is left is what a matching by activations can be held to.
        """
        masked = dict(state)
        for name, constant in self.constant.items():
            for site in self.permutation.symmetry.groups[name].sites:
                masked[site.name] = mask_site(masked[site.name], site, constant)
        return masked


def weight_matching(
    symmetry: Symmetry,
    a: State,
    b: State,
    *,
    generator: torch.Generator,
    buffers: bool = False,
    max_sweeps: int = 100,
) -> Matching:
    """Match the units of B to those of A by their weights.

    Coordinate descent from the identity: for one group after another, in a random
    order in each sweep, the permutation is replaced by the best one given all
    others, a linear assignment problem on the inner products of the units' weights.
    Stops when a sweep changes nothing.  Every weight, bias and normalization
    parameter of a unit enters, in float64; a step is taken only if the objective
    rises, so that the distance between A and the permuted B never grows.

    Parameters
    ----------
    symmetry
        Groups of both networks.
    a, b
        State dicts of the two networks.
    generator
        Source of the order of the groups.
    buffers
        Whether BatchNorm's running statistics enter the objective, as they do in
        the published code of arXiv 2402.05966.
    max_sweeps
        Upper bound on the number of sweeps over all groups.

    Returns
    -------
    Matching

    Raises
    ------
    ValueError
        A state dict does not fit the model, or holds values that are not finite.

    References
    ----------
    Ainsworth et al., Git Re-Basin (arXiv 2209.04836), algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from lmc import Permutation, discover
    >>> from lmc.models import MLP
    >>> model = MLP((4, 16, 2)).eval()
    >>> symmetry = discover(model, torch.zeros(2, 4))
    >>> g = torch.Generator().manual_seed(0)
    >>> shuffled = Permutation.random(symmetry, g).apply(model.state_dict())
    >>> found = weight_matching(symmetry, model.state_dict(), shuffled, generator=g)
    >>> recovered = found.permutation.apply(shuffled)
    >>> all(torch.equal(recovered[k], v) for k, v in model.state_dict().items())
    True
    """
    start = time.perf_counter()
    left_out = set() if buffers else set(symmetry.graph.buffers)
    acted_on = {s.name for g in symmetry.groups.values() for s in g.sites} - left_out
    names = [name for name in symmetry.shapes if name in acted_on]
    goal = _checked(symmetry, a, names, "a")
    current = _checked(symmetry, b, names, "b")
    products = {name: _inner(goal[name], current[name]) for name in names}
    indices = dict(Permutation.identity(symmetry).indices)
    sites_of = {
        group.name: [site for site in group.sites if site.name in acted_on]
        for group in symmetry.groups.values()
    }
    matched = [name for name, sites in sites_of.items() if sites]
    history = [math.fsum(products.values())]
    solves = 0
    for _ in range(max_sweeps):
        changed = False
        for position in torch.randperm(len(matched), generator=generator).tolist():
            group = matched[position]
            sites = sites_of[group]
            best = _assign(_cost(sites, goal, current))
            solves += 1
            trial = {site.name: current[site.name] for site in sites}
            for site in sites:  # a tensor may have the group on two of its axes
                trial[site.name] = permute_site(trial[site.name], site, best)
            gained = {name: _inner(goal[name], t) for name, t in trial.items()}
            gain = sum(gained[name] - products[name] for name in gained)
            # Equal up to rounding is no gain: ties must not keep the sweeps going.
            if gain <= 1e-12 * sum(abs(products[name]) for name in gained):
                continue
            changed = True
            current.update(trial)
            products.update(gained)
            indices[group] = indices[group][best]
            history.append(math.fsum(products.values()))
        if not changed:
            break
    return Matching(
        Permutation(symmetry, indices),
        history[-1],
        tuple(history),
        solves,
        time.perf_counter() - start,
    )


def activation_matching(
    symmetry: Symmetry, a: State, b: State, batches: Iterable[Any]
) -> Matching:
    """Match the units of B to those of A by the correlation of their activations.

    One pass over the data for all layers: means, second moments and products of the
    activations behind each nonlinearity are averaged over the pixels and samples of
    a batch, then over batches with equal weight, in float64.  For each group the
    assignment with the largest sum of correlations is taken (summed over the places
    where the group appears, such as a residual stream).  A unit that is constant on
    the data correlates with nothing.

    Parameters
    ----------
    symmetry
        Groups of both networks.
    a, b
        State dicts of the two networks.
    batches
        Pairs of inputs and targets, as a data loader gives them; the targets are
        not used.  Several inputs of a model are given as a tuple.

    Returns
    -------
    Matching

    Raises
    ------
    ValueError
        A state dict does not fit the model, there are no batches, a group appears
        on no activation, or activations are not finite.

    References
    ----------
    Ainsworth et al., Git Re-Basin (arXiv 2209.04836), section 3.1; averages as in
    arXiv 2402.05966, appendix D.2.
    """
    start = time.perf_counter()
    symmetry.check(a)
    symmetry.check(b)
    moments: dict[tuple[str, int], _Moments] = {}
    for group in symmetry.groups.values():
        if not group.activations:
            raise ValueError(
                f"the units of group {group.name!r} are no axis of any activation: "
                "use weight_matching for this model"
            )
        for tap in group.activations:
            moments[tap.node, tap.axis] = _Moments(group.size)
    count = 0
    with torch.no_grad():
        for inputs, _ in batches:
            arguments = inputs if isinstance(inputs, tuple) else (inputs,)
            seen = [_record(symmetry, state, arguments, moments) for state in (a, b)]
            for key, moment in moments.items():
                moment.add(seen[0][key], seen[1][key])
            count += 1
    if count == 0:
        raise ValueError("no batches: give at least one pair of inputs and targets")
    indices, objective, unmatched, constant = {}, 0.0, 0.0, {}
    for group in symmetry.groups.values():
        taps = [moments[tap.node, tap.axis] for tap in group.activations]
        correlation = torch.stack([tap.correlation() for tap in taps]).sum(0)
        constant[group.name] = torch.stack([tap.constant()[0] for tap in taps]).all(0)
        indices[group.name] = best = _assign(correlation)
        unmatched += float(correlation.diagonal().sum())
        objective += float(correlation[torch.arange(group.size), best].sum())
    return Matching(
        Permutation(symmetry, indices),
        objective,
        (unmatched, objective),
        len(indices),
        time.perf_counter() - start,
        constant,
    )


class _Moments:
    """Averages over batches of first and second moments of two networks' units."""

    def __init__(self, size: int):
        self.batches = 0
        self.mean = torch.zeros(2, size, dtype=torch.float64)
        self.square = torch.zeros(2, size, dtype=torch.float64)
        self.product = torch.zeros(size, size, dtype=torch.float64)

    def add(self, a: Tensor, b: Tensor) -> None:
        """Add one batch of activations, ``(samples, units)`` float64 each."""
        both = torch.stack([a, b])
        self.mean += both.mean(1).cpu()
        self.square += both.square().mean(1).cpu()
        self.product += (a.T @ b).cpu() / len(a)
        self.batches += 1

    def constant(self) -> Tensor:
        """Return which units of A and of B never vary, bool ``(2, units)``."""
        # Rounding leaves a constant unit a variance of this order instead of zero.
        return self._variance() <= 1e-12 * self.square / self.batches

    def correlation(self) -> Tensor:
        """Return the ``(units of A, units of B)`` correlations, 0 for constant ones."""
        if not bool(self.square.isfinite().all()):
            raise ValueError(
                "activations are not finite: one of the networks has diverged"
            )
        constant = self.constant()
        deviation = self._variance().masked_fill(constant, 1.0).sqrt()
        mean = self.mean / self.batches
        covariance = self.product / self.batches - mean[0, :, None] * mean[1]
        correlation = covariance / (deviation[0, :, None] * deviation[1])
        return correlation.masked_fill(constant[0, :, None] | constant[1], 0.0)

    def _variance(self) -> Tensor:
        return (self.square - self.mean.square() / self.batches) / self.batches


def _record(
    symmetry: Symmetry,
    state: State,
    inputs: tuple[Any, ...],
    wanted: Iterable[tuple[str, int]],
) -> dict[tuple[str, int], Tensor]:
    """Run a network; return the wanted activations as ``(samples, units)`` float64."""
    axes: dict[str, list[int]] = {}
    for node, axis in wanted:
        axes.setdefault(node, []).append(axis)
    recorded: dict[tuple[str, int], Tensor] = {}

    def recorder(node: str) -> Around:
        def around(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
            value: Tensor = operation(*args, **kwargs)
            for axis in axes[node]:
                units = value.movedim(axis, -1)
                flat = units.reshape(-1, units.shape[-1])
                # A copy: the model may go on to change the value in place.
                recorded[node, axis] = flat.to(torch.float64, copy=True)
            return value

        return around

    symmetry.graph.run(state, *inputs, around={node: recorder(node) for node in axes})
    return recorded


def _checked(
    symmetry: Symmetry, state: State, names: Iterable[str], which: str
) -> dict[str, Tensor]:
    """Return the named tensors in float64, all of them finite."""
    symmetry.check(state)
    tensors = {name: state[name].detach().double() for name in names}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{name} of network {which} has values that are not finite: nothing "
                "can be matched to a network that has diverged"
            )
    return tensors


def _cost(sites: Iterable[Site], goal: State, current: State) -> Tensor:
    """Inner products of each unit of A with each unit of B, ``(size, size)``."""
    return torch.stack(
        [units(goal[s.name], s) @ units(current[s.name], s).T for s in sites]
    ).sum(0)


def _assign(scores: Tensor) -> Tensor:
    """Return for each row its column in the assignment with the largest sum."""
    return torch.from_numpy(
        linear_sum_assignment(scores.cpu().numpy(), maximize=True)[1]
    )


def _inner(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())
