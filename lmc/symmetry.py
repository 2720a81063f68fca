"""The permutation symmetry of a model, derived from its graph and certified."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from lmc.axes import Algebra, fresh
from lmc.graph import Graph, State, call, trace, without_tensors
from lmc.permutation import Permutation
from lmc.rules import Shapes, apply_rule, sizes
from lmc.tables import table
from lmc.units import Family, TooFine, Units

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


@dataclass(frozen=True, eq=False)
class Activation:
    """A place in the graph where the units of a group are in a tensor.

    Attributes
    ----------
    node
        Name of the operation whose output it is.
    axes
        The axis of the output that the units are on; several (which count as one,
        row-major) where other units are at each pixel.
    positions
        Int64 ``(copies * size,)``: the position of each unit on the axis.
    """

    node: str
    axes: tuple[int, ...]
    positions: Tensor = field(repr=False)


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
        Largest difference of an entry of an output, in float64, relative to the entry
        or to what the output's entries typically change by when the weights of the
        units do, whichever is larger.  Infinite entries must stay as they are.
    permutations
        Number of random permutations tried.
    outputs
        Number of tensors that the model returns.
    vacuous
        Those (counted from 0) that stay the same when the weights of the units change,
        and so are no evidence: a mask that is returned, what lies behind zeros.
    coarse
        Operations without a float64 kernel, which ran in the precision of the model.
    """

    relative_difference: float
    permutations: int
    outputs: int
    vacuous: tuple[int, ...]
    coarse: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"relative difference {self.relative_difference:.1e} under "
            f"{self.permutations} permutations (float64)"
        )


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
        Evidence on the example inputs and on random ones; None without.
    """

    groups: Mapping[str, Group]
    pinned: tuple[Pinned, ...]
    refused: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    graph: Graph
    certificate: Certificate | None

    def rows(self) -> list[dict[str, object]]:
        """Return the groups as rows of a table."""
        return [
            {
                "group": group.name,
                "size": group.size,
                "copies": group.copies,
                "inside": group.parent,
                "sites": len(group.sites),
            }
            for group in self.groups.values()
        ]

    def __repr__(self) -> str:
        refused = f", {len(self.refused)} operations refused" if self.refused else ""
        certificate = self.certificate or "not certified"
        head = f"Symmetry of {len(self.groups)} groups{refused}; {certificate}"
        return f"{head}\n{table(self.rows())}"

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


def discover(model: nn.Module, *example_inputs: Any, certify: bool = True) -> Symmetry:
    """Derive the permutation groups of a model from its ``torch.export`` graph.

    Two axes that an operation ties together are permuted together; axes whose
    positions an operation tells apart (inputs, logits, pixels, kernels) are pinned.
    An operation without a rule pins what it touches and is listed with its source
    line in ``Symmetry.refused``.  The result is certified: the model itself is run
    in float64 under random permutations, with its weights and with noisy ones (on the
    CPU; where the model casts to a lower precision, in float64 all the same; but for
    operations that have no float64 kernel, see :attr:`Certificate.coarse`).

    Parameters
    ----------
    model
        Any module that ``torch.export`` accepts, in evaluation mode.
    *example_inputs
        Inputs as the model takes them, at least two samples.
    certify
        Whether to run the certificate, most of the time of large models: leave it out
        for an architecture that was certified before.

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
    shapes = _propagate(graph, model.state_dict())
    groups, pinned = _collect(graph, shapes)
    symmetry = Symmetry(
        groups=groups,
        pinned=pinned,
        refused=tuple(dict.fromkeys(shapes.refused)),
        shapes={name: tuple(t.shape) for name, t in model.state_dict().items()},
        graph=graph,
        certificate=None,
    )
    if not certify:
        return symmetry
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
    everything = Permutation.cyclic(symmetry, generator)
    apart = list(_telling_apart(symmetry, generator))
    # Initial zeros may hide a wrong group in the network itself, not in a noisy one.
    own = _certificate(
        model, model.state_dict(), example_inputs, [everything], symmetry
    )
    decisive = _certificate(model, noisy, random_inputs, [everything, *apart], symmetry)
    _warn_if_vacuous(decisive)
    worst = max(own.relative_difference, decisive.relative_difference)
    count = own.permutations + decisive.permutations
    return replace(
        symmetry,
        certificate=replace(decisive, relative_difference=worst, permutations=count),
    )


