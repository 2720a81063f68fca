"""What biases do to the barrier (arXiv 2402.05966, sections 3.4, E.4)."""

from functools import partial

from claims.bench import METHODS, loss_curves
from claims.claim import Claim, PaperValue
from claims.decisions import equivalence, noninferiority, superiority

PAPER = tuple(
    PaperValue("VGG16, barrier 79.19 to 8.54", 70.65, None, vgg, "weights")
    for vgg in ("debiased-vgg", "nobias-vgg")
) + tuple(
    PaperValue("VGG16, barrier 46.49 to 8.71", 37.78, None, vgg, "activations")
    for vgg in ("debiased-vgg", "nobias-vgg")
)


def with_biases(setting):
    """Return the setting with biases that a setting without them belongs to."""
    return "plain-" + setting.partition("-")[2]


def both(place):
    """Return the setting of a place, and that with biases."""
    return place.setting, with_biases(place.setting)


REMOVING_BIASES = Claim(
    id="biases/removing-biases",
    sentence="Removing the biases of trained networks and fine-tuning lowers the "
    "accuracy barrier after matching, with the permutation found before.",
    source="arXiv:2402.05966v1, section 3.4, Fig. 3C, and appendix E.4",
    quantity="barrier with biases minus barrier without, test accuracy at the midpoint",
    rule=partial(superiority, margin=0.0),
    settings=("debiased-vgg", "debiased-resnet"),
    variants=METHODS,
    uses=both,
    paper=PAPER,
)


@REMOVING_BIASES.test
def test_removing_biases(trial):
    parents, children = trial.pairs(with_biases(trial.setting)), trial.pairs()
    before = [pair.barrier(trial.variant) for pair in parents]
    after = [
        child.barrier(trial.variant, found_on=parent)
        for parent, child in zip(parents, children, strict=True)
    ]
    fall = [b - a for b, a in zip(before, after, strict=True)]
    trial.decide(fall, with_biases=before, without=after)


TRAINED_WITHOUT_BIASES = Claim(
    id="biases/trained-without-biases",
    sentence="Networks trained without biases have a lower accuracy barrier after "
    "matching than networks trained with them.",
    source="arXiv:2402.05966v1, section 3.4, Fig. 3D",
    quantity="barrier with biases minus barrier without, test accuracy at the midpoint",
    rule=partial(superiority, margin=0.0),
    settings=("nobias-vgg", "nobias-resnet"),
    variants=METHODS,
    uses=both,
    paper=PAPER,
    undecided={
        (
            "digits",
            "nobias-resnet",
            "activations",
        ): "Three blocks: the barrier is 14 (activations) or 51 points "
        "(weights) with biases and 11 or 42 without (2.7 [-2.1, 7.4] "
        "points, n = 8).",
        (
            "digits",
            "nobias-resnet",
            "weights",
        ): "Three blocks: the barrier is 14 (activations) or 51 points "
        "(weights) with biases and 11 or 42 without (9.7 [-1.7, 21] points,"
        " n = 8).",
    },
)


@TRAINED_WITHOUT_BIASES.test
def test_trained_without_biases(trial):
    parents = trial.pairs(with_biases(trial.setting))
    before = [pair.barrier(trial.variant) for pair in parents]
    after = [pair.barrier(trial.variant) for pair in trial.pairs()]
    fall = [b - a for b, a in zip(before, after, strict=True)]
    trial.decide(fall, with_biases=before, without=after)


NEW_PERMUTATION_SAME = Claim(
    id="biases/new-permutation-same",
    sentence="After removing biases, a permutation found anew is not better than the "
    "one found before by 3 points or more.",
    source="arXiv:2402.05966v1, section 3.4, and appendix E.4, Fig. 18, 20",
    quantity="with the parents' permutation minus with a new one, test accuracy at the "
    "midpoint",
    rule=partial(noninferiority, margin=3.0),
    settings=("debiased-vgg", "debiased-resnet"),
    variants=METHODS,
    uses=both,
    undecided={
        (
            "digits",
            "debiased-resnet",
            "activations",
        ): "Midpoints by two permutations scatter by more than the margin (-3 "
        "[-7, 1.1] points, n = 8).",
        (
            "digits",
            "debiased-resnet",
            "weights",
        ): "Midpoints by two permutations scatter by more than the margin "
        "(-0.72 [-6.7, 5.2] points, n = 8).",
        (
            "digits",
            "debiased-vgg",
            "weights",
        ): "Midpoints by two permutations scatter by more than the margin "
        "(0.44 [-6, 6.9] points, n = 8).",
        (
            "cifar10",
            "debiased-vgg",
            "weights",
        ): "50.5% by the permutation found before and 52.6% by a new one; "
        "pairs scatter by 5 (-2.2 [-6.5, 2.2] points, n = 6).",
    },
)


@NEW_PERMUTATION_SAME.test
def test_new_permutation_same(trial):
    parents, children = trial.pairs(with_biases(trial.setting)), trial.pairs()
    before = [
        child.midpoint(trial.variant, found_on=parent).accuracy
        for parent, child in zip(parents, children, strict=True)
    ]
    anew = [child.midpoint(trial.variant).accuracy for child in children]
    lost = [b - a for b, a in zip(before, anew, strict=True)]
    trial.decide(lost, found_before=before, found_anew=anew)


