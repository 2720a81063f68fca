"""Singular values and vectors of weights, between networks and against inputs.

The matrix of a linear layer is its weight ``(out, in)``; that of a convolution is
``(out, in / groups * kernel)``, the rows of which are the filters: it maps the patches
of the input to the outputs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmc.features.activations import chosen_layers
from lmc.graph import Around, Graph, Layer, State
from lmc.observing import observe


@dataclass(frozen=True, eq=False)
class SingularAlignment:
    """How the singular vectors of one layer lie in two networks.

    Attributes
    ----------
    values_a, values_b
        Singular values, descending, float64 ``(r,)``.
    products
        ``(u_i . u'_j) (v_i . v'_j)`` for each singular triple ``i`` of A and ``j`` of
        B, float64 ``(r, r)``: free of the signs of the vectors.
    """

    values_a: Tensor
    values_b: Tensor
    products: Tensor

    def kept(self, gamma: float) -> tuple[Tensor, Tensor]:
        """Return which triples of A and B have values above gamma times the largest.

        Values that are zero up to rounding never count: their vectors are arbitrary.
        """
        rounding = 1e2 * torch.finfo(torch.float64).eps * len(self.values_a)
        least = max(gamma, rounding)
        return (
            self.values_a > least * self.values_a[0],
            self.values_b > least * self.values_b[0],
        )


def singular_values(
    graph: Graph, state: State, layers: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Return the singular values of layers' weights.

    Parameters
    ----------
    graph
        The model's graph.
    state
        A network.
    layers
        Names of layers; by default all that the model uses at one place.

    Returns
    -------
    dict of str to Tensor
        Float64 ``(min(out, in / groups * kernel),)``, descending.

    Raises
    ------
    ValueError
        A layer is unknown.

    References
    ----------
    Ito et al., arXiv 2402.04051, section 4 and Figure 1.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((2, 2), bias=False).eval(), torch.zeros(2, 2))
    >>> values = singular_values(graph, {"1.weight": torch.tensor([[0.0, 3], [2, 0]])})
    >>> [round(value, 6) for value in values["1"].tolist()]
    [3.0, 2.0]
    """
    return {
        layer.name: torch.linalg.svdvals(_matrix(state, layer))
        for layer in chosen_layers(graph, layers)
    }


def singular_alignment(
    graph: Graph, a: State, b: State, layers: Sequence[str] | None = None
) -> dict[str, SingularAlignment]:
    """Compare the singular vectors of two networks, layer by layer.

    Parameters
    ----------
    graph
        The model's graph.
    a, b
        Two networks, B already permuted.
    layers
        Names of layers; by default all that the model uses at one place.

    Raises
    ------
    ValueError
        A layer is unknown, or its shapes differ.

    References
    ----------
    Ito et al., arXiv 2402.04051, section 4.
    """
    found = {}
    for layer in chosen_layers(graph, layers):
        ours, theirs = _matrix(a, layer), _matrix(b, layer)
        if ours.shape != theirs.shape:
            raise ValueError(
                f"{layer.weight} is a matrix {tuple(ours.shape)} in one network and "
                f"{tuple(theirs.shape)} in the other: compare networks of one "
                "architecture"
            )
        u, values_a, v = torch.linalg.svd(ours, full_matrices=False)
        w, values_b, x = torch.linalg.svd(theirs.to(ours.device), full_matrices=False)
        found[layer.name] = SingularAlignment(values_a, values_b, (u.T @ w) * (v @ x.T))
    return found


