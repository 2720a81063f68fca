"""Networks that share a basin (arXiv 2402.05966, sections 3.2 and E.2).

Barriers are of test accuracy at the midpoint, bare or after RESET.
"""

from functools import partial

import numpy as np

from claims.claim import BROKEN, POINT, claim
from claims.evidence import equivalence, frequency, noninferiority, superiority
from claims.measure import METHODS, Pair
from claims.papers import paper
from claims.test_many_models import OFTEN
from claims.test_matching import ALMOST_SURELY, CONNECTED, V1

HALF, TENTH = 0.5, 0.1
"""Of independent networks' distance: "significantly smaller", "a different" one."""

LEAST, MOST = 5.0, 20.0
"""Points: the paper has chosen the epoch so that children's barrier is 10 to 15."""

basin = partial(
    claim,
    source=paper(V1, "section 3.2, E.2", tables=("section 3.2",)),
    uses=lambda place: (place.setting, place.setting.parent),
)
spawned = partial(basin, settings="spawned-bn-vgg spawned-bn-resnet")
retrained = partial(basin, settings="retrained-bn-vgg retrained-bn-resnet")


@spawned(
    effect="0 - spawned",
    quantity="minus the bare barrier",
    rule=noninferiority(BROKEN),
    uses=None,
)
def test_spawned_without_reset(trial):
    """Children of an early network have a small barrier without RESET: under 20."""
    bare = trial.barriers("none", "")
    trial.decide(-bare, spawned=bare)


@spawned(quantity="minus the RESET barrier", rule=noninferiority(POINT), uses=None)
def test_spawned_with_reset(trial):
    """With RESET the barrier of an early network's children falls below a point."""
    bare, reset = (trial.barriers("none", repair) for repair in ("", "reset"))
    unmet = "it is below a point without RESET" if bare.mean() < POINT else ""
    trial.decide(-reset, spawned=bare, spawned_reset=reset, unmet=unmet)


def apart(trial, measure):
    """Return what is measured on independent pairs, one for each pair of copies.

    It has the network that they come from and another one that is nobody's origin, so
    that even where seeds have failed nothing is in two units.
    """
    seeds = [trial.using().recipe.origin(pair.a.seed) for pair in trial.pairs()]
    networks = {net.seed: net for net in trial.networks(trial.setting.parent)}
    others = iter([net for seed, net in networks.items() if seed not in seeds])
    firsts = [networks.get(seed) or next(others) for seed in seeds]
    return np.array([measure(Pair(first, next(others))) for first in firsts])


@spawned(
    effect="independent - spawned",
    quantity="barrier of matched independent networks minus of children, no RESET",
    rule=superiority(BROKEN),
)
def test_rebasin_needs_reset(trial):
    """Without RESET matched networks' barrier is over 20 points above children's."""
    children = trial.barriers("none", "")
    independent = apart(trial, lambda pair: pair.barrier("weights", ""))
    trial.decide(independent - children, spawned=children, independent=independent)


@spawned(
    contrast="spawned",
    quantity="barrier of children minus of matched independent networks after RESET",
    rule=equivalence(),
    settings="spawned-bn-vgg",
)
def test_spawned_like_rebasin(trial):
    """The barrier of a VGG's children is like that of networks matched and RESET."""
    children = trial.barriers("none", "")
    reset = apart(trial, lambda pair: pair.barrier("weights", "reset"))
    chosen = LEAST <= children.mean() <= MOST
    far = "" if chosen else "the children's barrier is not 5 to 20 points"
    trial.decide(children - reset, spawned=children, independent_reset=reset, unmet=far)


def to_copies(trial, measure):
    """Return the mean of what is measured between a network and its two copies."""
    families = [(*trial.origins([p.a]), (p.a, p.b)) for p in trial.pairs()]
    found = [[measure(Pair(own, copy)) for copy in both] for own, both in families]
    return np.mean(found, axis=1)


@retrained(quantity="minus the bare barrier", rule=noninferiority(CONNECTED))
def test_retrained_connected(trial):
    """A retrained copy is connected to its origin without RESET: within 2 points."""
    barrier = to_copies(trial, lambda pair: pair.barrier("none", ""))
    trial.decide(-barrier, barrier=barrier)


recovered = partial(retrained, variants=METHODS, unit="")


def recovery(trial):
    """Return which share of its units a shuffled network gets back, and columns."""
    found = to_copies(trial, lambda pair: pair.b.recovers(pair.a, trial.variant))
    names = ("largest_difference", "constant_units", "share")
    return found[:, 2], dict(zip(names, found.T, strict=True))


@recovered(
    quantity="share of units that are put back, but for those constant on the data",
    rule=superiority(ALMOST_SURELY),
)
def test_shuffled_neighbour_recovered(trial):
    """Matched to its copy, a shuffled network gets over 99% of its units back."""
    trial.decide(*recovery(trial))


@recovered(
    quantity="whether by both copies all units are put back, but for constant ones",
    rule=frequency(at_least=OFTEN),
)
def test_shuffled_neighbour_exactly_recovered(trial):
    """Matched to its copies, a shuffled network gets every unit back in most cases."""
    share, columns = recovery(trial)
    trial.decide(share == 1, columns)


def nearness(trial):
    """Return copies' distance over independent networks', matched, and both."""
    near = to_copies(trial, lambda pair: pair.distance("none"))
    independent = apart(trial, lambda pair: pair.distance("weights"))
    return near / independent, {"one_basin": near, "independent": independent}


@retrained(
    quantity="1 minus distance to copies over that of matched independent networks",
    rule=superiority(HALF),
    unit="",
)
def test_same_basin_nearer(trial):
    """Copies are less than half as far as independent networks after matching."""
    share, columns = nearness(trial)
    trial.decide(1 - share, columns)


@retrained(
    quantity="distance to copies over that of matched independent networks",
    rule=superiority(TENTH),
    unit="",
)
def test_copy_is_another_solution(trial):
    """Copies are other solutions: more than a tenth as far as independent ones."""
    trial.decide(*nearness(trial))
