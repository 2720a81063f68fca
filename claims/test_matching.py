"""What matching alone achieves (arXiv 2402.05966, sections 2.2 and 3.1)."""

from functools import partial

import lmc
from claims.bench import METHODS, accuracy_curves, loss_curves
from claims.claim import BROKEN, Claim, PaperValue
from claims.decisions import equivalence, frequency, noninferiority, superiority, trend

PLAIN_NETS_STAY_BROKEN = Claim(
    id="matching/plain-nets-stay-broken",
    sentence="Matching leaves the midpoint of plain VGG and ResNet far below the "
    "endpoints: more than 20 points of accuracy.",
    source="arXiv:2402.05966v1, sections 2.2 and 3.1, Fig. 2B, 7, 8, Tables 1, 4, 6",
    quantity="barrier at the midpoint: endpoints' mean minus midpoint, test accuracy",
    rule=partial(superiority, margin=BROKEN),
    settings=("plain-vgg", "plain-resnet"),
    variants=METHODS,
    paper=(
        PaperValue("VGG16, WM barrier", 79.19, None, "plain-vgg", "weights"),
        PaperValue("VGG16, AM barrier", 46.49, None, "plain-vgg", "activations"),
        PaperValue(
            "plain ResNet20, WM midpoint", 62.31, 5.43, "plain-resnet", "weights"
        ),
        PaperValue(
            "plain ResNet20, AM midpoint", 61.42, 2.75, "plain-resnet", "activations"
        ),
    ),
    refuted={
        (
            "digits",
            "plain-resnet",
            "activations",
        ): "The barrier is 14 points: three blocks are not deep enough for "
        "activation matching to fail by 20 (14 [7.9, 19] points, n = 8).",
    },
)


@PLAIN_NETS_STAY_BROKEN.test
def test_plain_nets_stay_broken(trial):
    pairs = trial.pairs()
    endpoints = [pair.endpoints() for pair in pairs]
    midpoints = [pair.midpoint(trial.variant).accuracy for pair in pairs]
    trial.decide(
        [end - mid for end, mid in zip(endpoints, midpoints, strict=True)],
        endpoints=endpoints,
        midpoint=midpoints,
        curves=accuracy_curves(pairs, "none", trial.variant),
    )


BARRIER_AT_MIDPOINT = Claim(
    id="matching/barrier-at-midpoint",
    sentence="Of 11 equidistant points between two matched networks, the largest loss "
    "barrier lies at 0.5 or next to it, for most pairs.",
    source="arXiv:2402.05966v1, appendix D.1",
    quantity="whether the loss barrier is largest at lambda 0.4, 0.5 or 0.6",
    rule=partial(frequency, at_least=0.5),
    settings=(
        "mlp",
        "plain-vgg",
        "nobias-vgg",
        "bn-vgg",
        "ln-vgg",
        "plain-resnet",
        "bn-resnet",
    ),
    variants=("weights",),
    unit="",
    undecided={
        (
            "digits",
            "bn-vgg",
            "weights",
        ): "Without RESET the middle of the curve is a plateau (0.75 [0.4, "
        "0.95], n = 8).",
        (
            "cifar10",
            "bn-resnet",
            "weights",
        ): "Without RESET the middle of the curve is a plateau (0.5 [0.15, "
        "0.85], n = 6).",
    },
)


@BARRIER_AT_MIDPOINT.test
def test_barrier_at_midpoint(trial):
    pairs = trial.pairs()
    curves = [pair.curve(trial.variant) for pair in pairs]
    peaks = []
    for curve in curves:
        rise = lmc.deviations(curve.lambdas, curve.loss)
        peaks.append(curve.lambdas[rise.index(max(rise))])
    trial.decide(
        [0.4 <= peak <= 0.6 for peak in peaks],
        peak=peaks,
        loss_barrier=[curve.loss_barrier for curve in curves],
        curves=loss_curves(pairs, trial.variant),
    )


