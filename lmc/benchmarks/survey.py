"""A table of torchvision's classifiers: groups, certificates, planted permutations.

``python -m lmc.benchmarks.survey`` writes ``lmc/docs/torchvision.md``; it takes an
hour on one core, goes on where it was interrupted, and needs no network: weights are
random.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lmc.benchmarks import resumable
from lmc.certificate import certified
from lmc.discovery import discover
from lmc.matching import weight_matching
from lmc.permutation import Permutation
from lmc.symmetry import Certificate, Symmetry

TABLE = Path(__file__).parents[1] / "docs" / "torchvision.md"

SIZE, SIZES = 64, {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 56}
"""Of the images, for all but a few: the groups do not depend on it, the hours do."""

HEAD = """\
# Permutation symmetry of torchvision's classifiers

Made by `python -m lmc.benchmarks.survey` with torch {torch}, torchvision {torchvision}:
random weights, two images of 64 pixels (inception_v3 96, maxvit_t 224, vit_h_14 56), on
whose size no group depends.  *Groups* and *units* are what `lmc.discover` finds;
channels in attention heads and groups of convolutions are counted beside the heads and
groups.  *Refused* are operations without a rule, which pin what they touch.
*Difference* is the certificate: the largest relative difference of the outputs in
float64 under at least {permutations} random permutations without fixed points.
*Recovered*: a random permutation of all groups was found again exactly by
`weight_matching(start="forward")`.  Seconds are processor time: *export* is
`torch.export` alone, for batches of any size, *discovery* `lmc.discover` without the
certificate, an export of its own included.  Bounds that were worked out by hand for one
model of each family stand in `lmc/benchmarks/tests/test_survey.py`.

| model | groups | units | refused | difference | recovered | export, s | \
discovery, s | certificate, s | match, s |
| --- | --: | --: | --: | --: | --- | --: | --: | --: | --: |
"""


@dataclass(frozen=True)
class Row(resumable.Row):
    """What was found for one model."""

    groups: int
    units: int
    refused: int
    difference: float
    permutations: int
    recovered: bool
    export: float
    discovery: float
    certificate: float
    matching: float

    def line(self) -> str:
        """Write a row of the table."""
        return (
            f"| {self.model} | {self.groups} | {self.units:,} | {self.refused} | "
            f"{self.difference:.0e} | {'yes' if self.recovered else 'no'} | "
            f"{self.export:.1f} | {self.discovery:.1f} | {self.certificate:.1f} | "
            f"{self.matching:.1f} |"
        )


def classifier(name: str, **options: Any) -> tuple[nn.Module, Tensor]:
    """Return a classifier of torchvision with random weights, and two inputs."""
    size = SIZES.get(name, SIZE)
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False  # it would take minutes for the same purpose
    if name.startswith("vit"):
        options.setdefault("image_size", size)
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    generator = torch.Generator().manual_seed(0)
    return model, torch.randn(2, 3, size, size, generator=generator)


def distinct(state: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
    """Add noise to a network, so that no two units are equal by initialization."""
    return {
        name: value + 0.01 * torch.randn(value.shape, generator=generator)
        if value.is_floating_point()
        else value
        for name, value in state.items()
    }


def free_units(symmetry: Symmetry) -> int:
    """Count the units of all groups."""
    return sum(group.size * group.copies for group in symmetry.groups.values())


def recovered(symmetry: Symmetry, state: dict[str, Tensor]) -> tuple[bool, float]:
    """Whether weight matching finds a planted permutation, and its processor time."""
    generator = torch.Generator().manual_seed(0)
    network = distinct(state, generator)
    shuffled = Permutation.random(symmetry, generator).apply(network)
    start = time.process_time()
    found = weight_matching(
        symmetry,
        network,
        shuffled,
        generator=generator,
        start="forward",
        dtype=torch.float32,  # the largest fit into 24 GiB that way
    )
    seconds = time.process_time() - start
    back = found.permutation.apply(shuffled)
    same = all(torch.equal(back[name], value) for name, value in network.items())
    return same, seconds


class Discovered(NamedTuple):
    """A certified symmetry, and the processor time of each step to it."""

    symmetry: Symmetry
    certificate: Certificate
    export: float
    discovery: float
    certifying: float


def discovered(model: nn.Module, inputs: tuple[Any, ...]) -> Discovered:
    """Export a model, discover its symmetry and certify it, each by itself."""
    times = [time.process_time()]
    batch = {0: torch.export.Dim.AUTO}
    shapes = pytree.tree_map_only(Tensor, lambda _: batch, inputs)
    torch.export.export(model, inputs, dynamic_shapes=shapes)
    times.append(time.process_time())
    symmetry = discover(model, *inputs, certify=False)
    times.append(time.process_time())
    certificate = certified(symmetry, model, inputs)
    times.append(time.process_time())
    export, discovery, certifying = (b - a for a, b in pairwise(times))
    return Discovered(symmetry, certificate, export, discovery, certifying)


def survey(name: str) -> Row:
    """Discover, certify and match one model."""
    torch.manual_seed(0)  # torchvision draws its weights from the global generator
    model, images = classifier(name)
    found = discovered(model, (images,))
    state = model.state_dict()
    del model  # the largest fill the memory: its tensors are held by name alone
    same, seconds = recovered(found.symmetry, state)
    return Row(
        name,
        len(found.symmetry.groups),
        free_units(found.symmetry),
        len(found.symmetry.refused),
        found.certificate.relative_difference,
        found.certificate.permutations,
        same,
        found.export,
        found.discovery,
        found.certifying,
        seconds,
    )


def head(rows: Sequence[Row]) -> str:
    """What the table is of, and how it was made."""
    return HEAD.format(
        torch=torch.__version__.partition("+")[0],
        torchvision=torchvision.__version__.partition("+")[0],
        permutations=min(row.permutations for row in rows),
    )


def main(given: Sequence[str] | None = None) -> None:
    """Survey all models that the table lacks; write it."""
    chosen, out = resumable.arguments(
        "python -m lmc.benchmarks.survey", __doc__, TABLE, given
    )
    everything = torchvision.models.list_models(module=torchvision.models)
    resumable.fill(out, chosen or everything, survey, Row, head)


if __name__ == "__main__":
    main()
