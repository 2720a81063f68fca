"""A model's permutation symmetry: groups, where their units are, what is pinned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from lmc.graph import Graph, State
from lmc.tables import table


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

    @cached_property
    def consecutive(self) -> bool:
        """Whether the positions are 0, 1, 2, and so on, unit by unit."""
        return torch.equal(
            self.positions.flatten(),
            torch.arange(self.positions.numel(), device=self.positions.device),
        )


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
        The axes that no group acts on, with reasons; also what keeps its order inside
        the blocks of a group.  A reason with "may be free" is no proof that it is not.
    refused
        Operations without a rule, which pinned what they touch: the groups are
        right, but there may be more.  Where there are none, and nothing pinned may be
        free, they are all.
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
