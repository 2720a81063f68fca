"""Permutations of a model's hidden units: one index tensor per group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lmc.symmetry import Group, Site, Symmetry


@dataclass(frozen=True, eq=False)
class Permutation:
    """A permutation of the units of each group of a symmetry.

    Unit ``i`` of the permuted model is unit ``indices[group][i]`` of the original.
    A group inside the units of another one (channels inside attention heads) moves
    with them first: its unit ``i`` of block ``h`` is then unit ``indices[group][h, i]``
    of the block that came to ``h``.

    Attributes
    ----------
    symmetry
        The groups that are permuted.
    indices
        For each group's name an int64 tensor of shape ``(size,)``, or
        ``(copies, size)`` for a group with a parent.

    Raises
    ------
    ValueError
        A group is missing, unknown, or its indices are no permutation.

    Examples
    --------
    >>> import torch
    >>> from lmc import Permutation, discover
    >>> from lmc.models import MLP
    >>> model = MLP((4, 3, 2)).eval()
    >>> symmetry = discover(model, torch.zeros(2, 4))
    >>> p = Permutation(symmetry, {"1": torch.tensor([2, 0, 1])})
    >>> q = p.compose(p.invert())
    >>> q.indices["1"].tolist()
    [0, 1, 2]
    """

    symmetry: Symmetry
    indices: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        groups = self.symmetry.groups
        if set(self.indices) != set(groups):
            raise ValueError(
                "a permutation names exactly the groups of its symmetry: missing "
                f"{sorted(set(groups) - set(self.indices))}, unknown "
                f"{sorted(set(self.indices) - set(groups))}"
            )
        for name, indices in self.indices.items():
            expected = _still(groups[name]).to(indices.device)
            if (
                indices.dtype != torch.int64
                or indices.shape != expected.shape
                or not torch.equal(indices.sort(-1).values, expected)
            ):
                raise ValueError(
                    f"the indices of group {name!r} are no permutation of "
                    f"0..{groups[name].size - 1}"
                )

    def __repr__(self) -> str:
        units, still = 0, 0
        for moved in self.moved().values():
            units += len(moved)
            own = torch.arange(len(moved), device=moved.device)
            still += int((moved == own).sum())
        groups = len(self.indices)
        return f"Permutation of {groups} groups: {units - still} of {units} units move"

    @classmethod
    def identity(cls, symmetry: Symmetry) -> Permutation:
        """Return the permutation that leaves every unit in its place."""
        return cls(symmetry, {n: _still(group) for n, group in symmetry.groups.items()})

    @classmethod
    def random(cls, symmetry: Symmetry, generator: torch.Generator) -> Permutation:
        """Draw a permutation of every group uniformly, on the CPU."""
        return cls(
            symmetry,
            {
                name: torch.stack(
                    [
                        torch.randperm(group.size, generator=generator)
                        for _ in range(group.copies)
                    ]
                ).view_as(_still(group))
                for name, group in symmetry.groups.items()
            },
        )

    @classmethod
    def cyclic(cls, symmetry: Symmetry, generator: torch.Generator) -> Permutation:
        """Draw for every group one cycle through all units: none keeps its place."""
        order = cls.random(symmetry, generator).indices
        return cls(
            symmetry,
            {n: p.roll(1, -1).gather(-1, p.argsort(-1)) for n, p in order.items()},
        )

    def invert(self) -> Permutation:
        """Return the permutation that undoes this one."""
        moved = {name: p.argsort() for name, p in self.moved().items()}
        return Permutation.from_moved(self.symmetry, moved)

    def compose(self, then: Permutation) -> Permutation:
        """Return the permutation that applies this one first and ``then`` after it.

        Raises
        ------
        ValueError
            ``then`` permutes other groups.
        """
        sizes = [
            {name: (g.size, g.parent) for name, g in p.symmetry.groups.items()}
            for p in (self, then)
        ]
        if sizes[0] != sizes[1]:
            raise ValueError(
                "permutations of different groups have no product: both must be of "
                "one architecture"
            )
        mine, others = self.moved(), then.moved()
        return Permutation.from_moved(
            self.symmetry,
            {name: p[others[name].to(p.device)] for name, p in mine.items()},
        )

    def moved(self) -> dict[str, Tensor]:
        """Return for each group whose place each unit takes, over all blocks at once.

        Returns
        -------
        dict of str to Tensor
            Int64 ``(copies * size,)``: unit ``i`` of the permuted model is unit
            ``moved[i]`` of the original, whatever block that was in.
        """
        moved: dict[str, Tensor] = {}
        for name, group in self.symmetry.groups.items():
            inside = self.indices[name]
            if group.parent is not None:
                block = moved[group.parent].to(inside.device)
                inside = block[:, None] * group.size + inside
            moved[name] = inside.flatten()
        return moved

    @classmethod
    def from_moved(cls, symmetry: Symmetry, moved: Mapping[str, Tensor]) -> Permutation:
        """Return the permutation of which these are the :meth:`moved` units.

        Raises
        ------
        ValueError
            The units of a block do not stay together.
        """
        permutation = cls(
            symmetry,
            {
                name: (moved[name] % group.size).view_as(_still(group))
                for name, group in symmetry.groups.items()
            },
        )
        for name, units in permutation.moved().items():
            if not torch.equal(units, moved[name]):
                raise ValueError(
                    f"the units of group {name!r} do not move with those of "
                    f"{symmetry.groups[name].parent!r}, which hold them"
                )
        return permutation

    def apply(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Permute parameters and buffers.

        Parameters
        ----------
        state
            Parameters and buffers by name, as ``model.state_dict()`` gives them.

        Returns
        -------
        dict of str to Tensor
            A new state dict that computes the same function; tensors on which no
            group acts are those of the input.

        Raises
        ------
        ValueError
            Names or shapes are not those of the model that the symmetry describes.
        """
        self.symmetry.check(state)
        permuted = dict(state)
        for name in self._orders:
            permuted[name] = self.apply_to(name, permuted[name])
        return permuted

    def apply_to(self, name: str, tensor: Tensor) -> Tensor:
        """Permute one parameter or buffer, of the model's shape."""
        for axes, order in self._orders.get(name, ()):
            tensor = reordered(tensor, axes, order)
        return tensor

    def order(self, name: str, axes: tuple[int, ...]) -> Tensor:
        """Return whose place each position of a tensor takes on some of its axes.

        Parameters
        ----------
        name
            Of the parameter or buffer.
        axes
            The axes of a site, which count as one, row-major.

        Returns
        -------
        Tensor
            Int64 ``(positions,)``, on the CPU.
        """
        shape = self.symmetry.shapes[name]
        order = torch.arange(math.prod(shape[axis] for axis in axes))
        for own, step in self._orders.get(name, ()):
            if own == axes:
                order = order[step]
        return order

    @cached_property
    def _orders(self) -> dict[str, list[tuple[tuple[int, ...], Tensor]]]:
        """Compose what moves each tensor: orders of some of its axes, one by one."""
        orders: dict[str, list[tuple[tuple[int, ...], Tensor]]] = {}
        for name, group in self.symmetry.groups.items():
            # Blocks have moved as wholes before, by the parent's own sites.
            inside = inside_blocks(self.indices[name].cpu())
            if torch.equal(inside, torch.arange(inside.numel())):
                continue
            for site in group.sites:
                found = orders.setdefault(site.name, [])
                order = site_order(site, inside, self.symmetry.shapes[site.name])
                if found and found[-1][0] == site.axes:
                    order = found.pop()[1][order]
                found.append((site.axes, order))
        return orders


