"""Singular values and vectors of networks, and what their alignment does to merging.

After arXiv 2402.04051.  ``R`` is :func:`lmc.features.alignment`; a singular triple is
large if its value is above 0.3 of its layer's largest (the paper's gamma).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

import lmc
from claims.measure.networks import Network
from claims.measure.pairs import Pair
from claims.measure.several import Several
from lmc.features import alignment, input_energy, singular_alignment, singular_values
from lmc.features.singular import SingularAlignment

LARGE = 0.3
"""Share of a layer's largest singular value from which one counts as large."""

BINS = 20
"""Of the rank of a singular triple as a share of its layer's triples."""


def aligned(pair: Pair, method: str, gamma: float = LARGE) -> float:
    """Return R of A and the matched B.

    Matched as in :meth:`Pair.matched`; a triple counts above ``gamma`` times its
    layer's largest singular value.
    """

    def measure() -> list[float]:
        graph = pair.setting.symmetry.graph
        return [alignment(graph, pair.a.state, pair.matched(method), gamma)]

    spec = {"method": method, "gamma": gamma}
    return pair.values("alignment", spec, measure)[0]


def alignment_curves(pairs: Sequence[Pair], *methods: str) -> dict[str, Any]:
    """Return how far A's triples agree with B's, by their rank, for the report.

    A's triple i has ``sum over j of (u_i . u'_j) (v_i . v'_j)``, averaged over all
    triples of all layers in each of :data:`BINS` bins of the rank's share; the mean
    over the bins is R at gamma 0 (of weights of full rank).
    """
    centres = [(number + 0.5) / BINS for number in range(BINS)]
    lines = {m: [_profile(p, m) for p in pairs] for m in methods}
    return {
        "x": centres,
        "x_label": "rank of the singular triple, as a share of its layer's triples",
        "x_scale": "linear",
        "unit": "alignment of A's triple with all of B's",
        "lines": lines,
    }


def by_rank(found: SingularAlignment) -> Tensor:
    """Return the alignment of A's triples, resampled to bins of the rank's share.

    Of a layer's r triples the i-th fills the shares from ``i / r`` to ``(i + 1) / r``,
    so that there may be fewer triples than bins, and the mean is that over the triples.
    """
    rows, columns = found.kept(0.0)
    each = torch.where(rows, found.products[:, columns].sum(1), 0.0).cpu().numpy()
    edges = np.linspace(0.0, len(each), BINS + 1)
    below = np.interp(edges, np.arange(len(each) + 1), np.append(0.0, each.cumsum()))
    return torch.from_numpy(np.diff(below) / np.diff(edges))


def _profile(pair: Pair, method: str) -> list[float]:
    def measure() -> list[float]:
        graph = pair.setting.symmetry.graph
        found = singular_alignment(graph, pair.a.state, pair.matched(method))
        # Weighted by their triples, so that the mean is R, whose layers weigh so too.
        parts = [len(x.values_a) * by_rank(x) for x in found.values()]
        triples = sum(len(layer.values_a) for layer in found.values())
        return (torch.stack(parts).sum(0) / triples).tolist()

    spec = {"method": method, "bins": BINS}
    return pair.values("alignment-by-rank", spec, measure)


def spectral_difference(pair: Pair) -> tuple[float, float]:
    """Return how far the singular values of A and B differ, in percent.

    That is ``|s - s'| / sqrt((|s|^2 + |s'|^2) / 2)``: over all layers but the last; of
    the last one.
    """

    def measure() -> list[float]:
        graph = pair.setting.symmetry.graph
        a, b = (singular_values(graph, end.state) for end in (pair.a, pair.b))
        last = graph.layers[-1].name
        parts = [[name for name in a if name != last], [last]]
        found = []
        for names in parts:
            ours, theirs = (torch.cat([x[name] for name in names]) for x in (a, b))
            size = float((ours.norm() ** 2 + theirs.norm() ** 2) / 2) ** 0.5
            found.append(100 * float((ours - theirs).norm()) / size)
        return found

    hidden, output = pair.values("spectral-difference", {}, measure)
    return hidden, output


def large_directions(network: Network) -> tuple[float, float]:
    """Return how much of the activations lies along large right singular vectors.

    Over the hidden layers after the first (of which each counts alike), in percent.

    Returns
    -------
    energy
        Share of the mean square of a layer's inputs on the training set that lies
        along right singular vectors with large values.
    count
        Share of these vectors among the dimensions of the layer's inputs (of a
        convolution: of its patches).
    """

    def measure() -> list[float]:
        setting, state = network.setting, network.state
        graph = setting.symmetry.graph
        names = [layer.name for layer in graph.layers[1:-1]]
        values = singular_values(graph, state, names)
        energy = input_energy(graph, state, setting.batches("train"), names)
        shares, counts = [], []
        for name in names:
            large = values[name] > LARGE * values[name][0]
            shares.append(100 * float(energy[name][large].sum()))
            inputs = state[graph.layer(name).weight].flatten(1).shape[1]
            counts.append(100 * int(large.sum()) / inputs)
        return [sum(shares) / len(names), sum(counts) / len(names)]

    energy, count = network.values("large-directions", {}, measure)
    return energy, count


def third_side(several: Several, method: str) -> lmc.Evaluation:
    """Evaluate the midpoint of B and C, each matched to A, on the test set.

    Of three networks, A first, matched as in :meth:`Pair.matched`.
    """

    def measure() -> list[float]:
        b, c = (several.pair(0, other).matched(method) for other in (1, 2))
        return several.setting.evaluate(lmc.interpolate(b, c, 0.5))

    three = Several(several.networks[:3])
    return lmc.Evaluation(*three.values("third-side", {"method": method}, measure))


def third_barriers(several: Several, method: str) -> tuple[float, float]:
    """Return the barriers at the midpoint of :func:`third_side`.

    Midpoint's loss minus the mean of B and C, in nats; mean accuracy of B and C minus
    the midpoint's, in points.
    """
    middle = third_side(several, method)
    b, c = (network.evaluate() for network in several.networks[1:3])
    return (
        middle.loss - (b.loss + c.loss) / 2,
        (b.accuracy + c.accuracy) / 2 - middle.accuracy,
    )


def relative_distance(pair: Pair, method: str) -> float:
    """Return the distance of A and the matched B over their size.

    Their size is the root mean square of the norms of A and B, all of their tensors.
    """
    zero = {name: torch.zeros_like(value) for name, value in pair.a.state.items()}
    a, b = (lmc.l2_distance(network.state, zero) for network in (pair.a, pair.b))
    return pair.distance(method) / ((a**2 + b**2) / 2) ** 0.5


def correlations(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]
) -> list[float]:
    """Return Spearman's correlation of two quantities over levels, for each block.

    Each level's name has one value per block; 0 where a quantity is the same at all
    levels.
    """
    if list(first) != list(second):
        raise ValueError(
            f"levels {list(first)} and {list(second)} differ: measure both quantities "
            "at the same ones"
        )
    blocks = [zip(*table.values(), strict=True) for table in (first, second)]
    return [
        float(spearmanr(x, y).statistic) if len({*x}) > 1 < len({*y}) else 0.0
        for x, y in zip(*blocks, strict=True)
    ]
