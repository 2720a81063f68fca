"""What each ATen operation says about the axes of its arguments and its result.

A rule takes the node and a :class:`Shapes` that knows the axes of every value seen
so far, ties or pins axes, and returns the axes of the result.  To add an operation,
add a function under ``@rule("its ATen name")``; an operation without a rule pins
every axis that it touches (:func:`apply_rule`), which is always sound.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.fx import Node

from lmc.axes import Axis, axis, pin, reshape, resolve, unify
from lmc.graph import argument, operation_name

Axes = list[Axis]
"""One axis per dimension of a tensor."""

POINTWISE = frozenset(
    "relu relu6 leaky_relu elu selu celu gelu silu mish sigmoid tanh hardtanh "
    "hardsigmoid hardswish softplus exp log sqrt rsqrt abs neg square clamp".split()
)
"""Nonlinearities and other functions of a single value.

Activation matching reads a unit's activation behind them."""

ELEMENTWISE = frozenset(
    "add sub mul div maximum minimum pow where dropout feature_dropout alpha_dropout "
    "clone contiguous detach alias to _to_copy".split()
)
"""Other functions that treat each position alike, with broadcasting."""

POOLING = {
    f"{kind}_pool{dimensions}d": dimensions
    for kind in ("max", "avg", "adaptive_avg")
    for dimensions in (1, 2, 3)
}
"""Pooling over the last axes, channel by channel."""


class Shapes:
    """The axes of every value of a graph, as far as the rules have been applied."""

    def __init__(self) -> None:
        self._axes: dict[str, Axes] = {}
        self.refused: list[str] = []

    def __setitem__(self, node: Node, axes: Axes) -> None:
        self._axes[node.name] = axes

    def __getitem__(self, node: Node) -> Axes:
        return [resolve(factors) for factors in self._axes[node.name]]

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Node) and value.name in self._axes


Rule = Callable[[Node, Shapes], Axes]
_RULES: dict[str, Rule] = {}


def rule(*operations: str) -> Callable[[Rule], Rule]:
    """Register a rule for ATen operations by name, whatever their overload."""

    def register(function: Rule) -> Rule:
        for operation in operations:
            _RULES[operation] = function
        return function

    return register


def apply_rule(node: Node, shapes: Shapes) -> None:
    """Find the axes of a node's result; pin what no rule explains.

    Parameters
    ----------
    node
        A ``call_function`` node of an exported graph.
    shapes
        Axes of the values before it; the node's own are added.
    """
    value = node.meta.get("val")
    if not isinstance(value, (Tensor, list, tuple)):
        return  # a size or an assertion, which has no axes
    explained = _RULES.get(operation_name(node)) if isinstance(value, Tensor) else None
    if explained is not None:
        shapes[node] = explained(node, shapes)
    else:
        shapes[node] = _pinned(node, shapes, "no rule for")


def sizes(value: Tensor) -> list[int]:
    """Return a tensor's shape, with the example's size for a dynamic axis."""
    return [
        dim.node.hint if isinstance(dim, torch.SymInt) else int(dim)
        for dim in value.shape
    ]


def where(node: Node) -> str:
    """Say which operation this is and where in the model's source it stands."""
    lines = (node.meta.get("stack_trace") or "").strip().splitlines()
    files = [line.strip() for line in lines if line.strip().startswith("File ")]
    # A line inside torch says less than the module that called it.
    own = [line for line in files if "/torch/" not in line]
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    if own:
        place = own[-1].replace("File ", "", 1).replace('"', "")
    else:
        place = f"module {modules[-1][0]}" if modules else "no source line"
    return f"{node.target} (node {node.name}, {place})"


def _pinned(node: Node, shapes: Shapes, why: str) -> Axes:
    """Pin the axes of all arguments and of the result: always sound."""
    reason = f"{why} {where(node)}"
    shapes.refused.append(reason)
    for argument_node in node.all_input_nodes:
        if argument_node in shapes:
            pin(shapes[argument_node], reason)
    value = node.meta["val"]
    if not isinstance(value, Tensor):
        return []
    return [axis(size, reason) for size in sizes(value)]


def _spatial(node: Node, kept: Axes) -> Axes:
    """Append pinned axes to those kept: positions of pixels are told apart."""
    rest = sizes(node.meta["val"])[len(kept) :]
    return kept + [axis(size, f"position in {where(node)}") for size in rest]


