"""Two networks, and where their groups are in their tensors."""

import math
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

import torch
from torch import Tensor

from lmc.graph import State
from lmc.matching.assignment import Branch, branches
from lmc.permutation import Permutation
from lmc.symmetry import Group, Site, Symmetry


class Pair:
    """Two networks, and where their groups are in their tensors.

    Parameters
    ----------
    symmetry
        Groups of both networks.
    a, b
        State dicts of the two networks.
    buffers
        Whether BatchNorm's running statistics are among the tensors.

    Attributes
    ----------
    a, b
        The tensors on which groups act, each under one name, on A's device.
    unmoved
        For each of those the inner product of A's and B's.
    acting
        For each of those the groups that act on it, and where.
    sites
        For each group its sites, without the positions of groups inside its units.
    places
        For each tensor the group and number of each of those sites.
    branches
        The groups without a parent, with what is inside them.
    crossing
        Tensors on an axis of which groups cross: heads, and channels of all heads.
    coupled
        For each branch the tensors that the rest of the network does not make linear
        in it: it acts on several of their axes, or crosses another group there.
    beside
        For each branch with coupled tensors its groups, and all that act on these.

    Raises
    ------
    ValueError
        A state dict does not fit the model, or holds values that are not finite.
    """

    def __init__(self, symmetry: Symmetry, a: State, b: State, buffers: bool = False):
        names = _compared(symmetry, buffers)
        self.symmetry = symmetry
        symmetry.check(a)
        symmetry.check(b)
        self.a = {name: a[name].detach() for name in names}
        self.b = {name: b[name].detach().to(self.a[name].device) for name in names}
        self.unmoved = {name: product_of(self.a[name], self.b[name]) for name in names}
        if not all(map(math.isfinite, self.unmoved.values())):
            _check_finite(self.a, "a")
            _check_finite(self.b, "b")
        self.acting: dict[str, list[tuple[str, Site]]] = {name: [] for name in names}
        for group in symmetry.groups.values():
            for site in group.sites:
                if site.name in self.acting:
                    self.acting[site.name].append((group.name, site))
        self.sites = {
            name: [site for site in sites if site.name in self.acting]
            for name, sites in own_sites(symmetry).items()
        }
        self.branches = [
            branch
            for branch in branches(symmetry)
            if any(self.sites[group.name] for group in branch.groups())
        ]
        self.places: dict[str, list[tuple[str, int, Site]]] = {n: [] for n in names}
        for name, sites in self.sites.items():
            for number, site in enumerate(sites):
                self.places[site.name].append((name, number, site))
        self.crossing = crossing(self.sites)
        self.coupled = {branch: self._coupled(branch) for branch in self.branches}
        self.beside = {branch: self._beside(branch) for branch in self.branches}

    @cached_property
    def energy(self) -> dict[str, float]:
        """Squared norm of each of A's tensors."""
        return {name: product_of(tensor, tensor) for name, tensor in self.a.items()}

    def _coupled(self, branch: Branch) -> set[str]:
        axes: dict[str, set[tuple[int, ...]]] = {}
        for group in branch.groups():
            for site in self.sites[group.name]:
                axes.setdefault(site.name, set()).add(site.axes)
        return {
            name
            for name, found in axes.items()
            if len(found) > 1 or name in self.crossing
        }

    def _beside(self, branch: Branch) -> set[str]:
        coupled = self.coupled[branch]
        if not coupled:
            return set()
        own = {group.name for group in branch.groups()}
        return own | {group for name in coupled for group, _ in self.acting[name]}

    def touched(self, branch: Branch) -> set[str]:
        """Tensors on which a branch acts."""
        return {s.name for group in branch.groups() for s in self.sites[group.name]}

    def known(self, branch: Branch, waiting: Collection[str]) -> tuple[set[str], float]:
        """Tensors on whose other axes no group waits, and their share of the norm."""
        own = {group.name for group in branch.groups()}
        waiting = set(waiting) - own
        touched = self.touched(branch) - self.coupled[branch]
        # Not coupled: the branch acts on the same axes at all its sites in a tensor.
        axes = {s.name: s.axes for name in own for s in self.sites[name]}
        known = {
            name
            for name in touched
            if waiting.isdisjoint(
                group for group, s in self.acting[name] if s.axes != axes[name]
            )
        }
        all_of_it = math.fsum(self.energy[name] for name in touched) or 1.0
        return known, math.fsum(self.energy[name] for name in known) / all_of_it

    def product(self, name: str, permutation: Permutation) -> float:
        """Inner product of A's and the permuted B's tensor, in float64."""
        return product_of(self.a[name], permutation.apply_to(name, self.b[name]))


def product_of(a: Tensor, b: Tensor) -> float:
    """Inner product of two tensors, in float64."""
    return float(a.double().flatten() @ b.double().flatten())


def own_sites(symmetry: Symmetry) -> dict[str, list[Site]]:
    """Sites of each group without the positions of groups inside its units."""
    inside: dict[str, list[Group]] = {name: [] for name in symmetry.groups}
    for group in symmetry.groups.values():
        above = group.parent
        while above is not None:
            inside[above].append(group)
            above = symmetry.groups[above].parent
    return {
        name: _without(group.sites, [s for g in inside[name] for s in g.sites])
        for name, group in symmetry.groups.items()
    }


def _without(sites: Iterable[Site], inner: Collection[Site]) -> list[Site]:
    """Leave out the positions that other sites have."""
    if not inner:
        return list(sites)
    inside: dict[tuple[str, tuple[int, ...]], set[int]] = {}
    for site in inner:
        taken = inside.setdefault((site.name, site.axes), set())
        taken.update(site.positions.flatten().tolist())
    own = []
    for site in sites:
        taken = inside.get((site.name, site.axes), set())
        first = site.positions[0].tolist()
        kept = [place for place, position in enumerate(first) if position not in taken]
        if kept:
            own.append(Site(site.name, site.axes, site.positions[:, kept]))
    return own


def crossing(sites: Mapping[str, Iterable[Site]]) -> set[str]:
    """Tensors on an axis of which groups cross: none is inside the other there.

    Parameters
    ----------
    sites
        Each group's own, see :func:`own_sites`.
    """
    found: dict[tuple[str, tuple[int, ...]], list[Tensor]] = {}
    for own in sites.values():
        for site in own:
            positions = site.positions.flatten()
            found.setdefault((site.name, site.axes), []).append(positions)
    return {
        name
        for (name, _), positions in found.items()
        if len(positions) > 1
        and len(torch.cat(positions).unique()) < sum(map(len, positions))
    }


def _compared(symmetry: Symmetry, buffers: bool) -> list[str]:
    """Return the names of the tensors on which a group acts, each tensor's once."""
    norms = () if buffers else symmetry.graph.batch_norms
    left_out = {name for norm in norms for name in (norm.mean, norm.variance)}
    acted_on = {s.name for g in symmetry.groups.values() for s in g.sites}
    # The graph knows a tensor by one of its names, which need not be the first.
    aliases = symmetry.graph.aliases
    return [
        name
        for name in symmetry.shapes
        if name in acted_on
        and name == aliases[name][0]
        and left_out.isdisjoint(aliases[name])
    ]


def _check_finite(tensors: State, which: str) -> None:
    """Raise if a tensor has values that are not finite."""
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{name} of network {which} has values that are not finite: nothing "
                "can be matched to a network that has diverged"
            )
