"""Coordinate descent over linear assignment problems, on two networks' weights."""

import math
from collections.abc import Collection, Mapping
from functools import cached_property

import torch
from torch import Tensor

from lmc.graph import State
from lmc.matching.assignment import Assignment, Branch, branches
from lmc.permutation import (
    Permutation,
    inside_blocks,
    permute_site,
    reordered,
    units,
)
from lmc.symmetry import Group, Site, Symmetry

SLACK = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Relative gain up to which two objectives are equal, by rounding of the costs."""


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

    Raises
    ------
    ValueError
        A state dict does not fit the model, or holds values that are not finite.
    """

    def __init__(self, symmetry: Symmetry, a: State, b: State, buffers: bool = False):
        names = _compared(symmetry, buffers)
        self.symmetry = symmetry
        self.a = _checked(symmetry, a, names, "a")
        self.b = {
            name: tensor.to(self.a[name].device)
            for name, tensor in _checked(symmetry, b, names, "b").items()
        }
        self.acting: dict[str, list[tuple[str, Site]]] = {name: [] for name in names}
        for group in symmetry.groups.values():
            for site in group.sites:
                if site.name in self.acting:
                    self.acting[site.name].append((group.name, site))
        self.sites = {
            group.name: [
                s for s in _own_sites(symmetry, group) if s.name in self.acting
            ]
            for group in symmetry.groups.values()
        }
        self.branches = [
            branch
            for branch in branches(symmetry)
            if any(self.sites[group.name] for group in branch.groups())
        ]

    @cached_property
    def energy(self) -> dict[str, float]:
        """Squared norm of each of A's tensors."""
        return {name: float(t.double().square().sum()) for name, t in self.a.items()}

    def coupled(self, branch: Branch) -> set[str]:
        """Tensors on several axes of which a branch acts: they are bilinear in it."""
        axes: dict[str, set[tuple[int, ...]]] = {}
        for group in branch.groups():
            for site in self.sites[group.name]:
                axes.setdefault(site.name, set()).add(site.axes)
        return {name for name, found in axes.items() if len(found) > 1}

    def touched(self, branch: Branch) -> set[str]:
        """Tensors on which a branch acts."""
        return {s.name for group in branch.groups() for s in self.sites[group.name]}

    def known(self, branch: Branch, waiting: Collection[str]) -> tuple[set[str], float]:
        """Tensors on whose other axes no group waits, and their share of the norm."""
        own = {group.name for group in branch.groups()}
        waiting = set(waiting) - own
        touched = self.touched(branch) - self.coupled(branch)
        # Not coupled: the branch acts on the same axes at all its sites in a tensor.
        axes = {s.name: s.axes for name in own for s in self.sites[name]}
        known = {
            name
            for name in touched
            if waiting.isdisjoint(
                group for group, s in self.acting[name] if s.axes != axes[name]
            )
        }
        all_of_it = sum(self.energy[name] for name in touched) or 1.0
        return known, sum(self.energy[name] for name in known) / all_of_it

    def permuted(self, name: str, permutation: Permutation) -> Tensor:
        """B's tensor with all groups' permutations applied."""
        tensor = self.b[name]
        for group, site in self.acting[name]:
            inside = inside_blocks(permutation.indices[group])
            tensor = permute_site(tensor, site, inside)
        return tensor

    def product(self, name: str, permutation: Permutation) -> float:
        """Inner product of A's and the permuted B's tensor, in float64."""
        ours, theirs = self.a[name].double(), self.permuted(name, permutation)
        return float((ours * theirs.double()).sum())

    def objective(self, permutation: Permutation) -> float:
        """Inner product of all tensors on which a group acts."""
        return math.fsum(self.product(name, permutation) for name in self.a)


Moved = Mapping[str, Tensor]
"""For each group the unit of B in the place of each unit, over all blocks."""

Orders = dict[tuple[int, ...], Tensor]
"""For axes of a tensor, whose place each position takes."""


