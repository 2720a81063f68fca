"""What each ATen operation says about the axes of its arguments and its result.

A rule takes a :class:`Call` (the node, with the axes of its arguments) and returns
the axes of the result; on the way it ties units together or pins them.  To add an
operation, add a function under ``@rule("its ATen name")``.  An operation without a
rule pins every unit that it touches (:func:`apply_rule`), which is always sound.
Rules of operations on positions are in :mod:`lmc.indexing`.
``lmc/docs/algebra.md`` works through what rules are made of.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from lmc.axes import Algebra, Axes, Block
from lmc.exported import argument, operation_name, storages
from lmc.operations import (
    ELEMENTWISE,
    FACTORIES,
    IDENTITIES,
    MOVES,
    POOLING,
    RESHAPES,
)
from lmc.units import MAY_BE_FREE, Ints, TooFine, Units


class Shapes:
    """The axes of every value of a graph, as far as the rules have been applied.

    Parameters
    ----------
    units
        The units of the model.
    written
        Storages of the trace that operations write into.
    factor
        Axes of dynamic size are taken as if there were so many times as many samples
        as in the example.
    """

    def __init__(
        self, units: Units, written: Collection[int] = (), factor: int = 1
    ) -> None:
        self.units = units
        self.factor = factor
        self._written = written
        self._samples: dict[Any, int] = {}
        self.refused: list[str] = []
        self.tensors: dict[str, Axes] = {}
        """Axes of the parameters and buffers, by one of their names."""
        self.constants: dict[Node, Tensor] = {}
        """Values of tensors that are known: lists of positions in the model's code."""
        self._sources: dict[Node, str] = {}
        self._axes: dict[Node, Axes | list[Axes]] = {}

    def sizes(self, value: Tensor) -> tuple[int, ...]:
        """Return a tensor's shape, with the chosen size for a dynamic axis."""
        return tuple(map(self._size, value.shape))

    def _size(self, size: int | torch.SymInt) -> int:
        if not isinstance(size, torch.SymInt):
            return size
        hint: int = size.node.hint
        if self.factor == 1:
            return hint
        scaled = size.node.expr.subs(self._samples)
        return int(scaled) if scaled.is_Integer else hint

    def given(self, node: Node) -> tuple[int, ...]:
        """Return the shape of an input; other shapes are computed from its own."""
        value = node.meta["val"]
        for size in value.shape:
            if isinstance(size, torch.SymInt):
                self._samples[size.node.expr] = self.factor * size.node.hint
        return self.sizes(value)

    def place(self, node: Node, name: str) -> None:
        """Note that a node is the parameter or buffer of this name."""
        self._sources[node] = name

    def changes(self, node: Node) -> bool:
        """Whether the model writes into a tensor after it was made."""
        return not set(storages(node)).isdisjoint(self._written)

    def refine(self, node: Node, axes: Axes) -> None:
        """Replace the axes of a parameter by more precise ones."""
        self.tensors[self._sources[node]] = axes

    def __setitem__(self, node: Node, axes: Axes | list[Axes]) -> None:
        if isinstance(axes, Axes) and len(node.users) != 1:
            axes = replace(axes, view=None)  # what one use refines, others would miss
        self._axes[node] = axes

    def __getitem__(self, node: Node) -> Axes:
        axes = self._find(node)
        assert isinstance(axes, Axes)
        return axes

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Node) and isinstance(self._find(value), Axes)

    def items(self, node: Node) -> list[Axes]:
        """Return the axes of a list of tensors, or of one tensor as such a list."""
        axes = self._find(node)
        return [axes] if isinstance(axes, Axes) else axes

    def _find(self, node: Node) -> Axes | list[Axes]:
        if node in self._sources:
            return self.tensors[self._sources[node]]
        return self._axes.get(node, [])


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
        self.positions = Algebra(
            shapes.units, f"{MAY_BE_FREE}: its positions are values of {where(node)}"
        )
        """Pins axes whose positions a tensor of integers counts."""

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
            Algebra(shapes.units, f"{MAY_BE_FREE}: read by {where(node)}").pin(axes)
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
        algebra = Algebra(shapes.units, reason)
        touched = [axes for n in node.all_input_nodes for axes in shapes.items(n)]
        if any(map(algebra.free, touched)):
            shapes.refused.append(reason)
        for axes in touched:
            algebra.pin(axes)
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
        call.algebra.same(named[0], other) for other in named[1:]
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


