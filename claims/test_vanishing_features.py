"""Features that vanish with depth (arXiv 2402.05966, final version).

A feature f = g + h has a part g that depends on the input and a constant part h.  The
input-dependent share is the mean square of g over that of both.  "Relative" is the
midpoint's value over the endpoints' mean.  Of a network, the share is that of its last
layer, the logits: where blocks are residual, it sees branch and shortcut.
"""

from functools import partial
from math import log2

from claims.bench import METHODS
from claims.bench.features import (
    at_midpoint,
    in_network,
    in_pruned,
    relative_to_endpoints,
    running_statistics,
)
from claims.bench.pruned import Pruned
from claims.bench.recipes import differences
from claims.claim import Claim, PaperValue
from claims.decisions import equivalence, superiority, trend

SOURCE = "arXiv:2402.05966v4"

PLAIN = ("plain-vgg", "plain-resnet")

SHARE = "input-dependent"
"""Here the constant part is the mean over the training images."""

LINEAR_SHARE = "input-dependent-zero"
"""In linear networks it is the response to zeros, as in the published code."""

FEATURE_SHRINKS = Claim(
    id="vanishing/feature-shrinks",
    sentence="At the midpoint the relative input-dependent share of the features is "
    "smaller in the last layer than in the first.",
    source=SOURCE,
    quantity="relative input-dependent share of the first layer minus that of the last",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    variants=("none", *METHODS),
    unit="",
)

FEATURE_VANISHES = Claim(
    id="vanishing/feature-vanishes",
    sentence="At the unmatched midpoint the relative input-dependent share of the "
    "features is less than half as large in the last layer as in the first.",
    source=SOURCE,
    quantity="half the relative input-dependent share of the first layer minus that of "
    "the last",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    unit="",
)


@FEATURE_SHRINKS.test
def test_feature_shrinks(trial):
    first, last = first_and_last(trial, trial.variant)
    trial.decide(differences(first, last), first_layer=first, last_layer=last)


@FEATURE_VANISHES.test
def test_feature_vanishes(trial):
    first, last = first_and_last(trial, "none")
    excess = [f / 2 - share for f, share in zip(first, last, strict=True)]
    trial.decide(excess, first_layer=first, last_layer=last)


def first_and_last(trial, method):
    """Return the relative share in the first and in the last layer of all pairs."""
    found = [
        [*relative_to_endpoints(pair, SHARE, method).values()] for pair in trial.pairs()
    ]
    return [layers[0] for layers in found], [layers[-1] for layers in found]


MATCHING_SLOWS = Claim(
    id="vanishing/matching-slows",
    sentence="The relative input-dependent share of the last layer is larger at the "
    "matched midpoint than at the unmatched one.",
    source=SOURCE,
    quantity="matched minus unmatched, relative input-dependent share of the last "
    "layer",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    variants=METHODS,
    unit="",
)

RENORMALIZATION_RESTORES = Claim(
    id="vanishing/renormalization-restores",
    sentence="REPAIR and RESCALE of the matched midpoint recover more than half of "
    "what its last layer lacks of the endpoints' input-dependent share.",
    source=SOURCE,
    quantity="gain of the renormalized over the bare midpoint minus half of what that "
    "lacks to 1, relative input-dependent share of the last layer",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    variants=tuple(
        f"{m}-{repair}" for m in METHODS for repair in ("repair", "rescale")
    ),
    unit="",
    undecided={
        (
            "digits",
            "plain-resnet",
            "weights-rescale",
        ): "RESCALE restores two fifths of the share that matching left "
        "lacking (-0.037 [-0.098, 0.024], n = 8).",
    },
)


@MATCHING_SLOWS.test
def test_matching_slows(trial):
    pairs = trial.pairs()
    bare, matched = (last_shares(pairs, method) for method in ("none", trial.variant))
    trial.decide(differences(matched, bare), unmatched=bare, matched=matched)


@RENORMALIZATION_RESTORES.test
def test_renormalization_restores(trial):
    method, repair = trial.variant.split("-")
    pairs = trial.pairs()
    bare, restored = (last_shares(pairs, method, how=how) for how in ("", repair))
    excess = [(r - b) - (1 - b) / 2 for b, r in zip(bare, restored, strict=True)]
    trial.decide(excess, matched=bare, renormalized=restored)


def parents(setting):
    """Return the setting whose networks' biases were removed."""
    return "plain-" + setting.partition("-")[2]


