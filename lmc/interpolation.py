"""Straight lines between networks: points on them, curves, and barriers."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmc.batches import as_arguments, check_logits, labelled
from lmc.graph import State, call, in_train_mode

LAMBDAS = tuple(index / 10 for index in range(11))
"""Eleven equidistant points, as in every curve of arXiv 2402.05966."""


@dataclass(frozen=True)
class Evaluation:
    """Mean cross-entropy (nats) and accuracy (percent) of a network."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Curve:
    """Loss and accuracy along the line from A (lambda 0) to B (lambda 1).

    Attributes
    ----------
    lambdas
        Points on the line, ascending from 0 to 1.
    loss
        Mean cross-entropy in nats at each point.
    accuracy
        Accuracy in percent at each point.

    Examples
    --------
    >>> curve = Curve((0.0, 0.5, 1.0), (0.1, 2.3, 0.3), (98.0, 10.0, 96.0))
    >>> round(curve.loss_barrier, 2), curve.accuracy_barrier
    (2.1, 87.0)
    """

    lambdas: tuple[float, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def loss_barrier(self) -> float:
        """Largest rise of the loss above the line between the endpoints, in nats."""
        return barrier(self.lambdas, self.loss)

    @property
    def accuracy_barrier(self) -> float:
        """Largest fall of the accuracy below the endpoints' line, in points."""
        return barrier(self.lambdas, [-value for value in self.accuracy])


def barrier(lambdas: Sequence[float], values: Sequence[float]) -> float:
    """Return the largest rise of a curve above the line between its endpoints.

    Parameters
    ----------
    lambdas
        Points on the line, from 0 to 1.
    values
        The curve at these points; larger is worse (an accuracy enters negated).

    Returns
    -------
    float
        ``max over lambda of value - ((1 - lambda) first + lambda last)``, at least 0.

    Raises
    ------
    ValueError
        Lengths differ, the ends are not 0 and 1, or values are not finite.

    References
    ----------
    arXiv 2402.05966, Definition 2.1; Frankle et al., arXiv 1912.05671.
    """
    return max(deviations(lambdas, values))


def deviations(lambdas: Sequence[float], values: Sequence[float]) -> list[float]:
    """Return how far a curve lies above the line between its endpoints, pointwise.

    Parameters, errors and source as for :func:`barrier`.
    """
    if len(lambdas) != len(values):
        raise ValueError(f"{len(lambdas)} lambdas but {len(values)} values")
    if len(lambdas) < 2 or lambdas[0] != 0 or lambdas[-1] != 1:
        raise ValueError(
            f"a barrier needs both endpoints: lambdas from 0 to 1, got {lambdas}"
        )
    if not bool(torch.tensor(values, dtype=torch.float64).isfinite().all()):
        raise ValueError(f"a barrier needs finite values, got {list(values)}")
    first, last = values[0], values[-1]
    return [
        value - ((1 - lam) * first + lam * last)
        for lam, value in zip(lambdas, values, strict=True)
    ]


def interpolate(a: State, b: State, lam: float) -> dict[str, Tensor]:
    """Return the network ``(1 - lam) a + lam b``, parameters and buffers.

    Parameters
    ----------
    a, b
        State dicts of the same names and shapes.  Tensors that are neither floating
        point nor complex (BatchNorm's count of batches) are taken from ``a``.
    lam
        Point on the line: 0 gives ``a``, 1 gives ``b``.

    Returns
    -------
    dict of str to Tensor
        New tensors in the dtype of ``a``'s; the sum is formed in float64.

    Raises
    ------
    ValueError
        Names or shapes differ.

    Examples
    --------
    >>> import torch
    >>> interpolate({"w": torch.zeros(2)}, {"w": torch.ones(2)}, 0.25)
    {'w': tensor([0.2500, 0.2500])}
    """
    _check_alike(a, b)
    point: dict[str, Tensor] = {}
    for name, mine in a.items():
        its = b[name]
        if mine.is_floating_point() or mine.is_complex():
            wide = torch.promote_types(mine.dtype, torch.float64)
            mixed = (1 - lam) * mine.to(wide) + lam * its.to(mine.device, wide)
            point[name] = mixed.to(mine.dtype)
        else:
            point[name] = mine.clone()
    return point


def average(
    states: Sequence[State], weights: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """Return the weighted average of any number of networks.

    Parameters
    ----------
    states
        State dicts of the same names and shapes.  Tensors that are neither floating
        point nor complex are taken from the first.
    weights
        One for each network, with sum 1 (as far as a softmax in float32 has it); by
        default all equal.

    Returns
    -------
    dict of str to Tensor
        New tensors in the dtype and on the device of the first network's; sums are
        formed in float64.

    Raises
    ------
    ValueError
        There is no network, names or shapes differ, or the weights do not fit.

    Examples
    --------
    >>> import torch
    >>> average([{"w": torch.tensor([float(n)])} for n in (1, 2, 6)])
    {'w': tensor([3.])}
    """
    if not states:
        raise ValueError("nothing to average: give at least one network")
    if weights is None:
        weights = [1 / len(states)] * len(states)
    if len(weights) != len(states) or abs(math.fsum(weights) - 1) > 1e-6:
        raise ValueError(
            f"{len(states)} networks need as many weights with sum 1, got {weights}"
        )
    for other in states[1:]:
        _check_alike(states[0], other)
    mean: dict[str, Tensor] = {}
    for name, first in states[0].items():
        if first.is_floating_point() or first.is_complex():
            wide = torch.promote_types(first.dtype, torch.float64)
            total = torch.zeros_like(first, dtype=wide)
            for weight, state in zip(weights, states, strict=True):
                total += weight * state[name].to(first.device, wide)
            mean[name] = total.to(first.dtype)
        else:
            mean[name] = first.clone()
    return mean


def _check_alike(a: State, b: State) -> None:
    """Raise unless two networks have the same names and shapes."""
    if set(a) != set(b):
        raise ValueError(
            "only networks of one architecture can be interpolated: tensors in one "
            f"of the state dicts only: {sorted(set(a) ^ set(b))[:5]}"
        )
    for name, mine in a.items():
        if mine.shape != b[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(mine.shape)} in one network and "
                f"{tuple(b[name].shape)} in the other"
            )


Run = Callable[..., Any]
"""Runs a network: called with its state and the inputs, returns logits."""


def evaluate(
    model: nn.Module | Run, state: State, batches: Iterable[tuple[Any, Tensor]]
) -> Evaluation:
    """Measure a network's loss and accuracy.

    Parameters
    ----------
    model
        A classifier in evaluation mode that returns logits ``(N, classes)``; or a
        function of a state dict and inputs that does, such as
        :meth:`lmc.Renormalization.run`.
    state
        The network's parameters and buffers; the model's own are not changed.
    batches
        Pairs of inputs and int64 targets ``(N,)``.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        The model is in train mode, the state dict lacks something, what the model
        returns are no logits of the samples, or there is no sample.
    """
    run = runner(model, state) if isinstance(model, nn.Module) else model
    loss, right, samples = 0.0, 0, 0
    with torch.no_grad():
        for inputs, targets in labelled(batches):
            arguments = as_arguments(inputs)
            logits = check_logits(run(state, *arguments), len(targets)).double()
            loss += float(F.cross_entropy(logits, targets, reduction="sum"))
            right += int((logits.argmax(1) == targets).sum())
            samples += len(targets)
    if samples == 0:
        raise ValueError("no samples: give at least one batch")
    return Evaluation(loss / samples, 100 * right / samples)


def runner(model: nn.Module, state: State) -> Run:
    """Return a function that runs a module with given tensors, checked once.

    Raises
    ------
    ValueError
        The model is in train mode, or the state dict lacks something.
    """
    if in_train_mode(model):
        raise ValueError(
            "the model (or a part of it) is in train mode: call model.eval() first"
        )
    if missing := [name for name in model.state_dict() if name not in state]:
        raise ValueError(
            f"the state dict lacks {missing[:3]}: pass a whole model.state_dict()"
        )
    return lambda tensors, *inputs: call(model, tensors, inputs)


def curve(
    model: nn.Module | Run,
    a: State,
    b: State,
    batches: Iterable[tuple[Any, Tensor]],
    *,
    lambdas: Sequence[float] = LAMBDAS,
    repair: Callable[[State, float], State] | None = None,
) -> Curve:
    """Evaluate the networks on the line from A to B.

    Parameters
    ----------
    model
        A classifier in evaluation mode, or a function as for :func:`evaluate`.
    a, b
        State dicts of the endpoints.
    batches
        Pairs of inputs and targets that can be gone through several times.
    lambdas
        Points on the line.
    repair
        Applied to each interpolated network and its lambda before it is evaluated
        (not to the endpoints, which need no repair), for instance a renormalization.

    Returns
    -------
    Curve
    """
    points = []
    for lam in lambdas:
        state: State = interpolate(a, b, lam)
        if repair is not None and 0 < lam < 1:
            state = repair(state, lam)
        points.append(evaluate(model, state, batches))
    return Curve(
        tuple(lambdas),
        tuple(point.loss for point in points),
        tuple(point.accuracy for point in points),
    )
