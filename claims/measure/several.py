"""More than two networks, and their averages."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import lmc
from claims.measure.architecture import Subject
from claims.measure.networks import Network
from claims.measure.pairs import Pair, Repair, repaired
from lmc.graph import State

MAX_ROUNDS = 30
"""Of iterative matching, as in arXiv 2402.05966, section 3.3."""


class Several(Subject):
    """Independent networks of a setting, or networks of one basin.

    Attributes
    ----------
    networks
        In their order.
    name
        The first and the last seed, as ``"0..3"``.
    """

    def __init__(self, networks: Sequence[Network]):
        self.networks = list(networks)
        self.setting = self.networks[0].setting
        self.name = f"{self.networks[0].seed}..{self.networks[-1].seed}"

    @property
    def key(self) -> dict[str, Any]:
        """All seeds and digests."""
        return {
            "seeds": [network.seed for network in self.networks],
            "networks": [network.digest for network in self.networks],
        }

    def pair(self, first: int = 0, second: int = 1) -> Pair:
        """Return two of the networks."""
        return Pair(self.networks[first], self.networks[second])

    def average(
        self, regime: str, count: int, repair: str = "", method: str = "weights"
    ) -> lmc.Evaluation:
        """Evaluate the average of the first networks on the test set.

        Parameters
        ----------
        regime
            How they are matched: ``"none"``, ``"reference"``, ``"sequential"`` or
            ``"iterative"``.
        count
            How many are averaged.
        repair
            Renormalization of the average.
        method
            By what they are matched, a name in ``MATCHERS``.
        """
        chosen = self.networks[:count]

        def measure() -> list[float]:
            setting = self.setting
            states = self._matched(chosen, regime, method)
            middle = repaired(setting, lmc.average(states), states, Repair(repair))
            return middle.evaluate(setting)

        how = {"method": method, "repair": repair}
        how |= {"regime": regime if count > 1 else "none"}
        return lmc.Evaluation(*Several(chosen).values("average", how, measure))

    def best(self, count: int) -> float:
        """Return the largest test accuracy of the first networks, in percent."""
        return max(network.evaluate().accuracy for network in self.networks[:count])

    def convergence(self, count: int, method: str = "weights") -> tuple[int, bool]:
        """Return the rounds of iterative matching, and whether they converged.

        Parameters
        ----------
        count, method
            As for :meth:`average`; there are at most :data:`MAX_ROUNDS` rounds.
        """
        chosen = self.networks[:count]

        def measure() -> list[float]:
            found = self._matching(chosen, "iterative", method)
            return [found.rounds, found.converged]

        spec = {"method": method}
        rounds, converged = Several(chosen).values("convergence", spec, measure)
        return int(rounds), bool(converged)

    def _matched(
        self, chosen: Sequence[Network], regime: str, method: str
    ) -> list[dict[str, Tensor]]:
        states = [dict(network.state) for network in chosen]
        if regime == "none" or len(states) == 1:
            return states
        return self._matching(chosen, regime, method).apply(states)

    def _matching(
        self, chosen: Sequence[Network], regime: str, method: str
    ) -> lmc.ManyMatching:
        states = [network.state for network in chosen]
        seed = chosen[0].seed

        symmetry = self.setting.symmetry
        generator = torch.Generator().manual_seed(seed)

        def match(_: lmc.Symmetry, a: State, b: State, *__: Any) -> lmc.Permutation:
            """By a generator of its own for each match, made from the seed."""
            return self.setting.match(method, a, b, seed).permutation

        if regime == "iterative":
            return lmc.match_iteratively(
                symmetry, states, match, generator=generator, max_rounds=MAX_ROUNDS
            )
        regimes = {
            "reference": lmc.match_to_reference,
            "sequential": lmc.match_sequentially,
        }
        return regimes[regime](symmetry, states, match, generator=generator)