BIAS_REMOVAL = Claim(
    id="vanishing/bias-removal-restores",
    sentence="In the last layer of the matched midpoint the relative input-dependent "
    "share is larger between networks whose biases were removed than between the same "
    "networks with biases.",
    source=SOURCE,
    quantity="without minus with biases, relative input-dependent share of the last "
    "layer",
    rule=partial(superiority, margin=0.0),
    settings=("debiased-vgg", "debiased-resnet"),
    variants=METHODS,
    uses=lambda place: (place.setting, parents(place.setting)),
    unit="",
    undecided={
        (
            "digits",
            "debiased-resnet",
            "activations",
        ): "Pairs scatter by more than biases change (0.019 [-0.0019, 0.039], n = 8).",
        (
            "digits",
            "debiased-resnet",
            "weights",
        ): "Pairs scatter by more than biases change (0.038 [-0.049, 0.12], n = 8).",
    },
)


@BIAS_REMOVAL.test
def test_bias_removal_restores(trial):
    with_biases = last_shares(trial.pairs(parents(trial.setting)), trial.variant)
    without = last_shares(trial.pairs(), trial.variant)
    gain = differences(without, with_biases)
    trial.decide(gain, with_biases=with_biases, without=without)


RESIDUALS_MITIGATE = Claim(
    id="vanishing/residuals-mitigate",
    sentence="The relative input-dependent share of the last layer is larger at the "
    "midpoint of plain ResNets than of plain VGGs of the same depth.",
    source=SOURCE,
    quantity="ResNets minus VGGs, relative input-dependent share of the last layer",
    rule=partial(superiority, margin=0.0),
    settings=("plain-resnet",),
    not_at={"paper": "its ResNets have 20 layers, its VGGs 16"},
    variants=("none", *METHODS),
    uses=lambda place: (place.setting, "plain-vgg"),
    unit="",
)


@RESIDUALS_MITIGATE.test
def test_residuals_mitigate(trial):
    residual = last_shares(trial.pairs(), trial.variant)
    plain = last_shares(trial.pairs("plain-vgg"), trial.variant)
    trial.decide(differences(residual, plain), residual=residual, plain=plain)


LINEAR_NETS = {
    "source": f"{SOURCE}, and its published code",
    "settings": ("linear-8",),
    "variants": ("none", "weights"),  # linear networks have no nonlinearity to match
    "unit": "",
}

CONSTANT_OVERTAKES = Claim(
    **LINEAR_NETS,
    id="vanishing/linear-nets",
    sentence="In the last layer of the midpoint of 8-layer linear networks the "
    "constant part is larger than the input-dependent one.",
    quantity="half minus the input-dependent share of the last layer",
    rule=partial(superiority, margin=0.0),
    paper=(
        PaperValue("accuracy, one run of the authors: midpoint", 8.94, variant="none"),
        PaperValue("accuracy, one run of the authors: WM", 16.12, variant="weights"),
        PaperValue("accuracy, one run of the authors: an endpoint", 85.76),
    ),
    refuted={
        (
            "digits",
            "linear-8",
            "weights",
        ): "After weight matching 84% of the feature depend on the input "
        "(-0.34 [-0.37, -0.32], n = 8).",
    },
)

LINEAR_FEATURE_VANISHES = Claim(
    **LINEAR_NETS,
    id="vanishing/linear-feature-falls",
    sentence="At the midpoint of 8-layer linear networks the input-dependent part "
    "falls, in proportion to the endpoints', from layer to layer.",
    quantity="rank correlation of depth and midpoint over endpoints, mean square of "
    "the input-dependent part",
    rule=partial(trend, direction="decreasing"),
)


@CONSTANT_OVERTAKES.test
def test_linear_nets(trial):
    pairs = trial.pairs()
    shares = [last(at_midpoint(pair, LINEAR_SHARE, trial.variant)) for pair in pairs]
    trial.decide(
        [0.5 - share for share in shares],
        share=shares,
        endpoints_accuracy=[pair.endpoints() for pair in pairs],
        midpoint_accuracy=[pair.midpoint(trial.variant).accuracy for pair in pairs],
    )


@LINEAR_FEATURE_VANISHES.test
def test_linear_feature_falls(trial):
    found = [
        relative_to_endpoints(pair, "input-dependent-size", trial.variant)
        for pair in trial.pairs()
    ]
    trial.decide_trend(
        {name: [one[name] for one in found] for name in found[0]},
        x_label="layer",
        y_label="input-dependent part of the midpoint over the endpoints'",
    )


