"""Merges of a part: first layers kept or permuted, biases taken out of some layers."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

import lmc
from claims.bench.networks import as_values
from claims.bench.pairs import Pair
from lmc.graph import State
from lmc.preserving import preserve_first


class Preserved(NamedTuple):
    """A preserve-first merge: test accuracy in percent, parameters over one's."""

    accuracy: float
    relative_size: float


def preserved(pair: Pair, method: str, layers: int, repair: str = "") -> Preserved:
    """Evaluate a preserve-first merge on the test set.

    Parameters
    ----------
    pair
        Two networks without residual connections.
    method
        How they are matched, as in :meth:`Pair.matched`.
    layers
        The paper's k in PFM_k: of how many first layers both networks' weights are
        there, with the outputs of the last one averaged.  0 merges all layers.
    repair
        Renormalization of the merged layers (those of the setting's that are not
        kept) toward the endpoints' statistics; "" for none.
    """
    if not layers:
        return Preserved(pair.midpoint(method, repair).accuracy, 1.0)
    setting = pair.setting

    def measure() -> dict[str, Tensor]:
        graph, batches = setting.symmetry.graph, setting.batches("train")
        a, b = pair.a.state, pair.matched(method)
        kept = [layer.name for layer in graph.layers[: layers - 1]]
        merged = preserve_first(graph, a, b, kept)
        if repair:
            goal = lmc.averaged_statistics(
                [setting.statistics(end, setting.layers) for end in (a, b)]
            )
            merged = merged.renormalized(repair, goal, batches)
        found = lmc.evaluate(merged.run, merged.state, setting.batches("test"))
        return {"value": as_values([found.accuracy, merged.relative_size])}

    spec = {"method": method, "layers": layers, "repair": repair}
    return Preserved(*pair.measured("preserve-first", spec, measure)["value"].tolist())


def permuted_first(pair: Pair, method: str, share: float) -> float:
    """Return the midpoint's test accuracy with only the first groups permuted.

    Parameters
    ----------
    pair
        Two networks.
    method
        How the permutation of all groups was found, as in :meth:`Pair.matched`.
    share
        Share of the groups, in the order of depth, whose units are permuted in B,
        rounded to the nearest number of groups.
    """

    def measure() -> dict[str, Tensor]:
        symmetry = pair.setting.symmetry
        depth = [layer.name for layer in symmetry.graph.layers]
        count = round(share * len(symmetry.groups))
        first = sorted(symmetry.groups, key=depth.index)[:count]
        found = pair.permutation(method).indices
        still = lmc.Permutation.identity(symmetry).indices
        chosen = {name: (found if name in first else still)[name] for name in found}
        b = lmc.Permutation(symmetry, chosen).apply(pair.b.state)
        return _accuracy(pair, lmc.interpolate(pair.a.state, b, 0.5))

    spec = {"method": method, "share": share}
    return float(pair.measured("permuted-first", spec, measure)["value"])


def without_biases(
    pair: Pair, method: str, layers: int, side: Literal["first", "last"]
) -> float:
    """Return the midpoint's test accuracy with some layers' biases set to zero.

    Set to zero in both endpoints, after matching and without fine-tuning, which is
    the same as in the midpoint.

    Parameters
    ----------
    pair
        Two networks.
    method
        How they are matched, as in :meth:`Pair.matched`.
    layers
        Of how many layers, among those that have a bias, the classifier too.
    side
        Whether these are the first or the last ones, in the order of execution.
    """

    def measure() -> dict[str, Tensor]:
        graph = pair.setting.symmetry.graph
        biases = [layer.bias for layer in graph.layers if layer.bias]
        chosen = biases[:layers] if side == "first" else biases[::-1][:layers]
        middle = lmc.interpolate(pair.a.state, pair.matched(method), 0.5)
        zeros = {name: torch.zeros_like(middle[name]) for name in chosen}
        return _accuracy(pair, middle | zeros)

    spec = {"method": method, "layers": layers, "side": side}
    return float(pair.measured("without-biases", spec, measure)["value"])


def calibrated(pair: Pair, method: str) -> float:
    """Return the midpoint's test accuracy after bias calibration.

    That is homogeneous interpolation: in the published code of arXiv 2402.05966v4,
    the bias of layer l, counted from 1, is ``(1 - lam)^l`` times A's plus ``lam^l``
    times B's.
    """
    curve = pair.curve(method, homogeneous=True)
    return curve.accuracy[curve.lambdas.index(0.5)]


def _accuracy(pair: Pair, state: State) -> dict[str, Tensor]:
    found = lmc.evaluate(pair.setting.model, state, pair.setting.batches("test"))
    return {"value": as_values([found.accuracy])}