TABLE_3 = (  # original distance, and that after matching
    ("VGG16 BN", "bn-vgg", "weights", 100.32, 84.5),
    ("VGG16 BN", "bn-vgg", "activations", 100.32, 88.26),
    ("VGG16 LN", "ln-vgg", "weights", 101.13, 89.65),
    ("VGG16 LN", "ln-vgg", "activations", 101.13, 91.81),
    ("ResNet20 4x", "bn-resnet", "weights", 99.22, 84.58),
    ("ResNet20 4x", "bn-resnet", "activations", 99.22, 91.69),
)

DISTANCE_FALLS = Claim(
    id="matching/distance-falls",
    sentence="Matching brings independent networks nearer to each other.",
    source="arXiv:2402.05966v1, appendix D.1, Table 3",
    quantity="share of the L2 distance that matching removes (BatchNorm statistics "
    "included)",
    rule=partial(superiority, margin=0.0),
    settings=("bn-vgg", "ln-vgg", "bn-resnet"),
    variants=METHODS,
    unit="",
    paper=[
        PaperValue(label, round(1 - m / o, 3), setting=setting, variant=variant)
        for label, setting, variant, o, m in TABLE_3
    ],
)


@DISTANCE_FALLS.test
def test_distance_falls(trial):
    original, matched = distances(trial)
    removed = [1 - m / o for o, m in zip(original, matched, strict=True)]
    trial.decide(removed, original=original, matched=matched)


DISTANCE_BARELY_FALLS = Claim(
    id="matching/distance-barely-falls",
    sentence="Matching lowers the L2 distance between independent networks by less "
    "than a quarter.",
    source="arXiv:2402.05966v1, appendix D.1, Table 3",
    quantity="L2 distance after matching over the distance before (BatchNorm "
    "statistics included)",
    rule=partial(superiority, margin=0.75),
    settings=("bn-vgg", "ln-vgg", "bn-resnet"),
    variants=METHODS,
    unit="",
    paper=[
        PaperValue(label, round(m / o, 3), setting=setting, variant=variant)
        for label, setting, variant, o, m in TABLE_3
    ],
)


@DISTANCE_BARELY_FALLS.test
def test_distance_barely_falls(trial):
    original, matched = distances(trial)
    ratio = [m / o for o, m in zip(original, matched, strict=True)]
    trial.decide(ratio, original=original, matched=matched)


MLPS_CONNECTED = Claim(
    id="matching/mlps-are-connected",
    sentence="MLPs on small images are linearly connected after weight matching: the "
    "midpoint is within 2 points of the endpoints.",
    source="arXiv:2402.05966v1, appendix E.3; arXiv:2209.04836, section 4",
    quantity="midpoint minus endpoints' mean, test accuracy",
    rule=partial(noninferiority, margin=2.0),
    settings=("mlp",),
    variants=METHODS,
    undecided={
        (
            "digits",
            "mlp",
            "activations",
        ): "The midpoint is 2 points below, which is the margin (-2.1 [-2.5, "
        "-1.8] points, n = 8).",
        (
            "digits",
            "mlp",
            "weights",
        ): "The midpoint is 2 points below, which is the margin (-2 [-2.6, "
        "-1.3] points, n = 8).",
    },
)


@MLPS_CONNECTED.test
def test_mlps_are_connected(trial):
    pairs = trial.pairs()
    ends = [pair.endpoints() for pair in pairs]
    bare = [pair.midpoint("none").accuracy for pair in pairs]
    matched = [pair.midpoint(trial.variant).accuracy for pair in pairs]
    short = [m - e for m, e in zip(matched, ends, strict=True)]
    curves = accuracy_curves(pairs, "none", trial.variant)
    trial.decide(short, endpoints=ends, naive=bare, matched=matched, curves=curves)


WIDTHS = ("half", "", "double")
"""Suffixes of the settings, from narrow to wide."""


def at_widths(*suffixes):
    """Return what names the settings of a place at some widths, for ``uses=``."""
    return lambda place: [wide(place.setting, suffix) for suffix in suffixes]


