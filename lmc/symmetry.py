"""The permutation symmetry of a model, derived from its graph and certified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lmc.axes import Axis, Factor, axis, pin, resolve, size_of
from lmc.graph import Graph, State, call, in_float64, operation_name, trace
from lmc.permutation import Permutation
from lmc.rules import POINTWISE, Shapes, apply_rule, sizes

TOLERANCE = 1e-9
"""Relative float64 difference of outputs up to which a certificate holds."""


class CertificateError(ValueError):
    """A symmetry under which the model does not compute the same function."""


@dataclass(frozen=True, eq=False)
class Site:
    """Where the units of a group are in one parameter or buffer.

    Attributes
    ----------
    name
        Name in the state dict.
    axes
        The axis on which the group acts.  Two adjacent axes (flattened row-major)
        where the group's place on the second depends on the first: the inputs of a
        grouped convolution.
    positions
        Int64 ``(copies * size, places)``: the positions of each unit on the axis.
        A unit has many places where it is a block: the pixels of a flattened
        channel, the channels of an attention head.
    """

    name: str
    axes: tuple[int, ...]
    positions: Tensor = field(repr=False)


@dataclass(frozen=True)
class Activation:
    """A place in the graph where the units of a group are one axis of a tensor."""

    node: str
    axis: int


@dataclass(frozen=True)
class Group:
    """Units that may be permuted among themselves, and where they appear.

    Attributes
    ----------
    name
        The first layer whose outputs (or, failing that, parameters) they are.
    size
        Number of units (in each copy).
    sites
        Every parameter or buffer axis that must be permuted alike.
    activations
        Outputs of nonlinearities over these units; if there are none, outputs of
        convolutions and linear layers.
    parent
        Name of the group whose units hold these units as blocks: the attention
        heads of the channels inside them, the groups of a grouped convolution.
        Units are permuted inside their block only, and move with it.
    copies
        Number of blocks, each with a permutation of its own; 1 without a parent.
    """

    name: str
    size: int
    sites: tuple[Site, ...]
    activations: tuple[Activation, ...]
    parent: str | None = None
    copies: int = 1


@dataclass(frozen=True)
class Pinned:
    """A parameter or buffer axis that must not be permuted, with the reason."""

    name: str
    axis: int
    size: int
    reason: str


@dataclass(frozen=True)
class Certificate:
    """Evidence that a model computes the same function after a permutation.

    Attributes
    ----------
    relative_difference
        Largest difference of outputs over the largest output, in float64.
    permutations
        Number of random permutations tried.
    """

    relative_difference: float
    permutations: int


@dataclass(frozen=True, eq=False)
class Symmetry:
    """The permutation groups of a model; made by :func:`discover`.

    Attributes
    ----------
    groups
        The groups by name, in the order of the state dict.
    pinned
        The axes that no group acts on, with reasons.
    refused
        Operations without a rule, which pinned what they touch: the groups are
        right, but there may be more.
    shapes
        Shape of every tensor of the state dict.
    graph
        The model's graph.
    certificate
        Evidence on the example inputs and on random ones.
    """

    groups: Mapping[str, Group]
    pinned: tuple[Pinned, ...]
    refused: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    graph: Graph
    certificate: Certificate

    def check(self, state: State) -> None:
        """Raise ``ValueError`` unless ``state`` has the model's names and shapes."""
        missing = [name for name in self.shapes if name not in state]
        unknown = [name for name in state if name not in self.shapes]
        if missing or unknown:
            raise ValueError(
                f"not a state dict of this model: missing {missing[:3]}, unknown "
                f"{unknown[:3]}: pass the model.state_dict() of the architecture "
                "that the symmetry was discovered from"
            )
        for name, shape in self.shapes.items():
            if tuple(state[name].shape) != shape:
                raise ValueError(
                    f"{name} has shape {tuple(state[name].shape)}, the model has "
                    f"{shape}: both networks must have the same architecture"
                )


