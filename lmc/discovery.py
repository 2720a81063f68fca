"""The permutation symmetry of a model, derived from its graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lmc.axes import Ties, constant, fresh
from lmc.certificate import certified
from lmc.families import Families, Family
from lmc.graph import Graph, State, trace
from lmc.rules import Shapes, TooFew, apply_rule
from lmc.symmetry import Activation, Group, Pinned, Site, Symmetry
from lmc.units import Ints, TooFine, Units


def discover(model: nn.Module, *example_inputs: Any, certify: bool = True) -> Symmetry:
    """Derive the permutation groups of a model from its ``torch.export`` graph.

    Two axes that an operation ties together are permuted together; axes whose
    positions an operation tells apart (inputs, logits, pixels, kernels) are pinned.
    An operation without a rule pins what it touches and is listed with its source
    line in ``Symmetry.refused``; where none is, and no entry of ``Symmetry.pinned``
    says that it may be free, the groups are complete.  The result is certified: the
    model itself is run in float64 under random permutations, with its weights and with
    noisy ones (on the CPU; where the model casts to a lower precision, in float64 all
    the same; but for operations that have no float64 kernel, see
    :attr:`lmc.symmetry.Certificate.coarse`).

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
    lmc.CertificateError
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
    shapes, families = _propagate(graph, model.state_dict())
    groups, pinned = _collect(graph, shapes, families)
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
    return replace(symmetry, certificate=certified(symmetry, model, example_inputs))


def _propagate(graph: Graph, state: State) -> tuple[Shapes, Families]:
    """Apply every rule; return the axes of all values, and what may be permuted."""
    alike: frozenset[str] = frozenset()
    factor = 1
    while True:
        try:
            shapes = _propagated(graph, state, Units(alike), factor)
            return shapes, Families(shapes.units)
        except TooFine as fine:
            alike |= fine.parameters
        except TooFew as few:
            factor *= few.factor


def _propagated(graph: Graph, state: State, units: Units, factor: int) -> Shapes:
    """Apply every rule once."""
    shapes = Shapes(units, graph.written, factor)
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
            elif node.name in graph.constants and not shapes.changes(node):
                shapes[node] = constant(graph.constants[node.name])
                shapes.constants[node] = graph.constants[node.name].cpu()
            elif isinstance(node.meta.get("val"), Tensor):
                why = f"position in the model's input {node.name}"
                axes = fresh(shapes.units, shapes.given(node), why)
                shapes[node] = axes.without([0])  # samples are no units
        elif node.op == "call_function":
            apply_rule(node, shapes)
        elif node.op == "output":
            ties = Ties(shapes.units, "position in the model's output")
            for value in node.all_input_nodes:
                for axes in shapes.items(value):
                    ties.pin(axes)
    for name, axes in shapes.tensors.items():
        if name not in used:
            Ties(shapes.units, "the model does not use it").pin(axes)
        for block in axes.blocks:
            shapes.units.see(block.units, block.places)
    return shapes


def _collect(
    graph: Graph, shapes: Shapes, families: Families
) -> tuple[dict[str, Group], tuple[Pinned, ...]]:
    """Turn families of units into groups with their sites; list all other units."""
    homes = _Homes(shapes)
    seen = _seen(graph, shapes)
    names: dict[Family, str] = {}
    groups: dict[str, Group] = {}
    free: set[int] = set()
    for family in families:
        free.update(family.members.ravel().tolist())
        sites = _sites(family, homes, graph, shapes)
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
            family.copies,
        )
    pinned = []
    alone = "no other unit plays the same part"
    for name, axes in shapes.tensors.items():
        for block in axes.blocks:
            # What all blocks share moves with them, but stays in its order.
            still = {u: families.shared(u) for u in np.unique(block.units).tolist()}
            reasons = Counter(
                shared or shapes.units.reason(unit) or alone
                for unit, shared in still.items()
                if shared or unit not in free
            )
            for reason, count in reasons.items():
                for alias in graph.aliases[name]:
                    pinned.append(Pinned(alias, block.dims[-1], count, reason))
    return groups, tuple(pinned)


class _Home(NamedTuple):
    """Where units are in the state dict: one axis or two, and the positions of each."""

    name: str
    axes: tuple[int, ...]
    positions: Ints


class _Homes:
    """Where each unit is that is in a parameter or buffer."""

    def __init__(self, shapes: Shapes):
        self._block: dict[int, int] = {}
        self._ordered: list[tuple[str, tuple[int, ...], Ints, Ints]] = []
        for name, axes in shapes.tensors.items():
            for block in axes.blocks:
                units = block.units.ravel()
                order = np.lexsort((block.places.ravel(), units))
                number = len(self._ordered)
                self._block.update(dict.fromkeys(units.tolist(), number))
                self._ordered.append((name, block.dims, units[order], order))

    def find(self, units: Ints) -> _Home | None:
        """Return where units of one axis are: ``(units, places)`` positions."""
        number = self._block.get(int(units[0]))
        if number is None:
            return None
        name, axes, ordered, order = self._ordered[number]
        first = np.searchsorted(ordered, units)
        places = np.searchsorted(ordered, units[0], "right") - first[0]
        return _Home(name, axes, order[first[:, None] + np.arange(places)])


def _rows(home: _Home, axes: tuple[int, ...], shapes: Shapes) -> set[int]:
    """Where the first unit's positions are on some of its axes."""
    sizes = [shapes.tensors[home.name].sizes[axis] for axis in home.axes]
    at = np.unravel_index(home.positions[0], sizes)
    kept = [number for number, axis in enumerate(home.axes) if axis in axes]
    rows = np.ravel_multi_index([at[n] for n in kept], [sizes[n] for n in kept])
    return set(rows.tolist())


def _sites(
    family: Family, homes: _Homes, graph: Graph, shapes: Shapes
) -> tuple[Site, ...]:
    """Collect where the things of a family are, with all that is inside them."""
    columns: dict[tuple[int, tuple[int, ...]], list[Tensor]] = {}
    names = list(graph.aliases)
    order = {name: number for number, name in enumerate(names)}
    found = [homes.find(column) for column in family.members.T]
    # Of the first thing, for each tensor: the axes and positions of its units.
    taken: dict[str, dict[tuple[int, ...], set[int]]] = {}
    for home in filter(None, found):
        own = taken.setdefault(home.name, {}).setdefault(home.axes, set())
        own.update(home.positions[0].tolist())
    for home in filter(None, found):  # a block may be in no tensor
        if any(
            set(axes) < set(home.axes) and _rows(home, axes, shapes) <= rows
            for axes, rows in taken[home.name].items()
        ):
            continue  # rows move with all that is in them
        positions = torch.from_numpy(home.positions)
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
        sizes = node.meta["val"].shape
        for block in shapes[node].blocks:
            if any(isinstance(sizes[dim], torch.SymInt) for dim in block.dims):
                continue  # in rows whose places are other ones in each batch
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
