"""The second-order expansion of the loss between two networks."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import lmc
from claims.measure.pairs import Pair
from lmc.graph import Graph, State


def expanded_loss(
    graph: Graph,
    state: State,
    towards: State,
    batches: Iterable[Any],
    loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy,
) -> float:
    """Return what a second-order expansion at one network predicts for another.

    ``L + g . d + d . H d / 2`` with the gradient and the Hessian of the mean loss at
    ``state`` and ``d = towards - state``, over all parameters, in float64.  The
    Hessian is that of automatic differentiation: ReLU has none of its own.

    Parameters
    ----------
    graph, batches
        Of the model; pairs of inputs and targets, which count by their samples.
    state, towards
        Where it is expanded, and the network whose loss is predicted.
    loss
        Function of outputs and targets, with a mean over the batch.

    References
    ----------
    Ito et al., arXiv 2402.04051: the expansion that does not explain connectivity.
    """
    if graph.batch_norms:
        raise ValueError(
            "the loss is expanded in parameters, and BatchNorm's running statistics "
            "are none: choose a setting without BatchNorm"
        )
    own = [name for name in graph.parameters if graph.aliases[name][0] == name]
    steps = [(towards[name].double() - state[name].double()) for name in own]
    total, samples = 0.0, 0
    for inputs, targets in batches:
        leaves = [state[name].detach().double().requires_grad_() for name in own]
        network = {name: value.double() for name, value in state.items()}
        for name, leaf in zip(own, leaves, strict=True):
            network |= dict.fromkeys(graph.aliases[name], leaf)
        value = loss(graph.run(network, inputs.double()), targets)
        slope = _along(value, leaves, steps)
        curvature = _along(slope, leaves, steps)
        predicted = value + slope + curvature / 2
        total += float(predicted.detach()) * len(targets)
        samples += len(targets)
    if samples == 0:
        raise ValueError("no batches: give a list of pairs of inputs and targets")
    return total / samples


def _along(value: Tensor, leaves: list[Tensor], steps: list[Tensor]) -> Tensor:
    """Derivative of a value along a step; differentiable once more."""
    if not value.requires_grad:  # a slope that no parameter changes
        return torch.zeros_like(value)
    gradients = torch.autograd.grad(
        value, leaves, create_graph=True, materialize_grads=True
    )
    return torch.stack(
        [(g * d).sum() for g, d in zip(gradients, steps, strict=True)]
    ).sum()


def predicted_loss(pair: Pair, method: str) -> float:
    """Return the midpoint's training loss as the endpoints' expansions predict it.

    The mean of the two expansions, at A and at the matched B, in nats.

    Two networks without BatchNorm, matched as in :meth:`Pair.matched`.
    """

    def measure() -> list[float]:
        graph, batches = pair.setting.symmetry.graph, pair.setting.batches("train")
        ends = pair.a.state, pair.matched(method)
        middle = lmc.interpolate(*ends, 0.5)
        return [expanded_loss(graph, end, middle, batches) for end in ends]

    return sum(pair.values("expanded-loss", {"method": method}, measure)) / 2