# Position by position.


@rule(*ELEMENTWISE)
def _elementwise(call: Call) -> Axes:
    name = operation_name(call.node)
    if name == "prelu" and call.axes(1).sizes != (1,):
        return call.along(call.axes(0), [1], [1])
    if name in IDENTITIES:  # a second tensor says which dtype or device
        if call.given(0) in call.shapes.constants:
            call.shapes.constants[call.node] = call.shapes.constants[call.given(0)]
        return call.aligned([call.axes(0)])
    if name == "copy":  # what it is written into is read elsewhere
        why = f"{MAY_BE_FREE}: written into another tensor by {where(call.node)}"
        call.algebra = Algebra(call.shapes.units, why)
    return call.aligned(call.tensors)


@rule(*FACTORIES)
def _factory(call: Call) -> Axes:
    name = operation_name(call.node)
    if name in ("tril", "triu") and call.axes(0).blocks:
        raise Refused("units are told apart by")
    equal = name.removeprefix("new_").removesuffix("_like") in ("zeros", "ones", "full")
    if equal and not call.shapes.changes(call.node):
        return _even(call.sizes)
    users = [operation_name(user) for user in call.node.users]
    if equal and users in (["scatter"], ["scatter_add"]):  # read once, as it is
        return _even(call.sizes)
    return Axes(call.sizes)


def _even(sizes: tuple[int, ...]) -> Axes:
    """A tensor of equal values."""
    return Axes(sizes, (), frozenset(d for d, size in enumerate(sizes) if size > 1))


@rule("glu")
def _gated(call: Call) -> Axes:
    features = call.axes(0)
    dim = call.dim(1, features, -1)
    half = features.sizes[dim] // 2
    halves = [
        call.algebra.take(features, dim, np.arange(start, start + half))
        for start in (0, half)
    ]
    return call.aligned(halves)


@rule("batch_norm", "instance_norm")
def _batch_norm(call: Call) -> Axes:
    features = call.axes(0)
    if call.given("training", False) or call.given("use_input_stats", False):
        over = [0, *range(2, len(features.sizes))]
        if operation_name(call.node) == "instance_norm":
            over = over[1:]
        call.algebra.reduce(features, over, keep=True)
    # Scale, shift, running mean and variance of each channel.
    return call.along(features, range(1, 5), [1])


@rule("layer_norm", "rms_norm")
def _layer_norm(call: Call) -> Axes:
    features = call.axes(0)
    rank = len(features.sizes)
    normalized = range(rank - len(call.given(1)), rank)
    call.algebra.reduce(features, normalized, keep=True)
    return call.along(features, [2, 3], normalized)


