"""What a partial merge, or a partial repair, changes (arXiv 2402.05966, version 4)."""

from functools import partial

from torch import nn

from claims.bench import METHODS
from claims.bench.partial import calibrated, permuted_first, preserved, without_biases
from claims.claim import Claim, PaperValue
from claims.decisions import superiority, trend

LAST = 3 / 8
"""Share of the layers that lose their bias: in the paper 5 of 14 suffice."""

KEPT = 8 / 13
"""Share of the convolutions that PFM8 keeps of both VGG16s."""

SHARES = {"none": 0.0, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75, "all": 1.0}
"""Shares of the permutation groups that are permuted."""

PRESERVE_FIRST = Claim(
    id="merging/preserve-first",
    sentence="Merging that keeps the first 8 of 13 convolutions of both networks "
    "(PFM8; or as large a share of fewer) ends higher than merging all layers, both "
    "with RESCALE on the merged ones.",
    source="arXiv:2402.05966v4, preserve-first merging, VGG16 on CIFAR-10",
    quantity="PFM8 minus merging all, both with RESCALE, test accuracy",
    rule=partial(superiority, margin=0.0),
    settings=("plain-vgg",),
    variants=METHODS,
    paper=(
        PaperValue(
            "VGG16, AM, PFM8 - PFM0, RESCALE", 7.75, None, "plain-vgg", "activations"
        ),
        PaperValue(
            "VGG16, AM, PFM8 + RESCALE", 92.43, 0.23, "plain-vgg", "activations"
        ),
        PaperValue(
            "VGG16, AM, PFM0 + RESCALE", 84.68, 0.85, "plain-vgg", "activations"
        ),
    ),
)


@PRESERVE_FIRST.test
def test_preserve_first(trial):
    pairs = trial.pairs()
    kept = [preserved(p, trial.variant, kept_of(p), "rescale") for p in pairs]
    merged = [preserved(p, trial.variant, 0, "rescale").accuracy for p in pairs]
    trial.decide(
        [k.accuracy - m for k, m in zip(kept, merged, strict=True)],
        all_merged=merged,
        first_kept=[k.accuracy for k in kept],
        relative_size=[k.relative_size for k in kept],
    )


PRESERVE_FIRST_SURPASSES_ENDPOINTS = Claim(
    id="merging/preserve-first-surpasses-endpoints",
    sentence="Merging that keeps the first 8 of 13 convolutions of both networks "
    "(PFM8; or as large a share of fewer), with RESCALE, surpasses the mean of its "
    "endpoints without any training.",
    source="arXiv:2402.05966v4, abstract and preserve-first merging, VGG16 on CIFAR-10",
    quantity="PFM8 with RESCALE minus endpoints' mean, test accuracy",
    rule=partial(superiority, margin=0.0),
    settings=("plain-vgg",),
    variants=("activations",),
    paper=(
        PaperValue("VGG16, PFM8 + RESCALE, above its endpoints by", 0.655),
        PaperValue("VGG16, PFM8 + RESCALE", 92.43, 0.23),
        PaperValue("VGG16, endpoint A", 91.88),
        PaperValue("VGG16, endpoint B", 91.67),
    ),
    refuted={
        (
            "digits",
            "plain-vgg",
            "activations",
        ): "96.6% with half of the layers kept, endpoints 97.8% (-1.2 [-1.8, "
        "-0.58] points, n = 8).",
    },
)


@PRESERVE_FIRST_SURPASSES_ENDPOINTS.test
def test_preserve_first_surpasses_endpoints(trial):
    pairs = trial.pairs()
    endpoints = [pair.endpoints() for pair in pairs]
    kept = [preserved(p, trial.variant, kept_of(p), "rescale") for p in pairs]
    trial.decide(
        [k.accuracy - e for k, e in zip(kept, endpoints, strict=True)],
        endpoints=endpoints,
        first_kept=[k.accuracy for k in kept],
        relative_size=[k.relative_size for k in kept],
    )


