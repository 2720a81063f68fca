"""What is measured between networks of one initialization (arXiv 2312.09832)."""

from claims.measure.pairs import Pair
from fixtures.recipe import Recipe

CHANCE = 10.0
"""Accuracy, in percent, of guessing one of ten classes."""


def chance(recipe: Recipe) -> float:
    """Return the accuracy, in percent, of guessing one of a recipe's classes.

    Examples
    --------
    >>> from fixtures import scales
    >>> chance(scales.get("cifar100").recipe("plain-vgg"))
    1.0
    """
    options = dict(recipe.options)
    return 100 / (options["classes"] if "classes" in options else options["sizes"][-1])


def error_barrier(pair: Pair) -> float:
    """Return a pair's error barrier, without a permutation.

    The largest rise of the test error over the line between the endpoints', at 11
    points, in points; at least 0 (Definition 2.1 of arXiv 2402.05966; Frankle et al.,
    arXiv 1912.05671, call it the linear interpolation instability).
    """
    # Rounded, so that barriers of zero are equal, whatever the last bits are.
    return round(pair.curve("none").accuracy_barrier, 9)


def relative_barrier(pair: Pair) -> float:
    """Return a pair's error barrier as a share of what the endpoints have learned.

    That is their mean test accuracy above chance: 1 where the network on the line
    guesses.  So data sets that are learned unequally well can be compared.

    Raises
    ------
    ValueError
        The endpoints have learned nothing.
    """
    learned = pair.endpoints() - chance(pair.setting.recipe)
    if learned <= 0:
        raise ValueError(
            f"the endpoints of pair {pair.name} of {str(pair.setting.name)!r} are "
            f"{pair.endpoints():.3g}% accurate, which is chance: there is nothing to "
            "lose on the line between them; train them longer"
        )
    return error_barrier(pair) / learned


def training_loss(pair: Pair) -> float:
    """Return the mean training loss of a pair's two networks, in nats.

    Of the networks as they are after training: the loss that ends training is the mean
    over an epoch in which they still changed.
    """
    return (pair.a.evaluate("train").loss + pair.b.evaluate("train").loss) / 2