def discover(model: nn.Module, *example_inputs: Any) -> Symmetry:
    """Derive the permutation groups of a model from its ``torch.export`` graph.

    Two axes that an operation ties together are permuted together; axes whose
    positions an operation tells apart (inputs, logits, pixels, kernels) are pinned.
    An operation without a rule pins what it touches and is listed with its source
    line in ``Symmetry.refused``.  The result is certified: the model itself is run
    in float64 under random permutations, with its weights and with noisy ones.

    Parameters
    ----------
    model
        Any module that ``torch.export`` accepts, in evaluation mode.
    *example_inputs
        Inputs as the model takes them, at least two samples.

    Returns
    -------
    Symmetry

    Raises
    ------
    lmc.graph.TraceError
        The model is in train mode or cannot be exported.
    CertificateError
        The function changed under a permutation of the groups.

    References
    ----------
    Ainsworth et al., Git Re-Basin (arXiv 2209.04836), section 2: permutation
    symmetries; there each architecture needs a hand-written specification.

    Examples
    --------
    >>> import torch
    >>> from lmc.models import VGG
    >>> model = VGG((8, "M", 16), norm="bn").eval()
    >>> symmetry = discover(model, torch.zeros(2, 1, 8, 8))
    >>> {name: group.size for name, group in symmetry.groups.items()}
    {'features.0': 8, 'features.4': 16}
    >>> [(s.name, s.axes) for s in symmetry.groups["features.4"].sites][-1]
    ('classifier.weight', (1,))
    """
    graph = trace(model, *example_inputs)
    shapes, tensors = _propagate(graph, model.state_dict())
    groups, pinned = _collect(graph, shapes, tensors)
    symmetry = Symmetry(
        groups=groups,
        pinned=pinned,
        refused=tuple(dict.fromkeys(shapes.refused)),
        shapes={name: tuple(t.shape) for name, t in model.state_dict().items()},
        graph=graph,
        certificate=Certificate(0.0, 0),
    )
    generator = torch.Generator().manual_seed(0)
    noisy = _noisy_state(model.state_dict(), graph, generator)
    random_inputs = pytree.tree_map(
        lambda value: (
            torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
        ),
        example_inputs,
    )
    trials = [
        (state, inputs, Permutation.cyclic(symmetry, generator))
        for state in (model.state_dict(), noisy)
        for inputs in (example_inputs, random_inputs)
    ]
    trials += [
        (noisy, random_inputs, permutation)
        for permutation in _telling_apart(symmetry, generator)
    ]
    worst = max(
        certify(
            symmetry, model, state, *inputs, permutation=permutation
        ).relative_difference
        for state, inputs, permutation in trials
    )
    return replace(symmetry, certificate=Certificate(worst, len(trials)))


def certify(
    symmetry: Symmetry,
    model: nn.Module,
    state: State,
    *inputs: Any,
    permutation: Permutation | None = None,
    generator: torch.Generator | None = None,
) -> Certificate:
    """Check in float64 that permuting a network leaves its function unchanged.

    Parameters
    ----------
    symmetry
        Groups of the model.
    model
        The module itself, which is run: not the graph that the groups come from.
    state
        Parameters and buffers of the network.
    *inputs
        Real or random inputs.
    permutation
        The permutation to check; by default a random one that moves every unit.
    generator
        Source of the random permutation; by default a new one with seed 0.

    Returns
    -------
    Certificate

    Raises
    ------
    CertificateError
        The outputs differ by more than a relative 1e-9, or are not finite.
    """
    if permutation is None:
        generator = generator or torch.Generator().manual_seed(0)
        permutation = Permutation.cyclic(symmetry, generator)
    double = in_float64(model).cpu()
    doubled, arguments = pytree.tree_map(
        lambda value: (
            value.detach().cpu().double()
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
        ),
        (dict(state), inputs),
    )
    with torch.no_grad():
        before = _outputs(call(double, doubled, arguments))
        after = _outputs(call(double, permutation.apply(doubled), arguments))
    scale = max(float(before.abs().max()), torch.finfo(torch.float64).tiny)
    difference = float((after - before).abs().max()) / scale
    if not difference <= TOLERANCE:  # also when it is nan
        raise CertificateError(
            f"permuting the groups {', '.join(symmetry.groups)} changes the outputs "
            f"by a relative {difference:.1e} (allowed {TOLERANCE:.0e}): the symmetry "
            "is wrong for this model, or the model's outputs are not finite; please "
            "report the model with its torch version"
        )
    return Certificate(difference, permutations=1)


def _telling_apart(
    symmetry: Symmetry, generator: torch.Generator
) -> Iterator[Permutation]:
    """Draw permutations that each move some groups only.

    Of any two groups, one moves without the other in one of them: two groups of two
    units that should be one would otherwise always move alike.
    """
    still = Permutation.identity(symmetry).indices
    for bit in range(len(still).bit_length()):
        moving = Permutation.cyclic(symmetry, generator).indices
        yield Permutation(
            symmetry,
            {
                name: (moving if number >> bit & 1 else still)[name]
                for number, name in enumerate(still, start=1)
            },
        )


