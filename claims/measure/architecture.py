"""An architecture with the images it is measured on, and the memory of measurements."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, wraps
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor, nn

import lmc
from claims.measure.matchers import MATCHERS, Batches
from claims.measure.memory import code_digest
from fixtures import datasets, states, training
from fixtures.measurements import remember
from fixtures.recipe import Recipe
from lmc.graph import State
from lmc.interpolation import Run

BATCH = 128
"""Images in a batch wherever statistics are taken, as in the papers' protocol."""

Measured = Mapping[str, Tensor]
"""By name, what was measured."""


class Images:
    """Images on a device: so many batches to train on, or all, and all to test on.

    Attributes
    ----------
    symmetries
        Of the architectures that were certified on them.
    """

    def __init__(self, device: torch.device, batches: int | None):
        training.without_tf32(device)
        self.device, self.batches = device, batches
        self.symmetries: dict[tuple[Any, ...], lmc.Symmetry] = {}
        self._known: dict[tuple[str, int | None, str], Batches] = {}

    def of(self, recipe: Recipe, split: datasets.Split) -> Batches:
        """Return images and labels of a recipe's data set, the same every time."""
        key = (recipe.dataset, recipe.samples, split)
        if key not in self._known:
            data = training.dataset_of(recipe)
            count = self.batches if split == "train" else None
            found = data.batches(split, BATCH, self.device, count)
            self._known[key] = [(_in_order(images), labels) for images, labels in found]
        return self._known[key]


def _in_order(images: Tensor) -> Tensor:
    """Copy images to memory of their own, in the order chosen here for all.

    Convolutions are faster in channels_last; of one channel the two orders are one, and
    its strides would choose the kernel by chance.
    """
    layout = torch.channels_last if images.shape[1] > 1 else torch.contiguous_format
    return torch.empty_like(images, memory_format=layout).copy_(images)


class Subject:
    """What is measured, once, on a setting's images; its key tells it from others."""

    setting: "Architecture"
    key: Mapping[str, Any]

    def measured(
        self, kind: str, spec: Mapping[str, Any], measure: Callable[[], Measured]
    ) -> dict[str, Tensor]:
        """Measure, or find what was measured before by the same code."""
        return self.setting.measured(kind, {**spec, **self.key}, measure)

    def values(
        self, kind: str, spec: Mapping[str, Any], measure: Callable[[], Sequence[Any]]
    ) -> list[Any]:
        """Measure numbers, or rows of numbers, as by :meth:`measured`."""

        @wraps(measure)
        def tensors() -> Measured:
            return {"value": as_values(measure())}

        return self.measured(kind, spec, tensors)["value"].tolist()


class Architecture:
    """The model of a setting by its recipe, and the images it is measured on."""

    def __init__(self, name: str, recipe: Recipe, images: Images):
        self.name, self.recipe, self._images = name, recipe, images
        self.device = images.device

    @cached_property
    def model(self) -> nn.Module:
        """The architecture, in evaluation mode."""
        return self.recipe.build_model().to(self.device)

    @cached_property
    def symmetry(self) -> lmc.Symmetry:
        """The model's permutation groups, certified on real images.

        Once for all settings that differ in their training alone: it takes seconds.
        """
        known, recipe = self._images.symmetries, self.recipe
        key = (recipe.architecture, recipe.options, recipe.dataset)
        if key not in known:
            [(images, _), *_] = self.batches("train")
            known[key] = lmc.discover(self.model, images[:4])
        return known[key]

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layers that are renormalized: in ResNets those inside the blocks."""
        inside = getattr(self.model, "block_convolutions", None)
        return inside() if inside else lmc.default_layers(self.symmetry.graph)

    @property
    def parameters(self) -> list[str]:
        """Names of all parameters, one of each that has several."""
        graph = self.symmetry.graph
        return [name for name in graph.parameters if graph.aliases[name][0] == name]

    @property
    def batchnorm(self) -> bool:
        """Whether it has BatchNorm, without whose RESET every midpoint is broken."""
        # Not by its graph: what was measured is decided without an export, then.
        norms = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d
        return any(isinstance(part, norms) for part in self.model.modules())

    @property
    def reset(self) -> str:
        """How midpoints are renormalized where no more is said: RESET if BatchNorm.

        As in arXiv 2402.05966, section 3.2 and appendix F.5.
        """
        return "reset" if self.batchnorm else ""

    def batches(self, split: datasets.Split) -> Batches:
        """Return images and labels of a split, the same batches every time."""
        return self._images.of(self.recipe, split)

    def evaluate(
        self, state: State, split: datasets.Split = "test", run: Run | None = None
    ) -> list[float]:
        """Return loss and accuracy of a network, run as the model or by a function."""
        found = lmc.evaluate(run or self.model, state, self.batches(split))
        return [found.loss, found.accuracy]

    def statistics(
        self, state: State, layers: Sequence[str], samples: int | None = None
    ) -> dict[str, lmc.Statistics]:
        """Return statistics of layers' outputs on the first training samples, or all.

        All renormalizations of a pair have the same goal: it is measured once.
        """

        def measure() -> dict[str, Tensor]:
            batches: Iterable[Any] = self.batches("train")
            if samples is not None:
                batches = lmc.first_samples(batches, samples)
            # Equal bits may have come here in other strides.
            own = states.canonical(state, self.device)
            found = lmc.statistics(self.symmetry.graph, own, batches, layers)
            return {
                f"{what} {name}": getattr(each, what)
                for name, each in found.items()
                for what in ("mean", "variance")
            }

        spec = {"state": digest_of(state), "layers": [*layers], "samples": samples}
        values = self.measured("statistics", spec, measure)
        found = {name: value.to(self.device) for name, value in values.items()}
        return {
            name: lmc.Statistics(found[f"mean {name}"], found[f"variance {name}"])
            for name in layers
        }

    def match(self, method: str, a: State, b: State, seed: int) -> lmc.Matching:
        """Match two networks by a method of `claims.measure.MATCHERS`."""
        return MATCHERS[method](self.symmetry, self.batches("train"), a, b, seed)

    def measured(
        self, kind: str, spec: Mapping[str, Any], measure: Callable[[], Measured]
    ) -> dict[str, Tensor]:
        """Measure on one thread, or find what was measured before by the same code.

        That is the code of the module that defines ``measure``; see
        `claims.measure.memory`.
        """
        full = {
            **spec,
            "recipe": self.recipe.key,
            "batches_measured": self._images.batches,
            "device": self.device.type,
            "versions": [torch.__version__, np.__version__, scipy.__version__],
        }

        def alone() -> dict[str, Tensor]:
            with training.single_thread(self.device):
                return dict(measure())

        return remember(kind, full, code_digest(measure.__module__), alone)


def digest_of(state: State) -> str:
    """Return the sha256 of a state's tensors and their names."""
    return hashlib.sha256(
        b"".join(
            name.encode() + value.detach().cpu().contiguous().numpy().tobytes()
            for name, value in sorted(state.items())
        )
    ).hexdigest()


def as_values(numbers: Sequence[Any]) -> Tensor:
    """Return numbers as the float64 tensor that the store keeps."""
    return torch.tensor(numbers, dtype=torch.float64)
