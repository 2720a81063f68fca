"""What networks hold, layer by layer, and how fast they can be retrained.

Measured on endpoints, midpoints, pruned networks and networks before training; on the
training set, in evaluation mode.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import lmc
from claims.measure.architecture import (
    BATCH,
    Architecture,
    Measured,
    as_values,
)
from claims.measure.matchers import Batches
from claims.measure.networks import Network
from claims.measure.pairs import Middle, Pair, Repair
from claims.measure.pruned import Pruned
from fixtures import training
from fixtures.initialization import initialize, stream
from fixtures.states import canonical
from lmc import features
from lmc.graph import Graph, State
from lmc.retraining import retrain

FISHER_SAMPLES = 256
"""Training samples that Fisher information is taken from."""

Given = tuple[Graph, State, Batches]
"""A graph, a network, and the training set."""


def _scales(given: Given, where: str, what: str = "absolute") -> dict[str, Tensor]:
    found = {n: getattr(x, where) for n, x in features.activation_scale(*given).items()}
    return {n: getattr(scale, what) for n, scale in found.items() if scale is not None}


def _parts(given: Given, constant: Any, part: str) -> dict[str, float]:
    found = features.feature_parts(*given, constant=constant)
    return {name: float(getattr(parts, part)) for name, parts in found.items()}


def _fisher(graph: Graph, state: State, batches: Batches) -> dict[str, float]:
    some = lmc.first_samples(batches, FISHER_SAMPLES)
    return features.layer_means(graph, features.diagonal_fisher(graph, state, some))


MEASURES: dict[str, Callable[[Given], Mapping[str, Tensor | float]]] = {
    # Mean absolute value before the nonlinearity (and before a normalization).
    "scale-before": lambda given: _scales(given, "before"),
    "scale-after": lambda given: _scales(given, "after"),
    # Share of activations that are zero; 1 for a unit that is zero on every input.
    "zeros": lambda given: _scales(given, "after", "zeros"),
    "dead": lambda given: features.dead_units(*given),
    "magnitude": lambda given: features.parameter_magnitude(*given[:2]),
    "fisher": lambda given: _fisher(*given),
    # Of f = g + h, by mean squares: g over both, with h the mean over inputs ...
    "input-dependent": lambda given: _parts(given, "mean", "share"),
    # ... with h the response to zeros, and then g itself.
    "input-dependent-zero": lambda given: _parts(given, "zero", "share"),
    "input-dependent-size": lambda given: _parts(given, "zero", "dependent"),
}
"""From a name to what is measured: for each layer one value of each unit, or one."""


def fresh(setting: Architecture, seed: int) -> Network:
    """Return a network of a setting before training: initialized for its seed."""
    state = initialize(setting.recipe, seed).state_dict()
    return Network(setting, seed, canonical(state, setting.device))


def in_network(network: Network, measure: str) -> dict[str, float]:
    """Return what a network has in each layer: means over the layer's units.

    Of a name in :data:`MEASURES`.
    """
    found = network.measured(
        "features",
        {"measure": measure},
        lambda: _by_layer(network.setting, network.state, measure),
    )
    return _means(network.setting, found)


def at_endpoints(pair: Pair, measure: str) -> dict[str, float]:
    """Return each layer's mean over A and B, as :func:`in_network` does."""
    a, b = (in_network(network, measure) for network in (pair.a, pair.b))
    return {name: (a[name] + b[name]) / 2 for name in a}


def at_midpoint(
    pair: Pair, measure: str, method: str, repair: str = ""
) -> dict[str, float]:
    """Return what a pair's midpoint has in each layer.

    Of a name in :data:`MEASURES`; matched and renormalized as for :meth:`Pair.middle`,
    which is an error if the renormalization has no place in the weights.
    """
    return _means(pair.setting, _units_at_midpoint(pair, measure, method, repair))


def relative_to_endpoints(
    pair: Pair, measure: str, method: str, repair: str = ""
) -> dict[str, float]:
    """Return the midpoint's value over the endpoints' mean, layer by layer.

    Parameters and errors as for :func:`at_midpoint`.
    """
    middle = at_midpoint(pair, measure, method, repair)
    ends = at_endpoints(pair, measure)
    return {name: value / ends[name] for name, value in middle.items()}


def in_pruned(
    pruned: Pruned, measure: str, *, renormalized: bool = False
) -> dict[str, float]:
    """Return what a pruned network has in each layer, as :func:`at_midpoint` does.

    If it is to be ``renormalized``, after REPAIR with the dense network's statistics.
    """
    setting = pruned.network.setting

    def values(middle: Middle) -> Measured:
        return _by_layer(setting, _in_weights(middle), measure)

    repair = Repair("repair" if renormalized else "")
    found = pruned.measured("features-pruned", values, repair, feature=measure)
    return _means(setting, found)


def dead_and_kept(
    pair: Pair, method: str, repair: str, layers: Iterable[str]
) -> tuple[float, float]:
    """Return the share of units that are dead, and are still after renormalization.

    In percent of all units, in layers that count alike: dead at the bare midpoint; dead
    both there and after ``repair``.
    """
    before = _units_at_midpoint(pair, "dead", method, "")
    after = _units_at_midpoint(pair, "dead", method, repair)
    names = list(layers)
    dead = sum(float(before[name].mean()) for name in names)
    kept = sum(float((before[name] * after[name]).mean()) for name in names)
    return 100 * dead / len(names), 100 * kept / len(names)