def _propagate(graph: Graph, state: State) -> tuple[Shapes, dict[str, list[Axis]]]:
    """Apply every rule; return all axes, and those of the state dict's tensors."""
    shapes = Shapes()
    tensors = {
        name: [axis(size) for size in tensor.shape] for name, tensor in state.items()
    }
    for name, aliases in graph.aliases.items():
        tensors[name] = tensors[aliases[0]]  # a shared tensor is permuted as one
    used: set[str] = set()
    for node in graph.nodes:
        if node.op == "placeholder":
            source = graph.tensors.get(node.name)
            if source in tensors:
                shapes[node] = tensors[source]
                if node.users:
                    used.update(graph.aliases[source])
            elif isinstance(node.meta.get("val"), Tensor):
                why = f"position in the model's input {node.name}"
                shapes[node] = [axis(s, why) for s in sizes(node.meta["val"])]
        elif node.op == "call_function":
            apply_rule(node, shapes)
        elif node.op == "output":
            for value in node.all_input_nodes:
                if value in shapes:
                    pin(shapes[value], "position in the model's output")
    for name in tensors:
        if name not in used:
            pin(tensors[name], "the model does not use it")
    return shapes, tensors


def _collect(
    graph: Graph, shapes: Shapes, tensors: Mapping[str, list[Axis]]
) -> tuple[dict[str, Group], tuple[Pinned, ...]]:
    """Turn resolved axes into groups with their sites, and pinned axes."""
    sites: dict[Factor, list[Site]] = {}
    pinned: list[Pinned] = []
    for name, axes in tensors.items():
        for index, factors in enumerate(axes):
            resolved = resolve(factors)
            for position, factor in enumerate(resolved):
                if factor.reason is not None:
                    pinned.append(Pinned(name, index, factor.size, factor.reason))
                    continue
                outer = size_of(resolved[:position])
                inner = size_of(resolved[position + 1 :])
                grid = torch.arange(outer * factor.size * inner)
                grid = grid.view(outer, factor.size, inner).movedim(1, 0)
                sites.setdefault(factor, []).append(
                    Site(name, (index,), grid.reshape(factor.size, -1))
                )
    groups: dict[str, Group] = {}
    for factor, found in sites.items():
        produced = [site for site in found if site.axes == (0,)] or found
        base = produced[0].name.rpartition(".")[0] or produced[0].name
        name, number = base, 2
        while name in groups:
            name, number = f"{base}#{number}", number + 1
        groups[name] = Group(
            name, factor.size, tuple(found), _activations(graph, shapes, factor)
        )
    return groups, tuple(pinned)


def _activations(
    graph: Graph, shapes: Shapes, factor: Factor
) -> tuple[Activation, ...]:
    """Where the units are one whole axis of a nonlinearity's (or layer's) output."""
    layers = {layer.node for layer in graph.layers}
    behind: list[Activation] = []
    before: list[Activation] = []
    for node in graph.nodes:
        if node.op != "call_function" or node not in shapes:
            continue
        for index, factors in enumerate(shapes[node]):
            if factors == (factor,):
                if operation_name(node) in POINTWISE:
                    behind.append(Activation(node.name, index))
                elif node.name in layers:
                    before.append(Activation(node.name, index))
    return tuple(behind or before)


def _noisy_state(
    state: State, graph: Graph, generator: torch.Generator
) -> dict[str, Tensor]:
    """Add noise, so that constant values (zeros, ones) cannot hide a wrong group."""
    variances = {norm.variance for norm in graph.batch_norms}
    noisy = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    statistics = variances | {norm.mean for norm in graph.batch_norms}
    for name in (*graph.parameters, *statistics):
        if not noisy[name].is_floating_point():
            continue
        noise = torch.randn(noisy[name].shape, generator=generator) * 0.1
        noise = noise.to(noisy[name].dtype)
        noisy[name] = (
            noisy[name] * noise.exp() if name in variances else (noisy[name] + noise)
        )
    for name, aliases in graph.aliases.items():
        noisy[name] = noisy[aliases[0]]
    return noisy


def _outputs(outputs: Any) -> Tensor:
    """Flatten whatever a model returns into one vector."""
    leaves = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]
    return torch.cat([leaf.double().flatten() for leaf in leaves])
