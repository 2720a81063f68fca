"""One call from trained networks to a merged one, with a report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lmc.batches import as_arguments, batch_size, pairs
from lmc.discovery import discover
from lmc.graph import Graph, State
from lmc.interpolation import average
from lmc.matching import (
    ManyMatching,
    Matcher,
    match_consistently,
    match_iteratively,
    match_sequentially,
    match_to_reference,
)
from lmc.matching.matchers import NEED_BATCHES, matcher
from lmc.permutation import Permutation
from lmc.repairing import STALE_STATISTICS, Repair, check_renormalization
from lmc.report import Metric, Report, alignments, scores
from lmc.symmetry import Symmetry

HOW_TO_RESET = "pass batches and renormalize='reset'"
"""What is said to whoever calls `merge`; the command has options of its own."""

Many = Callable[..., ManyMatching]

MANY: Mapping[str, Many] = {
    "iterative": match_iteratively,
    "reference": match_to_reference,
    "sequential": match_sequentially,
}
"""How three or more networks are matched by a matcher of two."""


class MergeWarning(UserWarning):
    """A merge that is likely not what was hoped for."""


@dataclass(frozen=True, eq=False)
class Merge:
    """A merged network, and how it came about.

    Attributes
    ----------
    state
        The merged network's state dict.
    permutations
        For each network the permutation that was applied before averaging.
    symmetry
        The groups that were permuted.
    match
        The matcher's name.
    renormalization
        What was done to the average: ``"none"``, ``"reset"``, ``"rescale"``, ...
    rounds
        Rounds of matching; 1 for two networks.
    report
        Scores and alignments.
    warnings
        What the call warned of.
    """

    state: dict[str, Tensor]
    permutations: tuple[Permutation, ...]
    symmetry: Symmetry
    match: str
    renormalization: str
    rounds: int
    report: Report
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n".join(
            [
                f"Merge of {len(self.permutations)} networks, matched by {self.match}, "
                f"renormalized by {self.renormalization}",
                str(self.report),
                *(f"warning: {text}" for text in self.warnings),
            ]
        )


def merge(
    model: nn.Module,
    states: Sequence[State],
    batches: Iterable[Any] | None = None,
    *,
    match: str | Matcher = "weights",
    renormalize: str = "auto",
    many: str = "iterative",
    generator: torch.Generator | None = None,
    symmetry: Symmetry | None = None,
    test: Iterable[Any] | None = None,
    metric: Metric | None = None,
) -> Merge:
    """Merge trained networks of one architecture into one network.

    The networks are permuted so that they lie near each other, averaged, and the
    average is renormalized.  The report says what each step was worth.

    Parameters
    ----------
    model
        The architecture, in evaluation mode, on the device of the batches; its own
        weights are not used.
    states
        State dicts of the networks, at least two, on that device.
    batches
        Training data, pairs of inputs and targets: a list or a data loader, which is
        gone through several times.  Matchers and renormalizations look at it, and the
        report does if there is no ``test``.  Without labels there are no scores.
    match
        ``"weights"``, ``"activations"``, ``"straight-through"`` (these two need
        batches), ``"none"``, or a function ``(symmetry, a, b, batches, generator) ->
        Permutation``, see :data:`lmc.matching.Matcher`.
    renormalize
        What is done to the average, see :class:`lmc.Repair`; ``"auto"`` is what suits
        the model.
    many
        How three or more networks are matched: ``"iterative"``, ``"reference"`` (all
        to the first), ``"sequential"``, or ``"cycle-consistent"``, which is by weights
        only.
    generator
        Source of all random numbers; by default a new one with seed 0.
    symmetry
        That of the model, if it is known; otherwise it is discovered from the first
        batch, which can take long for large models.
    test
        Other batches for the report.
    metric
        For a model that is no classifier: a function of its outputs and a batch's
        targets with a mean over the batch, the less the better.

    Returns
    -------
    Merge

    Warns
    -----
    MergeWarning
        The merged network is worse than the better endpoint; an endpoint is no better
        than guessing; or BatchNorm's statistics were averaged and not reset.

    Raises
    ------
    ValueError
        There are fewer than two networks; they do not fit the model; an option is
        unknown, or needs batches that are not given or can be gone through once only;
        the outputs are no logits and there is no metric; or as the steps do:
        :func:`lmc.discover`, the matcher, :func:`lmc.renormalize`.

    Examples
    --------
    >>> import lmc, torch
    >>> from lmc.models import MLP
    >>> x, y = torch.randn(64, 4), torch.randint(2, (64,))
    >>> a, b = MLP((4, 8, 2)).eval(), MLP((4, 8, 2)).eval()
    >>> merge = lmc.merge(a, [a.state_dict(), b.state_dict()], [(x, y)], match="none")
    >>> merge.renormalization, len(merge.report.endpoints)
    ('rescale', 2)
    >>> a.load_state_dict(merge.state)
    <All keys matched successfully>
    """
    states = list(states)
    find = matcher(match)
    _check(states, batches, match, renormalize, many)
    for given in (batches, test):
        if given is not None and iter(given) is given:
            raise ValueError(
                "batches are gone through several times: give a list or a data loader, "
                "not an iterator"
            )
    if symmetry is None:
        symmetry = discover(model, *_example(batches))
    for state in states:
        symmetry.check(state)
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    if many == "cycle-consistent" and len(states) > 2:
        found = match_consistently(symmetry, states, generator=generator)
    else:
        # Two networks are matched once, the second to the first.
        how = MANY[many] if len(states) > 2 else match_to_reference
        data = () if batches is None else batches
        found = how(symmetry, states, find, data, generator=generator)
    permuted = found.apply(states)
    matched = average(permuted)
    repair = Repair(symmetry.graph, permuted, batches, renormalize)
    merged = repair(matched)
    report = _report(
        model,
        symmetry.graph,
        states,
        permuted,
        (matched, merged),
        batches if test is None else test,
        metric,
    )
    said = report.warnings()
    if symmetry.graph.batch_norms and repair.method != "reset":
        said.append(f"{STALE_STATISTICS}: {HOW_TO_RESET}")
    for text in said:
        warnings.warn(text, MergeWarning, stacklevel=2)
    return Merge(
        merged,
        found.permutations,
        symmetry,
        match if isinstance(match, str) else getattr(match, "__name__", repr(match)),
        repair.method,
        found.rounds,
        report,
        tuple(said),
    )


def _check(
    states: Sequence[State],
    batches: Iterable[Any] | None,
    match: str | Matcher,
    renormalize: str,
    many: str,
) -> None:
    """Raise for options that cannot be, before anything long is done."""
    if len(states) < 2:
        raise ValueError(
            f"nothing to merge: give at least two networks, not {len(states)}"
        )
    check_renormalization(renormalize, batches)
    if many not in (*MANY, "cycle-consistent"):
        raise ValueError(
            f"unknown way to match many networks {many!r}: choose {', '.join(MANY)}, "
            "cycle-consistent"
        )
    if many == "cycle-consistent" and len(states) > 2 and match != "weights":
        raise ValueError(
            "cycle-consistent matching goes by weights: leave match='weights'"
        )
    if batches is None and isinstance(match, str) and match in NEED_BATCHES:
        raise ValueError(f"matching by {match} looks at data: give batches")


def _example(batches: Iterable[Any] | None) -> tuple[Any, ...]:
    """Two samples of the first batch that has any."""
    if batches is None:
        raise ValueError(
            "the model's symmetry is discovered by inputs: give batches, or "
            "symmetry=lmc.discover(model, inputs)"
        )
    for inputs, _ in pairs(batches):
        if batch_size(arguments := as_arguments(inputs)):
            return pytree.tree_map_only(
                Tensor, lambda leaf: leaf[:2] if leaf.ndim else leaf, arguments
            )
    raise ValueError("no batches: give at least one pair of inputs and targets")


def _report(
    model: nn.Module,
    graph: Graph,
    states: Sequence[State],
    permuted: Sequence[State],
    middles: tuple[State, State],
    batches: Iterable[Any] | None,
    metric: Metric | None,
) -> Report:
    """Score all that was on the way, if there are labels to score by."""
    alignment = alignments(graph, states, permuted)
    if batches is None or next(pairs(batches), (None, None))[1] is None:
        return Report((), None, None, None, None, None, 0, alignment)
    ends = {f"network {number}": state for number, state in enumerate(states, start=1)}
    between = {"average": average(states), "matched": middles[0], "merged": middles[1]}
    found, chance, samples = scores(
        model, {**ends, **between}, list(ends), batches, metric
    )
    return Report(
        tuple(found[name] for name in ends),
        found["average"],
        found["matched"],
        found["merged"],
        found["ensemble"],
        chance,
        samples,
        alignment,
    )
