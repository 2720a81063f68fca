"""What stands in weights: how they differ between networks, and how far they moved."""

import torch

import lmc
from claims.measure.features import fresh
from claims.measure.networks import Network
from claims.measure.pairs import Pair

QUANTILES = 10
"""Of a layer's weights by their magnitude."""


def mismatch(pair: Pair, method: str) -> list[float]:
    """Return how far weights of A and the matched B differ, by their magnitude.

    A weight ``a`` and its partner ``b`` differ by ``|a - b| / (|a| + |b|)``: 0 if they
    are alike, 1 if their signs differ or one of them is zero (as after magnitude
    pruning).  Conjecture 4.1 (1) of arXiv 2402.05966 says that matching avoids severe
    mismatch of large ones.

    Matched as in :meth:`Pair.matched`.  Means over :data:`QUANTILES` quantiles of a
    layer's weights, the smallest first, by their magnitude in A, then in B; layers and
    both networks count alike.
    """

    def measure() -> list[float]:
        b, rows = pair.matched(method), []
        for layer in pair.setting.symmetry.graph.layers:
            ends = [
                state[layer.weight].double().flatten() for state in (pair.a.state, b)
            ]
            size = ends[0].abs() + ends[1].abs()
            apart = torch.where(size > 0, (ends[0] - ends[1]).abs() / size, 0.0)
            for end in ends:
                order = end.abs().argsort(stable=True)
                parts = apart[order].tensor_split(QUANTILES)
                rows.append(torch.stack([part.mean() for part in parts]))
        return torch.stack(rows).mean(0).tolist()

    spec = {"method": method, "quantiles": QUANTILES}
    return pair.values("mismatch", spec, measure)


def distance_to_start(network: Network) -> float:
    """Return the L2 distance of a network's parameters to its own initialization."""
    setting = network.setting

    def measure() -> list[float]:
        start = fresh(setting, network.seed).state
        return [lmc.l2_distance(network.state, start, setting.parameters)]

    return network.values("distance-to-start", {}, measure)[0]


def deviation_spread(network: Network) -> dict[str, float]:
    """Return how unlike the deviations of a layer's channels are, layer by layer.

    The coefficient of variation, over channels, of their standard deviations on the
    training set (before a normalization), of the layers that are renormalized.
    """
    setting = network.setting
    found = setting.statistics(network.state, setting.layers)
    deviations = {name: each.variance.double().sqrt() for name, each in found.items()}
    return {
        name: float(sizes.std(correction=0) / sizes.mean())
        for name, sizes in deviations.items()
    }
