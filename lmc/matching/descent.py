"""Coordinate descent over linear assignment problems, on two networks' weights."""

import math
from collections.abc import Collection, Mapping
from operator import is_not

import torch
from torch import Tensor

from lmc.matching.assignment import Assignment, Branch
from lmc.matching.costs import Costs
from lmc.matching.pair import Pair
from lmc.permutation import Permutation, units

SLACK = {torch.float64: 1e-12, torch.float32: 1e-6}
"""Relative gain up to which two objectives are equal, by rounding of the costs."""


Moved = Mapping[str, Tensor]
"""For each group the unit of B in the place of each unit, over all blocks."""


class Descent:
    """One coordinate descent: the present permutation, and steps from there.

    Parameters
    ----------
    pair
        The two networks.
    dtype
        Precision in which costs are computed.

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
        self._costs = Costs(pair, dtype)

    def forget_costs(self) -> None:
        """Count costs anew from here on, as where A's tensors have been changed."""
        self._costs.forget()

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
            self._costs.count(branch, touched - known[number][0])
            self._take(branch, self._assign(branch, self._costs.of(branch)))
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
        return math.fsum(
            self._costs.product(name)
            if permutation is None or name not in coupled
            else pair.product(name, permutation)
            for name in pair.a
        )

    def run(self, generator: torch.Generator, max_sweeps: int) -> list[float]:
        """Sweep over all groups until nothing changes.

        Returns
        -------
        list of float
            By how much the objective rose, in each step that was taken.
        """
        everything = self._pair.branches
        # Who was where when a branch was last solved: from there the same would come.
        settled: dict[int, list[Tensor]] = {}
        rises: list[float] = []
        for _ in range(max_sweeps):
            before = len(rises)
            for number in torch.randperm(len(everything), generator=generator).tolist():
                branch = everything[number]
                coupled = self._pair.coupled[branch]
                fresh = self._costs.count(branch, coupled)
                now = [self.moved[name] for name in sorted(self._pair.beside[branch])]
                last = settled.get(number)
                if fresh or last is None or any(map(is_not, now, last)):
                    settled[number] = now
                    rises += self._step(branch, coupled, self._costs.of(branch))
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
        moving = {
            group.name: moved[group.name]
            for group in branch.groups()
            if not torch.equal(moved[group.name], self.moved[group.name])
        }
        self.moved.update(moving)
        for name, units_of_b in moving.items():
            self._costs.move(name, units_of_b)
        crossing = self._pair.coupled[branch] & self._pair.crossing
        if moving and crossing:
            self._costs.arrange(crossing, self.permutation())

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


def _sum(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    return {name: matrix + second[name] for name, matrix in first.items()}
