"""A network pruned in one shot, and renormalized toward the dense network."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Any

from torch import Tensor

import lmc
from claims.bench.networks import Network, Setting, as_values
from claims.bench.pairs import Repair, repaired
from lmc import pruning
from lmc.features import diagonal_fisher
from lmc.graph import Graph, State

Pruner = Callable[[Graph, State, float, Sequence[Any]], dict[str, Tensor]]
"""From a graph, a dense network, a sparsity and training batches."""


def _magnitude(
    graph: Graph, state: State, sparsity: float, _: Sequence[Any], scope: Any
) -> dict[str, Tensor]:
    scores = pruning.magnitude_scores(graph, state)
    return pruning.prune(graph, state, sparsity, scores, scope)


def _diagonal_fisher(
    graph: Graph, state: State, sparsity: float, batches: Sequence[Any]
) -> dict[str, Tensor]:
    fisher = diagonal_fisher(graph, state, batches)
    scores = pruning.fisher_scores(graph, state, fisher)
    return pruning.prune(graph, state, sparsity, scores)


def _wood_fisher(
    graph: Graph, state: State, sparsity: float, batches: Sequence[Any]
) -> dict[str, Tensor]:
    subsample, mini_batch = mini_batches(sum(len(targets) for _, targets in batches))
    found = pruning.wood_fisher(
        graph, state, batches, subsample=subsample, mini_batch=mini_batch, block=2000
    )
    return pruning.prune(graph, state, sparsity, found.scores(), update=found.update)


def mini_batches(images: int) -> tuple[int, int]:
    """Return how many mini-batches WoodFisher takes, and the images in each.

    The paper takes 400 of 400.  Here no image is in two of them: of CIFAR-10's 50,000
    there are 125 in each; as few as digits' 1,400 make 80 of 16.
    """
    return (400, images // 400) if images > 16 * 400 else (80, 16)


PRUNERS: dict[str, Pruner] = {
    "global-magnitude": partial(_magnitude, scope="global"),
    "layerwise-magnitude": partial(_magnitude, scope="layerwise"),
    "diagonal-fisher": _diagonal_fisher,
    "wood-fisher": _wood_fisher,
}
"""Name to pruner: those of arXiv 2402.05966, section 5."""


@dataclass(frozen=True, eq=False)
class Pruned:
    """A network without some weights of its convolutions and linear layers.

    Attributes
    ----------
    network
        The dense network.
    pruner
        A name in :data:`PRUNERS`.
    sparsity
        Share of the weights that are removed.
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
        setting, dense = self.network.setting, self.network.state
        graph, batches = setting.symmetry.graph, setting.batches("train")
        return PRUNERS[self.pruner](graph, dense, self.sparsity, batches)

    def evaluate(
        self, *, renormalized: bool = False, samples: int | None = None
    ) -> lmc.Evaluation:
        """Return its loss and accuracy on the test set.

        Parameters
        ----------
        renormalized
            RESET a network with BatchNorm; REPAIR others, with the statistics of the
            dense network as goal.
        samples
            Number of training samples that all statistics are taken from; None for
            all.
        """
        setting = self.network.setting
        repair = renormalization(setting, samples) if renormalized else Repair()

        def measure() -> dict[str, Tensor]:
            found = repaired(setting, self.state, (self.network.state,), repair)
            run = found.run or setting.model
            value = lmc.evaluate(run, found.state, setting.batches("test"))
            return {"value": as_values([value.loss, value.accuracy])}

        spec = {
            "pruner": self.pruner,
            "sparsity": self.sparsity,
            "repair": asdict(repair),
        }
        values = self.network.measured("pruned", spec, measure)["value"]
        return lmc.Evaluation(*values.tolist())


def renormalization(setting: Setting, samples: int | None = None) -> Repair:
    """Return how pruned networks of a setting are renormalized.

    RESET where there is BatchNorm, REPAIR otherwise (arXiv 2402.05966, section 5).
    """
    method = "reset" if setting.symmetry.graph.batch_norms else "repair"
    return Repair(method, samples=samples)
