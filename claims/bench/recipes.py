"""What training makes of networks: compared between recipes by several claims."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from claims.bench.networks import Network, Setting, as_values
from claims.bench.pairs import Pair
from claims.decisions import Verdict, superiority
from lmc.features import activation_scale


def reset_if_batchnorm(setting: Setting) -> str:
    """Return how midpoints of a setting are renormalized where not more is said.

    RESET where there is BatchNorm, without which every such midpoint is broken, and
    nothing otherwise (arXiv 2402.05966, section 3.2 and appendix F.5).
    """
    return "reset" if setting.symmetry.graph.batch_norms else ""


def midpoints(pairs: Sequence[Pair], method: str) -> list[float]:
    """Return the accuracy of each pair's midpoint, after RESET if BatchNorm."""
    return [
        pair.midpoint(method, reset_if_batchnorm(pair.setting)).accuracy
        for pair in pairs
    ]


def barriers(pairs: Sequence[Pair], method: str) -> list[float]:
    """Return each pair's barrier at the midpoint, after RESET if BatchNorm."""
    return [pair.barrier(method, reset_if_batchnorm(pair.setting)) for pair in pairs]


def endpoints(pairs: Sequence[Pair]) -> list[float]:
    """Return the mean accuracy of each pair's two networks."""
    return [pair.endpoints() for pair in pairs]


def differences(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return our values minus the others, pair by pair."""
    return [a - b for a, b in zip(ours, others, strict=True)]


@dataclass(frozen=True)
class Degraded:
    """Networks of a good recipe, made worse, against those of another recipe.

    Attributes
    ----------
    gain
        By how much the degraded pair's barrier is the lower one, in points.
    columns
        What it was computed from, for the report.
    unmet
        What is wrong with the premise, that the degraded networks are the worse ones:
        "" if nothing.
    """

    gain: list[float]
    columns: dict[str, list[float]]
    unmet: str


def degraded_against_small(
    degraded: Sequence[Pair], small: Sequence[Pair], method: str
) -> Degraded:
    """Compare the barriers of degraded networks with those of other networks.

    Parameters
    ----------
    degraded
        Pairs trained with a large learning rate or weight decay, then made worse.
    small
        Pairs trained with a small one.
    method
        How each pair is matched.
    """
    ours, others = barriers(degraded, method), barriers(small, method)
    columns = {
        "degraded_endpoints": endpoints(degraded),
        "small_endpoints": endpoints(small),
        "degraded_barrier": ours,
        "small_barrier": others,
    }
    worse = superiority(
        differences(columns["small_endpoints"], columns["degraded_endpoints"])
    )
    unmet = "" if worse.verdict is Verdict.SUPPORTED else "the endpoints are not worse"
    return Degraded(differences(others, ours), columns, unmet)


def parameter_size(network: Network) -> float:
    """Return the mean magnitude of all weights and biases of a network's layers."""
    layers = network.setting.symmetry.graph.layers
    names = {name for layer in layers for name in (layer.weight, layer.bias)}
    values = [value for name, value in network.state.items() if name in names]
    return float(torch.cat([value.double().abs().flatten() for value in values]).mean())


def activation_size(network: Network) -> float:
    """Return the mean absolute value behind nonlinearities, on the training set.

    The mean over all units of the network of a unit's mean over images and pixels
    (arXiv 2402.05966, Figures 69 and 70, average in each channel too).
    """

    def measure() -> dict[str, Tensor]:
        setting = network.setting
        found = activation_scale(
            setting.symmetry.graph, network.state, setting.batches("train")
        )
        # A branch and its shortcut end in one nonlinearity: its units count once.
        scales = {
            layer.node: layer.after.absolute
            for layer in found.values()
            if layer.after is not None
        }
        return {"value": as_values([float(torch.cat([*scales.values()]).mean())])}

    return float(network.measured("activation-size", {}, measure)["value"])