@rule("conv1d", "conv2d", "conv3d")
def _convolution(node: Node, shapes: Shapes) -> Axes:
    images, weight = shapes[argument(node, 0)], shapes[argument(node, 1)]
    bias = argument(node, 2)
    if argument(node, 6, 1) != 1:
        return _pinned(node, shapes, "no rule for the groups of")
    if len(images) != len(weight):
        return _pinned(node, shapes, "no batch axis in")
    unify(weight[1], images[1], f"input channels of {where(node)}")
    if bias is not None:
        unify(weight[0], shapes[bias][0], f"bias of {where(node)}")
    pin(weight[2:], f"kernel position in {where(node)}")
    pin(images[2:], f"position in {where(node)}")
    return _spatial(node, [images[0], weight[0]])


@rule("linear")
def _linear(node: Node, shapes: Shapes) -> Axes:
    inputs, weight = shapes[argument(node, 0)], shapes[argument(node, 1)]
    bias = argument(node, 2)
    unify(weight[1], inputs[-1], f"input features of {where(node)}")
    if bias is not None:
        unify(weight[0], shapes[bias][0], f"bias of {where(node)}")
    return [*inputs[:-1], weight[0]]


@rule("batch_norm")
def _batch_norm(node: Node, shapes: Shapes) -> Axes:
    features = shapes[argument(node, 0)]
    for position in range(1, 5):  # weight, bias, running mean and variance
        vector = argument(node, position)
        if vector is not None:
            unify(features[1], shapes[vector][0], f"channels of {where(node)}")
    return features


@rule("layer_norm")
def _layer_norm(node: Node, shapes: Shapes) -> Axes:
    features = shapes[argument(node, 0)]
    normalized = features[-len(argument(node, 1)) :]
    for position in (2, 3):  # weight and bias
        vector = argument(node, position)
        if vector is not None:
            for mine, its in zip(normalized, shapes[vector], strict=True):
                unify(mine, its, f"normalized axes of {where(node)}")
    return features


@rule(*POINTWISE, *ELEMENTWISE)
def _elementwise(node: Node, shapes: Shapes) -> Axes:
    result: Axes = [() for _ in node.meta["val"].shape]
    for operand in node.all_input_nodes:
        if operand not in shapes:
            continue  # a number, which has no axes
        axes = shapes[operand]
        offset = len(result) - len(axes)
        for index, mine in enumerate(axes, start=offset):
            if not mine:
                continue  # size 1 is stretched over the other's axis
            if result[index]:
                unify(result[index], mine, f"operands of {where(node)}")
            else:
                result[index] = mine
    return result


@rule(*POOLING)
def _pooling(node: Node, shapes: Shapes) -> Axes:
    features = shapes[argument(node, 0)]
    kept = len(features) - POOLING[operation_name(node)]
    pin(features[kept:], f"position in {where(node)}")
    return _spatial(node, features[:kept])


@rule("mean", "sum", "amax", "amin")
def _reduction(node: Node, shapes: Shapes) -> Axes:
    # Symmetric in what it reduces: those axes stay as free as they were.
    features = shapes[argument(node, 0)]
    reduced = argument(node, "dim")
    if reduced is None or reduced == []:
        reduced = range(len(features))
    if isinstance(reduced, int):
        reduced = [reduced]
    gone = {dim % len(features) for dim in reduced}
    keep = bool(argument(node, "keepdim", False))
    return [
        () if index in gone else factors
        for index, factors in enumerate(features)
        if keep or index not in gone
    ]


@rule("flatten", "view", "reshape", "_unsafe_view", "squeeze", "unsqueeze")
def _reshape(node: Node, shapes: Shapes) -> Axes:
    return reshape(shapes[argument(node, 0)], sizes(node.meta["val"]), where(node))


@rule("permute")
def _permute(node: Node, shapes: Shapes) -> Axes:
    features = shapes[argument(node, 0)]
    return [features[dim] for dim in argument(node, 1)]


@rule("transpose")
def _transpose(node: Node, shapes: Shapes) -> Axes:
    features = shapes[argument(node, 0)]
    first, second = argument(node, 1), argument(node, 2)
    features[first], features[second] = features[second], features[first]
    return features
