"""One operation of a graph and its rule: where rules register, and are applied.

A rule takes a :class:`Call` (the node, with the axes of its arguments) and returns
the axes of the result; on the way it ties units together or pins them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from lmc.axes import Algebra, Axes, Ties
from lmc.exported import argument, operation_name
from lmc.operations import FACTORIES, MOVES
from lmc.rules.shapes import Shapes
from lmc.units import MAY_BE_FREE, TooFine


class Refused(Exception):
    """A use of an operation that its rule does not cover."""


class TooFew(Exception):
    """A number of rows that can't be shared out evenly, unless there are more samples.

    Attributes
    ----------
    factor
        How many times as many samples would do.
    """

    def __init__(self, factor: int):
        super().__init__(factor)
        self.factor = factor


class Call:
    """One operation of a graph, with the axes of its arguments."""

    def __init__(self, node: Node, shapes: Shapes):
        self.node = node
        self.shapes = shapes
        self.algebra = Algebra(shapes.units, where(node), shapes.tensors)
        self.positions = Ties(
            shapes.units, f"{MAY_BE_FREE}: its positions are values of {where(node)}"
        )
        """Pins axes whose positions a tensor of integers counts."""

    @property
    def ties(self) -> Ties:
        """What the operation says about units."""
        return self.algebra.ties

    def given(self, which: int | str, default: Any = None) -> Any:
        """Return an argument as the graph has it, by position or name."""
        return argument(self.node, which, default)

    def axes(self, which: int | str) -> Axes:
        """Return the axes of an argument that is a tensor."""
        return self.shapes[self.given(which)]

    def has(self, which: int | str) -> bool:
        """Whether an argument is a tensor."""
        return self.given(which) in self.shapes

    @property
    def tensors(self) -> list[Axes]:
        """The axes of all arguments that are tensors."""
        return [self.shapes[n] for n in self.node.all_input_nodes if n in self.shapes]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the result."""
        return self.shapes.sizes(self.node.meta["val"])

    @property
    def each(self) -> list[tuple[int, ...]]:
        """The shapes of the results of an operation with several."""
        return [self.shapes.sizes(value) for value in self.node.meta["val"]]

    def dim(self, which: int | str, of: Axes, default: int = 0) -> int:
        """Return an argument that names an axis, counted from the front."""
        return int(self.given(which, default)) % len(of.sizes)

    def aligned(self, operands: Sequence[Axes]) -> Axes:
        """Combine tensors position by position, with broadcasting."""
        rank = len(self.sizes)
        return self.algebra.combine(
            [(axes, range(rank - len(axes.sizes), rank)) for axes in operands],
            range(rank),
            self.sizes,
        )

    def along(
        self, axes: Axes, vectors: Sequence[int | str], dims: Sequence[int]
    ) -> Axes:
        """Combine a tensor with arguments over some of its axes, where given."""
        operands: list[tuple[Axes, Sequence[int]]] = [(axes, range(len(axes.sizes)))]
        operands += [(self.axes(which), dims) for which in vectors if self.has(which)]
        return self.algebra.combine(operands, range(len(axes.sizes)), axes.sizes)


Rule = Callable[[Call], Axes | list[Axes]]


_RULES: dict[str, Rule] = {}
_OF_NAMES = {"getitem", *FACTORIES} - {"tril", "triu"}
"""Operations that handle integers which name units, or don't read them."""


def rule(*operations: str, names: bool = False) -> Callable[[Rule], Rule]:
    """Register a rule for ATen operations by name, whatever their overload.

    Only a rule for ``names`` is given integers that name units: others pin those.
    """

    def register(function: Rule) -> Rule:
        for operation in operations:
            _RULES[operation] = function
        if names:
            _OF_NAMES.update(operations)
        return function

    return register


def apply_rule(node: Node, shapes: Shapes) -> None:
    """Find the axes of a node's result; pin what no rule explains.

    What is computed without any unit, as masks and positions are, needs no rule.

    Parameters
    ----------
    node
        A ``call_function`` node of an exported graph.
    shapes
        Axes of the values before it; the node's own are added.
    """
    value = node.meta.get("val")
    if operation_name(node) == "item":  # which may count or choose anything
        for axes in (axes for n in node.all_input_nodes for axes in shapes.items(n)):
            Ties(shapes.units, f"{MAY_BE_FREE}: read by {where(node)}").pin(axes)
    if not isinstance(value, (Tensor, list, tuple)):
        return  # a size or an assertion, which has no axes
    explained = _RULES.get(operation_name(node))
    try:
        if explained is None:
            raise Refused("no rule for")
        call = Call(node, shapes)
        found = explained(call)
        shapes[node] = _with_names(call, found)
    except (TooFine, TooFew):
        raise  # asks to begin anew
    except Exception as error:
        fault = f"the rule fails ({type(error).__name__}: {error}) for"
        reason = f"{error if isinstance(error, Refused) else fault} {where(node)}"
        ties = Ties(shapes.units, reason)
        touched = [axes for n in node.all_input_nodes for axes in shapes.items(n)]
        if any(map(ties.free, touched)):
            shapes.refused.append(reason)
        for axes in touched:
            ties.pin(axes)
        shapes[node] = (
            Axes(shapes.sizes(value))
            if isinstance(value, Tensor)
            else [Axes(shapes.sizes(v)) for v in value if isinstance(v, Tensor)]
        )


def _with_names(call: Call, found: Axes | list[Axes]) -> Axes | list[Axes]:
    """Pass on which units integers name, or pin these."""
    name, given = operation_name(call.node), call.node.all_input_nodes
    if name in _OF_NAMES:
        return found
    read = [axes for node in given for axes in call.shapes.items(node)]
    read = read[:1] if name in MOVES else read
    named = [axes.named for axes in read if axes.named is not None]
    if not named:
        return found
    moved = name in MOVES or name in ("cat", "concat", "concatenate", "stack")
    alike = len(named) == len(read) and all(
        call.ties.same(named[0], other) for other in named[1:]
    )
    if not (moved and alike and _same_values(call.node)):
        for axes in read:
            call.positions.pin_named(axes)
        return found
    if isinstance(found, Axes):
        return replace(found, named=named[0])
    return [replace(axes, named=named[0]) for axes in found]


def _same_values(node: Node) -> bool:
    """Whether integers are still the same numbers in the dtype of the result."""
    values = pytree.tree_leaves(node.meta["val"])
    return node.target is not torch.ops.aten.view.dtype and all(
        value.dtype is not torch.bool for value in values
    )


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
