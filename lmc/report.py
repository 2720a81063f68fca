"""What a merge is worth: scores of all that was on the way, and layers' alignment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lmc.batches import as_arguments, batch_size, check_logits, labelled
from lmc.graph import Graph, State
from lmc.interpolation import runner
from lmc.tables import table

Metric = Callable[[Any, Any], Any]
"""A model's outputs and the targets of a batch to a mean over its samples.

Less is better, as of a loss."""


@dataclass(frozen=True)
class Score:
    """How good a network is.

    Attributes
    ----------
    loss
        Mean cross-entropy in nats; or the metric, where one was given.
    accuracy
        In percent; None with a metric of one's own.
    """

    loss: float
    accuracy: float | None = None

    def worse_than(self, other: Score) -> str | None:
        """Say by how much a network is worse than another, if it is.

        By the accuracy where there is one, else by the loss.

        Examples
        --------
        >>> Score(0.5, 90.0).worse_than(Score(0.4, 92.5))
        'accuracy 90.00%, 2.50 points below 92.50%'
        >>> Score(0.5).worse_than(Score(0.5)) is None
        True
        """
        if self.accuracy is not None and other.accuracy is not None:
            if self.accuracy >= other.accuracy:
                return None
            return (
                f"accuracy {self.accuracy:.2f}%, {other.accuracy - self.accuracy:.2f} "
                f"points below {other.accuracy:.2f}%"
            )
        if self.loss <= other.loss:
            return None
        return f"loss {self.loss:.4g}, above {other.loss:.4g}"


@dataclass(frozen=True)
class LayerAlignment:
    """How alike the weights of one layer are in the merged networks.

    Attributes
    ----------
    layer
        Its name.
    before, after
        Cosine of the angle between two networks' weights before and after matching,
        averaged over all pairs of networks.
    """

    layer: str
    before: float
    after: float


@dataclass(frozen=True)
class Report:
    """What a practitioner should know of a merge.

    Attributes
    ----------
    endpoints
        Scores of the networks that were merged; empty without labelled batches, as
        all other scores are None then.
    average
        The average of the networks as they are, without matching.
    matched
        The average of the matched networks.
    merged
        The same renormalized: the network that is returned.
    ensemble
        All networks side by side: the mean of their probabilities (of their outputs,
        with a metric).  It costs as much to run as all of them.
    chance
        Accuracy of guessing one of the classes, in percent; None with a metric.
    samples
        Number of samples that scores are means over.
    alignment
        Of each layer.
    """

    endpoints: tuple[Score, ...]
    average: Score | None
    matched: Score | None
    merged: Score | None
    ensemble: Score | None
    chance: float | None
    samples: int
    alignment: tuple[LayerAlignment, ...]

    @property
    def best(self) -> Score | None:
        """The better endpoint's score."""
        if not self.endpoints:
            return None
        return min(
            self.endpoints,
            key=lambda s: s.loss if s.accuracy is None else -s.accuracy,
        )

    @property
    def cosine_before(self) -> float | None:
        """Mean over layers of how alike weights were; None without layers."""
        return fmean(a.before for a in self.alignment) if self.alignment else None

    @property
    def cosine(self) -> float | None:
        """The same after matching."""
        return fmean(a.after for a in self.alignment) if self.alignment else None

    def warnings(self) -> list[str]:
        """Return what is wrong with the endpoints, or with the merge."""
        found = []
        for number, score in enumerate(self.endpoints, start=1):
            text = guessing(f"network {number}", score, self.chance, self.samples)
            if text is not None:
                found.append(text)
        if self.best is not None and self.merged is not None:
            worse = self.merged.worse_than(self.best)
            if worse is not None:
                found.append(
                    f"the merged network is worse than the better endpoint: {worse}"
                )
        return found

    def rows(self) -> list[dict[str, object]]:
        """Return the scores as rows of a table."""
        named = {
            **{f"network {n}": s for n, s in enumerate(self.endpoints, start=1)},
            "average without matching": self.average,
            "matched average": self.matched,
            "merged": self.merged,
            "ensemble": self.ensemble,
        }
        return [
            {"network": name, "loss": score.loss, "accuracy": score.accuracy}
            for name, score in named.items()
            if score is not None
        ]

    def __str__(self) -> str:
        """Tables of scores and of alignments."""
        layers: list[Mapping[str, object]] = [
            {"layer": a.layer, "cosine before": a.before, "after": a.after}
            for a in self.alignment
        ]
        return "\n\n".join(filter(None, [table(self.rows()), table(layers)]))


