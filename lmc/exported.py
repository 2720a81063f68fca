"""What a program of ``torch.export`` holds for, and what its nodes are."""

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind, TensorArgument
from torch.fx import GraphModule, Node
from torch.fx.node import map_aggregate
from torch.utils import _pytree as pytree


def operation_name(node: Node) -> str:
    """Return the ATen name of a node without overload or in-place underscore.

    ``aten.relu_.default`` and ``aten.relu.default`` are both ``"relu"``; a node
    that calls no ATen operation gives its target's name.
    """
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[-1].rstrip("_")
    return getattr(target, "__name__", str(target))


def argument(node: Node, which: int | str, default: Any = None) -> Any:
    """Return an operation's argument, by its position or its name in the schema."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return default
    names = [argument.name for argument in node.target._schema.arguments]
    if isinstance(which, int):
        position, name = which, names[which]
    elif which in names:
        position, name = names.index(which), which
    else:
        return default  # another overload has it
    return (
        node.args[position]
        if position < len(node.args)
        else node.kwargs.get(name, default)
    )


Place = tuple[torch.dtype, torch.device]
"""Of which dtype floating tensors are, and where they lie."""

Program = tuple[GraphModule, Mapping[str, Any]]
"""A graph and its constants by name."""


class Size(NamedTuple):
    """What the graph demands of an input: its value, or the size of its first axis."""

    name: str
    argument: Any
    least: float
    most: float


def first_axes(program: torch.export.ExportedProgram) -> list[Size]:
    """Read what the graph holds for from the example inputs that it has seen.

    ``torch.export`` makes the first axis a constant, or bounds its size, where the
    model's code depends on it.
    """
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    found = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is not InputKind.USER_INPUT:
            continue
        least, most, name = 0.0, math.inf, spec.arg.name
        if isinstance(spec.arg, TensorArgument) and values[name].ndim:
            size = values[name].shape[0]
            one = size if isinstance(size, int) else size.node.maybe_as_int()
            if one is not None:
                least = most = one
            elif (bounds := program.range_constraints.get(size.node.expr)) is not None:
                # Export itself excludes 0 and 1, for all models.
                least = int(bounds.lower) if bounds.lower > 2 else 0
                most = int(bounds.upper) if bounds.upper.is_Integer else math.inf
        found.append(Size(name, spec.arg, least, most))
    return found


def leaves_like(spec: pytree.TreeSpec, value: Any, where: str) -> Iterator[Any]:
    """Yield the leaves of a value in the order of a structure that it must have."""
    if spec.is_leaf():
        if not pytree.tree_is_leaf(value):
            raise ValueError(
                f"{where}: the model was traced with a single value here, got "
                f"{type(value).__name__}"
            )
        yield value
    elif issubclass(spec.type, dict) and isinstance(value, dict):
        # The names that the spec was made with, in its order.
        names = pytree.tree_unflatten(range(spec.num_leaves), spec).keys()
        if value.keys() != names:
            raise ValueError(
                f"{where}: the model was traced with the names "
                f"{sorted(map(str, names))}, got {sorted(map(str, value))}"
            )
        for name, child in zip(names, spec.children(), strict=True):
            yield from leaves_like(child, value[name], f"{where}[{name!r}]")
    elif issubclass(spec.type, (tuple, list)) and isinstance(value, (tuple, list)):
        if len(value) != spec.num_children:
            raise ValueError(
                f"{where}: the model was traced with {spec.num_children} values "
                f"here, got {len(value)}"
            )
        for number, (child, part) in enumerate(
            zip(spec.children(), value, strict=True)
        ):
            yield from leaves_like(child, part, f"{where}[{number}]")
    else:
        leaves, own = pytree.tree_flatten(value)
        if own != spec:
            raise ValueError(
                f"{where}: the model was traced with a {spec.type.__name__} here, "
                f"got {type(value).__name__}"
                if spec.type is not type(value)
                else f"{where}: the {spec.type.__name__} has another structure than "
                "the one that the model was traced with"
            )
        yield from leaves


def graphs(module: GraphModule) -> Iterator[GraphModule]:
    """Yield a graph with those inside it (``torch.no_grad``, ``torch.cond``)."""
    return (part for part in module.modules() if isinstance(part, GraphModule))


def written_storages(module: GraphModule) -> set[int]:
    """Return the storages of the trace that a graph's operations write into."""
    written: set[int] = set()
    same: dict[int, int] = {}
    for part in graphs(module):
        for node in part.graph.nodes:
            if not isinstance(node.target, torch._ops.OpOverload):
                continue
            if operation_name(node) == "dropout":
                # In evaluation mode it returns its input, in the trace a copy of it.
                for storage in storages(node.args[0]):
                    first = same.get(storage, storage)
                    same.update((copied, first) for copied in storages(node))
            for number, parameter in enumerate(node.target._schema.arguments):
                if parameter.is_write:
                    for storage in storages(argument(node, number)):
                        written.add(same.get(storage, storage))
    return written