def alignment(
    graph: Graph,
    a: State,
    b: State,
    gamma: float = 0.0,
    layers: Sequence[str] | None = None,
) -> float:
    """Return how far the singular vectors of two networks agree, from -1 to 1.

    ``R`` is the sum of ``(u_i . u'_j) (v_i . v'_j)`` over layers and over pairs of
    singular triples whose values exceed gamma times their layer's largest, divided by
    the sum of the layers' numbers of such triples (where the networks' numbers
    differ, their mean).  ``R(a, a) = 1``.  At ``gamma = 0`` it is the normalized
    inner product of the orthogonal polar factors of the weights.

    Parameters
    ----------
    graph
        The model's graph.
    a, b
        Two networks, B already permuted.
    gamma
        From 0 to 1, exclusive: leaves out small singular values.
    layers
        Names of layers; by default all that the model uses at one place.

    Raises
    ------
    ValueError
        Gamma is out of bounds, a layer is unknown, shapes differ, or all weights are
        zero.

    References
    ----------
    Ito et al., arXiv 2402.04051, section 4 (gamma 0 and 0.3).

    Examples
    --------
    The larger singular triple agrees, the smaller one has the opposite sign:

    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((2, 2), bias=False).eval(), torch.zeros(2, 2))
    >>> a = {"1.weight": torch.tensor([[4.0, 0.0], [0.0, 1.0]])}
    >>> b = {"1.weight": torch.tensor([[5.0, 0.0], [0.0, -1.0]])}
    >>> alignment(graph, a, b), alignment(graph, a, b, gamma=0.3)
    (0.0, 1.0)
    """
    if not 0 <= gamma < 1:
        raise ValueError(
            f"gamma is a share of the largest singular value: choose it from 0 to "
            f"below 1, got {gamma}"
        )
    products, count = [], 0.0
    for layer in singular_alignment(graph, a, b, layers).values():
        rows, columns = layer.kept(gamma)
        products.append(float(layer.products[rows][:, columns].sum()))
        count += (int(rows.sum()) + int(columns.sum())) / 2
    if count == 0:
        raise ValueError("all weights are zero: they have no singular vectors")
    return math.fsum(products) / count


def input_energy(
    graph: Graph,
    state: State,
    batches: Iterable[Any],
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Return how the inputs of layers lie along the weights' right singular vectors.

    For a layer with inputs ``x`` (of a convolution: the patches, zeros of the padding
    included) and right singular vectors ``v_i`` the share is
    ``E (v_i . x)^2 / E |x|^2``.  For a grouped convolution the patches of all groups
    count alike.

    Parameters
    ----------
    graph
        The model's graph.
    state
        A network.
    batches
        Pairs of inputs and targets; the targets are not used.
    layers
        Names of layers; by default all that the model uses at one place.

    Returns
    -------
    dict of str to Tensor
        Float64 ``(min(out, in / groups * kernel),)`` in the order of descending
        singular values.  The shares sum to 1 if the matrix has full column rank, to
        less if it is wide; they are zero for a layer whose inputs all are.  They are
        formed in float64 for networks in half precision, too.

    Raises
    ------
    ValueError
        A layer is unknown, or there are no samples.

    References
    ----------
    Ito et al., arXiv 2402.04051, Figure 4.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((2, 2), bias=False).eval(), torch.zeros(2, 2))
    >>> state = {"1.weight": torch.tensor([[0.0, 3.0], [2.0, 0.0]])}
    >>> x = torch.tensor([[1.0, 3.0], [-1.0, 3.0]])
    >>> shares = input_energy(graph, state, [(x, None)])["1"]
    >>> [round(share, 6) for share in shares.tolist()]
    [0.9, 0.1]
    """
    chosen = chosen_layers(graph, layers)
    directions = {
        layer.name: torch.linalg.svd(_matrix(state, layer), full_matrices=False)[2]
        for layer in chosen
    }
    energy = {name: torch.zeros_like(found[:, 0]) for name, found in directions.items()}
    total = dict.fromkeys(energy, 0.0)

    def around(layer: Layer) -> Around:
        found = directions[layer.name]
        one = found.new_ones(1, found.shape[1])

        def observed(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
            x, weight = args[:2]
            if x.dtype not in (torch.float64, torch.float32):
                x = x.double()  # squares and sums may be beyond the network's dtype
            # The operation itself cuts the patches: with v_i for its filters it
            # returns v_i . x, and with ones on the squares |x|^2.
            groups = x.shape[1] // weight.shape[1] if layer.kind == "convolution" else 1
            rest = {key: value for key, value in kwargs.items() if key != "bias"}

            def squares(values: Tensor, rows: Tensor) -> Tensor:
                filters = rows.to(values).view(-1, *weight.shape[1:])
                filters = filters.repeat(groups, *[1] * (weight.ndim - 1))
                return operation(values, filters, None, *args[3:], **rest).double()

            along = squares(x, found).square().movedim(layer.channel_axis, 0)
            by_direction = along.reshape(groups, len(found), -1).sum((0, 2))
            energy[layer.name] += by_direction
            total[layer.name] += float(squares(x.square(), one).sum())
            return operation(*args, **kwargs)

        return observed

    observe(graph, state, batches, {layer.node: around(layer) for layer in chosen})
    return {
        name: found / total[name] if total[name] > 0 else found
        for name, found in energy.items()
    }


def _matrix(state: State, layer: Layer) -> Tensor:
    return state[layer.weight].detach().flatten(1).double()
