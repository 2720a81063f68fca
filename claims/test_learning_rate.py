"""What the learning rate does to matching (arXiv 2402.05966, sections 4.3, F.4, F.5).

A level ``<setting>-lr0.01`` is the setting with that initial (or largest) learning
rate; the setting itself has 0.1.  Midpoints of BatchNorm networks are after RESET.
"""

from functools import partial

import lmc
from claims.bench import METHODS
from claims.bench.pruned import Pruned
from claims.bench.recipes import (
    barriers,
    degraded_against_small,
    differences,
    endpoints,
)
from claims.claim import BROKEN, Claim, PaperValue
from claims.decisions import equivalence, superiority, trend
from fixtures.scales import LEARNING_RATES

SETTINGS = ("bn-vgg", "ln-vgg", "bn-resnet", "ln-resnet")

PAIRS = 4
"""Of each level, where a claim sweeps levels."""


def level(setting, lr):
    """Return the name of a setting with a learning rate."""
    return setting if lr == 0.1 else f"{setting}-lr{lr:g}"


def levels(*rates):
    """Return what names the settings of a place with learning rates, for ``uses=``."""
    return lambda place: [level(place.setting, lr) for lr in rates]


LARGER_LR_LOWER_BARRIER = Claim(
    id="learning-rate/larger-lr-lower-barrier",
    sentence="Over learning rates 0.01, 0.03, 0.05, 0.07 and 0.1 the accuracy barrier "
    "after matching falls.",
    source="arXiv:2402.05966v1, section 4.3, Fig. 5A, and appendix F.5, Fig. 45-58",
    quantity="rank correlation of learning rate and barrier at the midpoint "
    "(endpoints' mean minus midpoint, test accuracy; after RESET if BatchNorm)",
    rule=partial(trend, direction="decreasing"),
    settings=SETTINGS,
    variants=METHODS,
    uses=levels(*LEARNING_RATES),
    networks=2 * PAIRS,
    unit="",
)


@LARGER_LR_LOWER_BARRIER.test
def test_larger_lr_lower_barrier(trial):
    trial.decide_trend(
        {
            f"lr {lr:g}": barriers(trial.pairs(level(trial.setting, lr)), trial.variant)
            for lr in LEARNING_RATES
        },
        x=LEARNING_RATES,
        x_label="learning rate",
        x_scale="log",
        y_label="barrier at the midpoint, points",
    )


NOT_FROM_BETTER_ENDPOINTS = Claim(
    id="learning-rate/not-from-better-endpoints",
    sentence="Networks trained at learning rate 0.1, made worse than those trained at "
    "0.01 by one more epoch at 0.1, still have the lower barrier after matching.",
    source="arXiv:2402.05966v1, section 4.3 and appendix F.5, Fig. 49, 52, 55, 58",
    quantity="barrier of 0.01 minus barrier of degraded 0.1 at the midpoint, test "
    "accuracy (after RESET if BatchNorm)",
    rule=partial(superiority, margin=0.0),
    settings=SETTINGS,
    variants=METHODS,
    uses=lambda place: (f"degraded-{place.setting}", level(place.setting, 0.01)),
    undecided={
        (
            "digits",
            "bn-resnet",
            "activations",
        ): "One more epoch at 0.1 does not make networks worse than those "
        "trained at 0.01 (15 [11, 18] points, n = 8).",
        (
            "digits",
            "bn-resnet",
            "weights",
        ): "One more epoch at 0.1 does not make networks worse than those "
        "trained at 0.01 (33 [26, 39] points, n = 8).",
        (
            "digits",
            "bn-vgg",
            "activations",
        ): "One more epoch at 0.1 does not make networks worse than those "
        "trained at 0.01 (19 [15, 24] points, n = 8).",
        (
            "digits",
            "bn-vgg",
            "weights",
        ): "One more epoch at 0.1 does not make networks worse than those "
        "trained at 0.01 (36 [32, 40] points, n = 8).",
        (
            "digits",
            "ln-resnet",
            "activations",
        ): "One more epoch at 0.1 does not make networks worse than those "
        "trained at 0.01 (33 [24, 42] points, n = 8).",
        (
            "digits",
            "ln-resnet",
            "weights",
        ): "One more epoch at 0.1 does not make networks worse than those "
        "trained at 0.01 (47 [41, 53] points, n = 8).",
        (
            "digits",
            "ln-vgg",
            "activations",
        ): "One more epoch at 0.1 does not make networks worse than those "
        "trained at 0.01 (55 [50, 60] points, n = 8).",
        (
            "digits",
            "ln-vgg",
            "weights",
        ): "One more epoch at 0.1 does not make networks worse than those "
        "trained at 0.01 (53 [47, 59] points, n = 8).",
    },
)


