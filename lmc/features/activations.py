"""Quantities of layers' activations on data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from lmc.batches import batch_size, pairs
from lmc.exported import argument, operation_name
from lmc.graph import Around, Graph, Layer, State
from lmc.moments import PooledMoments
from lmc.observing import observe
from lmc.operations import IDENTITIES, NORMALIZATIONS, POOLING


@dataclass(frozen=True, eq=False)
class ActivationScale:
    """The size of the units of an activation, over all samples and places.

    Attributes
    ----------
    absolute
        Mean absolute value of each unit, float64 ``(units,)``.
    variance
        Variance of each unit (divided by the number of values), float64 ``(units,)``.
    zeros
        Share of each unit's values that are exactly zero, float64 ``(units,)``.
    """

    absolute: Tensor
    variance: Tensor
    zeros: Tensor

    @property
    def mean_absolute(self) -> float:
        """Mean absolute value over all units."""
        return float(self.absolute.mean())

    @property
    def mean_deviation(self) -> float:
        """Standard deviation of a unit, averaged over the units."""
        return float(self.variance.sqrt().mean())


@dataclass(frozen=True, eq=False)
class LayerActivations:
    """A layer's output before and after the nonlinearity.

    Attributes
    ----------
    before
        The layer's own output: before a normalization, if one follows.
    after
        The output of the nonlinearity that follows; None if none does.
    node
        Name of that nonlinearity in the graph; None if none follows.
    """

    before: ActivationScale
    after: ActivationScale | None
    node: str | None


@dataclass(frozen=True)
class FeatureParts:
    """Sizes of a feature's parts, one that varies with the input and one that does not.

    Attributes
    ----------
    dependent
        Mean square of the entries of the input-dependent part.
    constant
        Mean square of the entries of the constant part.
    """

    dependent: float
    constant: float

    @property
    def share(self) -> float:
        """``dependent / (dependent + constant)``; 0 for a feature that is zero."""
        total = self.dependent + self.constant
        return self.dependent / total if total > 0 else 0.0


def activation_scale(
    graph: Graph,
    state: State,
    batches: Iterable[Any],
    layers: Sequence[str] | None = None,
) -> dict[str, LayerActivations]:
    """Measure the size of layers' outputs before and after the nonlinearity.

    The nonlinearity of a layer is the first one, in the order of execution, that its
    output reaches through normalization, residual sums, scaling by parameters,
    pooling, dropout, and changes of the order of axes, but not through another layer.
    In a residual network it is, for a block's last convolution and its shortcut, the
    nonlinearity behind the sum; where pooling comes before it, what it sees is pooled.

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
    dict of str to LayerActivations
        Averages over all samples and places of all batches, which may differ in size.

    Raises
    ------
    ValueError
        A layer is unknown, or there are no samples.

    References
    ----------
    arXiv 2402.05966, section 4.1 and Figure 4 (A, B).  The paper does not define its
    scale; its published code takes the mean absolute value (on one batch), which is
    ``mean_absolute`` here.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((1, 1, 1), bias=False).eval(), torch.zeros(2, 1))
    >>> state = {"1.weight": torch.tensor([[2.0]]), "3.weight": torch.tensor([[1.0]])}
    >>> batches = [(torch.tensor([[1.0], [-3.0]]), None)]
    >>> hidden = activation_scale(graph, state, batches)["1"]
    >>> hidden.before.mean_absolute, hidden.after.mean_absolute
    (4.0, 1.0)
    """
    chosen = chosen_layers(graph, layers)
    before = {layer.name: (layer.node, layer.channel_axis) for layer in chosen}
    after = {layer.name: _nonlinearity(graph, layer) for layer in chosen}
    places = {*before.values(), *filter(None, after.values())}
    moments = {place: _Scale() for place in places}

    def around(node: str) -> Around:
        def observed(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
            output: Tensor = operation(*args, **kwargs)
            for (at, axis), moment in moments.items():
                if at == node:
                    moment.add(output, axis)
            return output

        return observed

    observe(graph, state, batches, {node: around(node) for node, _ in places})
    scales = {place: moment.scale() for place, moment in moments.items()}
    found = {}
    for name, place in after.items():
        found[name] = LayerActivations(
            scales[before[name]],
            scales[place] if place else None,
            place[0] if place else None,
        )
    return found


def dead_units(
    graph: Graph,
    state: State,
    batches: Iterable[Any],
    layers: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Find the units that are zero for every input after the nonlinearity.

    Parameters
    ----------
    graph, state, batches
        As for :func:`activation_scale`, which says what the nonlinearity is.
    layers
        Names of layers; by default all that a nonlinearity follows.

    Returns
    -------
    dict of str to Tensor
        Bool ``(units,)``: True where the unit is exactly zero for all samples at all
        places.  Their fraction is ``dead.double().mean()``.

    Raises
    ------
    ValueError
        A layer is unknown or no nonlinearity follows it, or there are no samples.

    References
    ----------
    arXiv 2402.05966, section 4.2.  Its Figure 43 shows another quantity, the share of
    activations that are zero: ``activation_scale(...)[layer].after.zeros.mean()``.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((1, 2, 1), bias=False).eval(), torch.zeros(2, 1))
    >>> weights = {"1.weight": torch.tensor([[2.0], [-1.0]])}
    >>> state = {**weights, "3.weight": torch.ones(1, 2)}
    >>> dead_units(graph, state, [(torch.rand(8, 1), None)])
    {'1': tensor([False,  True])}
    """
    if layers is None:
        every = chosen_layers(graph, None)
        layers = [layer.name for layer in every if _nonlinearity(graph, layer)]
    dead = {}
    for name, found in activation_scale(graph, state, batches, layers).items():
        if found.after is None:
            raise ValueError(
                f"no nonlinearity follows layer {name!r}: leave it out, its units "
                "cannot be dead"
            )
        dead[name] = found.after.zeros == 1
    return dead