def certify(
    symmetry: Symmetry,
    model: nn.Module,
    state: State,
    *inputs: Any,
    permutation: Permutation | None = None,
    generator: torch.Generator | None = None,
) -> Certificate:
    """Check in float64 that permuting a network leaves its function unchanged.

    The model runs on the CPU, and in float64 also where it casts to float32 or lower.
    An operation that has no float64 kernel runs in the precision of the model: it is
    named, and differences are then allowed up to the square root of that precision's
    rounding (3e-4 for float32) instead of 1e-9.

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
        An output differs by more than is allowed, or is NaN somewhere.

    Warns
    -----
    UserWarning
        No output depends on the weights of the units: the certificate shows nothing.
    """
    if permutation is None:
        generator = generator or torch.Generator().manual_seed(0)
        permutation = Permutation.cyclic(symmetry, generator)
    found = _certificate(model, state, inputs, [permutation], symmetry)
    _warn_if_vacuous(found)
    return found


def _certificate(
    model: nn.Module,
    state: State,
    inputs: tuple[Any, ...],
    permutations: Sequence[Permutation],
    symmetry: Symmetry,
) -> Certificate:
    """Compare a network's outputs under permutations, one by one."""
    own = next(filter(torch.is_floating_point, model.state_dict().values()), None)
    mode = _Precise(torch.float32 if own is None else own.dtype)
    double = without_tensors(model).double().cpu()
    doubled, arguments = pytree.tree_map_only(Tensor, _precise, (dict(state), inputs))

    def outputs(state: State) -> list[Tensor]:
        copies = pytree.tree_map_only(Tensor, torch.clone, arguments)
        # torch.cond would compile itself, in this mode, and keep that for later calls.
        with torch.compiler.set_stance("force_eager"), mode:
            returned = call(double, state, copies, expendable=True)
        return [
            leaf.to(torch.promote_types(leaf.dtype, torch.float64))
            for leaf in pytree.tree_leaves(returned)
            if isinstance(leaf, Tensor)
        ]

    worst, vacuous = 0.0, []
    with torch.no_grad():
        before = outputs(doubled)
        for number, output in enumerate(before):
            if bool(output.isnan().any()):
                raise CertificateError(
                    f"output {number} has entries that are NaN, which shows nothing: "
                    "certify with a network and inputs that give numbers"
                )
        changed = outputs(_with_other_weights(doubled, symmetry))
        scales = [_typical(*pair) for pair in zip(before, changed, strict=True)]
        for number, values in enumerate(zip(before, changed, scales, strict=True)):
            if symmetry.groups and _relative(*values) <= mode.tolerance:
                vacuous.append(number)
        for permutation in permutations:
            after = outputs(permutation.apply(doubled))
            for number, values in enumerate(zip(before, after, scales, strict=True)):
                difference = _relative(*values)
                if not difference <= mode.tolerance:  # also when it is nan
                    names = list(symmetry.groups)
                    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                    raise CertificateError(
                        f"permuting the {len(names)} groups {some} changes output "
                        f"{number} by a relative {difference:.1e} (allowed "
                        f"{mode.tolerance:.0e}): the symmetry is wrong for this model; "
                        "please report the model with its torch version"
                    )
                worst = max(worst, difference)
    return Certificate(
        worst, len(permutations), len(before), tuple(vacuous), tuple(mode.coarse)
    )


def _warn_if_vacuous(certificate: Certificate) -> None:
    if len(certificate.vacuous) == certificate.outputs:
        warnings.warn(
            "the certificate shows nothing: no output changes when the weights of the "
            "units do, as behind a layer of zeros; certify another network of this "
            "architecture",
            stacklevel=3,
        )


