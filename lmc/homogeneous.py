"""Homogeneous interpolation: biases by the power in which they enter the output.

A ReLU network without normalization is homogeneous: if every weight is multiplied by
``c`` and the bias of layer ``l`` by ``c^l``, its output is multiplied by ``c^L``.
"""

from typing import Any, Literal

from torch import Tensor
from torch.fx import Node

from lmc.exported import argument, operation_name
from lmc.graph import Graph, State
from lmc.interpolation import interpolate
from lmc.operations import HOMOGENEOUS, JOINS

Joins = Literal["refuse", "longest"]
"""What to do where paths of different numbers of layers are joined."""


def homogeneous_degrees(graph: Graph, *, joins: Joins = "refuse") -> dict[str, int]:
    """Return for each bias the number of layers up to its own, on the path to it.

    Parameters
    ----------
    graph
        The graph of a model without normalization, with ReLU nonlinearities.
    joins
        Whether a sum of paths with different numbers of layers, as residual networks
        have, is refused, as no degrees make it homogeneous; or the longest path counts,
        as in arXiv 2402.05966, Figure 28, for residual networks.

    Returns
    -------
    dict of str to int
        The degree, counted from 1, for the name of each layer's bias.

    Raises
    ------
    ValueError
        The model is not homogeneous: it has an operation that is not, or a sum of
        paths with different numbers of layers that ``joins`` refuses, or adds a
        constant other than zero behind a layer (in front of all layers it is part of
        the input).

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((4, 8, 8, 2)).eval(), torch.zeros(2, 4))
    >>> homogeneous_degrees(graph)
    {'1.bias': 1, '3.bias': 2, '5.bias': 3}
    """
    layers = {layer.node: layer for layer in graph.layers}
    degrees: dict[Node, int] = {}
    biases: dict[str, int] = {}
    for node in graph.nodes:
        if node.op == "placeholder" and node.name not in graph.tensors:
            degrees[node] = 0
        if node.op != "call_function":
            continue
        # Sizes and assertions are no values of the network.
        found = [degrees[n] for n in node.all_input_nodes if n in degrees]
        value = node.meta.get("val")
        if not found or not isinstance(value, (Tensor, list, tuple)):
            continue
        if (constant := _constant(node)) and any(found):
            raise ValueError(
                f"{node.target} (node {node.name}) adds the constant {constant} behind "
                f"{max(found)} layers: the model is not homogeneous; use interpolate"
            )
        if node.name in layers:
            degrees[node] = degrees[argument(node, 0)] + 1
            bias = layers[node.name].bias
            if (
                bias is not None
                and biases.setdefault(bias, degrees[node]) != (degrees[node])
            ):
                raise ValueError(f"{bias} is used at several depths: it has no degree")
        elif operation_name(node) in HOMOGENEOUS:
            degrees[node] = found[0]
        elif operation_name(node) in JOINS and len(node.all_input_nodes) == len(found):
            if len(set(found)) > 1 and joins == "refuse":
                raise ValueError(
                    f"{node.target} (node {node.name}) joins paths of "
                    f"{sorted(set(found))} layers: the model is not homogeneous (no "
                    "residual network is); use interpolate, or joins='longest'"
                )
            degrees[node] = max(found)
        else:
            raise ValueError(
                f"{node.target} (node {node.name}) is not homogeneous: homogeneous "
                "interpolation is for ReLU networks without normalization; use "
                "interpolate"
            )
    return biases


def _constant(node: Node) -> Any:
    """The number that an operation joins to the values that it takes, 0 for none."""
    number = None
    if operation_name(node) in JOINS:
        number = argument(node, "other")
    elif operation_name(node) == "pad":
        number = argument(node, "value")
    return 0 if number is None or isinstance(number, Node) else number


def interpolate_homogeneous(
    graph: Graph, a: State, b: State, lam: float, *, joins: Joins = "refuse"
) -> dict[str, Tensor]:
    """Return a network between two, with each bias interpolated by its degree.

    Weights are interpolated linearly; the bias of layer ``l`` becomes
    ``(1 - lam)^l b_0 + lam^l b_1``.

    Parameters
    ----------
    graph
        The graph of the model; see :func:`homogeneous_degrees`.
    a, b
        State dicts of the endpoints.
    lam
        Point on the way: 0 gives ``a``, 1 gives ``b``.
    joins
        As for :func:`homogeneous_degrees`: ``"longest"`` for residual networks.

    Raises
    ------
    ValueError
        The model is not homogeneous, or the networks do not fit each other.

    References
    ----------
    Wang et al. 2022, as cited by arXiv 2402.05966, appendix E.5.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> model = MLP((4, 8, 2)).eval()
    >>> graph, state = trace(model, torch.zeros(2, 4)), model.state_dict()
    >>> middle = interpolate_homogeneous(graph, state, state, 0.5)
    >>> torch.allclose(middle["3.bias"], state["3.bias"] / 2)
    True
    """
    point = interpolate(a, b, lam)
    for name, degree in homogeneous_degrees(graph, joins=joins).items():
        mine, its = a[name].double(), b[name].to(a[name].device).double()
        mixed = (1 - lam) ** degree * mine + lam**degree * its
        for alias in graph.aliases[name]:
            point[alias] = mixed.to(a[name].dtype)
    return point
