"""What weight matching, activation matching and curves take: ``make bench``.

Each row is a ratio of two things that are measured in turns in the same run, on one
thread: ``python -m lmc.benchmarks.library``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmc.benchmarks.comparing import Comparison, arguments, compare, report
from lmc.discovery import discover
from lmc.graph import State
from lmc.interpolation import LAMBDAS, curve, evaluate, interpolate
from lmc.matching import (
    Matching,
    activation_matching,
    activations,
    plain_weight_matching,
    straight_through,
    weight_matching,
)
from lmc.models import VGG, ResNet
from lmc.observing import observe_both
from lmc.permutation import Permutation
from lmc.symmetry import Symmetry

VGG16: tuple[int | Literal["M"], ...] = (
    *(64, 64, "M", 128, 128, "M"),
    *(256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"),
)


class ResidualMLP(nn.Module):
    """A stream between two layers, with blocks of two layers each beside it."""

    def __init__(self, inputs: int, width: int, blocks: int):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, 10)
        layers = (nn.Linear(width, width) for _ in range(2 * blocks))
        self.blocks = nn.ModuleList(
            nn.Sequential(one, nn.ReLU(), other)
            for one, other in zip(layers, layers, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, 10)``."""
        x = self.first(x.flatten(1))
        for block in self.blocks:
            x = x + 0.1 * block(x)
        return self.last(F.relu(x))


Make = Callable[[], nn.Module]


def networks(make: Make) -> tuple[nn.Module, State, State]:
    """Return a model and two fresh networks of it."""
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)  # torch's initializations know no other generator
        models.append(make().eval())
    return models[0], models[0].state_dict(), models[1].state_dict()


@cache
def found_for(make: Make, size: int) -> tuple[Symmetry, State, State]:
    """Return the groups of a model, and two fresh networks of it."""
    model, a, b = networks(make)
    return discover(model, torch.zeros(2, 3, size, size), certify=False), a, b


def seeded() -> torch.Generator:
    """Return a source of the same numbers each time."""
    return torch.Generator().manual_seed(0)


def weight_matchings(
    what: str,
    make: Make,
    size: int,
    repeats: int,
    dtype: torch.dtype = torch.float64,
    by: str = "processor",
) -> Comparison:
    """One descent against the readable one, which is in float64."""
    symmetry, a, b = found_for(make, size)

    def ours() -> Matching:
        return weight_matching(
            symmetry, a, b, generator=seeded(), start="identity", dtype=dtype
        )

    return compare(
        f"weight matching, {what}: readable / ours, {str(dtype)[6:]}",
        lambda: plain_weight_matching(symmetry, a, b, generator=seeded()),
        ours,
        no_worse,
        repeats,
        by,
    )


def default_starts(what: str, make: Make, size: int, repeats: int) -> Comparison:
    """Weight matching as it is by default against one descent."""
    symmetry, a, b = found_for(make, size)
    return compare(
        f"weight matching, {what}: from the identity / the better of two starts",
        lambda: weight_matching(symmetry, a, b, generator=seeded(), start="identity"),
        lambda: weight_matching(symmetry, a, b, generator=seeded()),
        no_worse,
        repeats,
        "processor",
    )


def no_worse(baseline: Matching, ours: Matching) -> str:
    """Compare two objectives."""
    assert ours.objective >= baseline.objective * (1 - 1e-3)
    return (
        f"objective {baseline.objective:.4f} / {ours.objective:.4f}, "
        f"{baseline.solves} / {ours.solves} assignments"
    )


def searches(what: str, make: Make, size: int, repeats: int) -> Comparison:
    """A straight-through search against one with a new weight matching each step."""
    symmetry, a, b = found_for(make, size)
    batches = labelled_noise(4, 8, size)
    search = partial(straight_through, symmetry, a, b, batches, epochs=2, lr=1e-3)

    def same(baseline: float, ours: Matching) -> str:
        assert abs(baseline - ours.objective) < 1e-6
        return f"loss {-baseline:.4f} / {-ours.objective:.4f}"

    return compare(
        f"straight-through, {what}: a matching each step / one descent",
        lambda: projected_anew(symmetry, a, b, batches, epochs=2, lr=1e-3),
        lambda: search(generator=seeded()),
        same,
        repeats,
        "processor",
    )