def _with_other_weights(state: State, symmetry: Symmetry) -> dict[str, Tensor]:
    """Multiply what groups act on by factors near 1, each entry by its own."""
    generator = torch.Generator().manual_seed(0)
    names = {site.name for group in symmetry.groups.values() for site in group.sites}
    return {
        name: value * (0.5 + torch.rand(value.shape, generator=generator))
        if name in names and value.is_floating_point()
        else value
        for name, value in state.items()
    }


def _change(before: Tensor, after: Tensor) -> Tensor:
    """Absolute differences of an output, entry by entry; 0 for equal infinities."""
    if before.shape != after.shape:
        return torch.tensor(math.inf)
    return (after - before).abs().masked_fill(before == after, 0.0)


def _typical(before: Tensor, after: Tensor) -> float:
    """Median of the entries' changes, of those that change by a finite value.

    Entries that a mask sets, to a huge value or an infinite one, do not change: they
    have no part in it, however many they are.
    """
    change = _change(before, after)
    change = change[(change > 0) & change.isfinite()]
    return float(change.median()) if change.numel() else 0.0


def _relative(before: Tensor, after: Tensor, scale: float) -> float:
    """Largest change of an entry, relative to the entry or the scale."""
    change = _change(before, after)
    if change.shape != before.shape:
        return math.inf
    size = before.abs().masked_fill(before.isinf(), 0.0).clamp(min=scale)
    ratio = (change / size).masked_fill(change == 0, 0.0)
    return float(ratio.max()) if ratio.numel() else 0.0


_PRECISE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


def _precise(value: Tensor) -> Tensor:
    """Move a tensor to the CPU, and to float64 (or complex128) if it is floating."""
    return value.detach().to("cpu", _PRECISE.get(value.dtype, value.dtype))


class _Precise(TorchDispatchMode):
    """Everything is on the CPU and in float64, whatever the model casts to.

    A norm or softmax in float32 would round at 1e-7, where a certificate could not
    tell rounding from a wrong symmetry, and constants may be in float32 or on
    another device.  What has no float64 kernel, or looks at the bits of its values,
    runs in the model's own dtype, and its result is taken back to float64.
    """

    supports_higher_order_operators = True

    def __init__(self, own: torch.dtype) -> None:
        super().__init__()
        self.own = own
        self.coarse: dict[str, None] = {}
        self._defaults: list[torch.dtype] = []

    @property
    def tolerance(self) -> float:
        """The relative difference that is allowed, after what has run so far."""
        return torch.finfo(self.own).eps ** 0.5 if self.coarse else TOLERANCE

    def __enter__(self) -> _Precise:
        self._defaults.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.set_default_dtype(self._defaults.pop())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not isinstance(func, torch._ops.OpOverload):  # torch.cond: in its branches
            args = [self._inside(value) if callable(value) else value for value in args]
            return func(*args, **kwargs)
        if kwargs.get("dtype") in _PRECISE:
            kwargs["dtype"] = _PRECISE[kwargs["dtype"]]
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        if not func._schema.is_mutable:  # which would write into the copy
            args, kwargs = pytree.tree_map_only(Tensor, _precise, (args, kwargs))
        if func is not torch.ops.aten.view.dtype:
            try:
                return func(*args, **kwargs)
            except Exception:
                if func._schema.is_mutable or self.own is torch.float64:
                    raise
        args, kwargs = pytree.tree_map_only(
            Tensor,
            lambda t: t.to(self.own) if t.is_floating_point() else t,
            (args, kwargs),
        )
        result = func(*args, **kwargs)
        self.coarse[func.name()] = None
        return pytree.tree_map_only(Tensor, _precise, result)

    def _inside(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*args: Any) -> Any:
            with self:
                return function(*args)

        return inside


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


