"""Renormalization: give an interpolated network its endpoints' activation scale.

REPAIR, RESCALE, RESCALE (average) and RESHIFT change each channel of the chosen
layers' outputs by ``scale * output + shift``.  Both can be fused into weight and
bias.  RESET recomputes BatchNorm's running statistics.

Statistics are taken in one pass over the data for all layers at once: within a
batch, a layer's statistics are those of the batch, and later layers see what the
earlier, already renormalized ones return; over batches they are averaged with
equal weight (the protocol of arXiv 2402.05966's published code).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lmc.batches import batch_size, pairs
from lmc.exported import operation_name
from lmc.graph import Around, BatchNorm, Layer, State
from lmc.moments import AveragedMoments, Statistics
from lmc.observing import AllSeen, Observable, observe
from lmc.operations import LAYERS

EPSILON = 1e-5
"""Added to a variance before its root, as in BatchNorm."""


Affine = tuple[Tensor, Tensor]
"""Scale and shift of each channel of a layer's output, ``(channels,)`` each."""


def _gain(now: Statistics, deviation: Tensor) -> Tensor:
    return deviation / (now.variance + EPSILON).sqrt()


def _repair(now: Statistics, goal: Statistics) -> Affine:
    scale = _gain(now, goal.std)
    return scale, goal.mean - scale * now.mean


def _rescale(now: Statistics, goal: Statistics) -> Affine:
    return _gain(now, goal.std), torch.zeros_like(goal.mean)


def _rescale_average(now: Statistics, goal: Statistics) -> Affine:
    return _gain(now, goal.std.mean()), torch.zeros_like(goal.mean)


def _reshift(now: Statistics, goal: Statistics) -> Affine:
    return torch.ones_like(goal.mean), goal.mean - now.mean


METHODS: Mapping[str, Callable[[Statistics, Statistics], Affine]] = {
    "repair": _repair,
    "rescale": _rescale,
    "rescale-average": _rescale_average,
    "reshift": _reshift,
}
"""The renormalizations of arXiv 2402.05966, section 4.1, by name.

The paper's printed formula has mean and deviation of the goal swapped; here the
scale is the goal deviation over the present one, and the shift brings the mean to
the goal mean.
"""


def _toward(method: str, now: Statistics, goal: Statistics) -> Affine:
    """Apply a method to present and goal statistics, which may be elsewhere."""
    return METHODS[method](now, goal.to(now.mean.device))


