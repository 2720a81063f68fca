"""Preserve-first merging: the first layers of both networks, then their average.

A midpoint loses features with depth.  Here the first layers of A and of B run side by
side, each with its own weights; the first layers behind them average the two outputs,
and from there on the network is the midpoint::

    x -> A's first layers -> W_A x_A + b_A \\
                                            mean -> midpoint's other layers -> logits
    x -> B's first layers -> W_B x_B + b_B /

The mean is what one widened layer ``[W_A / 2, W_B / 2]`` computes from both features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from torch import Tensor
from torch.fx import Node

from lmc.graph import Around, BatchNorm, Graph, Layer, State, argument
from lmc.interpolation import interpolate
from lmc.renormalization import Renormalization, Statistics, renormalize

_A, _B = "a:", "b:"
"""In front of the names of tensors that the merged network has twice."""


class _Reached(Exception):
    """Ends a run whose other outputs are not needed."""


@dataclass(frozen=True, eq=False, repr=False)
class PreserveFirst:
    """A merged network whose first layers are those of both networks.

    It can be observed as a graph can: :func:`lmc.statistics`, :func:`lmc.renormalize`
    and :func:`lmc.reset` take it with ``merged.state``, and see the merged layers,
    those where the two branches join included.  :func:`preserve_first` makes it.

    Attributes
    ----------
    graph : Graph
        The graph of one network, which is run for each branch.
    state : dict of str to Tensor
        Tensors of the merged part by their names; those that A and B have each for
        themselves as ``"a:<name>"`` and ``"b:<name>"``.
    kept : tuple of str
        Layers that A and B have each for themselves, with outputs of their own.
    joining : tuple of str
        The first layers behind them: each network has its own weights there too, but
        the outputs are averaged.
    layers : tuple of Layer
        The layers with one output: the joining and the averaged ones.
    batch_norms : tuple of BatchNorm
        Those that are not kept.
    relative_size : float
        Number of parameters over that of one network.
    """

    graph: Graph
    state: dict[str, Tensor]
    kept: tuple[str, ...]
    joining: tuple[str, ...]
    layers: tuple[Layer, ...]
    batch_norms: tuple[BatchNorm, ...]
    relative_size: float
    _parts: _Division

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The operations of one network."""
        return self.graph.nodes

    @property
    def aliases(self) -> Mapping[str, tuple[str, ...]]:
        """All names of each tensor of one network."""
        return self.graph.aliases

    def uses(self, name: str) -> int:
        """Return at how many places one network uses a parameter or buffer."""
        return self.graph.uses(name)

    def layer(self, name: str) -> Layer:
        """Return the merged layer of this name.

        Raises
        ------
        ValueError
            As for :meth:`lmc.graph.Graph.layer`, or the layer is kept.
        """
        layer = self.graph.layer(name)
        if name in self.kept:
            raise ValueError(
                f"layer {name!r} is kept, with an output in each branch: choose from "
                + ", ".join(layer.name for layer in self.layers)
            )
        return layer

    def run(
        self, state: State, *inputs: Any, around: Mapping[str, Around] | None = None
    ) -> Any:
        """Run the merged network.

        Parameters
        ----------
        state
            ``merged.state``, or a changed copy of it.
        *inputs
            As for :meth:`lmc.graph.Graph.run`.
        around
            The same; an operation of the joining layers is the mean of both.

        Raises
        ------
        ValueError
            ``around`` names an operation that runs in both branches; or as for
            :meth:`lmc.graph.Graph.run`.
        """
        around = dict(around or {})
        if twice := sorted(set(around) & self._parts.nodes):
            raise ValueError(
                f"operations {twice} run in both branches and have no one output: "
                f"name operations behind {', '.join(self.joining)}"
            )
        theirs = self._outputs_of_b(state, inputs) if self.joining else {}
        for node, output in theirs.items():
            around[node] = _averaged(output, around.get(node))
        # A's branch is run on to the end, with the averaged layers behind it.
        return self.graph.run(_whole(state, _A), *inputs, around=around)

    def renormalized(
        self,
        method: str,
        goal: Mapping[str, Statistics],
        batches: Iterable[Any],
        *,
        sequential: bool = False,
    ) -> PreserveFirst:
        """Return the network with its merged layers brought to goal statistics.

        Parameters
        ----------
        method, batches, sequential
            As for :func:`lmc.renormalize`.
        goal
            Goal statistics of layers; those of kept ones, which have both networks'
            own statistics, are not used.

        Returns
        -------
        PreserveFirst
            The same network with other weights in its merged layers.

        Raises
        ------
        ValueError
            As for :func:`lmc.renormalize`; or a layer without bias would have to
            carry a shift.
        """
        found = renormalize(
            method,
            self,
            self.state,
            {name: value for name, value in goal.items() if name not in self.kept},
            batches,
            sequential=sequential,
        )
        # Scaled in both branches, a joining layer's mean is scaled.
        branches = {
            prefix: Renormalization(self, found.scale, found.shift).fuse(
                _whole(self.state, prefix)
            )
            for prefix in (_A, _B)
        }
        state = {
            name: branches[name[:2]][name[2:]]
            if name[:2] in branches
            else branches[_A][name]
            for name in self.state
        }
        return replace(self, state=state)

    def _outputs_of_b(self, state: State, inputs: tuple[Any, ...]) -> dict[str, Tensor]:
        """Run B's branch as far as its outputs at the joining layers."""
        found: dict[str, Tensor] = {}

        def around(layer: Layer) -> Around:
            def kept(operation: Any, *args: Any, **kwargs: Any) -> Tensor:
                output: Tensor = operation(*args, **kwargs)
                # A copy: the model may go on to change the output in place.
                found[layer.node] = output.clone()
                if len(found) == len(self.joining):
                    raise _Reached
                return output

            return kept

        joining = {layer.node: around(layer) for layer in self._parts.joining}
        with suppress(_Reached):
            self.graph.run(_whole(state, _B), *inputs, around=joining)
        return found


