"""What networks hold, layer by layer, and how fast they can be retrained.

Measured on endpoints, midpoints, pruned networks and networks before training; on the
training set, in evaluation mode.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import Literal

import safetensors.torch
import torch
from torch import Tensor

import lmc
from claims.bench.networks import BATCH, Network, Setting, as_values
from claims.bench.pairs import Middle, Pair, Repair, repaired
from claims.bench.pruned import Pruned
from fixtures import training
from fixtures.training import initialize, single_thread, stream
from lmc import features
from lmc.graph import State
from lmc.retraining import retrain

Measure = Callable[[Setting, State], Mapping[str, Tensor | float]]
"""For each layer's name one value for each of its units, or one for all."""

FISHER_SAMPLES = 256
"""Training samples that Fisher information is taken from."""


def _scales(
    setting: Setting, state: State, where: Literal["before", "after"]
) -> dict[str, features.ActivationScale]:
    graph = setting.symmetry.graph
    found = features.activation_scale(graph, state, setting.batches("train"))
    scales = {name: getattr(layer, where) for name, layer in found.items()}
    return {name: scale for name, scale in scales.items() if scale is not None}


def _absolute(
    setting: Setting, state: State, where: Literal["before", "after"]
) -> dict[str, Tensor]:
    found = _scales(setting, state, where)
    return {name: scale.absolute for name, scale in found.items()}


def _zeros(setting: Setting, state: State) -> dict[str, Tensor]:
    found = _scales(setting, state, "after")
    return {name: scale.zeros for name, scale in found.items()}


def _dead(setting: Setting, state: State) -> dict[str, Tensor]:
    graph = setting.symmetry.graph
    found = features.dead_units(graph, state, setting.batches("train"))
    return {name: dead.double() for name, dead in found.items()}


def _magnitude(setting: Setting, state: State) -> dict[str, float]:
    return features.parameter_magnitude(setting.symmetry.graph, state)


def _fisher(setting: Setting, state: State) -> dict[str, float]:
    graph = setting.symmetry.graph
    batches = lmc.first_samples(setting.batches("train"), FISHER_SAMPLES)
    return features.layer_means(graph, features.diagonal_fisher(graph, state, batches))


def _parts(
    setting: Setting,
    state: State,
    constant: Literal["zero", "mean"],
    part: Literal["share", "dependent"],
) -> dict[str, float]:
    found = features.feature_parts(
        setting.symmetry.graph, state, setting.batches("train"), constant=constant
    )
    return {name: float(getattr(parts, part)) for name, parts in found.items()}


MEASURES: dict[str, Measure] = {
    # Mean absolute value before the nonlinearity (and before a normalization).
    "scale-before": partial(_absolute, where="before"),
    "scale-after": partial(_absolute, where="after"),
    # Share of activations that are zero; 1 for a unit that is zero on every input.
    "zeros": _zeros,
    "dead": _dead,
    "magnitude": _magnitude,
    "fisher": _fisher,
    # Of f = g + h, by mean squares: g over both, with h the mean over inputs ...
    "input-dependent": partial(_parts, constant="mean", part="share"),
    # ... with h the response to zeros, and then g itself.
    "input-dependent-zero": partial(_parts, constant="zero", part="share"),
    "input-dependent-size": partial(_parts, constant="zero", part="dependent"),
}
"""Name to what is measured."""


@dataclass(frozen=True)
class Fresh(Network):
    """A network of a setting before training: initialized for its seed."""

    @cached_property
    def state(self) -> dict[str, Tensor]:
        """Its state dict, on the bench's device."""
        model = initialize(self.setting.recipe, self.seed)
        return {
            name: value.detach().to(self.setting.bench.device)
            for name, value in model.state_dict().items()
        }

    @cached_property
    def digest(self) -> str:
        """Sha256 of its tensors."""
        cpu = {name: value.cpu().contiguous() for name, value in self.state.items()}
        return hashlib.sha256(safetensors.torch.save(cpu)).hexdigest()


def in_network(network: Network, measure: str) -> dict[str, float]:
    """Return what a network has in each layer: means over the layer's units.

    Parameters
    ----------
    network
        Trained, or :class:`Fresh`.
    measure
        A name in :data:`MEASURES`.
    """
    found = network.measured(
        "features",
        {"measure": measure},
        lambda: _by_layer(network.setting, network.state, measure),
    )
    return _means(network.setting, found)


def at_endpoints(pair: Pair, measure: str) -> dict[str, float]:
    """Return each layer's mean over A and B; ``measure`` as for :func:`in_network`."""
    a, b = (in_network(network, measure) for network in (pair.a, pair.b))
    return {name: (a[name] + b[name]) / 2 for name in a}


