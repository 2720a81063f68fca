"""Matching more than two networks, so that they can be averaged."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmc.graph import State
from lmc.interpolation import average
from lmc.matching.matchers import Matcher, matcher
from lmc.permutation import Permutation
from lmc.symmetry import Symmetry


@dataclass(frozen=True, eq=False)
class ManyMatching:
    """A permutation for each of several networks.

    Attributes
    ----------
    permutations
        One for each network, in their order.
    objective
        Sum over all pairs of the inner products of the permuted networks'
        parameters, as far as a group acts on them; one with several names counts
        once.
    history
        The objective at the start and after each round.
    rounds
        Number of rounds; 1 where there is only one.
    converged
        Whether the last round changed nothing (or, for cycle-consistent matching,
        nothing above the tolerance).
    seconds
        Wall-clock time.
    """

    permutations: tuple[Permutation, ...]
    objective: float
    history: tuple[float, ...]
    rounds: int
    converged: bool
    seconds: float

    def __repr__(self) -> str:
        end = "converged" if self.converged else "not converged"
        return (
            f"Matching of {len(self.permutations)} networks\n"
            f"objective {self.history[0]:.6g} at the start, {self.objective:.6g} after "
            f"{self.rounds} rounds, {end}\n"
            f"{self.seconds:.2f} s"
        )

    def apply(self, states: Sequence[State]) -> list[dict[str, Tensor]]:
        """Return the networks permuted, each by its own permutation."""
        return [
            permutation.apply(state)
            for permutation, state in zip(self.permutations, states, strict=True)
        ]


def match_to_reference(
    symmetry: Symmetry,
    states: Sequence[State],
    match: str | Matcher = "weights",
    batches: Iterable[Any] = (),
    *,
    generator: torch.Generator,
) -> ManyMatching:
    """Match all networks to the first.

    Parameters
    ----------
    symmetry
        Groups of all networks.
    states
        State dicts of one architecture, at least two.
    match
        By what two networks are matched: a name in
        :data:`lmc.matching.MATCHERS`, or a function of the same signature.
    batches
        For the matcher.
    generator
        Source of the matcher's random numbers.

    Raises
    ------
    ValueError
        There are fewer than two networks, or no such matcher; or as the matcher does.

    References
    ----------
    arXiv 2402.05966, section 3.3 and appendix E.3.
    """
    began = time.perf_counter()
    first, *others = several(states)
    find = matcher(match)
    found = [find(symmetry, first, other, batches, generator) for other in others]
    return _once(symmetry, states, (Permutation.identity(symmetry), *found), began)


def match_sequentially(
    symmetry: Symmetry,
    states: Sequence[State],
    match: str | Matcher = "weights",
    batches: Iterable[Any] = (),
    *,
    generator: torch.Generator,
) -> ManyMatching:
    """Match each network to the one before it, as that was permuted.

    Parameters, errors and source as for :func:`match_to_reference`.
    """
    began = time.perf_counter()
    find = matcher(match)
    before, *others = several(states)
    found = [Permutation.identity(symmetry)]
    for state in others:
        found.append(find(symmetry, before, state, batches, generator))
        before = found[-1].apply(state)
    return _once(symmetry, states, tuple(found), began)


def match_iteratively(
    symmetry: Symmetry,
    states: Sequence[State],
    match: str | Matcher = "weights",
    batches: Iterable[Any] = (),
    *,
    generator: torch.Generator,
    max_rounds: int = 30,
) -> ManyMatching:
    """Match each network to the average of all others, again and again.

    In each round the networks come in a random order.  Rounds end when one changes
    no permutation, or after ``max_rounds``.  With weight matching the objective
    never falls.

    Parameters
    ----------
    symmetry, states, batches
        As for :func:`match_to_reference`.
    match
        As there; it gets networks as they are permuted so far, and must leave alone
        what it cannot better.
    generator
        Source of the orders, and of the matcher's random numbers.
    max_rounds
        30 in arXiv 2402.05966.

    Raises
    ------
    ValueError
        As for :func:`match_to_reference`, or there is no round.

    References
    ----------
    Ainsworth et al., Git Re-Basin (arXiv 2209.04836), algorithm 2 (MergeMany);
    arXiv 2402.05966, section 3.3.
    """
    began = time.perf_counter()
    if max_rounds < 1:
        raise ValueError(f"max_rounds must be at least 1, got {max_rounds}")
    find = matcher(match)
    now: list[State] = list(several(states))
    found = [Permutation.identity(symmetry) for _ in now]
    history = [objective_of(symmetry, now)]
    converged, rounds = False, 0
    while rounds < max_rounds and not converged:
        rounds += 1
        converged = True
        for index in torch.randperm(len(now), generator=generator).tolist():
            others = average([s for i, s in enumerate(now) if i != index])
            step = find(symmetry, others, now[index], batches, generator)
            if not _still(step):
                converged = False
            found[index] = found[index].compose(step)
            now[index] = step.apply(now[index])
        history.append(objective_of(symmetry, now))
    return ManyMatching(
        tuple(found),
        history[-1],
        tuple(history),
        rounds,
        converged,
        time.perf_counter() - began,
    )


def several(states: Sequence[State]) -> Sequence[State]:
    """Return networks, at least two; raise ``ValueError`` for fewer."""
    if len(states) < 2:
        raise ValueError(
            f"nothing to match: give at least two networks, not {len(states)}"
        )
    return states


def _still(permutation: Permutation) -> bool:
    identity = Permutation.identity(permutation.symmetry).indices
    return all(
        torch.equal(p.cpu(), identity[n]) for n, p in permutation.indices.items()
    )


def _once(
    symmetry: Symmetry,
    states: Sequence[State],
    permutations: tuple[Permutation, ...],
    began: float,
) -> ManyMatching:
    permuted = [p.apply(state) for p, state in zip(permutations, states, strict=True)]
    history = (objective_of(symmetry, states), objective_of(symmetry, permuted))
    return ManyMatching(
        permutations, history[-1], history, 1, True, time.perf_counter() - began
    )


def compared(symmetry: Symmetry) -> list[str]:
    """The parameters on which a group acts, a tensor with several names once."""
    graph = symmetry.graph
    acted_on = {s.name for group in symmetry.groups.values() for s in group.sites}
    return [n for n in graph.parameters if n in acted_on and graph.aliases[n][0] == n]


def objective_of(symmetry: Symmetry, states: Sequence[State]) -> float:
    """Sum over all pairs of the inner products of the tensors that count."""
    names = compared(symmetry)
    return over_pairs(
        [{name: state[name].double() for name in names} for state in states]
    )


def over_pairs(states: Sequence[State]) -> float:
    """Sum of the inner products of all pairs: half of |sum|^2 - sum of |.|^2."""
    terms = []
    for name in states[0]:
        tensors = [state[name].to(states[0][name].device) for state in states]
        total = torch.stack(tensors).sum(0)
        terms.append(float(total.square().sum()))
        terms += [-float(tensor.square().sum()) for tensor in tensors]
    return math.fsum(terms) / 2
