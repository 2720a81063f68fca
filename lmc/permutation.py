"""Permutations of a model's hidden units: one index tensor per group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lmc.symmetry import Site, Symmetry


@dataclass(frozen=True, eq=False)
class Permutation:
    """A permutation of the units of each group of a symmetry.

    Unit ``i`` of the permuted model is unit ``indices[group][i]`` of the original.

    Attributes
    ----------
    symmetry
        The groups that are permuted.
    indices
        For each group's name an int64 tensor of shape ``(size,)``.

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
            expected = torch.arange(groups[name].size, device=indices.device)
            if indices.dtype != torch.int64 or not torch.equal(
                indices.sort().values, expected
            ):
                raise ValueError(
                    f"the indices of group {name!r} are no permutation of "
                    f"0..{groups[name].size - 1}"
                )

    @classmethod
    def identity(cls, symmetry: Symmetry) -> Permutation:
        """Return the permutation that leaves every unit in its place."""
        return cls(
            symmetry,
            {name: torch.arange(group.size) for name, group in symmetry.groups.items()},
        )

    @classmethod
    def random(cls, symmetry: Symmetry, generator: torch.Generator) -> Permutation:
        """Draw a permutation of every group uniformly, on the CPU."""
        return cls(
            symmetry,
            {
                name: torch.randperm(group.size, generator=generator)
                for name, group in symmetry.groups.items()
            },
        )

    @classmethod
    def cyclic(cls, symmetry: Symmetry, generator: torch.Generator) -> Permutation:
        """Draw for every group one cycle through all units: none keeps its place."""
        order = cls.random(symmetry, generator).indices
        return cls(symmetry, {n: p.roll(1)[p.argsort()] for n, p in order.items()})

    def invert(self) -> Permutation:
        """Return the permutation that undoes this one."""
        return Permutation(
            self.symmetry, {name: p.argsort() for name, p in self.indices.items()}
        )

    def compose(self, then: Permutation) -> Permutation:
        """Return the permutation that applies this one first and ``then`` after it.

        Raises
        ------
        ValueError
            ``then`` permutes other groups.
        """
        sizes = [
            {name: group.size for name, group in p.symmetry.groups.items()}
            for p in (self, then)
        ]
        if sizes[0] != sizes[1]:
            raise ValueError(
                "permutations of different groups have no product: both must be of "
                "one architecture"
            )
        return Permutation(
            self.symmetry,
            {
                name: p[then.indices[name].to(p.device)]
                for name, p in self.indices.items()
            },
        )

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
        for name, group in self.symmetry.groups.items():
            for site in group.sites:
                permuted[site.name] = permute_site(
                    permuted[site.name], site, self.indices[name]
                )
        return permuted


def blocks(tensor: Tensor, site: Site) -> Tensor:
    """Split a site's axis in three; the group's units are axis ``site.axis + 1``."""
    before, after = tensor.shape[: site.axis], tensor.shape[site.axis + 1 :]
    return tensor.reshape(*before, site.outer, site.size, site.inner, *after)


def permute_site(tensor: Tensor, site: Site, indices: Tensor) -> Tensor:
    """Permute one group's units on one axis of a tensor."""
    permuted = blocks(tensor, site).index_select(
        site.axis + 1, indices.to(tensor.device)
    )
    return permuted.reshape(tensor.shape)


def mask_site(tensor: Tensor, site: Site, units: Tensor) -> Tensor:
    """Put zeros where the given units of a group are, on one axis of a tensor."""
    split = blocks(tensor, site)
    shape = [1] * split.ndim
    shape[site.axis + 1] = -1
    masked = split.masked_fill(units.to(tensor.device).view(shape), 0)
    return masked.reshape(tensor.shape)
