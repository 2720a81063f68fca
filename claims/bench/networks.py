"""Trained networks of a scale, and the memory of what was measured on them."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import lmc
from claims.bench.matchers import MATCHERS
from claims.claim import whole_scale
from fixtures import datasets, progress, scales, store, training
from fixtures.recipe import Recipe
from lmc.graph import State

if TYPE_CHECKING:
    from claims.bench.pairs import Pair
    from claims.bench.several import Several

Batches = list[tuple[Tensor, Tensor]]
"""Images ``(N, C, H, W)`` and labels ``(N,)``."""

BATCH = 128
"""Images in a batch wherever statistics are taken, as in the papers' protocol."""

BATCHES_MEASURED = {"cifar10": 20}
"""By scale, how many batches of each split are looked at, where not all.

2,560 training and as many test images of CIFAR-10, as all of them would take two cores
hours.  An accuracy is off by up to a point (standard error) from that of all test
images.  All pairs share that, so no interval shows it; what is compared within a pair
is measured on the same images."""


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
        self.batches_measured = BATCHES_MEASURED.get(whole_scale(scale))
        self._settings: dict[str, Setting] = {}
        self._batches: dict[tuple[str, int | None, str], Batches] = {}

    def setting(self, name: str) -> "Setting":
        """Return a setting's networks (trained when they are first looked at)."""
        if name not in self._settings:
            self._settings[name] = Setting(self, name)
        return self._settings[name]

    def batches(self, recipe: Recipe, split: datasets.Split) -> Batches:
        """Return images and labels of a recipe's data set, the same every time."""
        key = (recipe.dataset, recipe.samples, split)
        if key not in self._batches:
            data = training.dataset_of(recipe)
            found = data.batches(split, BATCH, self.device, self.batches_measured)
            # Convolutions are faster in this order.  Of one channel it is no other.
            self._batches[key] = [
                (images.contiguous(memory_format=torch.channels_last), labels)
                for images, labels in found
            ]
        return self._batches[key]


