"""One-shot pruning of the weights of convolutions and linear layers.

Scores say what each weight is worth (:func:`magnitude_scores`, :func:`fisher_scores`,
:func:`wood_fisher`); :func:`prune` removes those with the lowest.  Biases and
normalization parameters stay.  RESET and REPAIR of the pruned network, with the dense
network's statistics for goal, are those of :mod:`lmc.renormalization`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lmc.batches import as_arguments, batch_size, check_logits, pairs
from lmc.graph import Graph, State

Update = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
"""From bool masks of the removed weights to what is added to the weights."""


def prune(
    graph: Graph,
    state: State,
    sparsity: float,
    scores: Mapping[str, Tensor],
    scope: Literal["global", "layerwise"] = "global",
    update: Update | None = None,
) -> dict[str, Tensor]:
    """Set the weights with the lowest scores to zero.

    Exactly ``round(sparsity * n)`` of the ``n`` weights that have scores are removed,
    over all of them together or in each tensor.  Weights that are zero already go
    first, and of equal scores the one that comes first in the order of ``scores`` and
    of the tensors' entries, so that the result is the same on every machine.

    Parameters
    ----------
    graph
        The model's graph.
    state
        The dense network.
    sparsity
        Share of weights to remove, from 0 to 1.
    scores
        For the names of weights in the state dict a tensor of their shape: larger is
        worth more.  Weights without scores stay.
    scope
        ``"global"`` or ``"layerwise"``.
    update
        Given bool masks of the removed weights, returns what is to be added to the
        weights; removed ones are zero in any case.  See :meth:`WoodFisher.update`.

    Returns
    -------
    dict of str to Tensor
        The pruned network; tensors that are not pruned are the dense network's.

    Raises
    ------
    ValueError
        Sparsity or scope is out of bounds, or scores are missing, not finite, of the
        wrong shape or for what is no weight of a convolution or linear layer.

    References
    ----------
    arXiv 2402.05966, section 5 and appendix G.

    Examples
    --------
    Half of the weights removed, then REPAIR with the dense network's statistics:

    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> from lmc.renormalization import renormalize, statistics
    >>> dense, x = MLP((4, 8, 2)).eval(), torch.randn(64, 4)
    >>> graph, state, batches = trace(dense, x), dense.state_dict(), [(x, None)]
    >>> pruned = prune(graph, state, 0.5, magnitude_scores(graph, state))
    >>> sum(int((pruned[name] == 0).sum()) for name in ("1.weight", "3.weight"))
    24
    >>> goal = statistics(graph, state, batches)
    >>> repaired = renormalize("repair", graph, pruned, goal, batches).fuse(pruned)
    >>> sum(int((repaired[name] == 0).sum()) for name in ("1.weight", "3.weight"))
    24
    >>> now = statistics(graph, repaired, batches)["1"]
    >>> torch.allclose(now.mean, goal["1"].mean, atol=1e-4)
    True
    """
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity is a share of weights from 0 to 1, got {sparsity}")
    _check(graph, state, scores)
    # Weights that are zero already go first, so that the count of zeros is exact.
    ranks = {
        name: score.cpu().double().masked_fill(state[name].cpu() == 0, -torch.inf)
        for name, score in scores.items()
    }
    if scope == "global":
        flat = torch.cat([rank.flatten() for rank in ranks.values()])
        cut = _lowest(flat, sparsity).split([rank.numel() for rank in ranks.values()])
        found = dict(zip(ranks, cut, strict=True))
    elif scope == "layerwise":
        found = {
            name: _lowest(rank.flatten(), sparsity) for name, rank in ranks.items()
        }
    else:
        raise ValueError(f"unknown scope {scope!r}: choose 'global' or 'layerwise'")
    removed = {
        name: mask.view(state[name].shape).to(state[name].device)
        for name, mask in found.items()
    }
    changes = {} if update is None else update(removed)
    pruned = dict(state)
    for name, mask in removed.items():
        weight = state[name].detach()
        if name in changes:
            weight = (weight.double() + changes[name]).to(weight.dtype)
        for alias in graph.aliases[name]:
            pruned[alias] = weight.masked_fill(mask, 0.0)
    return pruned


def magnitude_scores(
    graph: Graph, state: State, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Score each weight by its absolute value.

    Parameters
    ----------
    graph
        The model's graph.
    state
        A network.
    layers
        Names of the layers to prune; by default all convolutions and linear layers.

    Raises
    ------
    ValueError
        A layer is unknown.

    References
    ----------
    Han et al., arXiv 1506.02626.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((2, 1)).eval(), torch.zeros(2, 2))
    >>> state = {"1.weight": torch.tensor([[2.0, -3.0]]), "1.bias": torch.ones(1)}
    >>> magnitude_scores(graph, state)
    {'1.weight': tensor([[2., 3.]], dtype=torch.float64)}
    """
    return {
        name: state[name].detach().double().abs() for name in _weights(graph, layers)
    }


