"""Networks that share a basin (arXiv 2402.05966, sections 3.2 and E.2).

Barriers are of test accuracy at the midpoint, bare or after RESET.  The children or
copies of network 2i go with the independent pair of 2i and 2i + 1.
"""

from functools import partial

import numpy as np

from claims.claim import BROKEN, POINT, claim
from claims.evidence import equivalence, noninferiority, superiority
from claims.measure import METHODS, Pair
from claims.papers import paper
from claims.test_matching import ALMOST_SURELY, CONNECTED, V1

HALF, TENTH = 0.5, 0.1
"""Of independent networks' distance: "significantly smaller", "a different" one."""

basin = partial(
    claim,
    source=paper(V1, "section 3.2, E.2", tables=("section 3.2",)),
    uses=lambda place: (place.setting, place.setting.parent),
)
spawned = partial(basin, settings="spawned-bn-vgg spawned-bn-resnet")
retrained = partial(basin, settings="retrained-bn-vgg retrained-bn-resnet")


@spawned(quantity="minus the bare barrier", rule=noninferiority(BROKEN), uses=None)
def test_spawned_without_reset(trial):
    """Children of an early network have a small barrier without RESET: under 20."""
    bare = trial.barriers("none", "")
    trial.decide(-bare, spawned=bare)


@spawned(quantity="minus the RESET barrier", rule=noninferiority(POINT), uses=None)
def test_spawned_with_reset(trial):
    """With RESET the barrier of an early network's children falls below a point."""
    bare, reset = (trial.barriers("none", repair) for repair in ("", "reset"))
    trial.decide(-reset, spawned=bare, spawned_reset=reset)


@spawned(
    effect="independent - spawned",
    quantity="barrier of matched independent networks minus of children, no RESET",
    rule=superiority(BROKEN),
)
def test_rebasin_needs_reset(trial):
    """Without RESET matched networks' barrier is over 20 points above children's."""
    children = trial.barriers("none", "")
    apart = trial.barriers("weights", "", trial.setting.parent)
    trial.decide(apart - children, spawned=children, independent=apart)


@spawned(
    contrast="spawned",
    quantity="barrier of children minus of matched independent networks after RESET",
    rule=equivalence(),
    settings="spawned-bn-vgg",
)
def test_spawned_like_rebasin(trial):
    """The barrier of a VGG's children is like that of networks matched and RESET."""
    children = trial.barriers("none", "")
    apart = trial.barriers("weights", "reset", trial.setting.parent)
    trial.decide(children - apart, spawned=children, independent_reset=apart)


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


@retrained(
    quantity="share of units that are put back, but for those constant on the data",
    rule=superiority(ALMOST_SURELY),
    variants=METHODS,
    unit="",
)
def test_shuffled_neighbour_recovered(trial):
    """Matched to its copy, a shuffled network gets almost surely its own units back."""
    found = to_copies(trial, lambda pair: pair.b.recovers(pair.a, trial.variant))
    deviation, constant, share = found.T
    trial.decide(share, largest_difference=deviation, constant_units=constant)


def nearness(trial):
    """Return copies' distance over independent networks', matched, and both."""
    near = to_copies(trial, lambda pair: pair.distance("none"))
    apart = trial.each(lambda pair: pair.distance("weights"), trial.setting.parent)
    return near / apart, {"one_basin": near, "independent": apart}


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
