"""Features that vanish with depth (arXiv 2402.05966, version 4).

A feature f = g + h has a part g that depends on the input and a constant part h.  The
input-dependent share is the mean square of g over that of both.  "Relative" is the
midpoint's value over the endpoints' mean.  Of a network, the share is that of its last
layer, the logits: where blocks are residual, it sees branch and shortcut.
"""

from functools import partial
from math import log2

import numpy as np

from claims.claim import claim
from claims.evidence import equivalence, noninferiority, superiority, trend
from claims.measure import METHODS, features
from claims.measure.pruned import Pruned
from claims.papers import paper
from claims.test_activations import HALF, RESTORED, SEEN

SHARE = "input-dependent"
"""Here the constant part is the mean over the training images."""

LINEAR = "input-dependent-zero"
"""In linear networks it is the response to zeros, as in the published code."""

CHANGE = 0.05
"""Of the endpoints' share, or of the feature: a twentieth is the least that matters."""

QUARTER = log2(1.25)
"""In log2: RESET "lowers" what it divides by more than 1.25, and "leaves" the rest."""

vanishing = partial(
    claim,
    source=paper("2402.05966v4", "its analysis of the midpoint", tables=("notebook",)),
    rule=superiority(CHANGE),
    settings="plain-vgg plain-resnet",
    variants=METHODS,
    unit="",
)
LAST = "relative input-dependent share of the last layer"


def shares(pairs, way, what=SHARE, of=features.relative_to_endpoints):
    """Return relative shares, pairs by layers; ``weights-repair`` is a way."""
    method, _, repair = way.partition("-")
    return np.array([[*of(pair, what, method, repair).values()] for pair in pairs])


def last(*given, **more):
    """Return the relative shares in the last layer of all pairs."""
    return shares(*given, **more)[:, -1]


def falling(trial, what):
    """Decide how a relative value falls from layer to layer."""
    pairs = trial.pairs()
    names = features.relative_to_endpoints(pairs[0], what, trial.variant)
    levels = dict(zip(names, shares(pairs, trial.variant, what).T, strict=True))
    trial.decide_trend(levels, x_label="layer", y_label="midpoint over endpoints")


@vanishing(
    quantity="matched: relative input-dependent share, first layer's minus last one's",
    rule=trend("falling", SEEN),
)
def test_feature_shrinks(trial):
    """At the matched midpoint the relative input-dependent share falls with depth."""
    falling(trial, SHARE)


@vanishing(
    quantity="unmatched: part of the first layer's relative share that the last lacks",
    rule=superiority(HALF),
    variants="",
)
def test_feature_vanishes(trial):
    """Unmatched, the last layer has under half the first one's relative share."""
    first, *_, end = shares(trial.pairs(), "none").T
    trial.decide(1 - end / first, first_layer=first, last_layer=end)


@vanishing(quantity=f"matched minus unmatched, {LAST}")
def test_matching_slows(trial):
    """Matching raises the input-dependent share of the midpoint's last layer."""
    bare, matched = (last(trial.pairs(), how) for how in ("none", trial.variant))
    trial.decide(matched - bare, unmatched=bare, matched=matched)


@vanishing(
    quantity=f"renormalized midpoint's minus 1, {LAST}",
    rule=noninferiority(RESTORED),
    variants=[f"{m}-{how}" for m in METHODS for how in ("repair", "rescale")],
)
def test_renormalization_restores(trial):
    """Renormalization restores the last input-dependent share to the endpoints'."""
    ways = (trial.variant.partition("-")[0], trial.variant)
    bare, restored = (last(trial.pairs(), way) for way in ways)
    unmet = "nothing is to be restored" if bare.mean() > 1 - RESTORED else ""
    trial.decide(restored - 1, matched=bare, renormalized=restored, unmet=unmet)


@vanishing(
    quantity=f"without minus with biases, {LAST}",
    settings="debiased-vgg debiased-resnet",
    uses=lambda place: (place.setting, place.setting.parent),
)
def test_bias_removal_restores(trial):
    """Removing biases raises the input-dependent share of the midpoint's last layer."""
    without = last(trial.pairs(), trial.variant)
    biased = last(trial.parents(), trial.variant)
    trial.decide(without - biased, with_biases=biased, without=without)