@dataclass(frozen=True, eq=False)
class Renormalization:
    """``scale * output + shift`` for each channel of some layers.

    Attributes
    ----------
    graph
        The model's graph.
    scale, shift
        For each layer's name a float64 tensor of shape ``(channels,)``.
    """

    graph: Observable
    scale: Mapping[str, Tensor]
    shift: Mapping[str, Tensor]

    def run(self, state: State, *inputs: Any) -> Any:
        """Run a network with its layers' outputs renormalized, nothing fused."""

        def around(layer: Layer) -> Around:
            affine = self.scale[layer.name], self.shift[layer.name]

            def renormalized(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
                return _transform(operation(*args, **kwargs), layer, affine)

            return renormalized

        layers = [self.graph.layer(name) for name in self.scale]
        return self.graph.run(
            state, *inputs, around={layer.node: around(layer) for layer in layers}
        )

    def fuse(self, state: State) -> dict[str, Tensor]:
        """Return a network that computes the same function without renormalization.

        The weight becomes ``scale * weight`` and the bias ``scale * bias + shift``,
        formed in float64 and returned in the network's dtype.

        Raises
        ------
        ValueError
            A layer without bias would have to carry a shift, or the model uses a
            layer's weight or bias at another place too.
        """
        fused = dict(state)

        def put(name: str, value: Tensor) -> None:
            if (places := self.graph.uses(name)) > 1:
                raise ValueError(
                    f"{name} is used at {places} places: scaling it for one would "
                    "change the other; use Renormalization.run"
                )
            for alias in self.graph.aliases[name]:
                fused[alias] = value.to(state[name].dtype)

        for name, scale in self.scale.items():
            layer, shift = self.graph.layer(name), self.shift[name]
            weight = state[layer.weight]
            factors = scale.view(-1, *[1] * (weight.ndim - 1)).to(weight.device)
            put(layer.weight, weight.double() * factors)
            if layer.bias is not None:
                bias = state[layer.bias]
                moved = bias.double() * scale.to(bias.device) + shift.to(bias.device)
                put(layer.bias, moved)
            elif bool(shift.any()):
                raise ValueError(
                    f"layer {name!r} has no bias that could carry the shift: use "
                    "Renormalization.run, or rescale, which shifts nothing"
                )
        return fused


def default_layers(graph: Observable) -> tuple[str, ...]:
    """Return the layers that are renormalized unless others are named.

    All convolutions.  In a model of more linear layers than convolutions (before the
    last linear layer, whose outputs are the logits), as a transformer behind a
    convolution that cuts patches, all layers before that last one.  Those are left out
    whose weight is computed from parameters (as by
    ``torch.nn.utils.parametrizations.weight_norm``): they are no layers of the graph,
    which may leave none.  arXiv 2402.05966 wraps every convolution of a VGG, but in
    residual networks only those inside the blocks
    (:meth:`lmc.models.ResNet.block_convolutions`): name them there.
    """
    nodes = _operations(graph)
    convolutions = {node.name for node in nodes if _kind(node) == "convolution"}
    hidden = {node.name for node in nodes[:-1]}
    chosen = hidden if len(hidden - convolutions) > len(convolutions) else convolutions
    return tuple(layer.name for layer in graph.layers if layer.node in chosen)


def _operations(graph: Observable) -> list[Node]:
    """Return the convolutions and linear operations, with computed weights too."""
    return [node for node in graph.nodes if _kind(node) is not None]


def _kind(node: Node) -> str | None:
    """Return the kind of layer that an operation on a parameter would be."""
    return LAYERS.get(operation_name(node), (None, None))[0]


def _computed(graph: Observable) -> str:
    """Say which operations are no layers because their weight is computed, if any."""
    layers = {layer.node for layer in graph.layers}
    nodes = [node for node in _operations(graph) if node.name not in layers]
    if not nodes:
        return ""
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    return (
        f"; the weight of {', '.join(map(_place, nodes[:3]))}{more} is computed from "
        "parameters: make it a parameter of each network "
        "(torch.nn.utils.parametrize.remove_parametrizations) and trace the model again"
    )


def _place(node: Node) -> str:
    modules = list((node.meta.get("nn_module_stack") or {}).values())
    path = modules[-1][0] if modules else ""
    return f"{node.name} (module {path!r})" if path else node.name


def statistics(
    graph: Observable,
    state: State,
    batches: Iterable[Any],
    layers: Sequence[str] | None = None,
) -> dict[str, Statistics]:
    """Measure mean and standard deviation of layers' outputs, channel by channel.

    Parameters
    ----------
    graph
        The model's graph.
    state
        A network, which runs unchanged.
    batches
        Pairs of inputs and targets, as a data loader gives them; the targets are
        not used.
    layers
        Names of layers; by default :func:`default_layers`.  None are measured if none
        are named.

    Returns
    -------
    dict of str to Statistics
        The averages over batches of the batches' means and unbiased variances.

    Raises
    ------
    ValueError
        A layer is unknown, the model has no layers by default, there are no samples, or
        a batch is too small.
    """
    names = default_layers(graph) if layers is None else layers
    if layers is None and not names:
        raise ValueError(
            "there are no layers by default (convolutions, or linear layers before the "
            f"last one): name some by layers={_computed(graph)}"
        )
    return _observe(graph, state, batches, names, change=None)


def interpolated_statistics(
    a: Mapping[str, Statistics], b: Mapping[str, Statistics], lam: float
) -> dict[str, Statistics]:
    """Return the goal at a point on the line: means and *deviations* interpolated.

    Raises
    ------
    ValueError
        The two networks' statistics are not of the same layers.
    """
    if different := sorted(set(a) ^ set(b)):
        raise ValueError(
            f"statistics of different layers: {different} in one of the networks only"
        )
    b = {name: value.to(a[name].mean.device) for name, value in b.items()}
    return {
        name: Statistics(
            (1 - lam) * a[name].mean + lam * b[name].mean,
            ((1 - lam) * a[name].std + lam * b[name].std).square(),
        )
        for name in a
    }


def averaged_statistics(
    statistics: Sequence[Mapping[str, Statistics]],
) -> dict[str, Statistics]:
    """Return the goal for an average of networks: mean means, mean *deviations*.

    Raises
    ------
    ValueError
        There are none, or they are not of the same layers.

    Examples
    --------
    >>> import torch
    >>> one = {"layer": Statistics(torch.tensor([1.0]), torch.tensor([1.0]))}
    >>> two = {"layer": Statistics(torch.tensor([4.0]), torch.tensor([16.0]))}
    >>> goal = averaged_statistics([one, one, two])["layer"]
    >>> goal.mean, goal.std
    (tensor([2.]), tensor([2.]))
    """
    if not statistics:
        raise ValueError("nothing to average: give the statistics of a network")
    if different := {n for s in statistics for n in set(s) ^ set(statistics[0])}:
        raise ValueError(
            f"statistics of different layers: {sorted(different)} in some networks only"
        )
    devices = {name: value.mean.device for name, value in statistics[0].items()}
    statistics = [
        {name: value.to(devices[name]) for name, value in each.items()}
        for each in statistics
    ]
    return {
        name: Statistics(
            torch.stack([s[name].mean for s in statistics]).mean(0),
            torch.stack([s[name].std for s in statistics]).mean(0).square(),
        )
        for name in statistics[0]
    }


def renormalize(
    method: str,
    graph: Observable,
    state: State,
    goal: Mapping[str, Statistics],
    batches: Iterable[Any],
    *,
    sequential: bool = False,
    corrected: bool = True,
) -> Renormalization:
    """Find scale and shift that bring a network's layers to the goal statistics.

    As in BatchNorm and in the published code, :data:`EPSILON` is added to the present
    variance before its root: a channel attains its goal deviation as far as its
    variance is large beside 1e-5 (half of it at a deviation of 1.8e-3).  Of a channel
    that is constant in ``state``, as pruning may leave it, the published formula of
    RESCALE multiplies the constant too: by 316 times the goal deviation, so by 0 where
    the channel is constant in the goal as well.  REPAIR sets it to the goal mean.

    Parameters
    ----------
    method
        ``"repair"`` (mean and deviation), ``"rescale"`` (deviation, by multiplying
        the layer's whole output, bias included), ``"rescale-average"`` (the same
        with the layer's average goal deviation for all channels) or ``"reshift"``
        (mean only).
    graph
        The model's graph.
    state
        The network to renormalize, usually a midpoint.
    goal
        Goal statistics of the layers to renormalize: those of the endpoints,
        interpolated (:func:`interpolated_statistics`), or those of any other
        network of the architecture, such as an independent one (arXiv 2402.05966,
        Table 8); on any device.
    batches
        Pairs of inputs and targets on which the statistics are taken; see
        :func:`first_samples` to use some of them only.
    sequential
        Whether to go layer by layer, with one pass over the batches for each (which
        must be a list or a data loader, not an iterator): the statistics of a layer
        are taken behind the final renormalization of all layers before it, instead
        of that by the same batch (arXiv 2402.05966, Table 9).
    corrected
        Whether the statistics of a layer are taken behind the renormalization of
        those before it, as in the published code.  Otherwise they are those of
        ``state`` as it is, of all layers in one pass, for comparison: what a layer
        lacks because its inputs are too small is made up for in each layer anew.

    Returns
    -------
    Renormalization

    Raises
    ------
    ValueError
        The method or a layer is unknown, the goal is empty, there are no samples, or
        layers are to be gone through one by one without being corrected.

    References
    ----------
    Jordan et al., REPAIR (arXiv 2211.08403); arXiv 2402.05966, section 4.1.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> x = torch.randn(64, 4)
    >>> a, b = MLP((4, 8, 2)).eval(), MLP((4, 8, 2)).eval()
    >>> graph, batches = trace(a, x), [(x, None)]
    >>> ends = [statistics(graph, m.state_dict(), batches) for m in (a, b)]
    >>> goal = interpolated_statistics(*ends, 0.5)
    >>> middle = {k: (v + b.state_dict()[k]) / 2 for k, v in a.state_dict().items()}
    >>> repaired = renormalize("repair", graph, middle, goal, batches).fuse(middle)
    >>> now = statistics(graph, repaired, batches)["1"]
    >>> torch.allclose(now.mean, goal["1"].mean, atol=1e-4)
    True
    """
    if method not in METHODS:
        raise ValueError(
            f"unknown renormalization {method!r}: choose from {', '.join(METHODS)}"
        )
    if not goal:
        raise ValueError(
            "the goal is empty, there is nothing to renormalize: give the statistics "
            f"of some layers{_computed(graph)}"
        )
    if sequential and not corrected:
        raise ValueError(
            "sequential statistics are taken behind corrected layers: leave out "
            "sequential=True or corrected=False"
        )

    def toward_goal(layer: str, now: Statistics) -> Affine:
        return _toward(method, now, goal[layer])

    change = toward_goal if corrected else None
    order = [layer.name for layer in map(graph.layer, goal)]
    order.sort(key=[layer.name for layer in graph.layers].index)
    affine: dict[str, Affine] = {}
    for names in [[name] for name in order] if sequential else [order]:
        found = _observe(graph, state, batches, names, change, affine)
        affine |= {name: toward_goal(name, now) for name, now in found.items()}
    return Renormalization(
        graph,
        scale={name: scale for name, (scale, _) in affine.items()},
        shift={name: shift for name, (_, shift) in affine.items()},
    )


@dataclass(frozen=True, eq=False)
class RenormalizationByBatch:
    """Renormalization by the statistics of whatever batch is run, without other data.

    Only the goal has to be known, from statistics recorded when the endpoints were
    trained (arXiv 2402.05966, Tables 10 and 11).  A sample's output depends on the
    batch that it is in.

    Attributes
    ----------
    graph
        The model's graph.
    method
        One of :data:`METHODS`, or ``"reset"``: BatchNorm normalizes by the batch.
    goal
        Goal statistics of the layers to renormalize; empty for ``"reset"``.

    Raises
    ------
    ValueError
        The method is unknown, or there is nothing to renormalize.

    Examples
    --------
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.interpolation import evaluate
    >>> from lmc.models import MLP
    >>> x, y = torch.randn(64, 4), torch.zeros(64, dtype=torch.int64)
    >>> model = MLP((4, 8, 2)).eval()
    >>> graph, state = trace(model, x), model.state_dict()
    >>> goal = statistics(graph, state, [(x, y)])
    >>> repaired = RenormalizationByBatch(graph, "repair", goal)
    >>> repaired.run(state, x).shape
    torch.Size([64, 2])
    >>> evaluate(repaired.run, state, [(x, y)]) is not None
    True
    """

    graph: Observable
    method: str
    goal: Mapping[str, Statistics] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.method not in (*METHODS, "reset"):
            raise ValueError(
                f"unknown renormalization {self.method!r}: choose from "
                f"{', '.join(METHODS)}, reset"
            )
        if self.method == "reset":
            _check_batch_norms(self.graph)
        elif not self.goal:
            raise ValueError(
                f"{self.method} needs goal statistics: pass those of the endpoints, "
                "interpolated"
            )

    def run(self, state: State, *inputs: Any) -> Any:
        """Run a network, each layer brought to the goal by its batch's statistics."""
        if self.method == "reset":
            around = {
                norm.node: _normalized_by_batch(lambda _: None)
                for norm in self.graph.batch_norms
            }
            return self.graph.run(state, *inputs, around=around)
        outputs: list[Any] = []

        def keep(output: Any) -> None:
            outputs.append(output)

        _observe(
            self.graph,
            state,
            [(inputs, None)],
            tuple(self.goal),
            lambda layer, now: _toward(self.method, now, self.goal[layer]),
            keep=keep,
        )
        return outputs[0]


@dataclass(frozen=True)
class _FirstSamples:
    batches: Iterable[Any]
    samples: int

    def __iter__(self) -> Iterator[Any]:
        left = self.samples
        for inputs, targets in pairs(self.batches):
            count = batch_size(inputs)
            if count >= left:
                yield _cut(inputs, left), _cut(targets, left)
                return
            yield inputs, targets
            left -= count
        raise ValueError(
            f"{self.samples} samples were asked for, but the batches hold only "
            f"{self.samples - left}"
        )


def _cut(batch: Any, samples: int) -> Any:
    """Return the first samples of all tensors of a batch."""
    return pytree.tree_map_only(
        Tensor, lambda leaf: leaf[:samples] if leaf.ndim else leaf, batch
    )


def first_samples(batches: Iterable[Any], samples: int) -> Iterable[Any]:
    """Return batches that hold only a given number of samples, the first ones.

    Parameters
    ----------
    batches
        Pairs of inputs and targets: tensors, or tuples, lists and dicts of tensors.
    samples
        Their number, by the first tensor of the inputs; the last batch is cut.

    Raises
    ------
    ValueError
        The number is not positive; or, when they are gone through, there are fewer.

    Examples
    --------
    >>> import torch
    >>> batches = [(torch.zeros(4, 2), None), (torch.ones(4, 2), None)]
    >>> [len(inputs) for inputs, _ in first_samples(batches, 5)]
    [4, 1]
    """
    if samples < 1:
        raise ValueError(f"the number of samples must be positive, got {samples}")
    return _FirstSamples(batches, samples)


def reset(graph: Observable, state: State, batches: Iterable[Any]) -> dict[str, Tensor]:
    """Recompute BatchNorm's running statistics (RESET).

    Parameters
    ----------
    graph
        The model's graph.
    state
        A network, for instance an interpolated one.
    batches
        Pairs of inputs and targets on which the statistics are taken, with
        BatchNorm normalizing by each batch.

    Returns
    -------
    dict of str to Tensor
        The network with new running means and (unbiased) variances: averages over
        batches with equal weight.

    Raises
    ------
    ValueError
        The model has no BatchNorm, or there are no samples.

    References
    ----------
    Izmailov et al. (arXiv 1803.05407), section 3.2; named RESET by Jordan et al.
    (arXiv 2211.08403).
    """
    _check_batch_norms(graph)
    # By buffer, not by operation: a BatchNorm used twice has one running mean.
    moments = {norm.mean: AveragedMoments() for norm in graph.batch_norms}

    def around(norm: BatchNorm) -> Around:
        return _normalized_by_batch(
            lambda values: moments[norm.mean].add(values, channel_axis=1)
        )

    observe(
        graph, state, batches, {norm.node: around(norm) for norm in graph.batch_norms}
    )
    new = dict(state)
    for norm in graph.batch_norms:
        average = moments[norm.mean].average()
        for name, value in (
            (norm.mean, average.mean),
            (norm.variance, average.variance),
        ):
            for alias in graph.aliases[name]:
                new[alias] = value.to(state[name])
    return new


def _check_batch_norms(graph: Observable) -> None:
    if not graph.batch_norms:
        raise ValueError(
            "the model has no BatchNorm whose statistics could be reset: "
            "use repair or rescale"
        )


def _normalized_by_batch(see: Callable[[Tensor], object]) -> Around:
    """BatchNorm as in train mode, by the statistics of the batch."""

    def around(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
        values, weight, bias = args[:3]
        see(values)
        return F.batch_norm(
            values, None, None, weight, bias, training=True, eps=args[7]
        )

    return around


def _observe(
    graph: Observable,
    state: State,
    batches: Iterable[Any],
    layers: Sequence[str],
    change: Callable[[str, Statistics], Affine] | None,
    fixed: Mapping[str, Affine] | None = None,
    keep: Callable[[Any], None] | None = None,
) -> dict[str, Statistics]:
    """Take layers' statistics while each batch's outputs are changed by them.

    The outputs of the layers in ``fixed`` are changed by what is given there.
    """
    moments = {name: AveragedMoments() for name in layers}
    fixed = fixed or {}
    observed = [graph.layer(name) for name in layers]
    last = max(observed, key=graph.layers.index, default=None)

    def around(layer: Layer) -> Around:
        def run(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
            output = operation(*args, **kwargs)
            if layer.name in fixed:
                return _transform(output, layer, fixed[layer.name])
            now = moments[layer.name].add(output, layer.channel_axis)
            if layer == last and keep is None:
                raise AllSeen
            if change is None:
                return output
            return _transform(output, layer, change(layer.name, now))

        return run

    changed = [graph.layer(name) for name in fixed]
    nodes = {layer.node: around(layer) for layer in (*observed, *changed)}
    observe(graph, state, batches, nodes, keep)
    return {name: moment.average() for name, moment in moments.items()}


def _transform(output: Tensor, layer: Layer, affine: Affine) -> Tensor:
    """Scale and shift each channel of a layer's output, in the output's dtype."""
    shape = [1] * output.ndim
    shape[layer.channel_axis] = -1
    scale, shift = (values.to(output).view(shape) for values in affine)
    return scale * output + shift