def _propagate(graph: Graph, state: State) -> Shapes:
    """Apply every rule; return the axes of all values."""
    alike: frozenset[str] = frozenset()
    while True:
        try:
            return _propagated(graph, state, Units(alike))
        except TooFine as found:
            alike |= found.parameters


def _propagated(graph: Graph, state: State, units: Units) -> Shapes:
    """Apply every rule once."""
    shapes = Shapes(units)
    first = {name: aliases[0] for name, aliases in graph.aliases.items()}
    for name in state:
        if name == first[name]:  # a shared tensor is permuted as one
            alone = sum(graph.uses(alias) for alias in graph.aliases[name]) == 1
            # Costs and correlations are of real numbers.
            why = "its values are complex" if state[name].is_complex() else None
            shapes.tensors[name] = fresh(
                units, state[name].shape, why, parameter=name if alone else None
            )
    used: set[str] = set()
    for node in graph.nodes:
        if node.op == "placeholder":
            source = graph.tensors.get(node.name)
            if source in first:
                shapes.place(node, first[source])
                if node.users:
                    used.add(first[source])
            elif isinstance(node.meta.get("val"), Tensor):
                why = f"position in the model's input {node.name}"
                axes = fresh(shapes.units, sizes(node.meta["val"]), why)
                shapes[node] = axes.without([0])  # samples are no units
        elif node.op == "call_function":
            apply_rule(node, shapes)
        elif node.op == "output":
            algebra = Algebra(shapes.units, "position in the model's output")
            for value in node.all_input_nodes:
                for axes in shapes.items(value):
                    algebra.pin(axes)
    for name, axes in shapes.tensors.items():
        if name not in used:
            Algebra(shapes.units, "the model does not use it").pin(axes)
        for block in axes.blocks:
            shapes.units.see(block.units, block.places)
    return shapes


def _collect(
    graph: Graph, shapes: Shapes
) -> tuple[dict[str, Group], tuple[Pinned, ...]]:
    """Turn families of units into groups with their sites; list all other units."""
    homes = _homes(shapes)
    seen = _seen(graph, shapes)
    names: dict[Family, str] = {}
    groups: dict[str, Group] = {}
    free: set[int] = set()
    for family in shapes.units.families():
        free.update(family.members.ravel().tolist())
        sites = _sites(family, homes, graph)
        produced = [site for site in sites if site.axes == (0,)] or sites
        base = produced[0].name.rpartition(".")[0] or produced[0].name
        name, number = base, 2
        while name in groups:
            name, number = f"{base}#{number}", number + 1
        names[family] = name
        groups[name] = Group(
            name,
            family.size,
            sites,
            _activations(family, seen, shapes.units),
            None if family.parent is None else names[family.parent],
            len(family.members) // family.size,
        )
    pinned = []
    for name, axes in shapes.tensors.items():
        for block in axes.blocks:
            fixed = [
                unit for unit in np.unique(block.units).tolist() if unit not in free
            ]
            alone = "no other unit plays the same part"
            reasons = Counter(shapes.units.reason(unit) or alone for unit in fixed)
            for reason, count in reasons.items():
                for alias in graph.aliases[name]:
                    pinned.append(Pinned(alias, block.dims[-1], count, reason))
    return groups, tuple(pinned)


class _Home(NamedTuple):
    """Where a unit is in the state dict: its one axis (or two), and its positions."""

    name: str
    axes: tuple[int, ...]
    positions: list[int]


def _homes(shapes: Shapes) -> dict[int, _Home]:
    """Return the home of each unit that is in a parameter or buffer."""
    homes: dict[int, _Home] = {}
    for name, axes in shapes.tensors.items():
        for block in axes.blocks:
            positions: dict[int, list[int]] = {}
            order = block.places.ravel().argsort(kind="stable")
            ordered = block.units.ravel()[order]
            for unit, position in zip(ordered.tolist(), order.tolist(), strict=True):
                positions.setdefault(unit, []).append(position)
            for unit, found in positions.items():
                homes[unit] = _Home(name, block.dims, found)
    return homes


