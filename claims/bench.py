"""The bench: pairs of trained networks, and what claims measure on them.

Everything expensive is measured once, and shared through the store by all claims and
workers: a pair's permutation, its curve, a renormalized midpoint.
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import lmc
from fixtures import datasets, progress, scales, store
from lmc.matching import activation_matching, weight_matching

METHODS = ("weights", "activations")
"""The matching methods that most claims are decided for."""

BATCH = 128
"""Images in a batch wherever statistics are taken, as in the papers' protocol."""


class Bench:
    """Trained networks of a scale, and how far measuring them has come.

    Parameters
    ----------
    scale
        Name of the scale.
    seeds
        Number of networks of each setting, 2n for n independent pairs.
    device
        Where networks are trained and measured.
    """

    def __init__(self, scale: str, seeds: int, device: str):
        self.scale = scale
        self.seeds = tuple(range(seeds))
        self.device = torch.device(device)
        self._settings: dict[str, Setting] = {}

    def setting(self, name: str) -> "Setting":
        """Return a setting's networks (trained when they are first looked at)."""
        if name not in self._settings:
            self._settings[name] = Setting(self, name)
        return self._settings[name]


class Setting:
    """The networks of one setting, with the model that they are states of."""

    def __init__(self, bench: Bench, name: str):
        self.bench = bench
        self.recipe = scales.recipe(bench.scale, name)

    def provenance(self) -> dict[str, Any]:
        """Return name, key and seeds of the networks, for the record of a result."""
        recipe, seeds = self.recipe, list(self.bench.seeds)
        return {"name": recipe.name, "key": recipe.key, "seeds": seeds}

    @cached_property
    def states(self) -> list[dict[str, Tensor]]:
        """One state dict for each seed, on the bench's device."""
        found = store.networks(
            self.recipe,
            self.bench.seeds,
            device=self.bench.device,
            on_progress=progress.current(),
        )
        return [
            {name: value.to(self.bench.device) for name, value in state.items()}
            for state in found
        ]

    @cached_property
    def digests(self) -> list[str]:
        """Sha256 of each network's tensors, part of the key of what is measured."""
        return [
            hashlib.sha256(
                b"".join(
                    name.encode() + value.cpu().contiguous().numpy().tobytes()
                    for name, value in sorted(state.items())
                )
            ).hexdigest()
            for state in self.states
        ]

    @cached_property
    def pairs(self) -> list["Pair"]:
        """Pairs of consecutive seeds."""
        seeds = self.bench.seeds
        return [Pair(self, a, b) for a, b in zip(seeds[::2], seeds[1::2], strict=True)]

    @cached_property
    def model(self) -> nn.Module:
        """The architecture, in evaluation mode."""
        return self.recipe.build_model().to(self.bench.device)

    @cached_property
    def symmetry(self) -> lmc.Symmetry:
        """The model's permutation groups, certified on real images."""
        [(images, _), *_] = self.batches("train")
        return lmc.discover(self.model, images[:4])

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers that are renormalized: in ResNets those inside the blocks."""
        inside = getattr(self.model, "block_convolutions", None)
        return inside() if inside else lmc.default_layers(self.symmetry.graph)

    def batches(self, split: datasets.Split) -> list[tuple[Tensor, Tensor]]:
        """Return images and labels of a split, the same batches every time."""
        data = datasets.load(self.recipe.dataset)
        return data.batches(split, BATCH, self.bench.device)

    def recovered(self, method: str, seed: int) -> tuple[float, int]:
        """Shuffle a network, match it to itself, and compare what comes back.

        Returns
        -------
        deviation
            Largest difference between a value of the network and of the recovered
            copy, where no axis belongs to a unit that is constant on the data.
        constant
            Number of units that activation matching found constant.
        """

        def measure() -> dict[str, Tensor]:
            state = self.states[seed]
            generator = torch.Generator().manual_seed(seed)
            shuffled = lmc.Permutation.random(self.symmetry, generator).apply(state)
            found = match(self, method, state, shuffled, seed)
            again = found.permutation.apply(shuffled)
            # Values of constant units become zero on both sides.
            live = [found.mask_constant(side) for side in (state, again)]
            largest = max(
                float((live[0][name].double() - live[1][name].double()).abs().max())
                for name in state
            )
            constant = sum(int(units.sum()) for units in found.constant.values())
            return {"value": torch.tensor([largest, constant], dtype=torch.float64)}

        spec = {"method": method, "seed": seed, "network": self.digests[seed]}
        deviation, constant = self.measured("recovery", spec, measure)["value"].tolist()
        return deviation, int(constant)

    def measured(
        self,
        kind: str,
        spec: Mapping[str, Any],
        measure: Callable[[], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Measure, or find what was measured before by the same code."""
        full = {
            **spec,
            "recipe": self.recipe.key,
            "device": self.bench.device.type,
            "torch": torch.__version__,
            "code": code_digest(),
        }
        return store.remember(kind, full, measure)