RESIDUAL_HELPS = Claim(
    id="vanishing/residual-helps",
    sentence="In the last layer of the midpoint of 5-layer linear networks the "
    "relative input-dependent share is larger with residual connections than without.",
    source=f"{SOURCE}, and its published code",
    quantity="with minus without residual connections, relative input-dependent share "
    "of the last layer",
    rule=partial(superiority, margin=0.0),
    settings=("residual-linear-5",),
    variants=("none", "weights"),
    uses=lambda _: ("residual-linear-5", "linear-5"),
    unit="",
)


@RESIDUAL_HELPS.test
def test_residual_helps(trial):
    residual, plain = (
        last_shares(trial.pairs(setting), trial.variant, LINEAR_SHARE)
        for setting in ("residual-linear-5", "linear-5")
    )
    trial.decide(differences(residual, plain), residual=residual, plain=plain)


def last_shares(pairs, method, measure=SHARE, how=""):
    """Return the relative share in the last layer of all pairs."""
    return [last(relative_to_endpoints(pair, measure, method, how)) for pair in pairs]


def last(found):
    """Return what was found in the last layer."""
    return [*found.values()][-1]


RESET = {
    "source": SOURCE,
    "settings": ("bn-vgg",),
    "variants": METHODS,
    "unit": "log2",
}

RESET_LOWERS_DEVIATIONS = Claim(
    **RESET,
    id="vanishing/reset-lowers-deviations",
    sentence="RESET lowers the running deviations of the matched midpoint.",
    quantity="log2 of deviation before over after RESET, mean over channels, then over "
    "layers",
    rule=partial(superiority, margin=0.0),
)

RESET_LEAVES_MEANS = Claim(
    **RESET,
    id="vanishing/reset-leaves-means",
    sentence="RESET leaves the size of the matched midpoint's running means as it is, "
    "within a factor of 1.25.",
    quantity="log2 of absolute running mean after over before RESET, mean over "
    "channels, then over layers",
    rule=partial(equivalence, margin=log2(1.25)),
)


@RESET_LOWERS_DEVIATIONS.test
def test_reset_lowers_deviations(trial):
    _, deviations = log_changes_by_reset(trial)
    trial.decide([-change for change in deviations])


@RESET_LEAVES_MEANS.test
def test_reset_leaves_means(trial):
    means, deviations = log_changes_by_reset(trial)
    trial.decide(means, deviations=deviations)


def log_changes_by_reset(trial):
    """Return log2 of after over before for means and deviations of all pairs."""
    changes = []
    for pair in trial.pairs():
        before, after = (
            running_statistics(pair, trial.variant, how) for how in ("", "reset")
        )
        changes.append(
            [
                sum(log2(a / b) for a, b in zip(new, old, strict=True)) / len(old)
                for new, old in zip(after, before, strict=True)
            ]
        )
    return [means for means, _ in changes], [deviations for _, deviations in changes]


SPARSITY = 0.9
"""High: of the 10 to 99% that are pruned, as in claims/test_pruning.py."""

NETWORKS = 8
"""That are pruned; each is a unit of evidence."""

PRUNING = {
    "source": SOURCE,
    "settings": ("plain-vgg",),
    "networks": NETWORKS,
    "unit": "",
}

PRUNING_VANISHES = Claim(
    **PRUNING,
    id="vanishing/pruning-vanishes",
    sentence="Global magnitude pruning at sparsity 0.9 lowers the input-dependent "
    "share of the last layer.",
    quantity="dense minus pruned network, input-dependent share of the last layer",
    rule=partial(superiority, margin=0.0),
)

PRUNING_RESTORED = Claim(
    **PRUNING,
    id="vanishing/pruning-restored",
    sentence="REPAIR with the dense network's statistics raises the input-dependent "
    "share of the pruned network's last layer, at sparsity 0.9.",
    quantity="after REPAIR minus before, input-dependent share of the last layer",
    rule=partial(superiority, margin=0.0),
)


@PRUNING_VANISHES.test
def test_pruning_vanishes(trial):
    dense, pruned, _ = shares_of_pruned(trial)
    trial.decide(differences(dense, pruned), dense=dense, pruned=pruned)


@PRUNING_RESTORED.test
def test_pruning_restored(trial):
    dense, pruned, repaired = shares_of_pruned(trial)
    gain = differences(repaired, pruned)
    trial.decide(gain, dense=dense, pruned=pruned, repaired=repaired)


def shares_of_pruned(trial):
    """Return the shares of dense, pruned, and pruned and repaired networks."""
    networks = trial.networks()
    pruned = [Pruned(network, "global-magnitude", SPARSITY) for network in networks]
    return (
        [last(in_network(network, SHARE)) for network in networks],
        [last(in_pruned(one, SHARE)) for one in pruned],
        [last(in_pruned(one, SHARE, renormalized=True)) for one in pruned],
    )
