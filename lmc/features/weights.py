"""Quantities of parameters alone: distance and magnitude."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from lmc.graph import Graph, State


def l2_distance(a: State, b: State, names: Iterable[str] | None = None) -> float:
    """Return the Euclidean distance between two networks, in float64.

    A tensor counts once for each name that is given, so that one that the state dict
    holds under several names counts several times by default.  To count each once, as
    the objective of weight matching does, give the names ``name`` for which
    ``graph.aliases[name][0] == name``.

    Parameters
    ----------
    a, b
        State dicts of the same names and shapes.
    names
        The tensors to compare: for instance the names of the parameters, to leave
        out BatchNorm's running statistics.  By default all names in the state dicts
        whose tensors are floating point or complex.

    Raises
    ------
    ValueError
        A name is missing from one of the networks, or shapes differ.

    References
    ----------
    arXiv 2402.05966, Table 3 (with and without BatchNorm statistics).

    Examples
    --------
    >>> import torch
    >>> l2_distance({"w": torch.zeros(2)}, {"w": torch.tensor([3.0, 4.0])})
    5.0
    """
    if names is None:
        both = {**a, **b}
        names = [n for n, t in both.items() if t.is_floating_point() or t.is_complex()]
    squares = []
    for name in names:
        if name not in a or name not in b:
            raise ValueError(f"{name!r} is missing from one of the networks")
        if a[name].shape != b[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(a[name].shape)} in one network and "
                f"{tuple(b[name].shape)} in the other"
            )
        wide = torch.promote_types(a[name].dtype, torch.float64)
        difference = a[name].to(wide) - b[name].to(a[name].device, wide)
        squares.append(float(difference.abs().square().sum()))
    return math.sqrt(math.fsum(squares))  # whatever the order of the tensors


def layer_means(graph: Graph, values: Mapping[str, Tensor]) -> dict[str, float]:
    """Average a quantity of each parameter over the parameters of each layer.

    Parameters
    ----------
    graph
        The model's graph.
    values
        For each parameter's name a tensor of its shape, for instance the result of
        :func:`diagonal_fisher`.

    Returns
    -------
    dict of str to float
        For each layer's name the mean over all entries of its weight and its bias
        (one mean of all, not a mean of two means), in float64.

    Raises
    ------
    ValueError
        The values of a layer's weight or bias are missing.

    References
    ----------
    arXiv 2402.05966, Figure 42 (Fisher information), Figures 4D and 43 (magnitude).

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((2, 1)).eval(), torch.zeros(2, 2))
    >>> weight, bias = torch.tensor([[1.0, 2.0]]), torch.tensor([6.0])
    >>> layer_means(graph, {"1.weight": weight, "1.bias": bias})
    {'1': 3.0}
    """
    means = {}
    for layer in graph.layers:
        names = [name for name in (layer.weight, layer.bias) if name is not None]
        if missing := [name for name in names if name not in values]:
            raise ValueError(
                f"no values for {missing} of layer {layer.name!r}: give one tensor for "
                "each parameter"
            )
        parts = [values[name].double().flatten() for name in names]
        means[layer.name] = float(torch.cat(parts).mean())
    return means


def parameter_magnitude(graph: Graph, state: State) -> dict[str, float]:
    """Return the mean absolute value of each layer's parameters, weight and bias.

    Parameters, errors and source as for :func:`layer_means`.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((2, 1)).eval(), torch.zeros(2, 2))
    >>> weight, bias = torch.tensor([[1.0, -2.0]]), torch.tensor([-6.0])
    >>> parameter_magnitude(graph, {"1.weight": weight, "1.bias": bias})
    {'1': 3.0}
    """
    names = {name for layer in graph.layers for name in (layer.weight, layer.bias)}
    return layer_means(
        graph, {name: value.abs() for name, value in state.items() if name in names}
    )