@rule("group_norm")
def _group_norm(call: Call) -> Axes:
    features = _channelwise(call, 0, 2)
    batch, channels, *pixels = features.sizes
    groups = call.given(1)
    grouped = call.algebra.reshape(
        features, (batch, groups, channels // groups, *pixels)
    )
    call.algebra.reduce(grouped, range(2, len(grouped.sizes)), keep=True)
    return call.along(features, [2, 3], [1])


@rule("softmax", "log_softmax", "_softmax", "_log_softmax")
def _softmax(call: Call) -> Axes:
    features = call.axes(0)
    call.algebra.reduce(features, [call.dim(1, features)], keep=True)
    return call.aligned([features])


@rule("wrap_with_autocast", "wrap_with_set_grad_enabled", names=True)
def _region(call: Call) -> list[Axes]:
    """A part of the model in another mode: a graph of its own."""
    number = next(
        at
        for at, value in enumerate(call.node.args)
        if isinstance(value, Node) and value.op == "get_attr"
    )
    name, *given = call.node.args[number:]
    assert isinstance(name, Node)
    module = getattr(call.node.graph.owning_module, str(name.target))
    inside = iter(given)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            outer = next(inside)
            if isinstance(outer, Node) and outer in call.shapes:
                call.shapes[node] = call.shapes[outer]
        elif node.op == "call_function":
            apply_rule(node, call.shapes)
        elif node.op == "output":
            return [call.shapes[n] for n in node.args[0] if n in call.shapes]
    raise AssertionError("a graph has an output")


# Sums over axes.


@rule(
    "mean",
    "sum",
    "amax",
    "amin",
    "var",
    "std",
    "prod",
    "logsumexp",
    "linalg_vector_norm",
    "any",
    "all",
)
def _reduction(call: Call) -> Axes:
    features = call.axes(0)
    reduced = call.given("dim")
    if reduced is None or reduced == []:
        reduced = range(len(features.sizes))
    if isinstance(reduced, int):
        reduced = [reduced]
    return call.algebra.reduce(features, reduced, bool(call.given("keepdim", False)))


@rule(*POOLING)
def _pooling(call: Call) -> Axes | list[Axes]:
    name, value = operation_name(call.node), call.node.meta["val"]
    algebra, features = call.algebra, call.axes(0)
    rank = len(features.sizes)
    pixels = range(rank - POOLING[name], rank)
    alone = [block for block in features.blocks if set(block.dims) <= {*pixels}]
    algebra.pin(Axes(features.sizes, tuple(alone)))
    rest = tuple(block for block in features.blocks if block not in alone)
    pooled = Axes(features.sizes, rest)
    if any(pooled.over(dim) for dim in pixels) and "upsample" not in name:
        # Units at each pixel: those of one window become one.
        for dim in pixels:
            pooled = algebra.windows(pooled, dim, _windows(call, dim))
        inside = range(rank, rank + len(pixels))
        pooled = algebra.reduce(pooled, inside, keep=False)
    else:
        pooled = algebra.pin(pooled, pixels)
    algebra.see(pooled)
    if isinstance(value, Tensor):
        return Axes(call.sizes, pooled.blocks)
    return [Axes(shape, pooled.blocks) for shape in call.each]  # indices as well


@rule("linear")
def _linear(call: Call) -> Axes:
    inputs = call.axes(0)
    batch = range(len(inputs.sizes) - 1)
    rows, columns = -1, -2
    operands = [(inputs, [*batch, columns]), (call.axes(1), [rows, columns])]
    if call.has(2):
        operands.append((call.axes(2), [rows]))
    return call.algebra.combine(operands, [*batch, rows], call.sizes)


@rule("matmul", "bmm", "mm", "mv", "dot")
def _matmul(call: Call) -> Axes:
    return _product(call, call.axes(0), call.axes(1), call.sizes)


@rule("addmm", "baddbmm")
def _addmm(call: Call) -> Axes:
    product = _product(call, call.axes(1), call.axes(2), call.sizes)
    return call.aligned([product, call.axes(0)])


@rule("einsum")
def _einsum(call: Call) -> Axes:
    equation = call.given(0).replace(" ", "")
    operands, arrow, out = equation.partition("->")
    terms = operands.split(",")
    if not arrow:
        letters = sorted(set(operands) - {","})
        out = "".join(letter for letter in letters if operands.count(letter) == 1)
    if "." in equation or any(len(set(term)) < len(term) for term in terms):
        raise Refused("no rule for ellipses and diagonals in")
    tensors = [call.shapes[tensor] for tensor in call.given(1)]
    return call.algebra.combine(
        [(axes, [*map(ord, term)]) for axes, term in zip(tensors, terms, strict=True)],
        [*map(ord, out)],
        call.sizes,
        product=True,
    )


@rule("scaled_dot_product_attention")
def _attention(call: Call) -> Axes:
    query, key, value = (call.axes(which) for which in range(3))
    *batch, length, _ = query.sizes
    if call.given("enable_gqa", False):  # several query heads for each key and value
        heads = len(batch) - 1
        key, value = (
            call.algebra.take(axes, heads, np.arange(batch[-1]) * size // batch[-1])
            for axes in (key, value)
            for size in axes.sizes[heads : heads + 1]
        )
    logits = (*batch, length, key.sizes[-2])
    rank = len(logits)
    turned = call.algebra.permute(key, [*range(rank - 2), rank - 1, rank - 2])
    weights = _product(call, query, turned, logits)
    if call.has("attn_mask"):
        mask = call.axes("attn_mask")
        weights = call.algebra.combine(
            [(weights, range(rank)), (mask, range(rank - len(mask.sizes), rank))],
            range(rank),
            logits,
        )
    weights = call.algebra.combine([(weights, range(rank))], range(rank), logits)
    return _product(call, weights, value, call.sizes)


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(call: Call) -> list[Axes]:
    gates = {"lstm": 4, "gru": 3}.get(operation_name(call.node), 1)
    if isinstance(call.given("has_biases"), Node):
        raise Refused("packed sequences in")
    algebra = call.algebra
    features = algebra.pin(call.axes(0), [0, 1])  # samples and times
    starts = [call.shapes[n] for n in pytree.tree_leaves(call.given(1))]
    parameters = [call.shapes[node] for node in call.given(2)]
    directions = 2 if call.given("bidirectional") else 1
    each = 4 if call.given("has_biases") else 2
    if len(parameters) != each * directions * call.given("num_layers"):
        raise Refused("no rule for projections in")
    states = []
    for layer in range(call.given("num_layers")):
        outputs = []
        for number in range(directions * layer, directions * (layer + 1)):
            inner, outer, *biases = parameters[each * number : each * (number + 1)]
            given = _gated_sums(call, gates, features, inner, biases[:1])
            state = algebra.combine(
                [(g, range(3)) for g in given], range(3), given[0].sizes
            )
            again = _gated_sums(call, gates, state, outer, biases[1:])
            terms = [(axes, [0, 1, 2]) for axes in (*given, *again)]
            for start in starts:
                terms.append((algebra.take(start, 0, np.array([number])), [3, 4, 2]))
            outputs.append(algebra.combine(terms, range(3), given[0].sizes))
        states += outputs
        features = algebra.cat(outputs, 2)
    # The last states: other units for each layer and direction.
    units, places = (
        np.stack([getattr(block, which) for s in states for block in s.over(2)])
        for which in ("units", "places")
    )
    last = Axes(call.each[1], (Block((0, 2), units, places),))
    return [features, *[last] * len(starts)]


def _gated_sums(
    call: Call, gates: int, features: Axes, weight: Axes, bias: Sequence[Axes]
) -> list[Axes]:
    """Inner products with each gate's rows of a weight, gate by gate."""
    algebra, rows = call.algebra, weight.sizes[0]
    operands: list[tuple[Axes, Sequence[int]]] = [
        (features, [0, 1, 3]),
        (weight, [2, 3]),
    ]
    operands += [(axes, [2]) for axes in bias]
    times = features.sizes[:2]
    sums = algebra.combine(operands, [0, 1, 2], (*times, rows))
    split = algebra.reshape(sums, (*times, gates, rows // gates))
    return [
        algebra.reshape(algebra.take(split, 2, np.array([g])), (*times, rows // gates))
        for g in range(gates)
    ]


@rule("conv1d", "conv2d", "conv3d")
def _convolution(call: Call) -> Axes:
    return _convolved(call, call.given("groups", 1), _kernel(call), inputs=1, outputs=0)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _transposed_convolution(call: Call) -> Axes:
    return _convolved(call, call.given("groups", 1), _kernel(call), inputs=0, outputs=1)


# What only moves data.


@rule(*RESHAPES)
def _reshape(call: Call) -> Axes:
    if prod(call.axes(0).sizes) != prod(call.sizes):
        raise Refused("no rule for single bytes in")
    return call.algebra.reshape(call.axes(0), call.sizes)


@rule("permute")
def _permute(call: Call) -> Axes:
    return call.algebra.permute(call.axes(0), call.given(1))


@rule("transpose", "swapaxes", "swapdims")
def _transpose(call: Call) -> Axes:
    features = call.axes(0)
    first, second = call.dim(1, features), call.dim(2, features)
    order = list(range(len(features.sizes)))
    order[first], order[second] = second, first
    return call.algebra.permute(features, order)


@rule("t", "numpy_T", "mT", "adjoint")
def _turn(call: Call) -> Axes:
    rank = len(call.axes(0).sizes)
    return call.algebra.permute(call.axes(0), [*range(rank - 2), rank - 1, rank - 2])


@rule("movedim")
def _movedim(call: Call) -> Axes:
    features = call.axes(0)
    source, destination = (
        [dim % len(features.sizes) for dim in (d if isinstance(d, list) else [d])]
        for d in (call.given(1), call.given(2))
    )
    order = [dim for dim in range(len(features.sizes)) if dim not in source]
    for dim, to in sorted(zip(source, destination, strict=True), key=lambda x: x[1]):
        order.insert(to, dim)
    return call.algebra.permute(features, order)


@rule("expand", "expand_as", "broadcast_to")
def _expand(call: Call) -> Axes:
    return call.algebra.expand(call.axes(0), call.sizes)


@rule("cat", "concat", "concatenate")
def _cat(call: Call) -> Axes:
    parts = [call.shapes[tensor] for tensor in call.given(0)]
    dim = call.dim(1, parts[0])
    return call.algebra.cat([p for p in parts if p.sizes[dim]] or parts, dim)


@rule("stack")
def _stack(call: Call) -> Axes:
    dim = call.given(1, 0) % len(call.sizes)
    single = (*call.sizes[:dim], 1, *call.sizes[dim + 1 :])
    parts = [call.shapes[tensor] for tensor in call.given(0)]
    return call.algebra.cat([call.algebra.reshape(p, single) for p in parts], dim)


@rule(
    "chunk", "split", "split_with_sizes", "tensor_split", "unsafe_chunk", "unsafe_split"
)
def _split(call: Call) -> list[Axes]:
    features = call.axes(0)
    dim, start, parts = call.dim("dim", features), 0, []
    for shape in call.each:
        index = np.arange(start, start + shape[dim])
        parts.append(call.algebra.take(features, dim, index))
        start += shape[dim]
    return parts


@rule("unbind")
def _unbind(call: Call) -> list[Axes]:
    features = call.axes(0)
    dim = call.dim(1, features)
    return [
        call.algebra.reshape(call.algebra.take(features, dim, np.array([i])), shape)
        for i, shape in enumerate(call.each)
    ]


@rule("getitem")
def _getitem(call: Call) -> Axes:
    source, index = call.node.args
    assert isinstance(source, Node) and isinstance(index, int)
    return call.shapes.items(source)[index]


@rule("select")
def _select(call: Call) -> Axes:
    features = call.axes(0)
    dim, index = call.dim(1, features), call.given(2)
    if not isinstance(index, int):
        raise Refused("no rule for a computed index in")
    chosen = np.array([index % features.sizes[dim]])
    return call.algebra.reshape(call.algebra.take(features, dim, chosen), call.sizes)


@rule("slice", "narrow")
def _slice(call: Call) -> Axes:
    features = call.axes(0)
    dim = call.dim(1, features)
    if features.sizes[dim] == call.sizes[dim]:
        return features
    if call.sizes[dim] == 0:
        return Axes(call.sizes)
    start, step = call.given(2, 0) or 0, call.given("step", 1)
    if not isinstance(start, int) or not isinstance(step, int):
        if features.over(dim):
            raise Refused("no rule for computed bounds in")
        return Axes(call.sizes, features.blocks)
    start = max(start + features.sizes[dim], 0) if start < 0 else start
    index = start + step * np.arange(call.sizes[dim])
    return call.algebra.take(features, dim, index)


@rule("roll")
def _roll(call: Call) -> Axes:
    features = call.axes(0)
    dims = call.given(2, [])
    if not dims:
        raise Refused("no rule for flattened axes in")
    for shift, dim in zip(call.given(1), dims, strict=True):
        index = np.roll(np.arange(features.sizes[dim]), shift)
        features = call.algebra.take(features, dim % len(features.sizes), index)
    return features


@rule("flip")
def _flip(call: Call) -> Axes:
    features = call.axes(0)
    for dim in call.given(1):
        index = np.arange(features.sizes[dim])[::-1]
        features = call.algebra.take(features, dim % len(features.sizes), index)
    return features


@rule("repeat", "tile")
def _repeat(call: Call) -> Axes:
    features = call.axes(0)
    new = len(call.sizes) - len(features.sizes)
    features = call.algebra.reshape(features, (*[1] * new, *features.sizes))
    for dim, size in enumerate(call.sizes):
        index = np.arange(size) % features.sizes[dim]
        features = call.algebra.take(features, dim, index)
    return features


@rule("repeat_interleave")
def _repeat_interleave(call: Call) -> Axes:
    features, count = call.axes(0), call.given("repeats")
    if not isinstance(count, int) or call.given("dim") is None:
        raise Refused("no rule for flattened axes or computed counts in")
    dim = call.dim("dim", features)
    index = np.arange(features.sizes[dim] * count) // count
    return call.algebra.take(features, dim, index)


@rule("pad", "constant_pad_nd")
def _pad(call: Call) -> Axes:
    features, widths = call.axes(0), call.given(1)
    dims = [len(features.sizes) - 1 - i // 2 for i in range(len(widths))]
    padded = [dim for dim, width in zip(dims, widths, strict=True) if width != 0]
    return Axes(call.sizes, call.algebra.pin(features, padded).blocks)


@rule("unfold")
def _unfold(call: Call) -> Axes:
    features = call.axes(0)
    dim, size, step = call.dim(1, features), call.given(2), call.given(3)
    starts = step * np.arange(call.sizes[dim])
    return call.algebra.windows(features, dim, starts[:, None] + np.arange(size))


@rule("im2col")
def _im2col(call: Call) -> Axes:
    features = call.axes(0)
    kernel, dilation, padding, stride = (
        call.given(which) for which in ("kernel_size", "dilation", "padding", "stride")
    )
    if len(features.sizes) != 4:
        raise Refused("no batch axis in")
    features = call.algebra.pin(features, [2 + i for i in (0, 1) if padding[i]])
    for dim in (2, 3):
        i = dim - 2
        padded = features.sizes[dim] + 2 * padding[i]
        count = (padded - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        index = stride[i] * np.arange(count)[:, None]
        index = index + dilation[i] * np.arange(kernel[i]) - padding[i]
        # What is read of the padding is on axes along which no units are left.
        features = call.algebra.windows(
            features, dim, index.clip(0, features.sizes[dim] - 1)
        )
    turned = call.algebra.permute(features, [0, 1, 4, 5, 2, 3])
    return call.algebra.reshape(turned, call.sizes)


@rule("col2im")
def _col2im(call: Call) -> Axes:
    features, kernel = call.axes(0), call.given("kernel_size")
    *batch, _, places = features.sizes
    channels = call.sizes[len(batch)]
    split = call.algebra.reshape(features, (*batch, channels, *kernel, places))
    kept = call.algebra.pin(split, range(len(batch) + 1, len(split.sizes)))
    return Axes(call.sizes, kept.blocks)


@rule("channel_shuffle")
def _channel_shuffle(call: Call) -> Axes:
    (batch, channels, *pixels), groups = call.axes(0).sizes, call.given(1)
    split = call.algebra.reshape(
        call.axes(0), (batch, groups, channels // groups, *pixels)
    )
    order = [0, 2, 1, *range(3, len(split.sizes))]
    return call.algebra.reshape(call.algebra.permute(split, order), call.sizes)


@rule("pixel_shuffle")
def _pixel_shuffle(call: Call) -> Axes:
    *batch, channels, height, width = call.axes(0).sizes
    r, algebra, n = call.given(1), call.algebra, len(batch)
    split = algebra.reshape(
        call.axes(0), (*batch, channels // r**2, r, r, height, width)
    )
    order = [*range(n), n, n + 3, n + 1, n + 4, n + 2]
    return algebra.reshape(algebra.permute(split, order), call.sizes)


# What several rules share.


def _windows(call: Call, dim: int) -> Ints:
    """The positions along an axis that each window of a pooling holds.

    Windows that are cut short hold positions of their own again.
    """
    name = operation_name(call.node)
    shape, value = call.axes(0).sizes, call.node.meta["val"]
    made = call.sizes if isinstance(value, Tensor) else call.each[0]
    axis, before, after = dim - len(shape) + POOLING[name], shape[dim], made[dim]

    def setting(which: str, default: int) -> int:
        given = call.given(which)
        if given is None or given == []:
            return default
        return int(given[axis % len(given)] if isinstance(given, list) else given)

    if name.startswith("adaptive"):
        each = np.arange(after)
        start, end = each * before // after, -(-(each + 1) * before // after)
        width = int((end - start).max())
        return np.minimum(start[:, None] + np.arange(width), end[:, None] - 1)
    kernel = setting("kernel_size", 1)
    start = setting("stride", kernel) * np.arange(after) - setting("padding", 0)
    index = start[:, None] + setting("dilation", 1) * np.arange(kernel)
    inside = (index >= 0) & (index < before)
    first = index[np.arange(after), inside.argmax(1)]
    return np.where(inside, index, first[:, None])


def _channelwise(call: Call, which: int, first: int) -> Axes:
    """An argument whose axes from ``first`` on are pinned, with the result's sizes."""
    features = call.axes(which)
    rank = len(features.sizes)
    kept = call.algebra.pin(features, range(rank)[first:])
    result = Axes(call.sizes, kept.blocks)
    call.algebra.see(result)
    return result


def _kernel(call: Call) -> Axes:
    """A convolution's weight, its kernel axes pinned."""
    algebra = Algebra(call.shapes.units, f"kernel position in {where(call.node)}")
    return algebra.pin(call.axes(1), range(2, len(call.axes(1).sizes)))


def _product(call: Call, left: Axes, right: Axes, sizes: tuple[int, ...]) -> Axes:
    """Matrix product of the last two axes, with broadcasting over those before."""
    rows, inner, columns = -1, -2, -3
    batch = max(len(left.sizes), len(right.sizes), 2) - 2
    terms = []
    for axes, ends in ((left, [rows, inner]), (right, [inner, columns])):
        if len(axes.sizes) == 1:
            ends = [inner]
        own = len(axes.sizes) - len(ends)
        terms.append((axes, [*range(batch - own, batch), *ends]))
    ends = [rows] * (len(left.sizes) > 1) + [columns] * (len(right.sizes) > 1)
    return call.algebra.combine(terms, [*range(batch), *ends], sizes, product=True)


def _convolved(
    call: Call, groups: int, weight: Axes, inputs: int, outputs: int
) -> Axes:
    """A convolution whose weight has its input and output channels on these axes."""
    images, sample, channel, made = call.axes(0), 0, -1, -2
    rank = len(images.sizes)
    if rank != len(weight.sizes):
        raise Refused("no batch axis in")
    images = call.algebra.pin(images, [d for d in range(2, rank) if _moves(call, d)])
    pixels = range(1, rank - 1)
    if groups == 1:
        letters = [channel, made] if inputs == 0 else [made, channel]
        terms = [
            (Axes(weight.sizes[:2], weight.without(range(2, rank)).blocks), letters)
        ]
    else:
        sides = _grouped(call, groups, weight)
        terms = [(sides[inputs], [channel]), (sides[outputs], [made])]
    sizes = (*images.sizes[:2], *call.sizes[2:])
    terms.append((Axes(sizes, images.blocks), [sample, channel, *pixels]))
    if call.has(2):
        terms.append((call.axes(2), [made]))
    return call.algebra.combine(terms, [sample, made, *pixels], call.sizes)


def _moves(call: Call, dim: int) -> bool:
    """Whether a convolution moves or mixes the positions along an axis of pixels."""

    def setting(which: str, default: int) -> int:
        given = call.given(which)
        given = [default] if given is None or isinstance(given, str) else given
        return int(given[(dim - 2) % len(given)])

    return (
        call.axes(1).sizes[dim] > 1
        or setting("stride", 1) > 1
        or setting("padding", 0) > 0
        or setting("output_padding", 0) > 0
    )


def _grouped(call: Call, groups: int, weight: Axes) -> tuple[Axes, Axes]:
    """The channels on both sides of a grouped convolution.

    Its weight has all channels of one side on axis 0, group by group, and the
    channels of one group of the other side on axis 1, which mean other units in each
    group.  The groups of both sides are the same.
    """
    algebra, units = call.algebra, call.shapes.units
    rows, columns = weight.sizes[:2]
    mine = [b for b in weight.blocks if b.dims == (0,)]
    if columns == 1 and 0 in weight.even:  # equal kernels, wherever the channels go
        mine = [Block((0,), units.new(rows), np.zeros(rows, np.int64))]
    outer = Axes((rows,), tuple(mine))
    split = algebra.reshape(outer, (groups, rows // groups))
    holders = algebra.reduce(split, [1], keep=False)
    if columns == 1:
        return outer, holders
    place = np.arange(rows) % (rows // groups)
    group = np.arange(rows) // (rows // groups)
    both = [b for b in weight.blocks if b.dims == (0, 1)]
    if not both:
        along = weight.over(1)
        if call.given(1).op != "placeholder" or not all(
            units.untouched(block.units) for block in along
        ):
            raise Refused("no rule for a weight with other uses in")
        more = units.new((groups - 1) * columns)
        inner = np.append(along[0].units, more).reshape(groups, columns)
        places = np.repeat(place[:, None], columns, 1)
        both = [Block((0, 1), inner[group], places)]
        kept = [b for b in weight.blocks if b.dims != (1,)]
        call.shapes.refine(call.given(1), Axes(weight.sizes, (*kept, *both)))
    table = both[0].units[place == 0]
    inside = Axes((groups, columns), (Block((0, 1), table, np.zeros_like(table)),))
    algebra.combine(
        [(holders, [0]), (algebra.reduce(inside, [1], keep=False), [0])], [0], (groups,)
    )
    return outer, algebra.reshape(inside, (groups * columns,))
