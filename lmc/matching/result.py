"""What a matching of two networks gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from lmc.graph import State
from lmc.permutation import Permutation, mask_site


@dataclass(frozen=True, eq=False)
class Matching:
    """A permutation from A to B with what it attained and what it took.

    Attributes
    ----------
    permutation
        ``permutation.apply(b)`` lies near ``a``.
    objective
        What was maximized: the inner product of A's and the permuted B's weights
        (weight matching), the sum of the matched units' correlations (activation
        matching), or minus the loss at the midpoint (straight-through estimator).
    history
        The objective at the start and after each step (or epoch).
    solves
        Number of linear assignment problems solved.
    seconds
        Wall-clock time.
    constant
        For each group's name, which units of A are constant on the data: bool,
        ``(copies * size,)``.  Activations cannot tell them apart, so that their
        partners are arbitrary.  Empty but for activation matching.
    """

    permutation: Permutation
    objective: float
    history: tuple[float, ...]
    solves: int
    seconds: float
    constant: Mapping[str, Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        steps = len(self.history) - 1
        return (
            f"{self.permutation}\n"
            f"objective {self.history[0]:.6g} at the start, {self.objective:.6g} after "
            f"{steps} steps\n"
            f"{self.solves} assignment problems, {self.seconds:.2f} s"
        )

    def mask_constant(self, state: State) -> dict[str, Tensor]:
        """Return a state dict with zeros wherever a constant unit takes part.

        What is left is what a matching by activations can be held to.
        """
        masked = dict(state)
        for name, constant in self.constant.items():
            for site in self.permutation.symmetry.groups[name].sites:
                masked[site.name] = mask_site(masked[site.name], site, constant)
        return masked