def _sites(
    family: Family, homes: Mapping[int, _Home], graph: Graph
) -> tuple[Site, ...]:
    """Collect where the things of a family are, with all that is inside them."""
    columns: dict[tuple[int, tuple[int, ...]], list[Tensor]] = {}
    names = list(graph.aliases)
    order = {name: number for number, name in enumerate(names)}
    taken: dict[str, set[tuple[int, ...]]] = {}
    for unit in family.members[0].tolist():
        if unit in homes:
            taken.setdefault(homes[unit].name, set()).add(homes[unit].axes)
    for column in family.members.T.tolist():
        home = homes.get(column[0])
        if home is None or any(set(axes) < set(home.axes) for axes in taken[home.name]):
            continue  # a block is in no tensor; rows move with all that is in them
        positions = torch.tensor([homes[unit].positions for unit in column])
        for alias in graph.aliases[home.name]:
            columns.setdefault((order[alias], home.axes), []).append(positions)
    sites = []
    for number, axes in sorted(columns):
        positions = torch.cat(columns[number, axes], 1)
        positions = positions[:, positions[0].argsort()]
        sites.append(Site(names[number], axes, positions))
    return tuple(sites)


@dataclass(frozen=True)
class _Seen:
    """Units (by leader) along axes of an operation's output, and where."""

    node: str
    axes: tuple[int, ...]
    pointwise: bool
    positions: Mapping[int, list[int]]


def _seen(graph: Graph, shapes: Shapes) -> list[_Seen]:
    """List where units are in a nonlinearity's or a layer's output."""
    layers = {layer.node for layer in graph.layers}
    seen = []
    for node in graph.nodes:
        pointwise = node.name in graph.nonlinearities
        if node.op != "call_function" or node not in shapes:
            continue
        if not pointwise and node.name not in layers:
            continue
        for block in shapes[node].blocks:
            positions: dict[int, list[int]] = {}
            for position, unit in enumerate(block.units.ravel().tolist()):
                leader = shapes.units.leader(unit)
                positions.setdefault(leader, []).append(position)
            seen.append(_Seen(node.name, block.dims, pointwise, positions))
    return seen


def _activations(
    family: Family, seen: Sequence[_Seen], units: Units
) -> tuple[Activation, ...]:
    """Where each thing of a family is in the outputs of nonlinearities, or layers."""
    leaders = [units.leader(unit) for unit in family.members[:, 0].tolist()]
    behind: list[Activation] = []
    before: list[Activation] = []
    for place in seen:
        if not all(leader in place.positions for leader in leaders):
            continue
        positions = [place.positions[leader] for leader in leaders]
        many = {len(found) for found in positions}
        each = many == {1} or not place.pointwise or len(place.axes) > 1
        if len(many) == 1 and each:
            found = behind if place.pointwise else before
            found += [
                Activation(place.node, place.axes, torch.tensor(column))
                for column in zip(*positions, strict=True)
            ]
    return tuple(behind or before)


def _noisy_state(
    state: State, graph: Graph, generator: torch.Generator
) -> dict[str, Tensor]:
    """Add noise, so that constant values (zeros, ones) cannot hide a wrong group.

    Noise of the size that initializations have: with more, signals grow from layer to
    layer of a deep network, and the rounding with them.
    """
    variances = {norm.variance for norm in graph.batch_norms}
    noisy = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    statistics = variances | {norm.mean for norm in graph.batch_norms}
    for name in (*graph.parameters, *statistics):
        if not noisy[name].is_floating_point():
            continue
        shape = noisy[name].shape
        size = 0.1 * max(math.prod(shape[1:]), 1) ** -0.5 if len(shape) > 1 else 0.1
        noise = size * torch.randn(shape, generator=generator).to(noisy[name].dtype)
        noisy[name] = (
            noisy[name] * noise.exp() if name in variances else (noisy[name] + noise)
        )
    for name, aliases in graph.aliases.items():
        noisy[name] = noisy[aliases[0]]
    return noisy
