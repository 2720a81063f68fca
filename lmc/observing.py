"""Running networks on data for what happens inside them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.fx import Node

from lmc.batches import as_arguments, batch_size, pairs
from lmc.graph import Around, BatchNorm, Graph, Layer, State


class Observable(Protocol):
    """What has layers and can be run, with the attributes of a graph.

    A :class:`lmc.graph.Graph`, or what is made of one, as :class:`lmc.PreserveFirst`.
    """

    @property
    def nodes(self) -> Sequence[Node]: ...
    @property
    def layers(self) -> Sequence[Layer]: ...
    @property
    def batch_norms(self) -> Sequence[BatchNorm]: ...
    @property
    def aliases(self) -> Mapping[str, tuple[str, ...]]: ...
    def layer(self, name: str) -> Layer: ...
    def uses(self, name: str) -> int: ...
    def run(
        self, state: State, *inputs: Any, around: Mapping[str, Around] | None = None
    ) -> Any: ...


class AllSeen(BaseException):
    """Raised by what stands around an operation: the rest of a batch need not run.

    No error, and so no ``Exception``: of each, torch's interpreter of graphs would
    write out the whole module, which takes longer than the batch.
    """


def observe(
    graph: Observable,
    state: State,
    batches: Iterable[Any],
    around: Mapping[str, Around],
    keep: Callable[[Any], None] | None = None,
) -> None:
    """Run a network on all batches, without gradients, for what ``around`` sees.

    Parameters
    ----------
    graph
        The model's graph.
    state
        A network.
    batches
        Pairs of inputs and targets; the targets are not used.
    around
        As for :meth:`lmc.graph.Graph.run`.  It may raise :class:`AllSeen`.
    keep
        Called with the output of each batch that was run to its end.

    Raises
    ------
    ValueError
        There is no sample.
    """
    with torch.no_grad():
        for arguments in _all_arguments(batches):
            try:
                output = graph.run(state, *arguments, around=around)
            except AllSeen:
                continue
            if keep is not None:
                keep(output)


@torch.no_grad()
def observe_both(
    graph: Graph, a: State, b: State, batches: Iterable[Any], nodes: Collection[str]
) -> Iterator[tuple[str, Any, Any]]:
    """Run two networks in lockstep, and give the outputs of some operations in pairs.

    Both are at the same operation at any time, so that no activation has to be kept
    until the other network comes there.

    Parameters
    ----------
    graph
        The model's graph.
    a, b
        The networks.
    batches
        Pairs of inputs and targets; the targets are not used.
    nodes
        Names of operations.

    Yields
    ------
    tuple
        The operation's name, A's output and B's: to be used before the next is asked
        for, as the model may go on to change them in place.

    Raises
    ------
    ValueError
        There is no sample.
    """
    for arguments in _all_arguments(batches):
        ours = graph.steps(a, *arguments, nodes=nodes)
        theirs = graph.steps(b, *arguments, nodes=nodes)
        for (node, one), (_, other) in zip(ours, theirs, strict=True):
            yield node, one, other


def _all_arguments(batches: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """The model's arguments for each batch that has samples."""
    empty = True
    for inputs, _ in pairs(batches):
        arguments = as_arguments(inputs)
        if batch_size(arguments):
            empty = False
            yield arguments
    if empty:
        raise ValueError("no samples: give at least one pair of inputs and targets")