def wide(setting, suffix):
    """Return the name of a setting at a width."""
    return "-".join(filter(None, (setting, suffix)))


WIDTH = {
    "source": "arXiv:2402.05966v1, section 3.1 and appendix E.1, Fig. 2B, 7, 8",
    "settings": ("plain-vgg", "plain-resnet"),
}

WIDTH_LOWERS_BARRIER = Claim(
    **WIDTH,
    id="matching/width-lowers-barrier",
    sentence="After weight matching the barrier of plain networks falls with width.",
    quantity="barrier at the midpoint at half, whole and double width, test accuracy",
    rule=partial(trend, direction="decreasing"),
    variants=("weights",),
    uses=at_widths(*WIDTHS),
    unit="",
    refuted={
        (
            "digits",
            "plain-vgg",
            "weights",
        ): "The barrier rises from 83 over 87 to 89 points (0.75 [0.31, 1], n = 8).",
    },
)

# Plain VGG is the paper's exception for activation matching.
WIDTH_LOWERS_BARRIER_ACTIVATIONS = Claim(
    id="matching/width-lowers-barrier-activations",
    source=WIDTH["source"],
    settings=("plain-resnet",),
    sentence="After activation matching the barrier of plain ResNets falls as width "
    "grows.",
    quantity="barrier at the midpoint at half, whole and double width, test accuracy",
    rule=partial(trend, direction="decreasing"),
    variants=("activations",),
    uses=at_widths(*WIDTHS),
    unit="",
)

WIDTH_HELPS_SLOWLY = Claim(
    **WIDTH,
    id="matching/width-helps-slowly",
    sentence="Doubling the width lowers the barrier after weight matching by less than "
    "10 points.",
    quantity="barrier at double width minus barrier at whole width, test accuracy",
    rule=partial(noninferiority, margin=10.0),
    variants=("weights",),
    uses=at_widths("", "double"),
    paper=(PaperValue("VGG16, from 2x to 8x, less than", -10.0, None, "plain-vgg"),),
    undecided={
        (
            "digits",
            "plain-resnet",
            "weights",
        ): "Eight points, and pairs scatter by 20 (-9.9 [-19, -0.92] points, n = 8).",
    },
)


@WIDTH_LOWERS_BARRIER.test
def test_width_lowers_barrier(trial):
    trial.decide_trend(
        barriers_by_width(trial), x_label="width", y_label="barrier, points"
    )


@WIDTH_LOWERS_BARRIER_ACTIVATIONS.test
def test_width_lowers_barrier_activations(trial):
    trial.decide_trend(
        barriers_by_width(trial), x_label="width", y_label="barrier, points"
    )


@WIDTH_HELPS_SLOWLY.test
def test_width_helps_slowly(trial):
    whole, double = barriers_by_width(trial, ("", "double")).values()
    change = [d - w for w, d in zip(whole, double, strict=True)]
    trial.decide(change, whole=whole, double=double)


def barriers_by_width(trial, suffixes=WIDTHS):
    """Return the barriers of all pairs at each width, by the width's name."""
    return {
        suffix or "whole": [
            pair.barrier(trial.variant)
            for pair in trial.pairs(wide(trial.setting, suffix))
        ]
        for suffix in suffixes
    }


TABLE_2 = "arXiv:2402.05966v1, appendix D.2, Table 2"

FLOAT64 = Claim(
    id="matching/float64-moments",
    sentence="Activation matching by float64 moments is not worse than by float32 "
    "moments by 1 point or more.",
    source=TABLE_2,
    quantity="by float64 minus by float32, test accuracy at the midpoint",
    rule=partial(noninferiority, margin=1.0),
    settings=("plain-vgg", "bn-vgg", "ln-vgg", "plain-resnet"),
)