def feature_parts(
    graph: Graph,
    state: State,
    batches: Iterable[Any],
    layers: Sequence[str] | None = None,
    *,
    constant: Literal["zero", "mean"] = "zero",
) -> dict[str, FeatureParts]:
    """Split layers' outputs into a part that varies with the input and a constant.

    A layer's pre-activation is written ``f(x) = g(x) + h``, entry by entry (unit and
    place).  With ``constant="zero"`` the constant part is the response to an input of
    zeros, ``h = f(0)``: in a linear network what the biases alone give.  With
    ``constant="mean"`` it is the mean over inputs, ``h = E f``, so that the squares
    add: ``E f^2 = E g^2 + h^2``, and ``dependent`` is the variance.  Either way
    ``Var f = Var g``.  A vanishing feature shows as a ``share`` that falls with depth.

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
    constant
        ``"zero"`` or ``"mean"``.

    Returns
    -------
    dict of str to FeatureParts
        Means over samples, units and places, in float64.

    Raises
    ------
    ValueError
        ``constant`` or a layer is unknown, there are no samples, the inputs have no
        zero (they are integers), or a layer's output joins the samples with its places
        (that of the out-projection in :class:`torch.nn.MultiheadAttention` does): leave
        such layers out.

    References
    ----------
    arXiv 2402.05966 (final version), section 4.1.  Its published code takes ``f(0)``
    as the constant part and plots the norm of ``g``; ``share`` is a bounded measure
    of the same, made from mean squares.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((1, 1)).eval(), torch.zeros(2, 1))
    >>> state = {"1.weight": torch.tensor([[3.0]]), "1.bias": torch.tensor([1.0])}
    >>> parts = feature_parts(graph, state, [(torch.tensor([[1.0], [-1.0]]), None)])
    >>> parts["1"], parts["1"].share
    (FeatureParts(dependent=9.0, constant=1.0), 0.9)
    """
    if constant not in ("zero", "mean"):
        raise ValueError(f"unknown constant part {constant!r}: choose 'zero' or 'mean'")
    chosen = chosen_layers(graph, layers)
    sample_axes = _sample_axes(graph, chosen)
    moments = {layer.name: PooledMoments() for layer in chosen}
    reference: dict[str, Tensor] = {}

    def watch(see: Callable[[str, Tensor], None]) -> dict[str, Around]:
        def around(layer: Layer) -> Around:
            def observed(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
                output: Tensor = operation(*args, **kwargs)
                axis, own = sample_axes[layer.name], output.detach().double()
                see(layer.name, own[None] if axis is None else own.movedim(axis, 0))
                return output

            return observed

        return {layer.node: around(layer) for layer in chosen}

    def start(inputs: Any) -> None:
        """Take the response to zeros, of the first batch's shape."""
        zeros = pytree.tree_map(_zeros, inputs)
        around = watch(lambda name, values: reference.update({name: values[0].clone()}))
        observe(graph, state, [(zeros, None)], around)

    def add(name: str, values: Tensor) -> None:
        moments[name].add(values.flatten(1))

    def prepared() -> Iterable[Any]:
        for inputs, targets in pairs(batches):
            if constant == "zero" and not reference and batch_size(inputs):
                start(inputs)
            yield inputs, targets

    observe(graph, state, prepared(), watch(add))
    parts = {}
    for name, moment in moments.items():
        held = reference[name].flatten() if constant == "zero" else moment.mean
        offset = moment.mean - held
        dependent = (moment.variance() + offset.square()).mean()
        parts[name] = FeatureParts(float(dependent), float(held.square().mean()))
    return parts


def chosen_layers(graph: Graph, layers: Sequence[str] | None) -> list[Layer]:
    """Return the named layers; by default all that the model uses at one place."""
    if layers is None:
        names = [layer.name for layer in graph.layers]
        layers = [name for name in names if names.count(name) == 1]
    return [graph.layer(name) for name in layers]


class _Scale:
    """What an :class:`ActivationScale` is made of, batch by batch."""

    def __init__(self) -> None:
        self._pooled = PooledMoments()
        self._absolute: Tensor | float = 0.0
        self._zeros: Tensor | int = 0

    def add(self, values: Tensor, axis: int) -> None:
        units = values.detach().movedim(axis, -1).flatten(0, -2).double()
        self._pooled.add(units)
        self._absolute = self._absolute + units.abs().sum(0)
        self._zeros = self._zeros + (units == 0).sum(0)

    def scale(self) -> ActivationScale:
        count = self._pooled.count
        absolute, zeros = (torch.as_tensor(v) for v in (self._absolute, self._zeros))
        return ActivationScale(
            absolute / count, self._pooled.variance(), zeros.double() / count
        )


def _sample_axes(graph: Graph, layers: Sequence[Layer]) -> dict[str, int | None]:
    """Return which axis of each layer's output counts the samples.

    None for a layer of parameters alone, whose output is the same for all of them.
    """
    outputs = {node.name: _sizes(node) for node in graph.nodes}
    inputs = {
        outputs[node.name][0]
        for node in graph.nodes
        if node.op == "placeholder"
        and node.name not in graph.tensors
        and outputs[node.name]
    }
    numbers = {size for size in inputs if not isinstance(size, int)}
    symbols = {symbol for number in numbers for symbol in number.free_symbols}
    found: dict[str, int | None] = {}
    joined = []
    for layer in layers:
        sizes = outputs[layer.node]
        if symbols:
            axes = [
                axis
                for axis, size in enumerate(sizes)
                if not isinstance(size, int) and size.free_symbols & symbols
            ]
            right = len(axes) < 2 and all(sizes[axis] in numbers for axis in axes)
        else:  # a graph for one number of samples only
            axes = [axis for axis, size in enumerate(sizes) if size in inputs]
            right = len(axes) == 1 or 0 in axes
        if not right:
            joined.append(f"{layer.name!r} ({', '.join(map(str, sizes))})")
        found[layer.name] = axes[0] if axes else None
    if joined:
        raise ValueError(
            f"the output of {', '.join(joined)} has no axis of the samples alone, but "
            "one that joins them with others: leave it out, name the others by layers="
        )
    return found


def _sizes(node: Node) -> tuple[Any, ...]:
    """Return the sizes of a tensor's axes, with expressions for those that vary."""
    value = node.meta.get("val")
    return tuple(
        size.node.expr if isinstance(size, torch.SymInt) else int(size)
        for size in (value.shape if isinstance(value, Tensor) else ())
    )


def _zeros(value: Any) -> Any:
    """Return zeros in place of a float tensor."""
    if not isinstance(value, Tensor):
        return value
    if not value.is_floating_point():
        raise ValueError(
            "inputs of integers have no zero that means nothing: use constant='mean'"
        )
    return torch.zeros_like(value)


def _nonlinearity(graph: Graph, layer: Layer) -> tuple[str, int] | None:
    """Return the nonlinearity that follows a layer, with the axis of its units."""
    reached: dict[Node, int] = {}
    for node in graph.nodes:  # in the order of execution
        if node.name == layer.node:
            reached[node] = layer.channel_axis % node.meta["val"].ndim
            continue
        sources = [source for source in node.all_input_nodes if source in reached]
        if not sources:
            continue
        source = sources[0]
        if node.name in graph.nonlinearities:
            return node.name, reached[source]
        axis = _carried(graph, node, source, reached[source])
        if axis is not None:
            reached[node] = axis
    return None


def _carried(graph: Graph, node: Node, source: Node, axis: int) -> int | None:
    """Return on which axis an operation leaves the units of its source, if it does."""
    operation = operation_name(node)
    if operation == "permute":
        ndim = source.meta["val"].ndim
        dims = [dim % ndim for dim in argument(node, "dims")]
        return dims.index(axis)
    if operation == "transpose":
        ndim = source.meta["val"].ndim
        first, second = (argument(node, name) % ndim for name in ("dim0", "dim1"))
        return {first: second, second: first}.get(axis, axis)
    if operation in NORMALIZATIONS | IDENTITIES | POOLING.keys():
        return axis if node.args[0] is source else None
    if operation in ("mul", "div"):
        # By a parameter or a number; a product of activations is a gate.
        others = [other for other in node.all_input_nodes if other is not source]
        if any(graph.name_of(other) is None for other in others):
            return None
    elif operation not in ("add", "sub"):
        return None
    same = node.meta["val"].shape == source.meta["val"].shape
    return axis if same else None
