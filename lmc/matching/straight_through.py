"""The straight-through estimator: permutations by gradient descent on the loss."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from lmc.batches import as_arguments, labelled
from lmc.graph import State
from lmc.interpolation import interpolate
from lmc.matching.descent import Descent
from lmc.matching.pair import Pair
from lmc.matching.result import Matching
from lmc.permutation import Permutation
from lmc.symmetry import Symmetry

_NOT_FINITE = "the loss is not finite: one of the networks has diverged"


def straight_through(
    symmetry: Symmetry,
    a: State,
    b: State,
    batches: Iterable[Any],
    *,
    generator: torch.Generator,
    loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy,
    lr: float = 1e-3,
    epochs: int = 10,
    lam: float = 0.5,
    max_sweeps: int = 100,
    start: Literal["a", "b"] = "a",
) -> Matching:
    """Match B to A so that the loss between them is low, by gradient descent.

    An auxiliary network, which starts as a copy of A (or of B), is projected on the
    permuted copies of B: by weight matching, from the last projection on.  The loss
    of the network between A and the projection is differentiated by the latter, and
    the gradient is applied to the auxiliary network as if there had been no
    projection (Adam).  Of the projections at the start and after each epoch that with
    the lowest mean loss is returned.

    BatchNorm runs with interpolated running statistics, as the model in evaluation
    mode does.

    Parameters
    ----------
    symmetry
        Groups of both networks.
    a, b
        State dicts of the two networks.
    batches
        Pairs of inputs and targets; a list or a data loader, which is gone through
        twice in each epoch.
    generator
        Source of the order of the groups in the projections.
    loss
        Function of outputs and targets, with a mean over the batch.
    lr
        Learning rate of Adam.
    epochs
        Number of passes over the batches.
    lam
        Where between A (0) and B (1) the loss is taken.
    max_sweeps
        Upper bound on the sweeps of one projection.
    start
        Which network the auxiliary one is a copy of at first.  With ``"a"``, as in
        algorithm 3, the first projection is what weight matching finds, and the
        descent goes on from there.  With ``"b"`` it is the identity, so that all that
        is found comes from the loss.

    Returns
    -------
    Matching
        Its objective is minus the mean loss; its history has the start and each
        epoch.

    Raises
    ------
    ValueError
        A state dict does not fit the model or is not finite, there are no batches,
        the loss is not finite, or there is no such start.

    References
    ----------
    Ainsworth et al., Git Re-Basin (arXiv 2209.04836), section 3.3 and algorithm 3;
    settings as in arXiv 2402.04051.
    """
    began = time.perf_counter()
    if start not in ("a", "b"):
        raise ValueError(f"unknown start {start!r}: choose 'a' or 'b'")
    symmetry.check(a)
    symmetry.check(b)
    first = a if start == "a" else b
    trained = [n for n in symmetry.graph.parameters if a[n].is_floating_point()]
    # A tensor with two names is one variable.
    trained = [n for n in trained if symmetry.graph.aliases[n][0] == n]
    # In at least float32: Adam's squares are none in float16.
    auxiliary = {
        name: first[name].detach().to(_wide(first[name].dtype), copy=True)
        for name in trained
    }
    optimizer = torch.optim.Adam(auxiliary.values(), lr=lr)
    start_from = dict(first)
    for name, value in auxiliary.items():
        start_from |= dict.fromkeys(symmetry.graph.aliases[name], value)
    # Its tensors are the auxiliary network's own, which Adam changes in place.
    descent = Descent(Pair(symmetry, start_from, b), torch.float64)

    def between() -> tuple[Permutation, dict[str, Tensor]]:
        here = descent.permutation()
        return here, interpolate(a, here.apply(b), lam)

    descent.run(generator, max_sweeps)
    here, state = between()
    history = [-_mean_loss(symmetry, state, batches, loss)]
    best = here
    for _ in range(epochs):
        for inputs, targets in labelled(batches):
            leaves = [state[name].detach().requires_grad_() for name in trained]
            tracked = dict(state)
            for name, leaf in zip(trained, leaves, strict=True):
                tracked |= dict.fromkeys(symmetry.graph.aliases[name], leaf)
            with torch.enable_grad():
                value = loss(_outputs(symmetry, tracked, inputs), targets)
                gradients = torch.autograd.grad(value, leaves, allow_unused=True)
            if not bool(value.isfinite()):
                raise ValueError(_NOT_FINITE)
            for name, gradient in zip(trained, gradients, strict=True):
                own = auxiliary[name]
                own.grad = None if gradient is None else (lam * gradient).to(own.dtype)
            optimizer.step()
            descent.forget_costs()
            if descent.run(generator, max_sweeps):
                here, state = between()
        history.append(-_mean_loss(symmetry, state, batches, loss))
        if history[-1] == max(history):
            best = here
    return Matching(
        best, max(history), tuple(history), descent.solves, time.perf_counter() - began
    )


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _outputs(symmetry: Symmetry, state: State, inputs: Any) -> Any:
    arguments = as_arguments(inputs)
    return symmetry.graph.run(state, *arguments)


def _mean_loss(
    symmetry: Symmetry,
    state: State,
    batches: Iterable[Any],
    loss: Callable[[Any, Tensor], Tensor],
) -> float:
    """Mean loss over samples."""
    total, samples = 0.0, 0
    with torch.no_grad():
        for inputs, targets in labelled(batches):
            value = float(loss(_outputs(symmetry, state, inputs), targets))
            total += value * len(targets)
            samples += len(targets)
    if samples == 0:
        raise ValueError("no batches: give a list of pairs of inputs and targets")
    if not abs(total) < float("inf"):
        raise ValueError(_NOT_FINITE)
    return total / samples
