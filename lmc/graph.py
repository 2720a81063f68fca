"""A model as a graph of ATen operations that can be run with its layers changed.

Everything in ``lmc`` that must know a model's layers (the permutation symmetry,
activation matching, renormalization) reads them here, from the graph of
``torch.export``, and never from a list of module classes.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.func import functional_call
from torch.fx import GraphModule, Interpreter, Node
from torch.utils import _pytree as pytree

from lmc.caches import forgetful, kept_tensors
from lmc.exported import (
    Place,
    Program,
    argument,
    first_axes,
    graph_at,
    leaves_like,
    moved,
    operation_name,
    traced_at,
    written_into,
    written_storages,
)
from lmc.operations import ACTIVATIONS, CURVES, ELEMENTWISE, LAYERS

State = Mapping[str, Tensor]
"""Parameters and buffers by name, as ``model.state_dict()`` gives them."""

Around = Callable[..., Any]
"""Stands in for an operation: called as ``around(operation, *args, **kwargs)``."""


class TraceError(ValueError):
    """A model whose graph cannot be taken, with the reason and a way out."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear operation on a parameter of the model.

    Attributes
    ----------
    name
        The parameter's name without ``.weight``: the module's path.
    kind
        ``"convolution"`` or ``"linear"``.
    node
        Name of the operation in the graph; its output is the pre-activation.
    weight, bias
        Names in the state dict; ``bias`` is None for a layer without one.
    channel_axis
        Axis of the output that counts the units (1 or -1).
    """

    name: str
    kind: str
    node: str
    weight: str
    bias: str | None
    channel_axis: int


@dataclass(frozen=True)
class BatchNorm:
    """A BatchNorm operation that uses running statistics.

    Attributes
    ----------
    node
        Name of the operation in the graph.
    mean, variance
        Names of its running statistics in the state dict.
    """

    node: str
    mean: str
    variance: str


class Graph:
    """The ATen graph of a model in evaluation mode; made by :func:`trace`.

    Attributes
    ----------
    nodes : tuple of torch.fx.Node
        The operations in the order of their execution.
    tensors : dict of str to str
        State-dict name of each placeholder that is a parameter or buffer.
    constants : dict of str to torch.Tensor
        Value of each placeholder that is a tensor outside the state dict.
    parameters, buffers : tuple of str
        Names in the state dict, in its order.
    layers : tuple of Layer
        Convolutions and linear layers in the order of their execution.
    batch_norms : tuple of BatchNorm
        BatchNorm operations in the order of their execution.
    written : set of int
        Storages of the trace that operations write into.
    nonlinearities : frozenset of str
        Operations whose output is the activation of units.  Of a function of one
        value that is written out, such as ``x / (1 + abs(x))``, the last operation.
    """

    def __init__(self, program: torch.export.ExportedProgram, model: nn.Module):
        self._program = program
        self.nodes = tuple(program.graph.nodes)
        self.tensors: dict[str, str] = {}
        self.constants: dict[str, Tensor] = {}
        for spec in program.graph_signature.input_specs:
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                assert spec.target is not None
                self.tensors[spec.arg.name] = spec.target
            if isinstance(value := program.constants.get(spec.target or ""), Tensor):
                self.constants[spec.arg.name] = value
        self.parameters = tuple(
            name for name, _ in model.named_parameters(remove_duplicate=False)
        )
        self.buffers = tuple(
            name for name in model.state_dict() if name not in set(self.parameters)
        )
        self.aliases = _aliases(model)
        self.layers = tuple(filter(None, map(self._layer, self.nodes)))
        self.batch_norms = tuple(filter(None, map(self._batch_norm, self.nodes)))
        self.nonlinearities = self._nonlinearities()
        # Each access to call_spec makes a class: as slow as running a small network.
        self._in_spec, self._out_spec = program.call_spec
        self._sizes = first_axes(program)
        self._mutated = written_into(program)
        self.written = written_storages(program.graph_module)
        self._lead, self._traced_at = traced_at(program)
        self._moved: dict[Place, Program] = {}

    def layer(self, name: str) -> Layer:
        """Return the layer of this name.

        Raises
        ------
        ValueError
            There is no such layer, or the model uses it at several places.
        """
        found = [layer for layer in self.layers if layer.name == name]
        if len(found) > 1:
            raise ValueError(
                f"layer {name!r} is used {len(found)} times: its name does not say "
                "which of the outputs is meant"
            )
        if not found:
            raise ValueError(
                f"the model has no convolution or linear layer {name!r}: choose from "
                + ", ".join(layer.name for layer in self.layers)
            )
        return found[0]

    def uses(self, name: str) -> int:
        """Return at how many places the model uses a parameter or buffer."""
        names = {node for node, own in self.tensors.items() if own == name}
        return sum(len(node.users) for node in self.nodes if node.name in names)

    def run(
        self, state: State, *inputs: Any, around: Mapping[str, Around] | None = None
    ) -> Any:
        """Run the model with the given parameters and buffers.

        Parameters
        ----------
        state
            Parameters and buffers by name, of any floating dtype and on any device.
            Neither they nor the inputs are changed: what the model writes into is
            copied.
        *inputs
            The model's inputs, of the same dtype and device, and of the same
            structure as those it was traced with (a list for a tuple is fine).  The
            first axis may have another size, unless the model fixes it.
        around
            For the names of some nodes, a function that stands in for the
            operation: it is called with the operation and its arguments, and
            what it returns is used in place of the result.

        Returns
        -------
        Any
            What the model returns.

        Raises
        ------
        ValueError
            A parameter is missing from ``state``, the number or structure of the
            inputs is wrong, the graph holds for another size of the first axis or
            for another value of an input that is no tensor, or ``around`` names a
            node that the graph does not have.

        Notes
        -----
        What the model itself creates or casts (``x.float()``, ``torch.arange``, its
        constants) has in the graph the dtype and device of the trace.  Those of the
        parameters then are replaced by those of ``state``.
        """
        module, arguments = self._prepared(state, inputs, around or ())
        if around:
            interpreter = _Interpreter(module, around)
            returned = interpreter.run(*arguments, enable_io_processing=False)
        else:
            returned = module.forward(*arguments)  # the same operations as one function
        outputs = [
            value
            for value, spec in zip(
                returned, self._program.graph_signature.output_specs, strict=True
            )
            if spec.kind is OutputKind.USER_OUTPUT
        ]
        return pytree.tree_unflatten(outputs, self._out_spec)

    def steps(
        self, state: State, *inputs: Any, nodes: Collection[str]
    ) -> Iterator[tuple[str, Any]]:
        """Run the model one operation after the other, as far as some of them.

        Parameters
        ----------
        state, *inputs
            As for :meth:`run`.
        nodes
            Names of the operations.

        Yields
        ------
        tuple
            The name of each and its output, which the model may go on to change in
            place: it is to be used before the next is asked for.

        Raises
        ------
        ValueError
            As for :meth:`run`.
        """
        module, arguments = self._prepared(state, inputs, nodes)
        yield from _Interpreter(module, {}).steps(arguments, nodes)

    def _prepared(
        self, state: State, inputs: tuple[Any, ...], nodes: Iterable[str]
    ) -> tuple[GraphModule, list[Any]]:
        """Return what is to be run and its arguments; check the names of nodes."""
        unknown = set(nodes) - {node.name for node in self.nodes}
        if unknown:
            raise ValueError(f"the graph has no nodes {sorted(unknown)}")
        leaves = self._leaves(inputs)
        values = iter(leaves)
        arguments: list[Any] = []
        for spec in self._program.graph_signature.input_specs:
            if spec.kind is InputKind.USER_INPUT:
                arguments.append(next(values))
            elif spec.target in state:
                arguments.append(state[spec.target])
            elif spec.target in self._program.constants:
                arguments.append(self._program.constants[spec.target])
            else:
                raise ValueError(
                    f"the state dict lacks {spec.target!r}, which the model uses: "
                    "pass a whole model.state_dict()"
                )
        module = self._program.graph_module
        if self._lead is not None:
            place = (arguments[self._lead].dtype, arguments[self._lead].device)
            if place != self._traced_at:
                module, constants = self._at(place)
                for position, spec in enumerate(
                    self._program.graph_signature.input_specs
                ):
                    if spec.target in constants and spec.target not in state:
                        arguments[position] = constants[spec.target]
        for position in self._mutated:
            arguments[position] = arguments[position].clone()
        return module, arguments

    def _leaves(self, inputs: tuple[Any, ...]) -> list[Any]:
        """Return the leaves of the inputs in the graph's order, checked."""
        expected = self._in_spec.child(0)
        if len(inputs) != expected.num_children:
            raise ValueError(
                f"the model takes {expected.num_children} inputs, got {len(inputs)}"
            )
        leaves = list(leaves_like(expected, inputs, "inputs"))
        for leaf, (name, fixed, least, most) in zip(leaves, self._sizes, strict=True):
            if isinstance(fixed, ConstantArgument):
                if isinstance(leaf, Tensor) or leaf != fixed.value:
                    raise ValueError(
                        f"the input {name!r} was {fixed.value!r} when the model was "
                        "traced, and the graph holds for that value only: trace the "
                        "model again with the other one"
                    )
            elif not isinstance(leaf, Tensor):
                raise ValueError(
                    f"the input {name!r} was a tensor when the model was traced, got "
                    f"{type(leaf).__name__}"
                )
            elif leaf.ndim and not least <= len(leaf) <= most:
                sizes = f"{least}" if least == most else f"{least} to {most}"
                raise ValueError(
                    f"the first axis of the input {name!r} has size {len(leaf)}, but "
                    f"the model's code makes its graph hold for {sizes} only (a loop "
                    "over the samples, or a branch on their number): use that size, "
                    "or write the model's forward for any number of samples"
                )
        return leaves

    def _at(self, place: Place) -> Program:
        """Return the graph and its constants at another dtype and device, kept."""
        if place not in self._moved:
            constants = {
                name: moved(value, self._traced_at, place)
                for name, value in self._program.constants.items()
            }
            module = graph_at(self._program.graph_module, self._traced_at, place)
            self._moved[place] = module, constants
        return self._moved[place]

    def name_of(self, value: Any) -> str | None:
        """Return the state-dict name of a node's argument, None if it has none."""
        return self.tensors.get(value.name) if isinstance(value, Node) else None

    def _layer(self, node: Node) -> Layer | None:
        operation = operation_name(node)
        if operation not in LAYERS:
            return None
        kind, channel_axis = LAYERS[operation]
        weight, bias = self.name_of(argument(node, 1)), argument(node, 2)
        if weight is None or (bias is not None and self.name_of(bias) is None):
            return None  # computed from parameters, which cannot be rescaled as one
        name = weight.removesuffix(".weight")
        return Layer(name, kind, node.name, weight, self.name_of(bias), channel_axis)

    def _batch_norm(self, node: Node) -> BatchNorm | None:
        if operation_name(node) != "batch_norm":
            return None
        mean, variance = (self.name_of(argument(node, i)) for i in (3, 4))
        if mean is None or variance is None:
            return None
        return BatchNorm(node.name, mean, variance)

    def _nonlinearities(self) -> frozenset[str]:
        found: set[str] = set()
        # For what is computed position by position from one value: that value, and the
        # operations on the way that are not linear.
        ways: dict[Node, tuple[Node, frozenset[str]]] = {}
        for node in self.nodes:
            operation = operation_name(node)
            if node.op != "call_function" or operation not in ELEMENTWISE:
                continue
            if operation in ACTIVATIONS:
                found.add(node.name)
            values = [n for n in node.all_input_nodes if n.name not in self.tensors]
            before = [ways.get(value, (value, frozenset())) for value in values]
            if len({start for start, _ in before}) != 1:
                continue
            curved = frozenset[str]().union(*(names for _, names in before))
            if len(values) > 1 and curved:  # a formula
                found = found - curved | {node.name}
            if node.name in found or operation in CURVES:
                curved |= {node.name}
            ways[node] = before[0][0], curved
        return frozenset(found)


