"""How fast, as ratios of two things measured in the same run: ``make bench``.

``python -m lmc.benchmarks.library`` compares weight matching with the readable one,
which computes all costs anew at each step, activation matching in one pass with a pass
for each layer, and a curve with separate evaluations of its points.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lmc.discovery import discover
from lmc.graph import State
from lmc.interpolation import LAMBDAS, curve, evaluate, interpolate
from lmc.matching import (
    Matching,
    activation_matching,
    plain_weight_matching,
    weight_matching,
)
from lmc.models import VGG, ResNet
from lmc.symmetry import Symmetry

VGG16: tuple[int | Literal["M"], ...] = (
    *(64, 64, "M", 128, 128, "M"),
    *(256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
)


@dataclass(frozen=True)
class Comparison:
    """Seconds of two ways to compute the same thing.

    Attributes
    ----------
    what
        The two ways.
    baseline, ours
        Seconds of each repetition; those of one number were taken one after the
        other.
    same
        What was compared of the results.
    """

    what: str
    baseline: tuple[float, ...]
    ours: tuple[float, ...]
    same: str

    @property
    def ratios(self) -> list[float]:
        """How many times ours is faster, for each repetition."""
        return [b / o for b, o in zip(self.baseline, self.ours, strict=True)]

    def line(self) -> str:
        """Write a row of the table."""
        ratios = sorted(self.ratios)
        return (
            f"{self.what:<58} {statistics.median(self.baseline):8.2f} s"
            f" {statistics.median(self.ours):8.2f} s"
            f" {statistics.median(ratios):6.1f} [{ratios[0]:.1f}..{ratios[-1]:.1f}]"
            f"  {self.same}"
        )


def compare(
    what: str,
    baseline: Callable[[], Any],
    ours: Callable[[], Any],
    same: Callable[[Any, Any], str],
    repeats: int,
) -> Comparison:
    """Measure two ways in turns; raise ``AssertionError`` if results differ.

    Parameters
    ----------
    what
        The two ways, in words.
    baseline, ours
        What is timed.
    same
        Asserts that two results agree, and says in what.
    repeats
        Number of turns.
    """
    seconds: tuple[list[float], list[float]] = ([], [])
    said = ""
    for _ in range(repeats):
        results = []
        for run, taken in zip((baseline, ours), seconds, strict=True):
            start = time.perf_counter()
            results.append(run())
            taken.append(time.perf_counter() - start)
        said = same(*results)
    return Comparison(what, tuple(seconds[0]), tuple(seconds[1]), said)


def networks(make: Callable[[], nn.Module]) -> tuple[nn.Module, State, State]:
    """Return a model and two fresh networks of it."""
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)  # torch's initializations know no other generator
        models.append(make().eval())
    return models[0], models[0].state_dict(), models[1].state_dict()


def weight_matchings(
    what: str,
    make: Callable[[], nn.Module],
    size: int,
    repeats: int,
    dtype: torch.dtype = torch.float64,
) -> Comparison:
    """Weight matching against the readable one, which is in float64."""
    model, a, b = networks(make)
    symmetry = discover(model, torch.zeros(2, 3, size, size))

    def seeded() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def same(baseline: Matching, ours: Matching) -> str:
        assert ours.objective >= baseline.objective * (1 - 1e-3)
        return (
            f"objective {baseline.objective:.4f} / {ours.objective:.4f}, "
            f"{baseline.solves} / {ours.solves} assignments"
        )

    return compare(
        f"weight matching, {what}: all anew / changes, {str(dtype)[6:]}",
        lambda: plain_weight_matching(symmetry, a, b, generator=seeded()),
        lambda: weight_matching(symmetry, a, b, generator=seeded(), dtype=dtype),
        same,
        repeats,
    )


def activation_matchings(
    what: str, make: Callable[[], nn.Module], size: int, repeats: int
) -> Comparison:
    """Activation matching in one pass against a pass for each group."""
    model, a, b = networks(make)
    symmetry = discover(model, torch.zeros(2, 3, size, size))
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(32, 3, size, size, generator=generator), None) for _ in range(2)
    ]

    def layer_by_layer() -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, group in symmetry.groups.items():
            alone = Symmetry(
                {name: group},
                (),
                (),
                symmetry.shapes,
                symmetry.graph,
                symmetry.certificate,
            )
            one = activation_matching(alone, a, b, batches)
            found |= one.permutation.indices
        return found

    def same(baseline: dict[str, Tensor], ours: Any) -> str:
        for name, indices in baseline.items():
            assert torch.equal(indices, ours.permutation.indices[name])
        return f"{len(baseline)} equal permutations"

    return compare(
        f"activation matching, {what}: a pass a group / one pass",
        layer_by_layer,
        lambda: activation_matching(symmetry, a, b, batches),
        same,
        repeats,
    )


def curves(
    what: str, make: Callable[[], nn.Module], size: int, repeats: int
) -> Comparison:
    """A curve against evaluations of its points in a model of their own."""
    model, a, b = networks(make)
    generator = torch.Generator().manual_seed(0)
    batches = [
        (
            torch.randn(64, 3, size, size, generator=generator),
            torch.randint(10, (64,), generator=generator),
        )
        for _ in range(2)
    ]

    def separately() -> list[float]:
        losses = []
        for lam in LAMBDAS:
            own = make()
            own.load_state_dict(interpolate(a, b, lam))
            own.eval()
            losses.append(evaluate(own, own.state_dict(), batches).loss)
        return losses

    def same(baseline: list[float], ours: Any) -> str:
        assert all(abs(x - y) < 1e-6 for x, y in zip(baseline, ours.loss, strict=True))
        return f"{len(baseline)} equal losses"

    return compare(
        f"curve, {what}: separate evaluations / one call",
        separately,
        lambda: curve(model, a, b, batches),
        same,
        repeats,
    )


def report(comparisons: Sequence[Comparison], path: str | None) -> None:
    """Write comparisons as JSON, if a path is given."""
    if path is not None:
        with open(path, "w", encoding="utf-8") as file:
            json.dump([asdict(found) for found in comparisons], file, indent=1)


def arguments(prog: str, about: str | None, given: Sequence[str] | None) -> Any:
    """Read the options that all benchmarks have."""
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write seconds there too")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure everything and print a table."""
    options = arguments("python -m lmc.benchmarks.library", __doc__, given)
    if options.quick:
        nets: dict[str, Callable[[], nn.Module]] = {
            "small VGG": lambda: VGG((8, "M", 16, 16, "M"), in_channels=3),
            "small ResNet": lambda: ResNet((8, 16), (1, 1), in_channels=3),
        }
        size = 8
    else:
        nets = {
            "VGG16": lambda: VGG(VGG16, in_channels=3),
            "ResNet20 4x": lambda: ResNet((64, 128, 256), (3, 3, 3), in_channels=3),
        }
        size = 32
    print(
        f"median seconds, and how many times faster [least..most of {options.repeats}]"
    )
    found = []
    in_float32 = partial(weight_matchings, dtype=torch.float32)
    for measure in (weight_matchings, in_float32, activation_matchings, curves):
        for what, make in nets.items():
            found.append(measure(what, make, size, options.repeats))
            print(found[-1].line())
            sys.stdout.flush()
    report(found, options.json)


if __name__ == "__main__":
    main()