def fisher_scores(
    graph: Graph,
    state: State,
    fisher: Mapping[str, Tensor],
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Score each weight by ``w^2 F / 2``, the loss expected to rise without it.

    Parameters
    ----------
    graph
        The model's graph.
    state
        A network.
    fisher
        The diagonal of its Fisher information matrix, see
        :func:`lmc.features.diagonal_fisher`.
    layers
        Names of the layers to prune; by default all convolutions and linear layers.

    Raises
    ------
    ValueError
        A layer is unknown, or ``fisher`` lacks its weight.

    References
    ----------
    Theis et al., arXiv 1801.05787 (Fisher pruning).
    """
    names = _weights(graph, layers)
    if missing := [name for name in names if name not in fisher]:
        raise ValueError(
            f"no Fisher information of {missing[:3]}: pass the whole result of "
            "diagonal_fisher for this model"
        )
    return {
        name: state[name].detach().double().square() * fisher[name].double() / 2
        for name in names
    }


@dataclass(frozen=True, eq=False)
class WoodFisher:
    """Inverse empirical Fisher information, block by block; see :func:`wood_fisher`.

    Attributes
    ----------
    weights
        The weights, by name.
    gradients
        For each weight's name the gradients of the mini-batches' mean loss,
        ``(mini-batches, entries)``.
    damping
        Lambda.
    block
        Size of the blocks; None for whole layers.
    """

    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    damping: float
    block: int | None

    def scores(self) -> dict[str, Tensor]:
        """Return ``w^2 / (2 [F^-1]_qq)``, the loss expected to rise without a weight.

        Float64, by the names of the weights.

        References
        ----------
        Singh and Alistarh, arXiv 2004.14340, section 4.
        """
        return {
            name: weight.detach().double().square() / (2 * self._diagonal(name))
            for name, weight in self.weights.items()
        }

    def update(self, removed: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the removal of some weights adds to the others.

        The sum over removed weights ``q`` of the best single update,
        ``-w_q F^-1 e_q / [F^-1]_qq``: right for one weight in a block, and where
        several go, right so far as they do not interact.

        Parameters
        ----------
        removed
            Bool masks of the shape of the weights, by name.

        Returns
        -------
        dict of str to Tensor
            Float64, for the removed weights' tensors.

        References
        ----------
        Singh and Alistarh, arXiv 2004.14340, section 4.
        """
        changes = {}
        for name, mask in removed.items():
            weight = self.weights[name].detach().double()
            pull = (weight / self._diagonal(name)).masked_fill(~mask, 0.0).flatten()
            parts = zip(self._inverses[name], self._cut(pull), strict=True)
            whole = torch.cat([inverse.times(part) for inverse, part in parts])
            changes[name] = -whole.view_as(weight)
        return changes

    def _diagonal(self, name: str) -> Tensor:
        parts = [inverse.diagonal for inverse in self._inverses[name]]
        return torch.cat(parts).view_as(self.weights[name])

    @cached_property
    def _inverses(self) -> dict[str, list[_Inverse]]:
        """Of each weight's blocks, made once: one network is pruned again and again."""
        return {
            name: [_Inverse(part, self.damping) for part in self._cut(gradients)]
            for name, gradients in self.gradients.items()
        }

    def _cut(self, values: Tensor) -> tuple[Tensor, ...]:
        return values.split(self.block or values.shape[-1], -1)


def wood_fisher(
    graph: Graph,
    state: State,
    batches: Iterable[Any],
    *,
    subsample: int = 400,
    mini_batch: int = 400,
    damping: float = 1e-5,
    block: int | None = None,
    layers: Sequence[str] | None = None,
) -> WoodFisher:
    """Estimate the inverse empirical Fisher information in blocks (WoodFisher).

    ``F = lambda I + 1/N sum of g g^T`` over ``N`` mini-batches, with ``g`` the gradient
    of a mini-batch's mean cross-entropy, in blocks of consecutive weights of a layer.
    The paper inverts it by one Sherman-Morrison step for each gradient; the Woodbury
    identity for all gradients at once gives the same matrix, without ever forming it:
    a block costs ``O(N^2 block)``, in float64, and whole layers fit.

    Parameters
    ----------
    graph
        Graph of a classifier that returns logits ``(N, classes)``.
    state
        A network; it runs in evaluation mode.
    batches
        Pairs of inputs and int64 targets.  They are cut and joined in their order
        into mini-batches; shuffle them beforehand, by a generator of your own.
    subsample
        Number of mini-batches ``N`` (the paper's Fisher subsample size).  Their
        gradients are held: ``N`` times the size of the weights.
    mini_batch
        Samples in each (the paper's Fisher mini-batch size); 1 for single samples.
    damping
        Lambda, above 0.
    block
        Size of the blocks; by default whole layers.
    layers
        Names of the layers to prune; by default all convolutions and linear layers.

    Returns
    -------
    WoodFisher
        Pass ``.scores()`` to :func:`prune`, and ``.update`` for its update.

    Raises
    ------
    ValueError
        A number is out of bounds, a layer is unknown, labels are missing, or there are
        too few samples.

    References
    ----------
    Singh and Alistarh, arXiv 2004.14340, section 3 (the recursion);
    arXiv 2402.05966, appendix G (subsample and mini-batch of 400 for CIFAR).

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> model, x = MLP((4, 8, 2)).eval(), torch.randn(64, 4)
    >>> graph, batches = trace(model, x), [(x, torch.arange(64) % 2)]
    >>> state = model.state_dict()
    >>> found = wood_fisher(graph, state, batches, subsample=16, mini_batch=4)
    >>> pruned = prune(graph, state, 0.25, found.scores(), update=found.update)
    >>> sum(int((pruned[name] == 0).sum()) for name in found.weights)
    12
    """
    for what, value in {
        "subsample": subsample,
        "mini_batch": mini_batch,
        "block": 1 if block is None else block,
    }.items():
        if value < 1:
            raise ValueError(f"{what} must be at least 1, got {value}")
    if not damping > 0:
        raise ValueError(
            f"damping must be above 0, got {damping}: fewer gradients than weights "
            "have no inverse without it"
        )
    names = _weights(graph, layers)
    gradients: dict[str, list[Tensor]] = {name: [] for name in names}
    count = 0
    for inputs, targets in _mini_batches(batches, mini_batch):
        for name, gradient in _gradients(graph, state, names, inputs, targets).items():
            gradients[name].append(gradient.flatten())
        count += 1
        if count == subsample:
            break
    if count < subsample:
        raise ValueError(
            f"the batches hold {count} mini-batches of {mini_batch} samples, not "
            f"{subsample}: give more samples, or choose smaller numbers"
        )
    return WoodFisher(
        {name: state[name] for name in names},
        {name: torch.stack(rows) for name, rows in gradients.items()},
        damping,
        block,
    )


class _Inverse:
    """``(lambda I + 1/N G^T G)^-1`` in float64, of ``N`` gradients ``G (N, entries)``.

    It holds nothing as large as the gradients.
    """

    def __init__(self, gradients: Tensor, damping: float):
        self._gradients, self._damping = gradients, damping
        rows = gradients.double()
        inner = rows @ rows.T
        inner.diagonal().add_(len(rows) * damping)
        self._factor = torch.linalg.cholesky(inner)
        half = torch.linalg.solve_triangular(self._factor, rows, upper=False)
        self.diagonal = (1 - half.square().sum(0)) / damping

    def times(self, vector: Tensor) -> Tensor:
        rows = self._gradients.double()
        solved = torch.cholesky_solve((rows @ vector)[:, None], self._factor)[:, 0]
        return (vector - rows.T @ solved) / self._damping


def _gradients(
    graph: Graph,
    state: State,
    names: Sequence[str],
    inputs: tuple[Any, ...],
    targets: Tensor,
) -> dict[str, Tensor]:
    """Return the gradients of the mean cross-entropy for some weights."""
    own = {name: state[name].detach().clone().requires_grad_() for name in names}
    whole = {alias: own[name] for name in names for alias in graph.aliases[name]}
    with torch.enable_grad():
        logits = check_logits(graph.run({**state, **whole}, *inputs), len(targets))
        loss = F.cross_entropy(logits.double(), targets)
        found = torch.autograd.grad(loss, list(own.values()))
    return dict(zip(names, found, strict=True))


def _mini_batches(
    batches: Iterable[Any], size: int
) -> Iterator[tuple[tuple[Any, ...], Tensor]]:
    """Cut and join batches into such of one size; a rest is left out."""
    held: list[Any] = []
    count = 0
    for inputs, targets in pairs(batches):
        if targets is None:
            raise ValueError(
                "WoodFisher needs labels: give pairs of inputs and targets"
            )
        held.append((as_arguments(inputs), targets))
        count += batch_size(held[-1][0])
        if count < size:
            continue
        joined = pytree.tree_map(lambda *leaves: torch.cat(leaves), *held)
        for start in range(0, count - size + 1, size):
            part = slice(start, start + size)
            yield pytree.tree_map(lambda leaf, part=part: leaf[part], joined)
        rest = slice(count - count % size, None)
        held = [pytree.tree_map(lambda leaf, rest=rest: leaf[rest], joined)]
        count %= size


def _lowest(scores: Tensor, sparsity: float) -> Tensor:
    """Return a bool mask of the lowest scores, of equal ones the first."""
    count = round(sparsity * len(scores))
    mask = torch.zeros(len(scores), dtype=torch.bool)
    mask[torch.sort(scores, stable=True).indices[:count]] = True
    return mask


def _weights(graph: Graph, layers: Sequence[str] | None) -> list[str]:
    """Return the names of layers' weights, each once, in the order of execution."""
    if layers is None:
        return list(dict.fromkeys(layer.weight for layer in graph.layers))
    return list(dict.fromkeys(graph.layer(name).weight for name in layers))


def _check(graph: Graph, state: State, scores: Mapping[str, Tensor]) -> None:
    """Raise unless there are scores that fit the network."""
    if not scores:
        raise ValueError("no scores: nothing to prune; see magnitude_scores")
    known = _weights(graph, None)
    for name, score in scores.items():
        if name not in known:
            raise ValueError(
                f"{name!r} is no weight of a convolution or linear layer: score only "
                + ", ".join(known)
            )
        if score.shape != state[name].shape:
            raise ValueError(
                f"scores of {name} have shape {tuple(score.shape)}, the weight has "
                f"{tuple(state[name].shape)}"
            )
        if not bool(score.isfinite().all()):
            raise ValueError(
                f"scores of {name} are not finite: has the network diverged?"
            )