@NOT_FROM_BETTER_ENDPOINTS.test
def test_not_from_better_endpoints(trial):
    degraded = trial.pairs(f"degraded-{trial.setting}")
    small = trial.pairs(level(trial.setting, 0.01))
    found = degraded_against_small(degraded, small, trial.variant)
    trial.decide(found.gain, unmet=found.unmet, **found.columns)


LR_SPARSITY = Claim(
    id="learning-rate/lr-sparsity",
    sentence="Networks trained at learning rate 0.1 lose less accuracy by global "
    "magnitude pruning at sparsity 0.8 than networks trained at 0.01.",
    source="arXiv:2402.05966v1, appendix F.4, Fig. 44",
    quantity="accuracy lost at 0.01 minus accuracy lost at 0.1, by pruning, on the "
    "test set",
    rule=partial(superiority, margin=0.0),
    settings=("bn-vgg", "bn-resnet"),
    uses=levels(0.1, 0.01),
    networks=8,
    undecided={
        (
            "digits",
            "bn-vgg",
            "",
        ): "At sparsity 0.8 both lose 80 points (4.1 [-1.9, 10] points, n = 8).",
    },
)


@LR_SPARSITY.test
def test_lr_sparsity(trial):
    lost = {}
    for lr in (0.1, 0.01):
        dense = trial.networks(level(trial.setting, lr))
        pruned = [Pruned(network, "global-magnitude", 0.8) for network in dense]
        lost[lr] = differences(
            [network.evaluate().accuracy for network in dense],
            [network.evaluate().accuracy for network in pruned],
        )
    trial.decide(
        differences(lost[0.01], lost[0.1]), lost_small=lost[0.01], lost_large=lost[0.1]
    )


def from_both(*rates):
    """Return what names both initializations' settings with learning rates."""
    return lambda place: [
        level(f"{place.setting}{init}", lr) for init in ("", "-uniform") for lr in rates
    ]


INIT_MATTERS_AT_SMALL_LR = Claim(
    id="learning-rate/init-matters-at-small-lr",
    sentence="At learning rate 0.01 the barrier after matching is larger by more than "
    "10 points from Kaiming normal than from Kaiming uniform initialization.",
    source="arXiv:2402.05966v1, section 4.3, Fig. 5B, and appendix F.5, Fig. 60, 61",
    quantity="barrier from normal minus barrier from uniform initialization at the "
    "midpoint, learning rate 0.01, test accuracy",
    rule=partial(superiority, margin=10.0),
    settings=("ln-vgg", "ln-resnet"),
    variants=METHODS,
    uses=from_both(0.01),
    paper=(
        PaperValue("VGG16 LN, WM, larger by over (%)", 40.0, None, "ln-vgg", "weights"),
    ),
    undecided={
        (
            "digits",
            "ln-resnet",
            "activations",
        ): "The margin of 10 is inside the interval (13 [1, 24] points, n = 8).",
        (
            "digits",
            "ln-resnet",
            "weights",
        ): "The margin of 10 is inside the interval (15 [8.2, 21] points, n = 8).",
        (
            "digits",
            "ln-vgg",
            "weights",
        ): "The margin of 10 is inside the interval (17 [8.5, 25] points, n = 8).",
    },
)

INIT_DOES_NOT_MATTER_AT_LARGE_LR = Claim(
    id="learning-rate/init-does-not-matter-at-large-lr",
    sentence="At learning rate 0.1 the barriers after matching from Kaiming normal and "
    "Kaiming uniform initialization are equal within 10 points.",
    source="arXiv:2402.05966v1, section 4.3, Fig. 5B, and appendix F.5, Fig. 60, 61",
    quantity="barrier from normal minus barrier from uniform initialization at the "
    "midpoint, learning rate 0.1, test accuracy",
    rule=partial(equivalence, margin=10.0),
    settings=("ln-vgg", "ln-resnet"),
    variants=METHODS,
    uses=from_both(0.1),
    refuted={
        (
            "digits",
            "ln-resnet",
            "weights",
        ): "20 epochs at 0.1 do not forget the initialization: the barrier is "
        "29 points from normal and 5 from uniform (24 [21, 27] points, n = "
        "8).",
    },
    undecided={
        (
            "digits",
            "ln-vgg",
            "activations",
        ): "30 epochs at 0.1 do not forget the initialization: from uniform "
        "the barrier is larger (-6.8 [-12, -1.1] points, n = 8).",
        (
            "digits",
            "ln-vgg",
            "weights",
        ): "30 epochs at 0.1 do not forget the initialization: from uniform "
        "the barrier is larger (-7.9 [-23, 7.5] points, n = 8).",
    },
)