LOSS_BARRIER_REMAINS = Claim(
    id="biases/loss-barrier-remains",
    sentence="Without biases more than half of the loss barrier remains.",
    source="arXiv:2402.05966v1, appendix E.4, Fig. 17-24",
    quantity="loss barrier without biases minus half of that with them, at lambda 0.5",
    rule=partial(superiority, margin=0.0),
    settings=("debiased-vgg", "debiased-resnet", "nobias-vgg", "nobias-resnet"),
    variants=METHODS,
    uses=both,
    unit="nats",
)


@LOSS_BARRIER_REMAINS.test
def test_loss_barrier_remains(trial):
    parents, children = trial.pairs(with_biases(trial.setting)), trial.pairs()
    before = [pair.loss_barrier(trial.variant) for pair in parents]
    after = [pair.loss_barrier(trial.variant) for pair in children]
    rest = [a - b / 2 for b, a in zip(before, after, strict=True)]
    curves = loss_curves(children, trial.variant)
    trial.decide(rest, with_biases=before, without=after, curves=curves)


LIKE_RENORMALIZATION = Claim(
    id="biases/like-renormalization",
    sentence="Removing biases lowers the barrier as RESCALE (VGG) or REPAIR (plain "
    "ResNet) does, within 10 points.",
    source="arXiv:2402.05966v1, appendix E.4, Fig. 25, 26",
    quantity="barrier without biases minus barrier with them after renormalization, "
    "test accuracy at the midpoint",
    rule=partial(equivalence, margin=10.0),
    settings=("debiased-vgg", "debiased-resnet"),
    variants=METHODS,
    uses=both,
    refuted={
        (
            "digits",
            "debiased-resnet",
            "weights",
        ): "The barrier is 45 points without biases and 28 after REPAIR (17 "
        "[12, 23] points, n = 8).",
    },
)


@LIKE_RENORMALIZATION.test
def test_like_renormalization(trial):
    parents, children = trial.pairs(with_biases(trial.setting)), trial.pairs()
    repair = "rescale" if trial.setting.endswith("vgg") else "repair"
    repaired = [parent.barrier(trial.variant, repair) for parent in parents]
    removed = [
        child.barrier(trial.variant, found_on=parent)
        for parent, child in zip(parents, children, strict=True)
    ]
    difference = [b - r for b, r in zip(removed, repaired, strict=True)]
    trial.decide(difference, renormalized=repaired, without_biases=removed)


HOMOGENEOUS = {
    "source": "arXiv:2402.05966v1, appendix E.5, Fig. 27, 28; arXiv:2210.01019, sec. 5",
    "settings": ("plain-vgg",),
    "variants": METHODS,
}

HOMOGENEOUS_ACCURACY = Claim(
    **HOMOGENEOUS,
    id="biases/homogeneous-interpolation",
    sentence="Homogeneous interpolation lowers the accuracy barrier after matching.",
    quantity="homogeneous minus linear midpoint, test accuracy",
    rule=partial(superiority, margin=0.0),
    paper=(
        PaperValue("VGG16, WM, homogeneous (one pair)", 83.78, None, "", "weights"),
        PaperValue("VGG16, WM, linear (one pair)", 10.54, None, "", "weights"),
    ),
)

HOMOGENEOUS_LOSS = Claim(
    **HOMOGENEOUS,
    id="biases/homogeneous-interpolation-loss",
    sentence="Homogeneous interpolation leaves more than half of the loss barrier "
    "after matching.",
    quantity="homogeneous loss barrier minus half of the linear one, at the midpoint",
    rule=partial(superiority, margin=0.0),
    unit="nats",
    paper=(
        PaperValue("VGG16, WM, homogeneous loss (one pair)", 2.28, None, "", "weights"),
        PaperValue("VGG16, WM, linear loss (one pair)", 2.62, None, "", "weights"),
    ),
)


@HOMOGENEOUS_ACCURACY.test
def test_homogeneous_interpolation(trial):
    linear, homogeneous = middles(trial, "accuracy")
    gain = [h - x for x, h in zip(linear, homogeneous, strict=True)]
    trial.decide(gain, linear=linear, homogeneous=homogeneous)


@HOMOGENEOUS_LOSS.test
def test_homogeneous_interpolation_loss(trial):
    ends = [pair.endpoint_loss() for pair in trial.pairs()]
    linear, homogeneous = middles(trial, "loss")
    rest = [
        (h - e) - (x - e) / 2 for e, x, h in zip(ends, linear, homogeneous, strict=True)
    ]
    trial.decide(rest, endpoints=ends, linear=linear, homogeneous=homogeneous)


def middles(trial, what):
    """Return the middles of the linear and of the homogeneous curves of all pairs."""
    return [
        [
            getattr(pair.curve(trial.variant, homogeneous=homogeneous), what)[5]
            for pair in trial.pairs()
        ]
        for homogeneous in (False, True)
    ]