class _Interpreter(Interpreter):
    def __init__(self, module: GraphModule, around: Mapping[str, Around]):
        super().__init__(module)
        self._around = around

    def run_node(self, n: Node) -> Any:
        # Not the base's: it notes for compilers at which node it is, which takes as
        # long as a small operation.
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if n.name in self._around:
            return self._around[n.name](n.target, *args, **kwargs)
        return getattr(self, n.op)(n.target, args, kwargs)

    def steps(
        self, arguments: Iterable[Any], nodes: Collection[str]
    ) -> Iterator[tuple[str, Any]]:
        """Give the outputs of some operations as they come; run none behind them."""
        self.env = {}
        self.args_iter = iter(arguments)
        waiting = set(nodes)
        for node in self.graph.nodes:
            if not waiting:
                return
            self.env[node] = self.run_node(node)
            if node.name in waiting:
                waiting.remove(node.name)
                yield node.name, self.env[node]
            for used in self.user_to_last_uses.get(node, ()):
                del self.env[used]


def in_train_mode(model: nn.Module) -> bool:
    """Whether any part of a model is in train mode."""
    return any(module.training for module in model.modules())


def trace(model: nn.Module, *example_inputs: Any) -> Graph:
    """Take the ATen graph of a model in evaluation mode.

    The graph is that of ``torch.export`` before decomposition: its operations are
    those that the model's author wrote (convolution, layer norm, pooling), so that
    a rule about one says something about the model.

    Parameters
    ----------
    model
        Any module that ``torch.export`` accepts, in evaluation mode.
    *example_inputs
        Inputs as the model takes them, with at least two samples on the first
        axis, which may have another size when the graph is run (unless the model's
        code depends on it: see :meth:`Graph.run`).  Tensors of size 1 there and
        values that are no tensors are shared by all samples.

    Returns
    -------
    Graph

    Raises
    ------
    TraceError
        The model is in train mode, has complex parameters, or does not run on the
        inputs; ``torch.export`` refuses it; or the inputs are of a single sample.

    Examples
    --------
    >>> import torch
    >>> from lmc.models import VGG
    >>> graph = trace(VGG((8, "M", 16)).eval(), torch.zeros(2, 1, 8, 8))
    >>> [layer.name for layer in graph.layers]
    ['features.0', 'features.4', 'classifier']
    """
    if in_train_mode(model):
        raise TraceError(
            "the model (or a part of it) is in train mode, where dropout and "
            "BatchNorm make it no function of its parameters: call model.eval() first"
        )
    if found := [name for name, p in model.named_parameters() if p.is_complex()]:
        raise TraceError(
            f"{', '.join(found[:3])} are complex parameters, and costs, statistics and "
            "averages here are of real numbers: hold real and imaginary parts in one "
            "real parameter, and call torch.view_as_complex in forward"
        )
    first = [
        value.shape[0]
        for value in pytree.tree_leaves(example_inputs)
        if isinstance(value, Tensor) and value.ndim
    ]
    if first and max(first) < 2:
        raise TraceError(
            f"the example inputs have {max(first)} samples, and a graph of so few "
            "would hold for no other number: give at least two on the first axis"
        )
    # A copy: the graph keeps its inputs, and with a slice of a data set all of it.
    example_inputs = pytree.tree_map_only(Tensor, torch.clone, example_inputs)
    shapes = pytree.tree_map(
        lambda value: (
            {0: torch.export.Dim.AUTO}
            if isinstance(value, Tensor) and value.ndim and value.shape[0] > 1
            else None
        ),
        example_inputs,
    )
    try:
        program = forgetful(
            model,
            lambda: torch.export.export(model, example_inputs, dynamic_shapes=shapes),
        )
    except Exception as error:  # torch.export raises many unrelated classes
        try:
            with torch.no_grad():
                model(*example_inputs)
        except Exception as own:
            raise TraceError(
                f"{type(model).__name__} does not run on the example inputs: {own}"
            ) from own
        raise TraceError(
            f"torch.export refuses {type(model).__name__}: {error}\nA model whose "
            "control flow depends on its data has no fixed graph: move such "
            "branches out of forward, or express them by torch.where or torch.cond"
        ) from error
    return Graph(program, model)