def at_midpoint(
    pair: Pair, measure: str, method: str, repair: str = ""
) -> dict[str, float]:
    """Return what a pair's midpoint has in each layer.

    Parameters
    ----------
    pair
        Two networks.
    measure
        A name in :data:`MEASURES`.
    method, repair
        How it is matched and renormalized, as for :meth:`Pair.middle`.

    Raises
    ------
    ValueError
        The renormalization has no place in the weights.
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
    """Return what a pruned network has in each layer.

    Parameters
    ----------
    pruned
        The network.
    measure
        A name in :data:`MEASURES`.
    renormalized
        After REPAIR with the dense network's statistics.

    Raises
    ------
    ValueError
        The renormalization has no place in the weights.
    """
    network = pruned.network
    repair = Repair("repair" if renormalized else "")

    def values() -> dict[str, Tensor]:
        middle = repaired(network.setting, pruned.state, (network.state,), repair)
        return _by_layer(network.setting, _in_weights(middle), measure)

    spec = {
        "measure": measure,
        "pruner": pruned.pruner,
        "sparsity": pruned.sparsity,
        "repair": asdict(repair),
    }
    found = network.measured("features-pruned", spec, values)
    return _means(network.setting, found)


def dead_and_kept(
    pair: Pair, method: str, repair: str, layers: Iterable[str]
) -> tuple[float, float]:
    """Return the share of units that are dead, and are still after renormalization.

    Parameters
    ----------
    pair, method, repair
        Of the midpoint, as for :func:`at_midpoint`.
    layers
        Names of the layers; each counts alike.

    Returns
    -------
    dead, kept
        In percent: dead at the bare midpoint; of all units those that are dead both
        there and after ``repair``.
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

    Parameters
    ----------
    pair, method, repair
        Of the midpoint, as for :func:`at_midpoint`.

    Returns
    -------
    means, deviations
        For each BatchNorm, in the order of execution: the absolute running mean and
        the root of the running variance, averaged over channels.
    """

    def values(middle: Middle) -> dict[str, Tensor]:
        norms, state = pair.setting.symmetry.graph.batch_norms, _in_weights(middle)
        means = [float(state[norm.mean].double().abs().mean()) for norm in norms]
        deviations = [
            float(state[norm.variance].double().sqrt().mean()) for norm in norms
        ]
        return {"value": as_values([means, deviations])}

    found = pair.at_midpoint("running-statistics", values, method, repair)
    means, deviations = found["value"].tolist()
    return means, deviations


REACHED = 90.0
"""Training accuracy in percent that ends a retraining, as in arXiv 2402.05966."""

EPOCHS = 30
"""After which a retraining is given up: its budget."""

EVERY = 10
"""Steps from one score to the next."""


@dataclass(frozen=True)
class Recovery:
    """How a network was retrained.

    Attributes
    ----------
    steps
        Mini-batches until :data:`REACHED`, in grains of :data:`EVERY`; the whole
        budget if it was not reached.
    reached
        Whether it was.
    test
        Test accuracy at the end, in percent.
    """

    steps: int
    reached: bool
    test: float


def recovery(pair: Pair, start: str) -> Recovery:
    """Retrain a pair's midpoint or a fresh network until 90% training accuracy.

    Learning rate 0.01, momentum 0.9, weight decay 1e-4, batches of 128 without
    augmentation (arXiv 2402.05966, section 4.2).  All starts of a pair see the
    training images in one order, drawn anew for each epoch.

    Parameters
    ----------
    pair
        Two networks.
    start
        ``"fresh"`` for A's initialization; else how the midpoint is matched.
    """
    setting = pair.setting

    def retrained(state: State) -> dict[str, Tensor]:
        device = setting.bench.device
        images, labels = training.dataset_of(setting.recipe).tensors("train", device)

        def batches(epoch: int) -> list[tuple[Tensor, Tensor]]:
            seed = stream(f"retraining {epoch}", pair.a.seed)
            order = torch.Generator().manual_seed(seed)
            rows = torch.randperm(len(images), generator=order).to(device)
            return [(images[part], labels[part]) for part in rows.split(BATCH)]

        train = setting.batches("train")
        budget = EPOCHS * len(batches(0))
        with single_thread(device):
            found = retrain(
                setting.model,
                state,
                batches,
                until=REACHED,
                evaluate_on=train,
                test=setting.batches("test"),
                lr=0.01,
                momentum=0.9,
                weight_decay=1e-4,
                every=EVERY,
                max_steps=budget,
            )
        reached, last = found.steps is not None, found.curve[-1]
        assert last.test is not None
        steps = budget if found.steps is None else found.steps
        return {"value": as_values([steps, reached, last.test.accuracy])}

    if start == "fresh":
        fresh = Fresh(setting, pair.a.seed)
        found = fresh.measured("retraining", {}, lambda: retrained(fresh.state))
    else:
        found = pair.at_midpoint(
            "retraining", lambda middle: retrained(middle.state), start
        )
    steps, reached, test = found["value"].tolist()
    return Recovery(int(steps), bool(reached), test)


def _units_at_midpoint(
    pair: Pair, measure: str, method: str, repair: str
) -> dict[str, Tensor]:
    def values(middle: Middle) -> dict[str, Tensor]:
        return _by_layer(pair.setting, _in_weights(middle), measure)

    return pair.at_midpoint("features", values, method, repair, feature=measure)


def _by_layer(setting: Setting, state: State, measure: str) -> dict[str, Tensor]:
    found = MEASURES[measure](setting, state)
    return {
        name: torch.as_tensor(values, dtype=torch.float64).reshape(-1)
        for name, values in found.items()
    }


def _means(setting: Setting, found: Mapping[str, Tensor]) -> dict[str, float]:
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
