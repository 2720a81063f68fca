"""One network, and what is measured on it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch

import lmc
from claims.measure.architecture import Architecture, Subject, digest_of
from fixtures.datasets import Split
from lmc.graph import State


@dataclass(frozen=True, eq=False)
class Network(Subject):
    """One network of a setting: its state is canonical, on the setting's device."""

    setting: Architecture
    seed: int
    state: State

    @cached_property
    def digest(self) -> str:
        """Sha256 of its tensors, part of the key of measurements."""
        return digest_of(self.state)

    @property
    def key(self) -> dict[str, Any]:
        """Its seed, from which random numbers are drawn, and its digest."""
        return {"network": self.digest, "seed": self.seed}

    def evaluate(self, split: Split = "test") -> lmc.Evaluation:
        """Return its loss and accuracy."""
        found = self.values(
            "evaluation",
            {"split": split},
            lambda: self.setting.evaluate(self.state, split),
        )
        return lmc.Evaluation(*found)

    def recovered(self, method: str) -> "Recovered":
        """Shuffle the network, match it to itself, and compare what comes back."""
        return self.recovers(self, method)

    def recovers(self, other: "Network", method: str) -> "Recovered":
        """Shuffle another network, match it to this one, and compare with the other."""

        def measure() -> list[float]:
            generator = torch.Generator().manual_seed(self.seed)
            shuffle = lmc.Permutation.random(self.setting.symmetry, generator)
            shuffled = shuffle.apply(other.state)
            found = self.setting.match(method, self.state, shuffled, self.seed)
            again = found.permutation.apply(shuffled)
            # Values of constant units become zero on both sides.
            live = [found.mask_constant(side) for side in (other.state, again)]
            largest = max(
                float((live[0][name].double() - live[1][name].double()).abs().max())
                for name in again
            )
            constant = sum(int(units.sum()) for units in found.constant.values())
            back = []
            for name, units in shuffle.compose(found.permutation).moved().items():
                at_home = units.cpu() == torch.arange(len(units))
                dead = found.constant.get(name, torch.zeros_like(at_home))
                back.append(at_home[~dead.cpu()])
            share = float(torch.cat(back).double().mean())
            return [largest, constant, share]

        spec = {"method": method, "other": other.digest}
        largest, constant, share = self.values("recovery", spec, measure)
        return Recovered(largest, int(constant), share)


class Recovered(NamedTuple):
    """How a shuffled network came back.

    Attributes
    ----------
    deviation
        Largest difference between a value of the network and of what came back, where
        no axis belongs to a unit that is constant on the data.
    constant
        Number of units that activation matching found constant.
    share
        Of all other hidden units, those that are in their own place again.
    """

    deviation: float
    constant: int
    share: float
