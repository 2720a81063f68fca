"""What matching alone achieves (arXiv 2402.05966, sections 2.2 and 3.1)."""

from functools import partial

import lmc
from claims.bench import METHODS, accuracy_curves, loss_curves
from claims.claim import BROKEN, Claim, PaperValue
from claims.decisions import frequency, superiority

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
        ("digits", "plain-resnet", "activations"): "The barrier is 11 points: three "
        "blocks are not deep enough for activation matching to fail by 20.",
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


def distances(trial):
    """Return the distances of all pairs before and after matching."""
    pairs = trial.pairs()
    return (
        [pair.distance("none") for pair in pairs],
        [pair.distance(trial.variant) for pair in pairs],
    )