def preserve_first(
    graph: Graph, a: State, b: State, layers: Sequence[str]
) -> PreserveFirst:
    """Merge two networks but for their first layers, which are kept side by side.

    Parameters
    ----------
    graph
        The model's graph.
    a, b
        State dicts of the networks, B already matched to A.
    layers
        Names of the kept layers (convolutions and linear layers), the first ones on
        all their paths.  Other operations, normalizations too, are kept as long as
        all that they take is.  The layers that follow average their outputs on A's
        and on B's features.  Without any kept layer this is the midpoint.

    Returns
    -------
    PreserveFirst
        The network: run it by ``merged.run(merged.state, x)``, evaluate it by
        ``lmc.evaluate(merged.run, merged.state, batches)``.

    Raises
    ------
    ValueError
        A layer is unknown or used at several places, or lies behind a layer that is
        merged; kept and merged features are joined, as in a residual block of which
        only a part is kept; a parameter is used by both parts; all layers are kept;
        or the networks do not fit each other.

    Notes
    -----
    The paper's PFM_k keeps the first k - 1 layers in this sense: of the k-th layer,
    both networks' weights are there too, and the outputs are averaged.  This is how
    the published code runs it and counts its parameters: PFM_8 of a VGG16 has 1.2
    times those of one network.  PFM_1 computes what the midpoint does.

    References
    ----------
    arXiv 2402.05966v4, preserve-first merging (PFM).

    Examples
    --------
    >>> import lmc
    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> x = torch.randn(8, 4)
    >>> model, other = MLP((4, 3, 3, 2)).eval(), MLP((4, 3, 3, 2)).eval()
    >>> a, b = model.state_dict(), other.state_dict()
    >>> merged = preserve_first(trace(model, x), a, b, ["1"])
    >>> merged.joining, [layer.name for layer in merged.layers]
    (('3',), ['3', '5'])
    >>> one, two = (net[3](torch.relu(net[1](x))) for net in (model, other))
    >>> middle = lmc.interpolate(a, b, 0.5)
    >>> logits = torch.relu((one + two) / 2) @ middle["5.weight"].T + middle["5.bias"]
    >>> torch.allclose(merged.run(merged.state, x), logits, atol=1e-6)
    True
    >>> round(merged.relative_size, 2)  # (2 * 15 + 2 * 12 + 8) / (15 + 12 + 8)
    1.77
    """
    parts = _divide(graph, layers)
    own = {name for name in a if _first_name(graph, name) in parts.own}
    middle = interpolate(a, b, 0.5)
    state = {name: middle[name] for name in a if name not in own}
    for prefix, branch in ((_A, a), (_B, b)):
        state |= {prefix + name: branch[name] for name in a if name in own}
    kept = tuple(layer.name for layer in graph.layers if layer.name in layers)
    return PreserveFirst(
        graph,
        state,
        kept,
        joining=tuple(layer.name for layer in parts.joining),
        layers=tuple(layer for layer in graph.layers if layer.name not in kept),
        batch_norms=tuple(norm for norm in graph.batch_norms if norm.mean not in own),
        relative_size=_relative_size(graph, a, own),
        _parts=parts,
    )