def written_into(program: torch.export.ExportedProgram) -> tuple[int, ...]:
    """Return the positions of the graph's inputs that its operations write into.

    An operation's schema says into which arguments it writes; the tensors of the
    trace, which of them are views of an input.
    """
    written = written_storages(program.graph_module)
    nodes = {node.name: node for node in program.graph.nodes}
    return tuple(
        position
        for position, spec in enumerate(program.graph_signature.input_specs)
        if written.intersection(storages(nodes[spec.arg.name]))
    )


def storages(value: Any) -> list[int]:
    """Return the storages of the tensors of a node (or of nodes) in the trace."""
    nodes = [node for node in pytree.tree_leaves(value) if isinstance(node, Node)]
    tensors = pytree.tree_leaves([node.meta.get("val") for node in nodes])
    return [
        tensor.untyped_storage()._cdata
        for tensor in tensors
        if isinstance(tensor, Tensor) and tensor.layout is torch.strided
    ]


def traced_at(program: torch.export.ExportedProgram) -> tuple[int | None, Place]:
    """Return which of the graph's inputs says dtype and device, and those traced.

    The first floating parameter or buffer; in a model without one, the first
    floating input.
    """
    nodes = {node.name: node for node in program.graph.nodes}
    specs = list(enumerate(program.graph_signature.input_specs))
    own = [s for s in specs if s[1].kind is InputKind.PARAMETER or s[1].persistent]
    given = [s for s in specs if s[1].kind is InputKind.USER_INPUT]
    for position, spec in (*own, *given):
        value = nodes[spec.arg.name].meta.get("val")
        if isinstance(value, Tensor) and value.is_floating_point():
            return position, (value.dtype, value.device)
    return None, (torch.get_default_dtype(), torch.device("cpu"))


def moved(value: Any, source: Place, target: Place) -> Any:
    """Replace the dtype and device of the trace, in a tensor or in an argument."""
    if isinstance(value, Tensor):
        dtype, device = (moved(v, source, target) for v in (value.dtype, value.device))
        return value.to(device, dtype)
    if isinstance(value, torch.dtype):
        return target[0] if value == source[0] else value
    if isinstance(value, torch.device):
        return target[1] if value.type == source[1].type else value
    return value


def graph_at(module: GraphModule, source: Place, target: Place) -> GraphModule:
    """Return a copy of a graph in which the dtype and device are replaced."""
    module = copy.deepcopy(module)
    for part in graphs(module):
        for node in list(part.graph.nodes):
            if node.target is torch.ops.aten._assert_tensor_metadata.default:
                part.graph.erase_node(node)  # asserts those of the trace
            elif node.target is not torch.ops.aten.view.dtype:  # looks at the bits
                node.args, node.kwargs = map_aggregate(
                    (node.args, node.kwargs), lambda v: moved(v, source, target)
                )
        part.recompile()
    return module
