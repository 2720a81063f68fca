"""Averages of more than two networks (arXiv 2402.05966, sections 3.3 and E.3)."""

from functools import partial

from claims.bench import Several
from claims.claim import BROKEN, Claim, PaperValue
from claims.decisions import noninferiority, superiority, trend

REGIMES = ("reference", "sequential", "iterative")
SOURCE = "arXiv:2402.05966v1, section 3.3, Fig. 3A, 3B, and appendix E.3, Fig. 14, 15"
SETTINGS = ("bn-vgg", "ln-vgg", "bn-resnet", "ln-resnet")
COUNTS = (1, 2, 3, 4)


def renormalization(setting):
    """RESET where there is BatchNorm, as in the paper."""
    return "reset" if "bn" in setting.split("-") else ""


AVERAGE_DEGRADES = Claim(
    id="many-models/average-degrades",
    sentence="The accuracy of the average of n matched networks falls as n grows from "
    "1 to 4, however they are matched.",
    source=SOURCE,
    quantity="test accuracy of the average of n = 1, 2, 3, 4 networks",
    rule=partial(trend, direction="decreasing"),
    settings=SETTINGS,
    variants=REGIMES,
    tuple_size=max(COUNTS),
    unit="",
    paper=(
        PaperValue("VGG16 BN, n = 1 (plot)", 93.4, None, "bn-vgg"),
        PaperValue("VGG16 BN, n = 2 (plot, 87-89)", 88.0, None, "bn-vgg"),
        PaperValue("VGG16 BN, n = 3 (plot, 81-84)", 82.5, None, "bn-vgg"),
    ),
)


@AVERAGE_DEGRADES.test
def test_average_degrades(trial):
    repair = renormalization(trial.setting)
    tuples = trial.tuples()
    levels = {
        f"n = {count}": [
            several.average(trial.variant, count, repair).accuracy for several in tuples
        ]
        for count in COUNTS
    }
    trial.decide_trend(
        levels, x=COUNTS, x_label="networks", y_label="test accuracy of the average"
    )


ITERATIVE_BARELY_HELPS = Claim(
    id="many-models/iterative-barely-helps",
    sentence="Iterative matching gains less than 5 points over reference matching for "
    "four networks.",
    source=SOURCE,
    quantity="reference minus iterative matching, test accuracy of the average of four",
    rule=partial(noninferiority, margin=5.0),
    settings=SETTINGS,
    tuple_size=4,
    undecided={
        (
            "digits",
            "bn-resnet",
            "",
        ): "Four tuples scatter by tens of points (-1.6 [-11, 8.3] points, n = 4).",
        (
            "digits",
            "ln-resnet",
            "",
        ): "Four tuples scatter by tens of points (-8.9 [-23, 5.6] points, n = 4).",
        (
            "digits",
            "ln-vgg",
            "",
        ): "Four tuples scatter by tens of points (-2 [-17, 13] points, n = 4).",
    },
)


@ITERATIVE_BARELY_HELPS.test
def test_iterative_barely_helps(trial):
    repair = renormalization(trial.setting)
    reference, iterative = (
        [several.average(regime, 4, repair).accuracy for several in trial.tuples()]
        for regime in ("reference", "iterative")
    )
    lost = [r - i for r, i in zip(reference, iterative, strict=True)]
    trial.decide(lost, reference=reference, iterative=iterative)