def call(
    model: nn.Module,
    state: State,
    inputs: tuple[Any, ...],
    *,
    expendable: bool = False,
) -> Any:
    """Run a module with the given parameters and buffers in place of its own.

    Buffers are copied, and what the module keeps in attributes is restored, so that
    neither ``state`` nor the module is changed, and no call sees what another left.

    Raises
    ------
    ValueError
        The model writes into its inputs (unless ``expendable``): where they are used
        again, as for each point of a curve, that would be other data.
    """
    # Each place of each module once: tied tensors come under all their names in a
    # state dict, and functional_call would not restore a module with two names.
    own = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for name in module._parameters:
            if prefix + name in state:
                own[prefix + name] = state[prefix + name]
        for name, buffer in module._buffers.items():
            value = state.get(prefix + name, buffer)
            if value is not None:
                own[prefix + name] = value.clone()
    tensors = [
        value
        for value in pytree.tree_leaves(inputs)
        if isinstance(value, Tensor) and not value.is_inference()
    ]
    versions = [tensor._version for tensor in tensors]
    outputs = forgetful(
        model, lambda: functional_call(model, own, inputs, tie_weights=False)
    )
    if not expendable and versions != [tensor._version for tensor in tensors]:
        raise ValueError(
            f"{type(model).__name__} changes its inputs in place, and they are used "
            "again: write x = x - 1 for x.sub_(1) in its forward (and inplace=False), "
            "or use lmc.graph.trace(model, ...).run, which copies them"
        )
    return outputs


def without_tensors(model: nn.Module) -> nn.Module:
    """Return a copy of a model that holds nothing of its state dict, for `call`."""
    empty = {
        id(tensor): torch.empty(0)
        if not isinstance(tensor, nn.Parameter)
        else nn.Parameter(torch.empty(0), requires_grad=False)
        for tensor in model.state_dict(keep_vars=True).values()
    }
    # Tensors with a gradient's graph have no copy.
    computed = {id(t): t.detach() for t in kept_tensors(model) if not t.is_leaf}
    return copy.deepcopy(model, memo={**computed, **empty})


def _aliases(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """All names of each tensor that the state dict holds under several names."""
    state = model.state_dict(keep_vars=True)
    names: dict[int, list[str]] = {}
    for name, tensor in state.items():
        names.setdefault(id(tensor), []).append(name)
    return {name: tuple(names[id(tensor)]) for name, tensor in state.items()}