class Setting:
    """The networks of one setting, with the model that they are states of."""

    def __init__(self, bench: Bench, name: str):
        self.bench = bench
        self.name = name
        self.recipe = scales.recipe(bench.scale, name)
        self._states: dict[int, dict[str, Tensor]] = {}
        self._digests: dict[int, str] = {}

    def provenance(self, seeds: Iterable[int]) -> dict[str, Any]:
        """Return name, key and seeds of networks, for the record of a result.

        And on how many images of each split it was measured, if not on all.
        """
        found: dict[str, Any] = {"name": self.recipe.name, "key": self.recipe.key}
        found["seeds"] = sorted(seeds)
        if self.bench.batches_measured is not None:
            found["images"] = self.bench.batches_measured * BATCH
        return found

    def load(self, seeds: Sequence[int]) -> None:
        """Train or find networks, all that are missing at once."""
        missing = [seed for seed in seeds if seed not in self._states]
        found = store.networks(
            self.recipe,
            missing,
            device=self.bench.device,
            on_progress=progress.current(),
        )
        for seed, state in zip(missing, found, strict=True):
            self._states[seed] = {
                name: value.to(self.bench.device) for name, value in state.items()
            }

    def state(self, seed: int) -> dict[str, Tensor]:
        """Return the state dict of a seed's network, on the bench's device."""
        self.load([seed])
        return self._states[seed]

    def digest(self, seed: int) -> str:
        """Return the sha256 of a network's tensors, part of the key of measurements."""
        if seed not in self._digests:
            self._digests[seed] = digest_of(self.state(seed))
        return self._digests[seed]

    def networks(self, count: int | None = None) -> list["Network"]:
        """Return the networks of the first seeds, by default of all."""
        seeds = self.bench.seeds[:count]
        self.load(seeds)
        return [Network(self, seed) for seed in seeds]

    def pairs(self, count: int | None = None) -> list["Pair"]:
        """Return pairs of consecutive seeds: the first ``count``, by default all."""
        from claims.bench.pairs import Pair

        found = self.networks(None if count is None else 2 * count)
        return [Pair(a, b) for a, b in zip(found[::2], found[1::2], strict=True)]

    def tuples(self, size: int) -> list["Several"]:
        """Return tuples of consecutive seeds, as many as there are; a rest is left."""
        from claims.bench.several import Several

        found = self.networks(len(self.bench.seeds) // size * size)
        return [
            Several(found[start : start + size]) for start in range(0, len(found), size)
        ]

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

    def batches(self, split: datasets.Split) -> Batches:
        """Return images and labels of a split, the same batches every time."""
        return self.bench.batches(self.recipe, split)

    def statistics(
        self, state: State, layers: Sequence[str], samples: int | None = None
    ) -> dict[str, lmc.Statistics]:
        """Return statistics of layers' outputs on the training set.

        All renormalizations of a pair have the same goal: it is measured once.

        Parameters
        ----------
        state
            A network of this setting, or any other of its architecture.
        layers
            Names of the layers.
        samples
            Number of training samples, from the first on; None for all.
        """

        def measure() -> dict[str, Tensor]:
            batches: Iterable[Any] = self.batches("train")
            if samples is not None:
                batches = lmc.first_samples(batches, samples)
            found = lmc.statistics(self.symmetry.graph, state, batches, layers)
            return {
                f"{what} {name}": getattr(each, what)
                for name, each in found.items()
                for what in ("mean", "variance")
            }

        spec = {"state": digest_of(state), "layers": [*layers], "samples": samples}
        values = self.measured("statistics", spec, measure)
        found = {name: value.to(self.bench.device) for name, value in values.items()}
        return {
            name: lmc.Statistics(found[f"mean {name}"], found[f"variance {name}"])
            for name in layers
        }

    def match(self, method: str, a: State, b: State, seed: int) -> lmc.Matching:
        """Match two networks by a method of :data:`claims.bench.matchers.MATCHERS`."""
        return MATCHERS[method](self, a, b, seed)

    def measured(
        self,
        kind: str,
        spec: Mapping[str, Any],
        measure: Callable[[], Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Measure, or find what was measured before by the same code."""
        full = {
            **spec,
            "recipe": self.recipe.key,
            "batches_measured": self.bench.batches_measured,
            "device": self.bench.device.type,
            "torch": torch.__version__,
            "code": code_digest(),
        }
        return store.remember(kind, full, lambda: dict(measure()))


def digest_of(state: State) -> str:
    """Return the sha256 of a state's tensors and their names."""
    return hashlib.sha256(
        b"".join(
            name.encode() + value.cpu().contiguous().numpy().tobytes()
            for name, value in sorted(state.items())
        )
    ).hexdigest()


@dataclass(frozen=True)
class Network:
    """One trained network of a setting."""

    setting: Setting
    seed: int

    @property
    def state(self) -> dict[str, Tensor]:
        """Its state dict, on the bench's device."""
        return self.setting.state(self.seed)

    @property
    def digest(self) -> str:
        """Sha256 of its tensors."""
        return self.setting.digest(self.seed)

    def evaluate(self, split: datasets.Split = "test") -> lmc.Evaluation:
        """Return its loss and accuracy."""
        setting = self.setting

        def measure() -> dict[str, Tensor]:
            found = lmc.evaluate(setting.model, self.state, setting.batches(split))
            return {"value": as_values([found.loss, found.accuracy])}

        values = self.measured("evaluation", {"split": split}, measure)["value"]
        return lmc.Evaluation(*values.tolist())

    def measured(
        self,
        kind: str,
        spec: Mapping[str, Any],
        measure: Callable[[], Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        """Measure on this network, or find what was measured before."""
        full = {**spec, "network": self.digest, "seed": self.seed}
        return self.setting.measured(kind, full, measure)

    def recovered(self, method: str) -> tuple[float, int]:
        """Shuffle the network, match it to itself, and compare what comes back.

        Returns
        -------
        deviation
            Largest difference between a value of the network and of the recovered
            copy, where no axis belongs to a unit that is constant on the data.
        constant
            Number of units that activation matching found constant.
        """
        return self.recovers(self, method)

    def recovers(self, other: "Network", method: str) -> tuple[float, int]:
        """Shuffle another network, match it to this one, and compare with the other.

        Returns
        -------
        deviation, constant
            As for :meth:`recovered`, between the other network and what comes back.
        """

        def measure() -> dict[str, Tensor]:
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
            return {"value": as_values([largest, constant])}

        spec = {"method": method, "other": other.digest}
        deviation, constant = self.measured("recovery", spec, measure)["value"].tolist()
        return deviation, int(constant)


def as_values(numbers: Sequence[float] | Sequence[Sequence[float]]) -> Tensor:
    """Return numbers as the float64 tensor that the store keeps."""
    return torch.tensor(numbers, dtype=torch.float64)


@cache
def code_digest() -> str:
    """Return the sha256 of all code that measurements depend on.

    Part of the key of everything that is measured: a change of ``lmc`` may change a
    value, and must not be hidden by what older code has measured.  What only people
    and tests run is left out.
    """
    data = [Path(module.__file__) for module in (datasets, training)]
    own = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256()
    for file in (*measuring_code(Path(lmc.__file__).parent), *data, *own):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def measuring_code(library: Path) -> list[Path]:
    """Return the files of a package that take part in measurements."""
    apart = {"tests", "command", "survey.py", "benchmarks.py", "testing.py"}
    files = sorted(library.rglob("*.py"))
    return [file for file in files if not apart & {*file.relative_to(library).parts}]
