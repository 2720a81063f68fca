"""Merges of a part: first layers kept or permuted, biases taken out of some layers."""

from typing import Literal, NamedTuple

import torch

import lmc
from claims.measure.pairs import Pair
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

    def measure() -> list[float]:
        graph, batches = setting.symmetry.graph, setting.batches("train")
        a, b = pair.a.state, pair.matched(method)
        kept = [layer.name for layer in graph.layers[: layers - 1]]
        merged = preserve_first(graph, a, b, kept)
        if repair:
            goal = lmc.averaged_statistics(
                [setting.statistics(end, setting.layers) for end in (a, b)]
            )
            merged = merged.renormalized(repair, goal, batches)
        _, accuracy = setting.evaluate(merged.state, "test", merged.run)
        return [accuracy, merged.relative_size]

    spec = {"method": method, "layers": layers, "repair": repair}
    return Preserved(*pair.values("preserve-first", spec, measure))


def permuted_curve(pair: Pair, method: str) -> list[float]:
    """Return the midpoint's test accuracy with only the first l groups permuted.

    For l from 0 to the number of groups, in the order of depth; the permutation is that
    of :meth:`Pair.permutation`.
    """

    def measure() -> list[float]:
        symmetry = pair.setting.symmetry
        depth = [layer.name for layer in symmetry.graph.layers]
        chosen = dict(lmc.Permutation.identity(symmetry).indices)
        found, values = pair.permutation(method).indices, []
        for name in (None, *sorted(symmetry.groups, key=depth.index)):
            if name is not None:
                chosen[name] = found[name]
            b = lmc.Permutation(symmetry, dict(chosen)).apply(pair.b.state)
            values.append(_accuracy(pair, lmc.interpolate(pair.a.state, b, 0.5)))
        return values

    return pair.values("permuted-curve", {"method": method}, measure)


def permuted_first(pair: Pair, method: str, share: float) -> float:
    """Return where :func:`permuted_curve` is with a share of the groups, rounded."""
    curve = permuted_curve(pair, method)
    return curve[round(share * (len(curve) - 1))]


def without_biases(
    pair: Pair,
    method: str,
    layers: int | None = None,
    side: Literal["first", "last"] = "first",
) -> float:
    """Return the midpoint's test accuracy with some layers' biases set to zero.

    Set to zero in both endpoints, after matching and without fine-tuning, which is
    the same as in the midpoint.

    Parameters
    ----------
    pair, method
        As for :func:`preserved`.
    layers
        Of how many layers, among those that have a bias, the classifier too; None for
        all of them.
    side
        Whether these are the first or the last ones, in the order of execution.
    """

    def measure() -> list[float]:
        graph = pair.setting.symmetry.graph
        biases = [layer.bias for layer in graph.layers if layer.bias]
        chosen = biases[:layers] if side == "first" else biases[::-1][:layers]
        middle = lmc.interpolate(pair.a.state, pair.matched(method), 0.5)
        zeros = {name: torch.zeros_like(middle[name]) for name in chosen}
        return [_accuracy(pair, middle | zeros)]

    spec = {"method": method, "layers": layers, "side": side}
    return pair.values("without-biases", spec, measure)[0]


def calibrated(pair: Pair, method: str) -> float:
    """Return the midpoint's test accuracy after bias calibration.

    That is homogeneous interpolation: in the published code of arXiv 2402.05966v4,
    the bias of layer l, counted from 1, is ``(1 - lam)^l`` times A's plus ``lam^l``
    times B's.
    """
    curve = pair.curve(method, homogeneous=True)
    return curve.accuracy[curve.lambdas.index(0.5)]


def _accuracy(pair: Pair, state: State) -> float:
    return pair.setting.evaluate(state)[1]
