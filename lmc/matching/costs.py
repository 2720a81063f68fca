"""Costs of matching units by their weights, kept up to date as units move."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lmc.matching.assignment import Branch
from lmc.matching.pair import Pair, product_of
from lmc.permutation import Permutation, reordered, site_order, units
from lmc.symmetry import Group, Site

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


class Costs:
    """Inner products of all units of A with all units of B, for each group.

    Units count by their original numbers, so that a group's own permutation does not
    change them.  After a step only what has changed is computed: at the tensors of
    units that have moved, with those units.  Tensors are cast one by one as they are
    used, which takes far less memory than to keep them all in the costs' precision.

    Parameters
    ----------
    pair
        The two networks.
    dtype
        Precision of the inner products; their sums are in float64.
    """

    def __init__(self, pair: Pair, dtype: torch.dtype):
        self._pair = pair
        self._dtype = dtype
        self._sizes = {name: tensor.numel() for name, tensor in pair.a.items()}
        self._orders: dict[str, Orders] = {name: {} for name in pair.a}
        self.forget()

    def forget(self) -> None:
        """Begin anew: A's tensors have been changed."""
        self._totals: dict[str, Tensor] = {}
        # By group and the number of its site: the orders that the costs rest on.
        self._counted: dict[str, dict[int, Orders]] = {n: {} for n in self._pair.sites}
        self._stale = {n: set(range(len(s))) for n, s in self._pair.sites.items()}

    def of(self, branch: Branch) -> dict[str, Tensor]:
        """Return each group's costs as they were counted last.

        Float64 ``(units of A, units of B)`` on the CPU, which :meth:`count` changes.
        """
        return {group.name: self._totals[group.name] for group in branch.groups()}

    def product(self, name: str) -> float:
        """Return the inner product of A's tensor and B's as it is, in float64."""
        if not self._orders[name]:
            return self._pair.unmoved[name]
        return product_of(
            self._pair.a[name], _reordered(self._pair.b[name], self._orders[name])
        )

    def move(self, group: str, moved: Tensor) -> None:
        """Note which unit of B is in the place of each unit of a group.

        But for tensors on which groups cross, see :meth:`arrange`.
        """
        for site in self._pair.sites[group]:
            if site.name not in self._pair.crossing:
                shape = self._pair.b[site.name].shape
                before = self._orders[site.name].get(site.axes)
                order = site_order(site, moved, shape, before)
                self._reorder(site.name, site.axes, order)

    def arrange(self, names: Collection[str], permutation: Permutation) -> None:
        """Note where the units of all groups are in tensors on which some cross."""
        for name in names:
            for axes in {site.axes for _, _, site in self._pair.places[name]}:
                self._reorder(name, axes, permutation.order(name, axes))

    def _reorder(self, name: str, axes: tuple[int, ...], order: Tensor) -> None:
        # A new mapping: costs remember the orders that they rest on.
        self._orders[name] = {**self._orders[name], axes: order}
        for other, number, there in self._pair.places[name]:
            if there.axes != axes:
                self._stale[other].add(number)

    def count(self, branch: Branch, without: Collection[str]) -> bool:
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
        sizes = self._sizes
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
