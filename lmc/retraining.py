"""Retraining: how many steps a network needs to come back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmc.batches import as_arguments
from lmc.graph import State
from lmc.interpolation import Evaluation, evaluate

Batches = Iterable[tuple[Any, Tensor]]


@dataclass(frozen=True)
class Score:
    """A network's evaluations after a number of steps.

    Attributes
    ----------
    step
        Number of optimizer steps taken.
    train
        On the batches that decide when to stop.
    test
        On other batches; None without them.
    """

    step: int
    train: Evaluation
    test: Evaluation | None


@dataclass(frozen=True, eq=False)
class Retraining:
    """What :func:`retrain` found.

    Attributes
    ----------
    steps
        Steps after which the accuracy was reached, None if it never was.
    state
        The network at the end.
    curve
        Scores from step 0 on, if they were to be kept.
    """

    steps: int | None
    state: dict[str, Tensor]
    curve: tuple[Score, ...]


def retrain(
    model: nn.Module,
    state: State,
    batches: Batches | Callable[[int], Batches],
    *,
    until: float,
    evaluate_on: Batches,
    test: Batches | None = None,
    lr: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 1e-4,
    every: int = 10,
    max_steps: int,
    curve: bool = True,
) -> Retraining:
    """Train a network by SGD on cross-entropy until it reaches an accuracy.

    The network is scored before the first step, after every ``every`` steps and after
    the last one, in evaluation mode; training goes on in train mode after each score.
    Its own random choices (dropout) come from torch's global generator; otherwise the
    result is determined by ``state`` and ``batches``.

    Parameters
    ----------
    model
        A classifier that returns logits ``(N, classes)``; a copy of it is trained, in
        its dtype and on its device.
    state
        Where to start.
    batches
        Pairs of inputs and int64 targets, gone through once for each epoch; or a
        function that gives the batches of an epoch, counted from 0.
    until
        Accuracy on ``evaluate_on`` to reach, in percent.
    evaluate_on
        Batches that can be gone through several times, usually the training data
        without augmentation.
    test
        Further batches to score.
    lr, momentum, weight_decay
        Of SGD, without a schedule.
    every
        Steps from one score to the next: the grain of the result.
    max_steps
        Where to give up.
    curve
        Whether to keep the scores.  Otherwise one ends with the batch after which the
        accuracy can't be reached any more, most often the first few.

    Returns
    -------
    Retraining

    Raises
    ------
    ValueError
        A number is out of bounds, an epoch has no batches, or the state dict does not
        fit.

    References
    ----------
    arXiv 2402.05966, section 4.2 and Figure 4C (lr 0.01, momentum 0.9, weight decay
    1e-4, until 90% on the training data).

    Examples
    --------
    >>> import torch
    >>> from lmc.models import MLP
    >>> x = torch.tensor([[1.0], [-1.0]])
    >>> batches = [(x, torch.tensor([0, 1]))]
    >>> start = {"1.weight": torch.tensor([[-0.1], [0.1]]), "1.bias": torch.zeros(2)}
    >>> found = retrain(MLP((1, 2)), start, batches, until=100.0,
    ...     evaluate_on=batches, lr=0.1, every=1, max_steps=50)
    >>> found.steps, [score.train.accuracy for score in found.curve]
    (2, [0.0, 0.0, 100.0])
    """
    if not 0 < until <= 100:
        raise ValueError(f"until is an accuracy in percent, above 0, got {until}")
    if every < 1 or max_steps < 0:
        raise ValueError(
            f"every must be at least 1 and max_steps at least 0, got {every} and "
            f"{max_steps}"
        )
    if missing := [name for name in model.state_dict() if name not in state]:
        raise ValueError(
            f"the state dict lacks {missing[:3]}: pass a whole model.state_dict()"
        )
    trained = copy.deepcopy(model)
    trained.load_state_dict(dict(state))
    optimizer = torch.optim.SGD(
        trained.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay
    )
    scores: list[Score] = []

    def reached(step: int) -> bool:
        trained.eval()
        own = trained.state_dict()
        if curve:
            train = evaluate(trained, own, evaluate_on)
            other = None if test is None else evaluate(trained, own, test)
            scores.append(Score(step, train, other))
            enough = train.accuracy >= until
        else:
            enough = _reaches(trained, own, evaluate_on, until)
        trained.train()
        return enough

    def result(steps: int | None) -> Retraining:
        return Retraining(steps, trained.state_dict(), tuple(scores))

    if reached(0):
        return result(0)
    for step, (inputs, targets) in zip(
        range(1, max_steps + 1), _epochs(batches), strict=False
    ):
        arguments = as_arguments(inputs)
        optimizer.zero_grad()
        with torch.enable_grad():
            F.cross_entropy(trained(*arguments), targets).backward()
        optimizer.step()
        if (step % every == 0 or step == max_steps) and reached(step):
            return result(step)
    return result(None)


def _reaches(model: nn.Module, state: State, batches: Batches, until: float) -> bool:
    """Return whether a network has an accuracy, from as few batches as tell."""
    batches = list(batches)
    samples = right = sum(len(targets) for _, targets in batches)
    if not samples:
        raise ValueError("no samples to score: give at least one batch")
    for inputs, targets in batches:
        found = evaluate(model, state, [(inputs, targets)])
        right -= len(targets) - round(found.accuracy * len(targets) / 100)
        if 100 * right / samples < until:
            return False
    return True


def _epochs(
    batches: Batches | Callable[[int], Batches],
) -> Iterator[tuple[Any, Tensor]]:
    """Go through the batches of one epoch after the other, without end."""
    for epoch in count():
        empty = True
        for batch in batches(epoch) if callable(batches) else batches:
            yield batch
            empty = False
        if empty:
            raise ValueError(
                f"epoch {epoch} has no batches: give a list or a data loader, which "
                "can be gone through again, or a function of the epoch"
            )
