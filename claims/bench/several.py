"""More than two networks, and their averages."""

from collections.abc import Sequence

import torch
from torch import Tensor

import lmc
from claims.bench.networks import Network, as_values
from claims.bench.pairs import Pair, Repair, repaired

MAX_ROUNDS = 30
"""Of iterative matching, as in arXiv 2402.05966, section 3.3."""


class Several:
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

        def measure() -> dict[str, Tensor]:
            setting = self.setting
            states = self._matched(chosen, regime, method)
            middle = repaired(setting, lmc.average(states), states, Repair(repair))
            run = middle.run or setting.model
            found = lmc.evaluate(run, middle.state, setting.batches("test"))
            return {"value": as_values([found.loss, found.accuracy])}

        spec = {
            "networks": [network.digest for network in chosen],
            "regime": regime if count > 1 else "none",
            "method": method,
            "repair": repair,
        }
        values = self.setting.measured("average", spec, measure)["value"]
        return lmc.Evaluation(*values.tolist())

    def _matched(
        self, chosen: Sequence[Network], regime: str, method: str
    ) -> list[dict[str, Tensor]]:
        states = [network.state for network in chosen]
        if regime == "none" or len(states) == 1:
            return states
        seed = chosen[0].seed

        def match(a: lmc.graph.State, b: lmc.graph.State) -> lmc.Matching:
            return self.setting.match(method, a, b, seed)

        if regime == "iterative":
            generator = torch.Generator().manual_seed(seed)
            found = lmc.match_iteratively(
                states, match, generator=generator, max_rounds=MAX_ROUNDS
            )
        else:
            regimes = {
                "reference": lmc.match_to_reference,
                "sequential": lmc.match_sequentially,
            }
            found = regimes[regime](states, match)
        return found.apply(states)
