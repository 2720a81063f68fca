"""Linear assignment for groups, with the groups inside their units.

The channels of an attention head are matched inside the head, so that heads are
assigned by how well their channels can be: a pair of heads is worth its own score
and the best assignments of everything inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lmc.symmetry import Group, Symmetry


@dataclass(frozen=True, eq=False)
class Branch:
    """A group with the groups inside its units."""

    group: Group
    inside: tuple[Branch, ...]

    def groups(self) -> Iterator[Group]:
        """Go through all groups, outer ones first."""
        yield self.group
        for branch in self.inside:
            yield from branch.groups()


def branches(symmetry: Symmetry) -> list[Branch]:
    """Return the groups without a parent, with what is inside them."""

    def grow(group: Group) -> Branch:
        held = [g for g in symmetry.groups.values() if g.parent == group.name]
        return Branch(group, tuple(map(grow, held)))

    return [grow(g) for g in symmetry.groups.values() if g.parent is None]


class Assignment:
    """The best assignment of the units of a branch, with all that is inside.

    Parameters
    ----------
    branch
        The groups.
    scores
        For each group's name a ``(units of A, units of B)`` matrix over the units of
        all copies, on the CPU.
    outer
        Assignments of the groups with something inside that are kept as they are;
        by default those are found too.

    Attributes
    ----------
    moved
        For each group's name int64 ``(copies * size,)``: the unit of B for each unit
        of A.
    solves
        Number of linear assignment problems solved.
    """

    def __init__(
        self,
        branch: Branch,
        scores: Mapping[str, Tensor],
        outer: Mapping[str, Tensor] | None = None,
    ):
        self.moved: dict[str, Tensor] = {}
        self._outer = outer or {}
        self.solves = 0
        self._scores = scores
        self._worth: dict[str, Tensor] = {}
        name = branch.group.name
        if outer is None:
            self._weigh(branch)
            self.moved[name] = self._best(self._worth[name][None])[0]
        else:
            self._worth = dict(scores)
            self.moved[name] = outer[name]
        self._settle(branch)

    def _weigh(self, branch: Branch) -> None:
        """Add to the scores of pairs of units what is to be had inside them."""
        worth = self._scores[branch.group.name]
        for inner in branch.inside:
            self._weigh(inner)
            cells = _cells(self._worth[inner.group.name], inner.group.size)
            chosen = self._best(cells.flatten(0, 1)).view(cells.shape[:-1])
            worth = worth + cells.gather(3, chosen[..., None]).sum((2, 3))
        self._worth[branch.group.name] = worth

    def _settle(self, branch: Branch) -> None:
        """Assign what is inside, now that the pairs of outer units are known."""
        outer = self.moved[branch.group.name]
        for inner in branch.inside:
            name, size = inner.group.name, inner.group.size
            if inner.inside and name in self._outer:
                self.moved[name] = self._outer[name]
            else:
                cells = _cells(self._worth[name], size)
                found = self._best(cells[torch.arange(len(outer)), outer])
                self.moved[name] = (outer[:, None] * size + found).flatten()
            self._settle(inner)

    def _best(self, scores: Tensor) -> Tensor:
        """Return the columns of several matrices' rows."""
        self.solves += len(scores)
        return best(scores)


STEP_BITS = 20
"""How finely scores are told apart: the largest one has up to two to this steps."""


def best(scores: Tensor) -> Tensor:
    """Return the columns that rows are assigned to, with the largest sum of scores.

    Scores count in whole steps, of which the largest one has between ``2**19`` and
    ``2**20``: far above the rounding of sums in float64.  So scores that would be equal
    without rounding, as those of dead or duplicated units, are equal here.  Of several
    best assignments it is the one with the largest sum of row times column: equal
    columns go to equal rows in their order.  From 2,048 rows on that is smaller than
    rounding, and ties are broken by chance.

    Rows whose scores are all below a step of the largest are tied as well: beside a
    unit of more than some thousand times their norm, others keep their order.

    Parameters
    ----------
    scores
        Square matrices on the CPU, ``(..., rows, columns)``: small ones are prepared
        together.

    Returns
    -------
    Tensor
        Int64 ``(..., rows)``.

    Examples
    --------
    >>> best(torch.tensor([[1.0, 1.0 + 1e-12], [1.0 - 1e-12, 1.0]]))
    tensor([0, 1])
    """
    if not scores.numel():
        return torch.zeros(scores.shape[:-1], dtype=torch.int64)
    size = scores.shape[-1]
    values = scores.reshape(-1, size, size).numpy()
    largest = np.maximum(-values.min((1, 2)), values.max((1, 2)))
    # By a power of two, which loses no bit and which noise hardly changes; cut at
    # thirds, where no short binary fraction lies for noise to push over.
    exponents = np.minimum(STEP_BITS - np.frexp(largest)[1], 1023)
    exponents[~((largest > 0) & np.isfinite(largest))] = 0
    steps = values.astype(np.float64)
    steps *= np.ldexp(1.0, exponents)[:, None, None]
    steps += 1 / 3
    np.floor(steps, out=steps)
    # Less than a step in all, and largest where equal units keep their order.
    steps *= size**3
    place = np.arange(size, dtype=np.float64)
    steps += np.outer(place, place)
    # Negated in place: the solver would copy what it is to maximize.
    np.negative(steps, out=steps)
    columns = np.stack([linear_sum_assignment(each)[1] for each in steps])
    return torch.from_numpy(columns).view(scores.shape[:-1])


def _cells(matrix: Tensor, size: int) -> Tensor:
    """Cut a matrix into ``(blocks of A, blocks of B, size, size)``."""
    count = len(matrix) // size
    return matrix.view(count, size, count, size).transpose(1, 2)