@vanishing(
    quantity=f"plain ResNets minus plain VGGs, {LAST}",
    settings="plain-resnet",
    variants=["none", *METHODS],
    uses=lambda place: (place.setting, "plain-vgg"),
    not_at=dict.fromkeys(
        ("cifar10", "cifar100", "paper"), "its ResNets are deeper than its VGGs"
    ),
)
def test_residuals_mitigate(trial):
    """The share vanishes less in plain ResNets than in plain VGGs as deep."""
    residual = last(trial.pairs(), trial.variant)
    straight = last(trial.pairs("plain-vgg"), trial.variant)
    trial.decide(residual - straight, residual=residual, straight=straight)


# Linear networks have no nonlinearity to match activations at.
linear = partial(vanishing, settings="linear-8", variants="none weights")


@linear(quantity="constant share of the last mean square", rule=superiority(HALF))
def test_linear_nets(trial):
    """The last feature of 8-layer linear midpoints is constant for the larger part."""
    how, pairs = trial.variant, trial.pairs()
    constant = 1 - last(pairs, how, LINEAR, features.at_midpoint)
    trial.decide(constant, trial.midpoints(""), endpoint=trial.endpoints())


@linear(
    quantity="midpoint's over endpoints' input-dependent part, first minus last layer",
    rule=trend("falling", SEEN),
)
def test_linear_feature_falls(trial):
    """In 8-layer linear midpoints the input-dependent part falls with depth."""
    falling(trial, "input-dependent-size")


@linear(
    quantity=f"with minus without residual connections, {LAST}",
    settings="residual-linear-5",
    uses=lambda place: (place.setting, "linear-5"),
)
def test_residual_helps(trial):
    """In 5-layer linear midpoints the share vanishes less with residual connections."""
    residual = last(trial.pairs(), trial.variant, LINEAR)
    straight = last(trial.pairs("linear-5"), trial.variant, LINEAR)
    trial.decide(residual - straight, residual=residual, straight=straight)


reset = partial(vanishing, settings="bn-vgg", unit="log2")


def by_reset(trial):
    """Return log2 of after over before RESET: of running means, of deviations."""
    pairs, how = trial.pairs(), trial.variant
    of = features.running_statistics
    before, after = np.array([[of(p, how, r) for p in pairs] for r in ("", "reset")])
    return np.log2(after / before).mean(2).T


@reset(
    quantity="log2 of running deviations before over after RESET, mean over layers",
    rule=superiority(QUARTER),
)
def test_reset_lowers_deviations(trial):
    """RESET lowers the matched midpoint's running deviations by a factor over 1.25."""
    means, deviations = by_reset(trial)
    trial.decide(-deviations, means=means)


@reset(
    quantity="log2 of absolute running means after over before RESET, mean over layers",
    rule=equivalence(QUARTER),
)
def test_reset_leaves_means(trial):
    """RESET leaves the matched midpoint's running means within a factor of 1.25."""
    means, deviations = by_reset(trial)
    trial.decide(means, deviations=deviations)


pruned = partial(vanishing, settings="plain-vgg", variants="", networks=8, tuple_size=1)


def of_pruned(trial, measure, **how):
    """Return the last layer's share in all networks, pruned by 90%, or as they were."""
    found = (Pruned(net, "global-magnitude", 0.9) for net in trial.networks())
    return np.array([[*measure(one, SHARE, **how).values()][-1] for one in found])


@pruned(quantity="dense minus pruned network, input-dependent share of the last layer")
def test_pruning_vanishes(trial):
    """Magnitude pruning of 90% lowers the input-dependent share of the last layer."""
    dense = of_pruned(trial, lambda one, what: features.in_network(one.network, what))
    found = of_pruned(trial, features.in_pruned)
    trial.decide(dense - found, dense=dense, pruned=found)


@pruned(quantity="after REPAIR minus before, input-dependent share of the last layer")
def test_pruning_restored(trial):
    """REPAIR raises the last input-dependent share of networks pruned by 90%."""
    found = of_pruned(trial, features.in_pruned)
    repaired = of_pruned(trial, features.in_pruned, renormalized=True)
    trial.decide(repaired - found, pruned=found, repaired=repaired)
