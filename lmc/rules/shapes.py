"""The axes of every value of a graph, as far as rules have been applied."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from lmc.axes import Axes
from lmc.exported import storages
from lmc.units import Units


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