def inside_blocks(indices: Tensor) -> Tensor:
    """Number the units of all blocks: ``(copies, size)`` to ``(copies * size,)``."""
    size = indices.shape[-1]
    starts = torch.arange(0, indices.numel(), size, device=indices.device)
    return (indices.view(-1, size) + starts[:, None]).flatten()


def _still(group: Group) -> Tensor:
    """The indices that leave every unit of a group in its place."""
    still = torch.arange(group.size)
    return still if group.parent is None else still.expand(group.copies, -1).clone()


def units(tensor: Tensor, site: Site) -> Tensor:
    """Gather a group's units from a tensor: ``(copies * size, everything else)``.

    Everything else is the unit's places, then the tensor's other axes.
    """
    flat, axis = flattened(tensor, site.axes)
    rows, positions = flat.movedim(axis, 0), site.positions
    if not site.consecutive or positions.numel() != rows.shape[0]:
        rows = rows.index_select(0, positions.flatten().to(tensor.device))
    return rows.reshape(positions.shape[0], -1)


def site_order(
    site: Site, units: Tensor, shape: Sequence[int], order: Tensor | None = None
) -> Tensor:
    """Return whose place each position takes on the axes of a site.

    Parameters
    ----------
    site
        Where units are in a tensor.
    units
        ``(copies * size,)``: which unit comes in each unit's place.
    shape
        Of the tensor.
    order
        Of the positions where no unit is; by default they are in place.
    """
    length = math.prod(shape[axis] for axis in site.axes)
    if site.consecutive and units.numel() == length:
        return units  # each position is a unit of its own
    order = torch.arange(length) if order is None else order.clone()
    order[site.positions] = site.positions[units]
    return order


def reordered(tensor: Tensor, axes: tuple[int, ...], order: Tensor) -> Tensor:
    """Reorder the positions of some axes, which count as one, row-major.

    On a single axis ``order`` may also select some of the positions.
    """
    flat, axis = flattened(tensor, axes)
    return unflattened(flat.index_select(axis, order.to(tensor.device)), tensor, axes)


def mask_site(tensor: Tensor, site: Site, units: Tensor) -> Tensor:
    """Put zeros where the given units of a group are: bool ``(copies * size,)``."""
    flat, axis = flattened(tensor, site.axes)
    chosen = site.positions[units.to(site.positions.device)].flatten()
    masked = flat.index_fill(axis, chosen.to(tensor.device), 0)
    return unflattened(masked, tensor, site.axes)


def flattened(tensor: Tensor, axes: tuple[int, ...]) -> tuple[Tensor, int]:
    """Make some axes one, row-major; return the tensor and that axis."""
    if len(axes) == 1:
        return tensor, axes[0]
    together = _together(axes)
    flat = tensor.movedim(axes, together).flatten(together[0], together[-1])
    return flat, together[0]


def _together(axes: tuple[int, ...]) -> tuple[int, ...]:
    """Where axes are when the others have gone from between them."""
    return tuple(range(axes[0], axes[0] + len(axes)))


def unflattened(flat: Tensor, like: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Undo :func:`flattened`."""
    if len(axes) == 1:
        return flat
    together = _together(axes)
    shape = like.movedim(axes, together).shape
    return flat.reshape(shape).movedim(together, axes).contiguous()
