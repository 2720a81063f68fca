"""What stands in weights: how they differ between networks, and how far they moved."""

import lmc
from claims.measure.features import fresh
from claims.measure.networks import Network
from claims.measure.pairs import Pair

TENTHS = (0.45, 0.55), (0.9, 1.0)
"""Of a layer's weights by their magnitude: the median tenth, and the largest one."""


def mismatch(pair: Pair, method: str) -> tuple[float, float]:
    """Return the squared distance of A and the matched B in some of their weights.

    In those of each layer that make up the median and the largest tenth by their
    magnitude in A, which no permutation of B changes; summed over layers.  Conjecture
    4.1 (1) of arXiv 2402.05966 says that matching avoids severe mismatch of large ones.
    Matched as in :meth:`Pair.matched`.
    """

    def measure() -> list[float]:
        b, sums = pair.matched(method), [0.0, 0.0]
        for layer in pair.setting.symmetry.graph.layers:
            ours, theirs = (
                state[layer.weight].double().flatten() for state in (pair.a.state, b)
            )
            order = ours.abs().argsort(stable=True)
            apart = (ours - theirs)[order].square()
            for which, bounds in enumerate(TENTHS):
                low, high = (round(share * len(apart)) for share in bounds)
                sums[which] += float(apart[low:high].sum())
        return sums

    median, largest = pair.values("mismatch", {"method": method}, measure)
    return median, largest


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
