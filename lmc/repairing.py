"""What is done to networks between others: the renormalization that fits the model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from lmc.exported import operation_name
from lmc.graph import Graph, State
from lmc.renormalization import (
    METHODS,
    averaged_statistics,
    default_layers,
    interpolated_statistics,
    renormalize,
    reset,
    statistics,
)

RENORMALIZATIONS = ("auto", "none", "reset", *METHODS)
"""What :class:`Repair` knows, by name."""

STALE_STATISTICS = (
    "the model has BatchNorm, and averaged running statistics do not fit averaged "
    "weights"
)
"""What is wrong with a point between networks with BatchNorm that was not reset."""


class Repair:
    """Repairs points between networks, by the networks' own statistics on data.

    Parameters
    ----------
    graph
        The model's graph.
    ends
        The networks that are averaged or interpolated, matched to each other.
    batches
        Pairs of inputs and targets on which statistics are taken: a list or a data
        loader.  None is enough for ``"none"``.
    method
        ``"reset"`` (for networks with BatchNorm), ``"repair"``, ``"rescale"``,
        ``"rescale-average"``, ``"reshift"``, ``"none"``; or ``"auto"``: reset where
        there is BatchNorm; repair where there is LayerNorm and the layers have biases,
        as on such networks it restores more than rescale; else rescale; and none
        without batches, or where no layer can be scaled.

    Attributes
    ----------
    method : str
        What is done, never ``"auto"``.
    layers : tuple of str
        Whose outputs are renormalized.

    Raises
    ------
    ValueError
        The method is unknown or needs batches; or as for :func:`lmc.statistics`.

    Examples
    --------
    >>> import lmc, torch
    >>> from lmc.models import MLP
    >>> x, y = torch.randn(64, 4), torch.randint(2, (64,))
    >>> model = MLP((4, 8, 2)).eval()
    >>> a, b = (MLP((4, 8, 2)).state_dict() for _ in range(2))
    >>> repair = Repair(lmc.trace(model, x), [a, b], [(x, y)])
    >>> repair.method, repair.layers
    ('rescale', ('1',))
    >>> lmc.curve(model, a, b, [(x, y)], repair=repair).lambdas == lmc.LAMBDAS
    True
    """

    def __init__(
        self,
        graph: Graph,
        ends: Sequence[State],
        batches: Iterable[Any] | None,
        method: str = "auto",
    ):
        check_renormalization(method, batches)
        self.method, self.layers = _chosen(graph, method, batches)
        self._graph = graph
        self._batches = () if batches is None else batches
        self._statistics = [
            statistics(graph, end, self._batches, self.layers)
            for end in (ends if self.method in METHODS else ())
        ]

    def __call__(self, state: State, lam: float | None = None) -> dict[str, Tensor]:
        """Return a network repaired.

        Parameters
        ----------
        state
            The average of the networks, or a point on the line between two.
        lam
            Where on the line it is; None for an average of all with equal weights.
        """
        if self.method == "none":
            return dict(state)
        if self.method == "reset":
            return reset(self._graph, state, self._batches)
        if lam is None:
            goal = averaged_statistics(self._statistics)
        else:
            a, b = self._statistics
            goal = interpolated_statistics(a, b, lam)
        found = renormalize(self.method, self._graph, state, goal, self._batches)
        return found.fuse(state)


def check_renormalization(method: str, batches: Iterable[Any] | None) -> None:
    """Raise ``ValueError`` for a method that there is not, or that lacks its data."""
    if method not in RENORMALIZATIONS:
        raise ValueError(
            f"unknown renormalization {method!r}: choose {', '.join(RENORMALIZATIONS)}"
        )
    if batches is None and method not in ("auto", "none"):
        raise ValueError(f"{method} takes statistics on data: give batches")


def _chosen(
    graph: Graph, method: str, batches: Iterable[Any] | None
) -> tuple[str, tuple[str, ...]]:
    """A method that is not ``"auto"``, and the layers that it is for."""
    if method in ("none", "reset"):
        return method, ()
    if method != "auto":
        return method, default_layers(graph)
    if batches is None:
        return "none", ()
    if graph.batch_norms:
        return "reset", ()
    names = tuple(name for name in default_layers(graph) if _alone(graph, name))
    if not names:
        return "none", ()
    # Only repair shifts outputs, which takes a bias.
    biased = all(graph.layer(name).bias for name in names)
    normed = any(operation_name(node) == "layer_norm" for node in graph.nodes)
    return "repair" if normed and biased else "rescale", names


def _alone(graph: Graph, name: str) -> bool:
    """Whether a layer can be scaled: at one place, by tensors of its own."""
    found = [layer for layer in graph.layers if layer.name == name]
    tensors = [t for layer in found for t in (layer.weight, layer.bias) if t]
    return len(found) == 1 and all(graph.uses(tensor) == 1 for tensor in tensors)