PERMUTE_FIRST_L = Claim(
    id="merging/permute-first-l",
    sentence="The midpoint's accuracy rises with the number of early layers that are "
    "permuted: none, a quarter, half, three quarters, all.",
    source="arXiv:2402.05966v4, permutation of the first l layers",
    quantity="rank correlation of the midpoint's test accuracy with the share of "
    "permuted groups, in the order of depth",
    rule=partial(trend, direction="increasing"),
    settings=("plain-vgg",),
    variants=METHODS,
    unit="",
    undecided={
        (
            "digits",
            "plain-vgg",
            "weights",
        ): "Six of eight midpoints stay at chance, however many layers are "
        "permuted (0.18 [-0.058, 0.42], n = 8).",
    },
)


@PERMUTE_FIRST_L.test
def test_permute_first_l(trial):
    pairs = trial.pairs()
    trial.decide_trend(
        {
            level: [permuted_first(pair, trial.variant, share) for pair in pairs]
            for level, share in SHARES.items()
        },
        x=list(SHARES.values()),
        x_label="share of the groups that are permuted, from the first",
        y_label="test accuracy of the midpoint",
    )


BIAS_REMOVAL_BACKWARD = Claim(
    id="merging/bias-removal-backward",
    sentence="Setting the biases of the last 5 of 14 layers to zero (or as large a "
    "share of fewer), without fine-tuning, raises the accuracy of the matched "
    "midpoint.",
    source="arXiv:2402.05966v4, section 4.3, VGG16 on CIFAR-10, WM",
    quantity="midpoint without the last biases minus midpoint, test accuracy",
    rule=partial(superiority, margin=0.0),
    settings=("plain-vgg",),
    variants=("weights",),
)


@BIAS_REMOVAL_BACKWARD.test
def test_bias_removal_backward(trial):
    pairs = trial.pairs()
    middle = [pair.midpoint(trial.variant).accuracy for pair in pairs]
    last = [without_biases(pair, trial.variant, few_of(pair), "last") for pair in pairs]
    # The paper finds RESCALE and bias calibration like it, and REPAIR below.
    beside = {
        name: [pair.midpoint(trial.variant, name.lower()).accuracy for pair in pairs]
        for name in ("RESCALE", "REPAIR")
    }
    trial.decide(
        [without - m for without, m in zip(last, middle, strict=True)],
        midpoint=middle,
        without_last=last,
        calibrated=[calibrated(pair, trial.variant) for pair in pairs],
        **beside,
    )


BIAS_REMOVAL_FORWARD = Claim(
    id="merging/bias-removal-forward",
    sentence="Setting the biases of the first 5 of 14 layers to zero (or as large a "
    "share of fewer) gives the matched midpoint a lower accuracy than setting those "
    "of as many last ones to zero.",
    source="arXiv:2402.05966v4, section 4.3, VGG16 on CIFAR-10, WM",
    quantity="midpoint without the last biases minus midpoint without the first ones, "
    "test accuracy",
    rule=partial(superiority, margin=0.0),
    settings=("plain-vgg",),
    variants=("weights",),
)


@BIAS_REMOVAL_FORWARD.test
def test_bias_removal_forward(trial):
    pairs = trial.pairs()
    last, first = (
        [without_biases(pair, trial.variant, few_of(pair), side) for pair in pairs]
        for side in ("last", "first")
    )
    trial.decide(
        [late - early for late, early in zip(last, first, strict=True)],
        without_last=last,
        without_first=first,
    )


def kept_of(pair):
    """Return how many convolutions are kept of both networks."""
    return round(KEPT * number_of(pair, nn.Conv2d))


def few_of(pair):
    """Return how many layers lose their bias."""
    return round(LAST * number_of(pair, nn.Conv2d | nn.Linear))


def number_of(pair, kind):
    """Return how many layers of a kind the networks have."""
    return sum(isinstance(module, kind) for module in pair.setting.model.modules())