class _Part(Enum):
    """What a value is computed with, beside the inputs."""

    EITHER = "nothing that belongs to a part yet"
    KEPT = "A's or B's own parameters"
    MERGED = "averaged parameters, behind a joining layer"


@dataclass(frozen=True)
class _Division:
    """Layers where the branches join, tensors of their own, operations run twice."""

    joining: tuple[Layer, ...]
    own: frozenset[str]
    nodes: frozenset[str]


def _divide(graph: Graph, keep: Sequence[str]) -> _Division:
    """Find what runs in both branches, and what behind them."""
    kept = {graph.layer(name).name for name in keep}
    layers = {layer.node: layer for layer in graph.layers}
    part: dict[Node, _Part] = {}
    # Parameters on which a value depends that no part has claimed yet.
    pending: dict[Node, frozenset[str]] = {}
    owners: dict[str, bool] = {}
    joining: list[Layer] = []

    for node in graph.nodes:
        sources = [source for source in node.all_input_nodes if source in part]
        if node.op == "output":
            if any(part[source] is _Part.KEPT for source in sources):
                raise ValueError(
                    "nothing would be merged before the model's output: leave at "
                    "least the last layer out of the kept ones"
                )
            continue
        value = node.meta.get("val")
        if not isinstance(value, (Tensor, list, tuple)):
            continue  # sizes and assertions are no values of the network
        names = frozenset().union(*(pending[source] for source in sources))
        if node.op == "placeholder" and (name := graph.tensors.get(node.name)):
            names = frozenset({_first_name(graph, name)})
        found = {part[source] for source in sources} - {_Part.EITHER}
        layer = layers.get(node.name)
        if layer is not None:
            before = part[argument(node, 0)]
            if layer.name in kept and before is _Part.MERGED:
                raise ValueError(
                    f"layer {layer.name!r} cannot be kept, since it lies behind layers "
                    "that are merged: keep those too, or leave it out"
                )
            if layer.name not in kept and before is _Part.KEPT:
                joining.append(layer)
            here = _Part.KEPT if layer.name in kept else _Part.MERGED
        elif len(found) > 1:
            raise ValueError(
                f"{node.target} (node {node.name}) joins kept features with merged "
                "ones, as the sum of a residual block does: on all its paths a layer "
                "must follow the kept ones, or none"
            )
        else:
            here = found.pop() if found else _Part.EITHER
        part[node] = here
        pending[node] = names if here is _Part.EITHER else frozenset()
        if here is _Part.EITHER:
            continue
        own = here is _Part.KEPT or layer in joining
        for name in sorted(names):
            if owners.setdefault(name, own) != own:
                raise ValueError(
                    f"{name} is used by kept and by averaged layers: keep all layers "
                    "that use it, or none"
                )
    return _Division(
        tuple(joining),
        frozenset(name for name, own in owners.items() if own),
        frozenset(node.name for node in part if part[node] is _Part.KEPT),
    )


def _averaged(other: Tensor, outer: Around | None) -> Around:
    """An operation's output averaged with that of the other branch."""

    def around(operation: Any, *args: Any, **kwargs: Any) -> Any:
        def mean(*args: Any, **kwargs: Any) -> Tensor:
            return (operation(*args, **kwargs) + other) / 2

        return mean(*args, **kwargs) if outer is None else outer(mean, *args, **kwargs)

    return around


def _whole(state: State, prefix: str) -> dict[str, Tensor]:
    """One branch and the merged part, by the names of the model."""
    return {
        name.removeprefix(prefix): value
        for name, value in state.items()
        if name[:2] not in (_A, _B) or name.startswith(prefix)
    }


def _first_name(graph: Graph, name: str) -> str:
    """The first of the names under which a state dict holds a tensor."""
    return graph.aliases.get(name, (name,))[0]


def _relative_size(graph: Graph, state: State, own: set[str]) -> float:
    counts = {
        name: state[name].numel()
        for name in graph.parameters
        if name in state and _first_name(graph, name) == name
    }
    twice = sum(count for name, count in counts.items() if name in own)
    return 1 + twice / sum(counts.values())