def projected_anew(
    symmetry: Symmetry,
    a: State,
    b: State,
    batches: Sequence[tuple[Tensor, Tensor]],
    epochs: int,
    lr: float,
) -> float:
    """Return minus the least loss of a search by calls of weight matching."""
    graph, generator = symmetry.graph, seeded()
    auxiliary = {name: a[name].clone() for name in graph.parameters}
    optimizer = torch.optim.Adam(auxiliary.values(), lr=lr)
    here = Permutation.identity(symmetry)

    def project() -> tuple[Permutation, dict[str, Tensor]]:
        goal = {**a, **auxiliary}
        found = weight_matching(symmetry, goal, b, generator=generator, start=here)
        moved = found.permutation
        return moved, interpolate(a, moved.apply(b), 0.5)

    @torch.no_grad()
    def loss(state: State) -> float:
        losses = [F.cross_entropy(graph.run(state, x), y) for x, y in batches]
        return float(torch.stack(losses).mean())

    here, middle = project()
    least = loss(middle)
    for _ in range(epochs):
        for x, y in batches:
            leaves = [middle[name].requires_grad_() for name in auxiliary]
            value = F.cross_entropy(graph.run(middle, x), y)
            gradients = torch.autograd.grad(value, leaves)
            for own, gradient in zip(auxiliary.values(), gradients, strict=True):
                own.grad = gradient / 2
            optimizer.step()
            here, middle = project()
        least = min(least, loss(middle))
    return -least


def labelled_noise(count: int, samples: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """Return batches of random images and labels."""
    generator = seeded()
    return [
        (
            torch.randn(samples, 3, size, size, generator=generator),
            torch.randint(10, (samples,), generator=generator),
        )
        for _ in range(count)
    ]


def taps_in_memory(what: str, make: Make, size: int, repeats: int) -> Comparison:
    """Memory of activation matching against keeping all activations in float64."""
    symmetry, a, b = found_for(make, size)
    batches = labelled_noise(1, 32, size)

    def kept(*arguments: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
        taps = observe_both(*arguments)
        return iter([(node, one.double(), two.double()) for node, one, two in taps])

    def all_kept() -> Matching:
        with mock.patch.object(activations, "observe_both", kept):
            return activation_matching(symmetry, a, b, batches)

    return compare(
        f"activation matching, {what}: all activations kept / moments only",
        all_kept,
        lambda: activation_matching(symmetry, a, b, batches),
        lambda baseline, ours: equal(baseline.permutation.indices, ours),
        repeats,
        "memory",
    )


def equal(baseline: Mapping[str, Tensor], ours: Matching) -> str:
    """Assert that permutations are equal."""
    for name, indices in baseline.items():
        assert torch.equal(indices, ours.permutation.indices[name])
    return f"{len(baseline)} equal permutations"


def activation_matchings(what: str, make: Make, size: int, repeats: int) -> Comparison:
    """Activation matching in one pass against a pass for each group."""
    symmetry, a, b = found_for(make, size)
    batches = labelled_noise(2, 32, size)

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

    return compare(
        f"activation matching, {what}: a pass a group / one pass",
        layer_by_layer,
        lambda: activation_matching(symmetry, a, b, batches),
        equal,
        repeats,
        "processor",
    )


def curves(what: str, make: Make, size: int, repeats: int) -> Comparison:
    """A curve against evaluations of its points in a model of their own."""
    model, a, b = networks(make)
    batches = labelled_noise(2, 64, size)

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
        "processor",
    )


def main(given: Sequence[str] | None = None) -> None:
    """Measure everything and print a table."""
    options = arguments("python -m lmc.benchmarks.library", __doc__, given)
    if options.quick:
        size = 8
        short: dict[str, Make] = {
            "small MLP": lambda: ResidualMLP(3 * 8 * 8, 8, 2),
        }
        large: dict[str, Make] = {
            "small VGG": lambda: VGG((8, "M", 16, 16, "M"), in_channels=3),
            "small ResNet": lambda: ResNet((8, 16), (1, 1), in_channels=3),
        }
    else:
        size = 32
        half = partial(ResNet, (8, 16, 32), (3, 3, 3), in_channels=3)
        short = {
            "ResNet20 half": half,
            "ResNet20 half BatchNorm": partial(half, norm="bn"),
            "residual MLP 110": lambda: ResidualMLP(3 * 32 * 32, 32, 54),
        }
        large = {
            "VGG16": lambda: VGG(VGG16, in_channels=3),
            "ResNet20 4x": lambda: ResNet((64, 128, 256), (3, 3, 3), in_channels=3),
        }
    rows: list[tuple[Callable[..., Comparison], dict[str, Make]]] = [
        (weight_matchings, short | large),
        (partial(weight_matchings, dtype=torch.float32), large),
        (partial(weight_matchings, by="memory"), large),
        (default_starts, short | large),
        (searches, short),
        (activation_matchings, large),
        (taps_in_memory, large),
        (curves, large),
    ]
    print(f"medians, and how many times less [least..most of {options.repeats}]")
    found = []
    for measure, nets in rows:
        for what, make in nets.items():
            found.append(measure(what, make, size, options.repeats))
            print(found[-1].line(), flush=True)
    report(found, options.json)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
