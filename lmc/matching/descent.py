"""Coordinate descent over linear assignment problems, on two networks' weights."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from lmc.graph import State
from lmc.matching.assignment import Assignment, Branch, branches
from lmc.permutation import Permutation, reordered, site_order, units
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

    Attributes
    ----------
    unmoved
        Inner product of A's and B's tensor, for each of those that are compared.

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
        self.sizes = {name: tensor.numel() for name, tensor in self.a.items()}
        self.unmoved = {name: _product(self.a[name], self.b[name]) for name in names}
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
            for name, sites in _own_sites(symmetry).items()
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
        self.coupled = {branch: self._coupled(branch) for branch in self.branches}

    @cached_property
    def energy(self) -> dict[str, float]:
        """Squared norm of each of A's tensors."""
        return {name: _product(tensor, tensor) for name, tensor in self.a.items()}

    def _coupled(self, branch: Branch) -> set[str]:
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
        return _product(self.a[name], permutation.apply_to(name, self.b[name]))


Moved = Mapping[str, Tensor]
"""For each group the unit of B in the place of each unit, over all blocks."""

Orders = Mapping[tuple[int, ...], Tensor]
"""For axes of a tensor, whose place each position takes; the others are in place."""


@dataclass(frozen=True, eq=False)
class _Change:
    """Units that moved on the other axes of a site since its costs were taken.

    Attributes
    ----------
    site
        Where the costs are taken.
    before, now
        Orders of the other axes, then and now; None before the first time.
    moved
        For each of those axes the positions where they differ.
    """

    site: Site
    before: Orders | None
    now: Orders
    moved: Orders

    @property
    def restricted(self) -> bool:
        """Whether it is in some positions of one axis."""
        return len(self.moved) == 1 and all(
            len(axes) == 1 for axes in (*self.moved, self.site.axes)
        )

    @property
    def work(self) -> float:
        """How much it is to count, in units of counting the site anew."""
        if self.before is None:
            return 1.0
        if not self.restricted:
            return 2.0
        ((axes, at),) = self.moved.items()
        return 2.0 * at.numel() / self.now[axes].numel()


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
        self.moved: dict[str, Tensor] = {
            name: torch.arange(group.copies * group.size)
            for name, group in pair.symmetry.groups.items()
        }
        self.solves = 0
        self._orders: dict[str, Orders] = {name: {} for name in pair.a}
        self.forget_costs()

    def forget_costs(self) -> None:
        """Begin anew from the present permutation: A's tensors have been changed."""
        self._totals: dict[str, Tensor] = {}
        # By group and the number of its site: the orders that the costs rest on.
        self._counted: dict[str, dict[int, Orders]] = {n: {} for n in self.moved}
        self._stale = {n: set(range(len(s))) for n, s in self._pair.sites.items()}

    def go_to(self, permutation: Permutation) -> None:
        """Start at a permutation."""
        moved = {name: units.cpu() for name, units in permutation.moved().items()}
        for branch in self._pair.branches:
            self._take(branch, {g.name: moved[g.name] for g in branch.groups()})
        self.moved = moved

    def go_forward(self) -> None:
        """Match each group once, by what is matched already, best known ones first."""
        pair = self._pair
        waiting = dict(enumerate(pair.branches))
        open_groups = {g.name for branch in waiting.values() for g in branch.groups()}
        touching: dict[str, set[int]] = {name: set() for name in pair.a}
        for number, branch in waiting.items():
            for name in pair.touched(branch):
                touching[name].add(number)
        known = {n: pair.known(branch, open_groups) for n, branch in waiting.items()}
        while waiting:
            number = max(waiting, key=lambda number: known[number][1])
            branch = waiting.pop(number)
            touched = pair.touched(branch)
            self._count(branch, touched - known[number][0])
            self._take(branch, self._assign(branch, self._scores(branch)))
            open_groups -= {group.name for group in branch.groups()}
            beside = set().union(*(touching[name] for name in touched))
            for number in beside & waiting.keys():
                known[number] = pair.known(waiting[number], open_groups)

    def permutation(self) -> Permutation:
        """Return the present permutation."""
        return Permutation.from_moved(self._pair.symmetry, self.moved)

    def objective(self) -> float:
        """Inner product of all tensors on which a group acts, in float64."""
        pair = self._pair
        coupled = set().union(*pair.coupled.values())
        permutation = self.permutation() if coupled else None
        terms = []
        for name, orders in self._orders.items():
            if permutation is not None and name in coupled:
                terms.append(pair.product(name, permutation))
            elif orders:
                terms.append(_product(pair.a[name], _reordered(pair.b[name], orders)))
            else:
                terms.append(pair.unmoved[name])
        return math.fsum(terms)

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
                coupled = self._pair.coupled[branch]
                fresh = self._count(branch, coupled)
                if fresh or coupled or number not in settled:
                    settled.add(number)
                    rises += self._step(branch, coupled, self._scores(branch))
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
        for group in branch.groups():
            units = moved[group.name]
            if torch.equal(units, self.moved[group.name]):
                continue
            self.moved[group.name] = units
            for site in self._pair.sites[group.name]:
                orders, shape = self._orders[site.name], self._pair.b[site.name].shape
                order = site_order(site, units, shape, orders.get(site.axes))
                # A new mapping: costs remember the orders that they rest on.
                self._orders[site.name] = {**orders, site.axes: order}
                for other, number, there in self._pair.places[site.name]:
                    if there.axes != site.axes:
                        self._stale[other].add(number)

    def _count(self, branch: Branch, without: Collection[str]) -> bool:
        """Bring a branch's costs up to date, but at some tensors; say if any changed.

        A tensor that was taken into account once stays so.
        """
        fresh = False
        for group in branch.groups():
            sites, stale = self._pair.sites[group.name], self._stale[group.name]
            due = sorted(n for n in stale if sites[n].name not in without)
            stale.difference_update(due)
            found = (self._change(group.name, number) for number in due)
            changes = [change for change in found if change is not None]
            if changes or group.name not in self._totals:
                self._update(group, changes)
                fresh = True
        return fresh

    def _change(self, group: str, number: int) -> _Change | None:
        """What has moved at a site since its costs were taken, None if nothing."""
        site, counted = self._pair.sites[group][number], self._counted[group]
        now = {x: o for x, o in self._orders[site.name].items() if x != site.axes}
        before, counted[number] = counted.get(number), now
        if before is None:
            return _Change(site, None, now, {})
        moved = {}
        for axes, order in now.items():
            if order is not before.get(axes):
                at = (order != _order(before, axes, order)).nonzero()[:, 0]
                if at.numel():
                    moved[axes] = at
        return _Change(site, before, now, moved) if moved else None

    def _update(self, group: Group, changes: Collection[_Change]) -> None:
        """Add changes to a group's costs, or take all of them anew if that is less."""
        sites, counted = self._pair.sites[group.name], self._counted[group.name]
        sizes = self._pair.sizes
        if group.name not in self._totals or (
            sum(sizes[change.site.name] * change.work for change in changes)
            > sum(sizes[sites[number].name] for number in counted)
        ):
            count = group.copies * group.size
            total = torch.zeros(count, count, dtype=torch.float64)
            self._totals[group.name] = total
            vectors = [s for s in map(sites.__getitem__, counted) if self._is_vector(s)]
            if vectors:  # biases and scales, side by side: one product for all
                ours, theirs = (
                    torch.cat([units(of[s.name], s) for s in vectors], 1)
                    for of in (self._pair.a, self._pair.b)
                )
                _add_product(total, ours.to(self._dtype), theirs.to(self._dtype))
            changes = [
                _Change(sites[number], None, now, {})
                for number, now in counted.items()
                if not self._is_vector(sites[number])
            ]
        for change in changes:
            self._add(self._totals[group.name], change)

    def _is_vector(self, site: Site) -> bool:
        return self._pair.a[site.name].ndim == 1

    def _add(self, total: Tensor, change: _Change) -> None:
        """Add to costs what they change by at a site."""
        a, b = self._pair.a[change.site.name], self._pair.b[change.site.name]
        now, before = change.now, change.before
        if before is not None and change.restricted:
            ((axes, at),) = change.moved.items()  # only the units that moved count
            a = _reordered(a, {axes: at})
            before = {**before, axes: _order(before, axes, now[axes])[at]}
            now = {**now, axes: now[axes][at]}
        theirs = _reordered(b, now).to(self._dtype)
        if before is not None:
            theirs = theirs - _reordered(b, before).to(self._dtype)
        ours = units(a.to(self._dtype), change.site)
        _add_product(total, ours, units(theirs, change.site))

    def _scores(self, branch: Branch) -> dict[str, Tensor]:
        """Inner products of each group's units, as they were counted last."""
        return {group.name: self._totals[group.name] for group in branch.groups()}

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
            name: permutation.apply_to(name, self._pair.b[name]).double()
            for name in coupled
        }
        costs = {}
        for group in branch.groups():
            count = group.copies * group.size
            total = torch.zeros(count, count, dtype=torch.float64)
            for site in self._pair.sites[group.name]:
                if site.name in coupled:
                    ours = self._pair.a[site.name].double()
                    total += (units(ours, site) @ units(now[site.name], site).T).cpu()
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
            chosen = torch.stack([moved[group.name], self.moved[group.name]], 1)
            pairs = scores[group.name].gather(1, chosen)
            terms += pairs[:, 0].tolist() + pairs[:, 1].neg().tolist()
        if coupled:
            symmetry = self._pair.symmetry
            after = Permutation.from_moved(symmetry, {**self.moved, **moved})
            before = Permutation.from_moved(symmetry, self.moved)
            for name in coupled:
                terms.append(self._pair.product(name, after))
                terms.append(-self._pair.product(name, before))
        return math.fsum(terms), math.fsum(map(abs, terms))


def _own_sites(symmetry: Symmetry) -> dict[str, list[Site]]:
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


def _order(orders: Orders, axes: tuple[int, ...], like: Tensor) -> Tensor:
    """Order of some axes, in place unless there is another."""
    found = orders.get(axes)
    return torch.arange(like.numel()) if found is None else found


def _reordered(tensor: Tensor, orders: Orders) -> Tensor:
    """Select positions along some of a tensor's axes."""
    for axes, order in orders.items():
        tensor = reordered(tensor, axes, order)
    return tensor


def _add_product(total: Tensor, ours: Tensor, theirs: Tensor) -> None:
    """Add the inner products of all rows to a matrix on the CPU in float64."""
    if ours.dtype == total.dtype and ours.device == total.device:
        total.addmm_(ours, theirs.T)
    else:
        total += (ours @ theirs.T).to(total)


def _product(a: Tensor, b: Tensor) -> float:
    """Inner product of two tensors, in float64."""
    return float(a.double().flatten() @ b.double().flatten())


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


def _check_finite(tensors: State, which: str) -> None:
    """Raise if a tensor has values that are not finite."""
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{name} of network {which} has values that are not finite: nothing "
                "can be matched to a network that has diverged"
            )