SAME_BASIN_AVERAGE_WINS = Claim(
    id="many-models/same-basin-average-wins",
    sentence="The average of two and of three networks of one basin is better than its "
    "endpoints' mean.",
    source=SOURCE,
    quantity="average minus endpoints' mean, test accuracy, without RESET",
    rule=partial(superiority, margin=0.0),
    settings=("retrained-bn-vgg", "retrained-bn-resnet"),
    variants=("2", "3"),
    uses=lambda place: (place.setting, place.setting.removeprefix("retrained-")),
    undecided={
        (
            "digits",
            "retrained-bn-resnet",
            "2",
        ): "Endpoints above 98% leave an average little to win (0.047 [-0.042,"
        " 0.14] points, n = 8).",
        (
            "digits",
            "retrained-bn-resnet",
            "3",
        ): "Endpoints above 98% leave an average little to win (0.031 [-0.035,"
        " 0.098] points, n = 8).",
        (
            "digits",
            "retrained-bn-vgg",
            "2",
        ): "Endpoints above 98% leave an average little to win (0.016 [-0.014,"
        " 0.046] points, n = 8).",
        (
            "digits",
            "retrained-bn-vgg",
            "3",
        ): "Endpoints above 98% leave an average little to win (-1.8e-15 "
        "[-0.03, 0.03] points, n = 8).",
    },
)


@SAME_BASIN_AVERAGE_WINS.test
def test_same_basin_average_wins(trial):
    copies = trial.networks()
    origins = trial.networks(trial.setting.removeprefix("retrained-"), len(copies) // 2)
    tuples = [
        Several([origin, *copies[2 * i : 2 * i + 2]])
        for i, origin in enumerate(origins)
    ]
    count = int(trial.variant)
    merged = [several.average("none", count).accuracy for several in tuples]
    ends = [mean_accuracy(several, count) for several in tuples]
    trial.decide(
        [m - e for m, e in zip(merged, ends, strict=True)],
        names=[f"origin {several.networks[0].seed}" for several in tuples],
        endpoints=ends,
        average=merged,
    )


MANY = 8
"""Networks that are merged on MNIST."""

MLPS_MERGE = Claim(
    id="many-models/mnist-mlp-merges",
    sentence="Eight MLPs on MNIST merge well by reference or sequential matching "
    "alone: the average is within 2 points of a single network.",
    source="arXiv:2402.05966v1, appendix E.3, Fig. 16",
    quantity="average of eight minus mean of the eight, test accuracy",
    rule=partial(noninferiority, margin=2.0),
    settings=("mlp-merging",),
    variants=("reference", "sequential"),
    tuple_size=MANY,
    paper=(PaperValue("MLP, n = 2 to 8, about (plot)", 97.5),),
    undecided={
        (
            "mnist",
            "mlp-merging",
            "sequential",
        ): "95.0% by sequential matching, 97.2% by reference, where single "
        "networks have 98.2%: two tuples of eight (-3.2 [-7, 0.54] points, "
        "n = 2).",
    },
)

MLPS_NEED_MATCHING = Claim(
    id="many-models/mnist-mlp-needs-matching",
    sentence="The average of four MLPs on MNIST that were not matched is broken: more "
    "than 20 points below a single network.",
    source="arXiv:2402.05966v1, appendix E.3, Fig. 16",
    quantity="mean of four minus their average, test accuracy",
    rule=partial(superiority, margin=BROKEN),
    settings=("mlp-merging",),
    tuple_size=4,
    paper=(PaperValue("MLP, unmatched, n = 4 (plot)", 10.0),),
)


@MLPS_MERGE.test
def test_mnist_mlp_merges(trial):
    tuples = trial.tuples()
    merged = [several.average(trial.variant, MANY).accuracy for several in tuples]
    single = [mean_accuracy(several, MANY) for several in tuples]
    short = [m - s for m, s in zip(merged, single, strict=True)]
    trial.decide(short, single=single, average=merged)


@MLPS_NEED_MATCHING.test
def test_mnist_mlp_needs_matching(trial):
    tuples = trial.tuples()
    merged = [several.average("none", 4).accuracy for several in tuples]
    single = [mean_accuracy(several, 4) for several in tuples]
    lost = [s - m for m, s in zip(merged, single, strict=True)]
    trial.decide(lost, single=single, average=merged)


def mean_accuracy(several, count):
    """Return the mean test accuracy of the first networks by themselves."""
    chosen = several.networks[:count]
    return sum(network.evaluate().accuracy for network in chosen) / count