@INIT_MATTERS_AT_SMALL_LR.test
def test_init_matters_at_small_lr(trial):
    normal_against_uniform(trial, 0.01)


@INIT_DOES_NOT_MATTER_AT_LARGE_LR.test
def test_init_does_not_matter_at_large_lr(trial):
    normal_against_uniform(trial, 0.1)


def normal_against_uniform(trial, lr):
    """Decide on how much larger the barrier from normal initialization is."""
    normal = trial.pairs(level(trial.setting, lr))
    uniform = trial.pairs(level(f"{trial.setting}-uniform", lr))
    ours, others = (barriers(pairs, trial.variant) for pairs in (normal, uniform))
    trial.decide(
        differences(ours, others),
        normal_endpoints=endpoints(normal),
        uniform_endpoints=endpoints(uniform),
        normal_barrier=ours,
        uniform_barrier=others,
    )


INIT_DISTANCE_PERSISTS = Claim(
    id="learning-rate/init-distance-persists",
    sentence="By how much of it trained networks are farther apart from Kaiming normal "
    "than from Kaiming uniform initialization is more at learning rate 0.01 than at "
    "0.1.",
    source="arXiv:2402.05966v1, section 4.3, Fig. 5C, and appendix F.5, Fig. 62",
    quantity="L2 distance of independent networks (parameters only, not matched), from "
    "normal over from uniform initialization: ratio at 0.01 minus ratio at 0.1",
    rule=partial(superiority, margin=0.0),
    settings=("ln-vgg", "ln-resnet"),
    uses=from_both(0.01, 0.1),
    unit="",
)


@INIT_DISTANCE_PERSISTS.test
def test_init_distance_persists(trial):
    small, large = (
        {
            name: distances(trial.pairs(level(setting, lr)))
            for name, setting in (
                ("normal", trial.setting),
                ("uniform", f"{trial.setting}-uniform"),
            )
        }
        for lr in (0.01, 0.1)
    )
    ratios = [
        [n / u for n, u in zip(found["normal"], found["uniform"], strict=True)]
        for found in (small, large)
    ]
    trial.decide(
        differences(*ratios),
        **{f"small_{name}": values for name, values in small.items()},
        **{f"large_{name}": values for name, values in large.items()},
    )


def distances(pairs):
    """Return the distance between the parameters of each pair, not matched."""
    return [
        lmc.l2_distance(pair.a.state, pair.b.state, names)
        for pair in pairs
        for names in [[name for name, _ in pair.setting.model.named_parameters()]]
    ]


MNIST_VGG_LN_NEEDS_LR = Claim(
    id="learning-rate/mnist-vgg-ln-needs-lr",
    sentence="VGG LN on MNIST matches at largest learning rate 0.1 and fails at 0.001: "
    "its barrier is higher by more than 20 points there.",
    source="arXiv:2402.05966v1, section 4.3, Fig. 5D, and appendix F.5, Fig. 59",
    quantity="barrier at 0.001 minus barrier at 0.1 at the matched midpoint, test "
    "accuracy",
    rule=partial(superiority, margin=BROKEN),
    settings=("ln-vgg-mnist",),
    variants=("weights",),
    uses=levels(0.1, 0.001),
    networks=2 * PAIRS,
)


@MNIST_VGG_LN_NEEDS_LR.test
def test_mnist_vgg_ln_needs_lr(trial):
    large = trial.pairs()
    small = trial.pairs(level(trial.setting, 0.001))
    ours, others = (barriers(pairs, trial.variant) for pairs in (small, large))
    trial.decide(
        differences(ours, others),
        small_endpoints=endpoints(small),
        large_endpoints=endpoints(large),
        small_barrier=ours,
        large_barrier=others,
    )