def running_statistics(
    pair: Pair, method: str, repair: str = ""
) -> tuple[list[float], list[float]]:
    """Return the size of BatchNorm's running statistics at a midpoint.

    For each BatchNorm, in the order of execution: the absolute running mean and the
    root of the running variance, averaged over channels.
    """

    def values(middle: Middle) -> Measured:
        norms, state = pair.setting.symmetry.graph.batch_norms, _in_weights(middle)
        means = [float(state[n.mean].double().abs().mean()) for n in norms]
        roots = [float(state[n.variance].double().sqrt().mean()) for n in norms]
        return {"value": as_values([means, roots])}

    found = pair.at_midpoint("running-statistics", values, method, repair)
    means, deviations = found["value"].tolist()
    return means, deviations


def parameter_size(network: Network) -> float:
    """Return the mean magnitude of all weights and biases of a network's layers."""
    layers = network.setting.symmetry.graph.layers
    names = {name for layer in layers for name in (layer.weight, layer.bias)}
    values = [value for name, value in network.state.items() if name in names]
    return float(torch.cat([value.double().abs().flatten() for value in values]).mean())


def activation_size(network: Network) -> float:
    """Return the mean absolute value after nonlinearities, on the training set.

    The mean over all units of the network of a unit's mean over images and pixels
    (arXiv 2402.05966, Figures 69 and 70, average in each channel too).
    """

    def measure() -> list[float]:
        setting = network.setting
        found = features.activation_scale(
            setting.symmetry.graph, network.state, setting.batches("train")
        )
        # A branch and its shortcut end in one nonlinearity: its units count once.
        scales = {
            layer.node: layer.after.absolute
            for layer in found.values()
            if layer.after is not None
        }
        return [float(torch.cat([*scales.values()]).mean())]

    return network.values("activation-size", {}, measure)[0]


REACHED = 90.0
"""Training accuracy in percent that ends a retraining, as in arXiv 2402.05966."""

SCORES = 39
"""In an epoch at least, where that is possible: the paper's one in every 10 of 391."""

EVERY = 10
"""The most steps from one score to the next."""


def steps_between(epoch: int) -> int:
    """Return the steps from one score to the next, of so many in an epoch.

    Of the paper's 391: 10; of as few as digits' 11 every step is scored.
    """
    return min(EVERY, max(1, epoch // SCORES))


@dataclass(frozen=True)
class Recovery:
    """How a network was retrained.

    Attributes
    ----------
    steps
        Mini-batches until :data:`REACHED`, in grains of :func:`steps_between`; the
        whole budget if it was not reached.
    reached
        Whether it was.
    test
        Test accuracy at the end, in percent.
    """

    steps: int
    reached: bool
    test: float


def recovery(pair: Pair, start: str, epochs: int) -> Recovery:
    """Retrain a pair's midpoint or a fresh network until 90% training accuracy.

    Learning rate 0.01, momentum 0.9, weight decay 1e-4, batches of 128 without
    augmentation (arXiv 2402.05966, section 4.2).  All starts of a pair see the
    training images in one order, drawn anew for each epoch.

    Parameters
    ----------
    start
        ``"fresh"`` for A's initialization; else how the midpoint is matched.
    epochs
        After which it is given up.
    """
    setting = pair.setting

    def retrained(state: State) -> dict[str, Tensor]:
        device = setting.device
        images, labels = training.dataset_of(setting.recipe).tensors("train", device)

        def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
            seed = stream(f"retraining {epoch}", pair.a.seed)
            order = torch.Generator().manual_seed(seed)
            rows = torch.randperm(len(images), generator=order).to(device)
            # One by one: all of CIFAR-10's would be another 614 MB.
            for part in rows.split(BATCH):
                yield images[part], labels[part]

        train = setting.batches("train")
        steps_of_epoch = math.ceil(len(images) / BATCH)
        budget = epochs * steps_of_epoch
        found = retrain(
            setting.model,
            state,
            batches,
            until=REACHED,
            evaluate_on=train,
            lr=0.01,
            momentum=0.9,
            weight_decay=1e-4,
            every=steps_between(steps_of_epoch),
            max_steps=budget,
            curve=False,
        )
        reached = found.steps is not None
        steps = budget if found.steps is None else found.steps
        _, accuracy = setting.evaluate(found.state)
        return {"value": as_values([steps, reached, accuracy])}

    if start == "fresh":
        start_of = fresh(setting, pair.a.seed)
        found = start_of.measured(
            "retraining", {"epochs": epochs}, lambda: retrained(start_of.state)
        )
    else:
        found = pair.at_midpoint(
            "retraining", lambda middle: retrained(middle.state), start, epochs=epochs
        )
    steps, reached, test = found["value"].tolist()
    return Recovery(int(steps), bool(reached), test)


def _units_at_midpoint(
    pair: Pair, measure: str, method: str, repair: str
) -> dict[str, Tensor]:
    def values(middle: Middle) -> dict[str, Tensor]:
        return _by_layer(pair.setting, _in_weights(middle), measure)

    return pair.at_midpoint("features", values, method, repair, feature=measure)


def _by_layer(setting: Architecture, state: State, measure: str) -> dict[str, Tensor]:
    graph = setting.symmetry.graph
    found = MEASURES[measure]((graph, state, setting.batches("train")))
    return {
        name: torch.as_tensor(values, dtype=torch.float64).reshape(-1)
        for name, values in found.items()
    }


def _means(setting: Architecture, found: Mapping[str, Tensor]) -> dict[str, float]:
    """Average over units, in the order of execution, which the store does not keep."""
    return {
        layer.name: float(found[layer.name].mean())
        for layer in setting.symmetry.graph.layers
        if layer.name in found
    }


def _in_weights(middle: Middle) -> dict[str, Tensor]:
    """Return the state of a network that runs as the model."""
    if middle.run is not None:
        raise ValueError(
            "this renormalization is applied as the network runs, and its features "
            "would be those of the bare network: choose a setting whose renormalized "
            "layers have biases"
        )
    return middle.state