class Descent:
    """One coordinate descent: the present permutation and the costs computed so far.

    Costs are between units of A and units of B by their original numbers, so that a
    group's own permutation does not change them.

    Attributes
    ----------
    moved
        The present permutation, see :meth:`lmc.Permutation.moved`.
    solves
        Number of linear assignment problems solved.
    """

    def __init__(self, pair: Pair, dtype: torch.dtype):
        self._pair = pair
        self._dtype = dtype
        self._b = {name: tensor.to(dtype) for name, tensor in pair.b.items()}
        self.moved = Permutation.identity(pair.symmetry).moved()
        self.solves = 0
        self.forget_costs()
        self._orders: dict[str, Orders] = {
            name: {
                site.axes: torch.arange(math.prod(tensor.shape[x] for x in site.axes))
                for _, site in pair.acting[name]
            }
            for name, tensor in pair.a.items()
        }

    def forget_costs(self) -> None:
        """Begin anew from the present permutation: A's tensors have been changed."""
        self._a = {n: tensor.to(self._dtype) for n, tensor in self._pair.a.items()}
        self._totals: dict[str, Tensor] = {}
        self._counted: dict[tuple[str, int], Orders] = {}

    def go_to(self, permutation: Permutation) -> None:
        """Start at a permutation."""
        moved = permutation.moved()
        for branch in self._pair.branches:
            self._take(branch, {g.name: moved[g.name].cpu() for g in branch.groups()})
        self.moved = {name: units.cpu() for name, units in moved.items()}

    def go_forward(self) -> None:
        """Match each group once, by what is matched already, best known ones first."""
        waiting = dict(enumerate(self._pair.branches))
        open_groups = {g.name for branch in waiting.values() for g in branch.groups()}
        while waiting:
            known = {
                number: self._pair.known(branch, open_groups)
                for number, branch in waiting.items()
            }
            number = max(known, key=lambda number: known[number][1])
            branch = waiting.pop(number)
            skipped = self._pair.touched(branch) - known[number][0]
            scores, _ = self._scores(branch, skipped)
            self._take(branch, self._assign(branch, scores))
            open_groups -= {group.name for group in branch.groups()}

    def run(self, generator: torch.Generator, max_sweeps: int) -> list[float]:
        """Sweep over all groups until nothing changes.

        Returns
        -------
        list of float
            By how much the objective rose, in each step that was taken.
        """
        everything = self._pair.branches
        settled: set[int] = set()
        rises: list[float] = []
        for _ in range(max_sweeps):
            before = len(rises)
            for number in torch.randperm(len(everything), generator=generator).tolist():
                branch = everything[number]
                coupled = self._pair.coupled(branch)
                scores, fresh = self._scores(branch, coupled)
                if fresh or coupled or number not in settled:
                    settled.add(number)
                    rises += self._step(branch, coupled, scores)
            if len(rises) == before:
                break
        return rises

    def _step(
        self, branch: Branch, coupled: Collection[str], scores: Mapping[str, Tensor]
    ) -> list[float]:
        """Take the best assignment of a branch if it raises the objective.

        Returns the rise; nothing if no step was taken.
        """
        tried = [self._assign(branch, scores)]
        if coupled:
            present = self._bilinear(branch, coupled, self.moved)
            tried.append(self._assign(branch, _sum(scores, present)))
            tried = [self._inside(branch, coupled, scores, moved) for moved in tried]
        tried = [moved for moved in tried if self._is_new(moved)]
        if not tried:
            return []
        gains = [self._gain(branch, coupled, scores, moved) for moved in tried]
        gain, scale = max(gains)
        # Equal up to rounding is no gain: ties must not keep the sweeps going.
        if gain <= SLACK[self._dtype] * scale:
            return []
        self._take(branch, tried[gains.index((gain, scale))])
        return [gain]

    def _is_new(self, moved: Moved) -> bool:
        """Whether an assignment differs from the present one."""
        return any(not torch.equal(m, self.moved[name]) for name, m in moved.items())

    def _take(self, branch: Branch, moved: Moved) -> None:
        """Make an assignment the present one."""
        self.moved.update(moved)
        for group in branch.groups():
            for site in self._pair.sites[group.name]:
                order = self._orders[site.name][site.axes]
                taken = site.positions[self.moved[group.name]]
                # A new tensor: costs remember the order that they rest on.
                self._orders[site.name][site.axes] = order.index_put(
                    (site.positions,), taken
                )

    def _scores(
        self, branch: Branch, without: Collection[str]
    ) -> tuple[dict[str, Tensor], bool]:
        """Inner products of each group's units but at some tensors; whether any is new.

        A tensor that was taken into account once stays so.
        """
        fresh = False
        for group in branch.groups():
            if group.name not in self._totals:
                count = group.copies * group.size
                self._totals[group.name] = torch.zeros(count, count).double()
            for number, site in enumerate(self._pair.sites[group.name]):
                if site.name not in without:
                    change = self._change((group.name, number), site)
                    if change is not None:
                        self._totals[group.name] += change.cpu()
                        fresh = True
        return {
            group.name: self._totals[group.name] for group in branch.groups()
        }, fresh

    def _change(self, key: tuple[str, int], site: Site) -> Tensor | None:
        """What the inner products at a site have changed by since they were taken."""
        a, b = self._a[site.name], self._b[site.name]
        now = {x: o for x, o in self._orders[site.name].items() if x != site.axes}
        before = self._counted.get(key)
        self._counted[key] = now
        if before is None:
            return _inner_products(a, _reordered(b, now), site)
        moved = {x: (now[x] != before[x]).nonzero()[:, 0] for x in now}
        moved = {axes: at for axes, at in moved.items() if len(at)}
        if not moved:
            return None
        if len(moved) == 1 and all(len(axes) == 1 for axes in (*moved, site.axes)):
            ((axes, at),) = moved.items()  # only the units that moved count
            a = _reordered(a, {axes: at})
            now, before = (
                {**orders, axes: orders[axes][at]} for orders in (now, before)
            )
        return _inner_products(a, _reordered(b, now) - _reordered(b, before), site)

    def _assign(
        self, branch: Branch, scores: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        found = Assignment(branch, scores)
        self.solves += found.solves
        return found.moved

    def _bilinear(
        self, branch: Branch, coupled: Collection[str], moved: Moved
    ) -> dict[str, Tensor]:
        """Costs at the coupled tensors, each group against the others as they are."""
        permutation = Permutation.from_moved(
            self._pair.symmetry, {**self.moved, **moved}
        )
        now = {
            name: self._pair.permuted(name, permutation).double() for name in coupled
        }
        costs = {}
        for group in branch.groups():
            count = group.copies * group.size
            total = torch.zeros(count, count, dtype=torch.float64)
            for site in self._pair.sites[group.name]:
                if site.name in coupled:
                    matrix = _inner_products(
                        self._pair.a[site.name].double(), now[site.name], site
                    )
                    total += matrix.cpu()
            place = {**self.moved, **moved}[group.name].argsort()
            costs[group.name] = total[:, place]
        return costs

    def _inside(
        self,
        branch: Branch,
        coupled: Collection[str],
        scores: Mapping[str, Tensor],
        moved: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        """Assign once more inside the blocks, where coupled tensors now say more."""
        for group in branch.groups():
            if group.parent is not None and any(
                site.name in coupled for site in self._pair.sites[group.name]
            ):
                total = _sum(scores, self._bilinear(branch, coupled, moved))
                found = Assignment(branch, total, outer=moved)
                self.solves += found.solves
                moved = {**moved, group.name: found.moved[group.name]}
        return moved

    def _gain(
        self,
        branch: Branch,
        coupled: Collection[str],
        scores: Mapping[str, Tensor],
        moved: Moved,
    ) -> tuple[float, float]:
        """Rise of the objective, and the size of the terms that it comes from."""
        terms: list[float] = []
        for group in branch.groups():
            own = torch.arange(group.copies * group.size)
            matrix = scores[group.name]
            terms += (matrix[own, moved[group.name]]).tolist()
            terms += (-matrix[own, self.moved[group.name]]).tolist()
        if coupled:
            symmetry = self._pair.symmetry
            after = Permutation.from_moved(symmetry, {**self.moved, **moved})
            before = Permutation.from_moved(symmetry, self.moved)
            for name in coupled:
                terms.append(self._pair.product(name, after))
                terms.append(-self._pair.product(name, before))
        return math.fsum(terms), math.fsum(map(abs, terms))


def _own_sites(symmetry: Symmetry, group: Group) -> list[Site]:
    """Sites of a group without the positions of groups inside its units."""
    inside: dict[tuple[str, tuple[int, ...]], set[int]] = {}
    held = {group.name}
    for other in symmetry.groups.values():  # parents come before their children
        if other.parent in held:
            held.add(other.name)
            for site in other.sites:
                taken = inside.setdefault((site.name, site.axes), set())
                taken.update(site.positions.flatten().tolist())
    sites = []
    for site in group.sites:
        taken = inside.get((site.name, site.axes), set())
        first = site.positions[0].tolist()
        kept = [place for place, position in enumerate(first) if position not in taken]
        if kept:
            sites.append(Site(site.name, site.axes, site.positions[:, kept]))
    return sites


def _reordered(tensor: Tensor, orders: Orders) -> Tensor:
    """Select positions along some of a tensor's axes."""
    for axes, order in orders.items():
        tensor = reordered(tensor, axes, order)
    return tensor


def _inner_products(a: Tensor, b: Tensor, site: Site) -> Tensor:
    """Inner products of all units of A with all units of B at a site, float64."""
    return (units(a, site) @ units(b, site).T).double()


def _sum(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    return {name: matrix + second[name] for name, matrix in first.items()}


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


def _checked(
    symmetry: Symmetry, state: State, names: Collection[str], which: str
) -> dict[str, Tensor]:
    """Return the named tensors, all of them finite."""
    symmetry.check(state)
    tensors = {name: state[name].detach() for name in names}
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{name} of network {which} has values that are not finite: nothing "
                "can be matched to a network that has diverged"
            )
    return tensors