BATCH_AVERAGES = Claim(
    id="matching/batch-averages",
    sentence="Activation matching by averages of batch averages is not worse than by "
    "averages over all samples by 1 point or more.",
    source=TABLE_2,
    quantity="by batches minus by samples, test accuracy at the midpoint",
    rule=partial(noninferiority, margin=1.0),
    settings=("plain-vgg", "bn-vgg", "ln-vgg", "plain-resnet"),
    paper=(
        PaperValue("VGG16 barrier, batches and float64", 37.52, 5.76, "plain-vgg"),
        PaperValue("VGG16 barrier, sums and float32", 54.87, 5.12, "plain-vgg"),
    ),
)


@FLOAT64.test
def test_float64_moments(trial):
    better_matched(trial, "activations", "activations-float32")


@BATCH_AVERAGES.test
def test_batch_averages(trial):
    better_matched(trial, "activations", "activations-samples")


def better_matched(trial, ours, other, repair=""):
    """Decide on how much better the midpoint is by one matcher than by another."""
    reset = "reset" if trial.setting.startswith("bn") else repair
    pairs = trial.pairs()
    first, second = (
        [pair.midpoint(method, reset).accuracy for pair in pairs]
        for method in (ours, other)
    )
    difference = [a - b for a, b in zip(first, second, strict=True)]
    trial.decide(difference, **{ours: first, other: second})


BETTER_OPTIMUM = Claim(
    id="matching/better-optimum-exists",
    sentence="The best of ten descents has a larger objective than a single one: what "
    "weight matching finds is not the optimum.",
    source="arXiv:2402.05966v1, sections 3 and 4.3 (weight matching is NP-hard)",
    quantity="relative gain of the objective",
    rule=partial(superiority, margin=0.0),
    settings=("plain-vgg",),
    unit="",
)

BETTER_OPTIMUM_NEEDLESS = Claim(
    id="matching/better-optimum-needless",
    sentence="The best of ten descents changes the midpoint after RESCALE by less than "
    "3 points.",
    source="arXiv:2402.05966v1, section 4.2: knowledge retained is enough",
    quantity="best of ten minus a single descent, test accuracy after RESCALE",
    rule=partial(equivalence, margin=3.0),
    settings=("plain-vgg",),
    undecided={
        (
            "digits",
            "plain-vgg",
            "",
        ): "Midpoints after RESCALE scatter by tens of points between "
        "permutations (-1.1 [-6.3, 4.1] points, n = 8).",
        (
            "cifar10",
            "plain-vgg",
            "",
        ): "After RESCALE 55.7% with restarts and 54.7% without; pairs scatter"
        " by 3 (1 [-1.4, 3.4] points, n = 6).",
    },
)


@BETTER_OPTIMUM.test
def test_better_optimum_exists(trial):
    pairs = trial.pairs()
    single = [pair.objective("weights") for pair in pairs]
    best = [pair.objective("weights-restarts") for pair in pairs]
    gain = [b / s - 1 for b, s in zip(best, single, strict=True)]
    trial.decide(gain, single=single, best=best)


@BETTER_OPTIMUM_NEEDLESS.test
def test_better_optimum_needless(trial):
    better_matched(trial, "weights-restarts", "weights", "rescale")


BN_STATISTICS_IN_COST = Claim(
    id="matching/bn-statistics-in-cost",
    sentence="Leaving BatchNorm's running statistics out of weight matching's cost "
    "does not make the midpoint worse by 3 points or more, after RESET.",
    source="arXiv:2402.05966, published code: they are in its cost",
    quantity="without minus with running statistics in the cost, test accuracy",
    rule=partial(noninferiority, margin=3.0),
    settings=("bn-vgg", "bn-resnet"),
    undecided={
        (
            "cifar10",
            "bn-resnet",
            "",
        ): "Midpoints after RESET are at 23.4% and 24.5%, and pairs scatter by"
        " more (-1.1 [-7.4, 5.2] points, n = 6).",
    },
)


@BN_STATISTICS_IN_COST.test
def test_bn_statistics_in_cost(trial):
    better_matched(trial, "weights", "weights-buffers")


def distances(trial):
    """Return the distances of all pairs before and after matching."""
    pairs = trial.pairs()
    return (
        [pair.distance("none") for pair in pairs],
        [pair.distance(trial.variant) for pair in pairs],
    )