class Pair:
    """Two independent networks of a setting.

    Attributes
    ----------
    name
        The two seeds, as ``"0-1"``.
    """

    def __init__(self, setting: Setting, a: int, b: int):
        self.setting = setting
        self.seeds = (a, b)
        self.name = f"{a}-{b}"

    @property
    def a(self) -> dict[str, Tensor]:
        """State dict of the first network."""
        return self.setting.states[self.seeds[0]]

    @property
    def b(self) -> dict[str, Tensor]:
        """State dict of the second network."""
        return self.setting.states[self.seeds[1]]

    @property
    def digests(self) -> list[str]:
        """Sha256 of both networks."""
        return [self.setting.digests[seed] for seed in self.seeds]

    def permutation(self, method: str) -> lmc.Permutation:
        """Return the permutation from A to B: ``"weights"``, ``"activations"``."""
        symmetry = self.setting.symmetry
        if method == "none":
            return lmc.Permutation.identity(symmetry)
        indices = self._measured(
            "matching",
            {"method": method},
            lambda: dict(
                match(
                    self.setting, method, self.a, self.b, self.seeds[0]
                ).permutation.indices
            ),
        )
        return lmc.Permutation(symmetry, indices)

    def matched(self, method: str, found_on: "Pair | None" = None) -> dict[str, Tensor]:
        """Return B, permuted to lie near A.

        Parameters
        ----------
        method
            ``"weights"``, ``"activations"`` or ``"none"``.
        found_on
            Take the permutation that was found on another pair, whose units are the
            same: a pair's parents, for instance.
        """
        indices = (found_on or self).permutation(method).indices
        return lmc.Permutation(self.setting.symmetry, indices).apply(self.b)

    def midpoint(
        self,
        method: str,
        renormalization: str = "",
        found_on: "Pair | None" = None,
    ) -> lmc.Evaluation:
        """Evaluate the midpoint of A and the matched B on the test set.

        Parameters
        ----------
        method, found_on
            As in :meth:`matched`.
        renormalization
            ``""``, ``"reset"`` or one of :data:`lmc.renormalization.METHODS`.
        """

        def measure() -> dict[str, Tensor]:
            b = self.matched(method, found_on)
            state = self._renormalized(b, renormalization)
            found = lmc.evaluate(
                self.setting.model, state, self.setting.batches("test")
            )
            return {
                "value": torch.tensor([found.loss, found.accuracy], dtype=torch.float64)
            }

        spec = {
            "method": method,
            "renormalization": renormalization,
            "found_on": found_on.digests if found_on else None,
        }
        loss, accuracy = self._measured("midpoint", spec, measure)["value"].tolist()
        return lmc.Evaluation(loss, accuracy)

    def curve(self, method: str) -> lmc.Curve:
        """Evaluate 11 networks from A to the matched B on the test set."""

        def measure() -> dict[str, Tensor]:
            found = lmc.curve(
                self.setting.model,
                self.a,
                self.matched(method),
                self.setting.batches("test"),
            )
            return {
                "value": torch.tensor([found.loss, found.accuracy], dtype=torch.float64)
            }

        loss, accuracy = self._measured("curve", {"method": method}, measure)["value"]
        return lmc.Curve(lmc.LAMBDAS, tuple(loss.tolist()), tuple(accuracy.tolist()))

    def endpoints(self) -> float:
        """Return the mean test accuracy of A and B, in percent."""
        accuracy = self.curve("none").accuracy
        return (accuracy[0] + accuracy[-1]) / 2

    def barrier(
        self, method: str, renormalization: str = "", found_on: "Pair | None" = None
    ) -> float:
        """Return the endpoints' mean accuracy minus the midpoint's, in points.

        The midpoint's value, as in the tables of arXiv 2402.05966; the barrier of
        Definition 2.1 is that of :meth:`curve`.
        """
        middle = self.midpoint(method, renormalization, found_on).accuracy
        return self.endpoints() - middle

    def distance(self, method: str) -> float:
        """Return the L2 distance of A and the matched B, BatchNorm's statistics too."""
        return lmc.l2_distance(self.a, self.matched(method))

    def _renormalized(self, b: lmc.graph.State, name: str) -> dict[str, Tensor]:
        middle = lmc.interpolate(self.a, b, 0.5)
        if not name:
            return middle
        graph, batches = self.setting.symmetry.graph, self.setting.batches("train")
        if name == "reset":
            return lmc.reset(graph, middle, batches)
        ends = [
            lmc.statistics(graph, state, batches, self.setting.layers)
            for state in (self.a, b)
        ]
        goal = lmc.interpolated_statistics(*ends, 0.5)
        found = lmc.renormalize(name, graph, middle, goal, batches)
        return found.fuse(middle)

    def _measured(
        self,
        kind: str,
        spec: Mapping[str, Any],
        measure: Callable[[], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        full = {**spec, "seeds": self.seeds, "networks": self.digests}
        return self.setting.measured(kind, full, measure)


def match(
    setting: Setting,
    method: str,
    a: lmc.graph.State,
    b: lmc.graph.State,
    seed: int,
) -> lmc.Matching:
    """Match two networks of a setting by ``"weights"`` or ``"activations"``."""
    if method == "weights":
        generator = torch.Generator().manual_seed(seed)
        return weight_matching(setting.symmetry, a, b, generator=generator)
    return activation_matching(setting.symmetry, a, b, setting.batches("train"))


def accuracy_curves(pairs: list[Pair], *methods: str) -> dict[str, Any]:
    """Return the pairs' test accuracy along their lines, for the report."""
    lines = {m: [pair.curve(m).accuracy for pair in pairs] for m in methods}
    return {"lambda": lmc.LAMBDAS, "unit": "test accuracy in percent", "lines": lines}


def loss_curves(pairs: list[Pair], *methods: str) -> dict[str, Any]:
    """Return the pairs' test loss along their lines, for the report."""
    lines = {m: [pair.curve(m).loss for pair in pairs] for m in methods}
    return {"lambda": lmc.LAMBDAS, "unit": "test loss in nats", "lines": lines}


@cache
def code_digest() -> str:
    """Return the sha256 of all code that measurements depend on.

    Part of the key of everything that is measured: a change of ``lmc`` may change a
    value, and must not be hidden by what older code has measured.
    """
    library = Path(lmc.__file__).parent.rglob("*.py")
    files = [file for file in library if "tests" not in file.parts]
    digest = hashlib.sha256()
    for file in (*sorted(files), Path(datasets.__file__), Path(__file__)):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
