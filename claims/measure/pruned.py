"""A network pruned in one shot, and renormalized toward the dense network."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial, wraps
from typing import Any, Literal

from torch import Tensor

import lmc
from claims.measure.architecture import Measured, as_values
from claims.measure.networks import Network
from claims.measure.pairs import Middle, Repair, repaired
from lmc import pruning
from lmc.features import diagonal_fisher
from lmc.graph import Graph, State


@dataclass(frozen=True, eq=False)
class Scored:
    """What a pruner says of a network's weights, see :func:`lmc.pruning.prune`."""

    scores: Mapping[str, Tensor]
    scope: Literal["global", "layerwise"] = "global"
    update: pruning.Update | None = None


Pruner = Callable[[Graph, State, Sequence[Any]], Scored]
"""From a graph, a dense network and training batches."""


def _magnitude(
    graph: Graph, state: State, _: Sequence[Any], scope: Any = "global", sign: int = 1
) -> Scored:
    scores = pruning.magnitude_scores(graph, state)
    return Scored({name: sign * score for name, score in scores.items()}, scope)


def _diagonal_fisher(graph: Graph, state: State, batches: Sequence[Any]) -> Scored:
    fisher = diagonal_fisher(graph, state, batches)
    return Scored(pruning.fisher_scores(graph, state, fisher))


def _wood_fisher(graph: Graph, state: State, batches: Sequence[Any]) -> Scored:
    subsample, mini_batch = mini_batches(sum(len(targets) for _, targets in batches))
    found = pruning.wood_fisher(
        graph, state, batches, subsample=subsample, mini_batch=mini_batch, block=2000
    )
    return Scored(found.scores(), update=found.update)


def mini_batches(images: int) -> tuple[int, int]:
    """Return how many mini-batches WoodFisher takes, and the images in each.

    The paper takes 400 of 400.  Here no image is in two of them: of CIFAR-10's 50,000
    there are 125 in each.  Fewer than 6,400 are taken 16 at a time: digits' 1,400 make
    80 mini-batches.
    """
    count = min(400, max(10, images // 160 * 10))
    return count, images // count if count == 400 else 16


PRUNERS: dict[str, Pruner] = {
    "global-magnitude": _magnitude,
    "layerwise-magnitude": partial(_magnitude, scope="layerwise"),
    "diagonal-fisher": _diagonal_fisher,
    "wood-fisher": _wood_fisher,
    "largest-magnitude": partial(_magnitude, sign=-1),
}
"""Name to pruner: those of arXiv 2402.05966, section 5, and one that removes the
largest weights instead."""


@lru_cache(maxsize=1)
def _scored(network: Network, pruner: str) -> Scored:
    """Score a network's weights, once for all sparsities: Fisher takes seconds."""
    setting = network.setting
    graph, batches = setting.symmetry.graph, setting.batches("train")
    return PRUNERS[pruner](graph, network.state, batches)


@dataclass(frozen=True, eq=False)
class Pruned:
    """A dense network without some weights of its convolutions and linear layers.

    By a name in :data:`PRUNERS`; ``sparsity`` is the share that is removed.
    """

    network: Network
    pruner: str
    sparsity: float

    def __post_init__(self) -> None:
        if self.pruner not in PRUNERS:
            raise ValueError(
                f"unknown pruner {self.pruner!r}: choose {', '.join(PRUNERS)}"
            )

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """The pruned network, not renormalized."""
        graph, dense = self.network.setting.symmetry.graph, self.network.state
        found = _scored(self.network, self.pruner)
        return pruning.prune(
            graph, dense, self.sparsity, found.scores, found.scope, found.update
        )

    def evaluate(
        self, *, renormalized: bool = False, samples: int | None = None
    ) -> lmc.Evaluation:
        """Return its loss and accuracy on the test set.

        If it is to be ``renormalized``: RESET a network with BatchNorm, REPAIR others
        with the statistics of the dense network as goal (arXiv 2402.05966, section 5),
        from so many training ``samples``, None for all.
        """
        setting, repair = self.network.setting, Repair()
        if renormalized:
            repair = Repair(setting.reset or "repair", samples=samples)

        def measure(middle: Middle) -> Measured:
            return {"value": as_values(middle.evaluate(setting))}

        found = self.measured("pruned", measure, repair)
        return lmc.Evaluation(*found["value"].tolist())

    def measured(
        self,
        kind: str,
        measure: Callable[[Middle], Measured],
        repair: Repair,
        **spec: Any,
    ) -> dict[str, Tensor]:
        """Measure anything on it, renormalized toward the dense network, once."""
        dense = self.network

        @wraps(measure)
        def of_it() -> Measured:
            return measure(repaired(dense.setting, self.state, (dense.state,), repair))

        how = {"pruner": self.pruner, "sparsity": self.sparsity}
        return dense.measured(kind, {**spec, **how, "repair": asdict(repair)}, of_it)