def guessing(name: str, score: Score, chance: float | None, samples: int) -> str | None:
    """Say that a network is no better than guessing, if it isn't.

    That is: less than three standard deviations above the accuracy of guessing.

    Parameters
    ----------
    name
        Of the network.
    score
        On the data.
    chance
        Accuracy of guessing in percent; None if there is none.
    samples
        Their number.

    Examples
    --------
    >>> guessing("A", Score(2.3, 60.0), 50.0, 400) is None  # 4 deviations of 2.5
    True
    >>> guessing("A", Score(2.3, 60.0), 50.0, 100).partition(".  ")[0]
    'A is no better than guessing: accuracy 60.00%, chance 50.00%'
    """
    if score.accuracy is None or chance is None:
        return None
    if score.accuracy > chance + 3 * math.sqrt(chance * (100 - chance) / samples):
        return None
    return (
        f"{name} is no better than guessing: accuracy {score.accuracy:.2f}%, chance "
        f"{chance:.2f}%.  Check that labels are numbered as the logits are, and that "
        "inputs are prepared as in training"
    )


def scores(
    model: nn.Module,
    networks: Mapping[str, State],
    together: Sequence[str],
    batches: Iterable[Any],
    metric: Metric | None,
) -> tuple[dict[str, Score], float | None, int]:
    """Measure several networks, and an ensemble of some, in one pass over the data.

    Parameters
    ----------
    model
        The module, in evaluation mode.
    networks
        State dicts by name.
    together
        Names of the networks in the ensemble.
    batches
        Pairs of inputs and targets.
    metric
        Or None for a classifier's cross-entropy and accuracy.

    Returns
    -------
    tuple
        Scores by name, the ensemble's under ``"ensemble"``; the accuracy of guessing
        one of the classes, in percent, None with a metric; and the number of samples.

    Raises
    ------
    ValueError
        There is no sample, or an output is neither logits nor fit for the metric.
    """
    run = {name: runner(model, state) for name, state in networks.items()}
    loss = dict.fromkeys([*networks, "ensemble"], 0.0)
    right = dict.fromkeys(loss, 0)
    chance, samples = None, 0
    with torch.no_grad():
        for inputs, targets in labelled(batches):
            arguments = as_arguments(inputs)
            count = batch_size(arguments)
            outputs = {n: run[n](networks[n], *arguments) for n in networks}
            if metric is not None:
                outputs["ensemble"] = _mean([outputs[name] for name in together])
                for name, output in outputs.items():
                    loss[name] += count * float(metric(output, targets))
            else:
                logits = {
                    n: check_logits(o, count).double() for n, o in outputs.items()
                }
                members = torch.stack([logits[name].softmax(1) for name in together])
                # Logits of the mean probability, as far as cross-entropy knows.
                logits["ensemble"] = members.mean(0).log()
                chance = 100 / members.shape[-1]
                for name, own in logits.items():
                    loss[name] += float(F.cross_entropy(own, targets, reduction="sum"))
                    right[name] += int((own.argmax(1) == targets).sum())
            samples += count
    if samples == 0:
        raise ValueError("no samples: give at least one batch")
    found = {
        name: Score(
            loss[name] / samples,
            None if metric else 100 * right[name] / samples,
        )
        for name in loss
    }
    return found, chance, samples


def score_of(
    model: nn.Module, state: State, batches: Iterable[Any], metric: Metric | None
) -> tuple[Score, float | None, int]:
    """Measure one network; parameters, returns and errors as of :func:`scores`."""
    found, chance, samples = scores(model, {"": state}, [""], batches, metric)
    return found[""], chance, samples


def _mean(outputs: Sequence[Any]) -> Any:
    """The mean of several networks' outputs, tensor by tensor."""

    def mean(*leaves: Any) -> Any:
        if isinstance(leaves[0], Tensor) and leaves[0].is_floating_point():
            return torch.stack(leaves).mean(0)
        return leaves[0]

    return pytree.tree_map(mean, *outputs)


def alignments(
    graph: Graph, before: Sequence[State], after: Sequence[State]
) -> tuple[LayerAlignment, ...]:
    """Compare the layers' weights of all pairs of networks, before and after matching.

    Parameters
    ----------
    graph
        The model's graph.
    before, after
        The networks as they were, and permuted.

    Returns
    -------
    tuple of LayerAlignment
        One for each weight of a layer, in the order of their execution.
    """
    names = dict.fromkeys(layer.weight for layer in graph.layers)
    return tuple(
        LayerAlignment(
            name.removesuffix(".weight"), _cosine(before, name), _cosine(after, name)
        )
        for name in names
    )


def _cosine(states: Sequence[State], name: str) -> float:
    """Mean over all pairs of networks of the cosine between their tensors."""
    vectors = [state[name].detach().double().flatten() for state in states]
    return math.fsum(
        float(F.cosine_similarity(a, b.to(a.device), 0))
        for a, b in combinations(vectors, 2)
    ) / math.comb(len(vectors), 2)
