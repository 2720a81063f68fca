"""What is measured between networks of one initialization (arXiv 2312.09832)."""

from collections.abc import Mapping, Sequence
from typing import Any

import lmc
from claims.bench.pairs import Pair

CHANCE = 10.0
"""Accuracy, in percent, of guessing one of the ten classes that all data sets have."""


def error_barriers(pairs: Sequence[Pair]) -> list[float]:
    """Return each pair's error barrier, without a permutation.

    Parameters
    ----------
    pairs
        Networks of one initialization, two and two.

    Returns
    -------
    list of float
        The largest rise of the test error over the line between the endpoints', at 11
        points, in points; at least 0 (Definition 2.1 of arXiv 2402.05966; Frankle et
        al., arXiv 1912.05671, call it the linear interpolation instability).
    """
    # Rounded, so that barriers of zero tie in a trend, whatever the last bits are.
    return [round(pair.curve("none").accuracy_barrier, 9) for pair in pairs]


def relative_barriers(pairs: Sequence[Pair]) -> list[float]:
    """Return each pair's error barrier as a share of what the endpoints have learned.

    Parameters
    ----------
    pairs
        As for :func:`error_barriers`.

    Returns
    -------
    list of float
        Error barrier over the endpoints' mean test accuracy above chance: 1 where the
        network on the line guesses.  So data sets that are learned unequally well can
        be compared.

    Raises
    ------
    ValueError
        The endpoints of a pair have learned nothing.
    """
    shares = []
    for pair, barrier in zip(pairs, error_barriers(pairs), strict=True):
        learned = pair.endpoints() - CHANCE
        if learned <= 0:
            raise ValueError(
                f"the endpoints of pair {pair.name} of {pair.setting.name!r} are "
                f"{pair.endpoints():.3g}% accurate, which is chance: there is nothing "
                "to lose on the line between them; train them longer"
            )
        shares.append(barrier / learned)
    return shares


def training_losses(pairs: Sequence[Pair]) -> list[float]:
    """Return the mean training loss of each pair's two networks, in nats.

    Of the networks as they are after training: the loss that ends training is the mean
    over an epoch in which they still changed.
    """
    return [
        (pair.a.evaluate("train").loss + pair.b.evaluate("train").loss) / 2
        for pair in pairs
    ]


def lines_between(compared: Mapping[str, Sequence[Pair]]) -> dict[str, Any]:
    """Return the test accuracy between the networks of several settings' pairs.

    Parameters
    ----------
    compared
        From a name for the report to a setting's pairs.

    Returns
    -------
    dict
        Curves for the report, as :func:`claims.bench.accuracy_curves` gives them for
        several permutations.
    """
    lines = {
        name: [pair.curve("none").accuracy for pair in pairs]
        for name, pairs in compared.items()
    }
    return {
        "x": lmc.LAMBDAS,
        "x_label": "λ, from network A to network B",
        "unit": "test accuracy in percent",
        "lines": lines,
    }
