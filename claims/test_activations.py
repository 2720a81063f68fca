"""What a midpoint retains (arXiv 2402.05966, sections 4.1, 4.2, F.3).

Scales and dead units are those of the layers that are renormalized.
"""

from functools import partial
from math import log2

from claims.bench import METHODS
from claims.bench.features import (
    Fresh,
    at_endpoints,
    at_midpoint,
    dead_and_kept,
    in_network,
    recovery,
    relative_to_endpoints,
)
from claims.bench.recipes import differences
from claims.claim import Claim, PaperValue
from claims.decisions import equivalence, noninferiority, superiority, trend

PLAIN = ("plain-vgg", "plain-resnet")

REPAIRED = tuple(f"{m}-{repair}" for m in METHODS for repair in ("repair", "rescale"))
"""Variants: a method and a renormalization."""

SCALE = "arXiv:2402.05966v1, section 4.1, Fig. 4A, and appendix F.1, Fig. 29, 32"

SCALE_COLLAPSES = Claim(
    id="activations/scale-collapses",
    sentence="In the last renormalized layer of the unmatched midpoint the mean "
    "absolute pre-activation is below half of the endpoints'.",
    source=SCALE,
    quantity="share of the endpoints' mean absolute pre-activation that is lost, last "
    "renormalized layer",
    rule=partial(superiority, margin=0.5),
    settings=PLAIN,
    unit="",
)

SCALE_SHRINKS_WITH_DEPTH = Claim(
    id="activations/scale-shrinks-with-depth",
    sentence="At the unmatched midpoint the mean absolute pre-activation falls, in "
    "proportion to the endpoints', from layer to layer.",
    source=f"{SCALE} (variance collapse: arXiv:2211.08403)",
    quantity="rank correlation of depth and midpoint over endpoints, mean absolute "
    "pre-activation of the renormalized layers",
    rule=partial(trend, direction="decreasing"),
    settings=PLAIN,
    unit="",
)

MATCHING_RAISES_SCALE = Claim(
    id="activations/matching-raises-scale",
    sentence="In the last renormalized layer the mean absolute pre-activation of the "
    "matched midpoint is larger than that of the unmatched one.",
    source=SCALE,
    quantity="matched minus unmatched midpoint, mean absolute pre-activation over the "
    "endpoints'",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    variants=METHODS,
    unit="",
)

SCALE_RESTORED = Claim(
    id="activations/scale-restored",
    sentence="REPAIR and RESCALE bring the mean absolute pre-activation of the matched "
    "midpoint's last renormalized layer to the endpoints', within 25%.",
    source=SCALE,
    quantity="renormalized midpoint over endpoints minus 1, mean absolute "
    "pre-activation",
    rule=partial(equivalence, margin=0.25),
    settings=PLAIN,
    variants=REPAIRED,
    unit="",
)

SCALE_LIKE_RANDOM = Claim(
    id="activations/scale-like-random",
    sentence="In the last renormalized layer the mean absolute pre-activation of the "
    "unmatched midpoint is that of freshly initialized networks, within a factor of 2.",
    source="arXiv:2402.05966v1, appendix F.1, Fig. 31, 34",
    quantity="log2 of midpoint over initialization (mean of both seeds), mean absolute "
    "pre-activation",
    rule=partial(equivalence, margin=1.0),
    settings=PLAIN,
    unit="log2",
    refuted={
        (
            "digits",
            "plain-resnet",
            "",
        ): "Averaging shrinks the scale to a sixth of a fresh network's, which"
        " He initialization preserves through the layers (-2.5 [-2.7, -2.3]"
        " log2, n = 8).",
        (
            "digits",
            "plain-vgg",
            "",
        ): "Averaging shrinks the scale to a sixth of a fresh network's, which"
        " He initialization preserves through the layers (-2.5 [-2.7, -2.3]"
        " log2, n = 8).",
    },
)


@SCALE_COLLAPSES.test
def test_scale_collapses(trial):
    left = last_scales(trial.pairs(), "none")
    trial.decide([1 - share for share in left], midpoint_over_endpoints=left)


@SCALE_SHRINKS_WITH_DEPTH.test
def test_scale_shrinks_with_depth(trial):
    pairs = trial.pairs()
    found = [relative_to_endpoints(pair, "scale-before", "none") for pair in pairs]
    layers = pairs[0].setting.layers
    trial.decide_trend(
        {name: [layer[name] for layer in found] for name in layers},
        x_label="layer",
        y_label="scale of the midpoint over the endpoints'",
    )


@MATCHING_RAISES_SCALE.test
def test_matching_raises_scale(trial):
    pairs = trial.pairs()
    bare, matched = (last_scales(pairs, method) for method in ("none", trial.variant))
    trial.decide(differences(matched, bare), unmatched=bare, matched=matched)


@SCALE_RESTORED.test
def test_scale_restored(trial):
    method, repair = trial.variant.split("-")
    pairs = trial.pairs()
    bare, restored = (last_scales(pairs, method, how) for how in ("", repair))
    trial.decide([r - 1 for r in restored], matched=bare, renormalized=restored)


@SCALE_LIKE_RANDOM.test
def test_scale_like_random(trial):
    middle, fresh, ends = [], [], []
    for pair in trial.pairs():
        last = pair.setting.layers[-1]
        middle.append(at_midpoint(pair, "scale-before", "none")[last])
        ends.append(at_endpoints(pair, "scale-before")[last])
        both = (Fresh(pair.setting, network.seed) for network in (pair.a, pair.b))
        fresh.append(sum(in_network(one, "scale-before")[last] for one in both) / 2)
    ratios = [log2(m / f) for m, f in zip(middle, fresh, strict=True)]
    trial.decide(ratios, endpoints=ends, midpoint=middle, initialization=fresh)


def last_scales(pairs, method, repair=""):
    """Return each pair's scale in the last renormalized layer, over the endpoints'."""
    return [
        relative_to_endpoints(pair, "scale-before", method, repair)[
            pair.setting.layers[-1]
        ]
        for pair in pairs
    ]


REVIVED = 0.1
"""Share of the dead units that rescaling may revive: "unaffected", but for a few."""

MATCHING_SPARES_UNITS = Claim(
    id="activations/dead-units",
    sentence="In the first half of the layers unmatched midpoints have more units that "
    "are zero on every training image than matched ones.",
    source="arXiv:2402.05966v1, section 4.2",
    quantity="unmatched minus matched midpoint, dead units of a layer, averaged over "
    "the first half of the renormalized layers",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    variants=METHODS,
    unit="% of units",
    undecided={
        (
            "digits",
            "plain-resnet",
            "activations",
        ): "Under 5% of the units are dead, matched or not (-1.3 [-3.7, 1.1] %"
        " of units, n = 8).",
        (
            "digits",
            "plain-resnet",
            "weights",
        ): "Under 5% of the units are dead, matched or not (-0.26 [-2.3, 1.7] "
        "% of units, n = 8).",
        (
            "digits",
            "plain-vgg",
            "activations",
        ): "Under 5% of the units are dead, matched or not (-0.65 [-1.6, 0.26]"
        " % of units, n = 8).",
        (
            "digits",
            "plain-vgg",
            "weights",
        ): "Under 5% of the units are dead, matched or not (-0.39 [-1.3, 0.52]"
        " % of units, n = 8).",
    },
)

RESCALING_DOES_NOT_REVIVE = Claim(
    id="activations/dead-units-stay-dead",
    sentence="Of the units in the first half of the layers that are zero on every "
    "training image at the unmatched midpoint, RESCALE revives fewer than a tenth.",
    source="arXiv:2402.05966v1, section 4.2",
    quantity="units that stay dead after RESCALE minus 0.9 of the dead ones, averaged "
    "over the first half of the renormalized layers",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    unit="% of units",
    undecided={
        (
            "digits",
            "plain-resnet",
            "",
        ): "Too few units are dead at all (-0.14 [-0.6, 0.31] % of units, n = 8).",
        (
            "digits",
            "plain-vgg",
            "",
        ): "Too few units are dead at all (-0.14 [-0.42, 0.13] % of units, n = 8).",
    },
)

MATCHING_SPARES_ACTIVATIONS = Claim(
    id="activations/zero-activations",
    sentence="In the first half of the layers a larger share of the unmatched "
    "midpoint's activations is zero than of the matched one's.",
    source="arXiv:2402.05966v1, appendix F.3, Fig. 43",
    quantity="unmatched minus matched midpoint, zeros among the activations, averaged "
    "over the first half of the renormalized layers",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    variants=METHODS,
    undecided={
        (
            "digits",
            "plain-resnet",
            "activations",
        ): "Matching changes the share of zeros by half a point (0.32 [-0.57, "
        "1.2] points, n = 8).",
    },
)


@MATCHING_SPARES_UNITS.test
def test_dead_units(trial):
    matching_lowers_early(trial, "dead")


@RESCALING_DOES_NOT_REVIVE.test
def test_dead_units_stay_dead(trial):
    found = [
        dead_and_kept(pair, "none", "rescale", first_half(pair))
        for pair in trial.pairs()
    ]
    dead, kept = zip(*found, strict=True)
    excess = [k - (1 - REVIVED) * d for d, k in found]
    trial.decide(excess, dead=dead, dead_after_RESCALE=kept)


@MATCHING_SPARES_ACTIVATIONS.test
def test_zero_activations(trial):
    matching_lowers_early(trial, "zeros")


def matching_lowers_early(trial, measure):
    """Decide on how much lower a percentage is in the first half, after matching."""
    pairs = trial.pairs()
    unmatched, matched = (
        [
            100 * mean_over(at_midpoint(pair, measure, method), first_half(pair))
            for pair in pairs
        ]
        for method in ("none", trial.variant)
    )
    ends = [
        100 * mean_over(at_endpoints(pair, measure), first_half(pair)) for pair in pairs
    ]
    trial.decide(
        differences(unmatched, matched),
        endpoints=ends,
        unmatched=unmatched,
        matched=matched,
    )


def first_half(pair):
    """Return the first half of the renormalized layers; a middle one is left out."""
    layers = pair.setting.layers
    return layers[: len(layers) // 2]


def mean_over(found, layers):
    """Return the mean over some layers of what was found in each."""
    return sum(found[name] for name in layers) / len(layers)


MAGNITUDE_RETAINED = Claim(
    id="activations/magnitude-retained",
    sentence="The mean parameter magnitude of a layer falls less from the endpoints to "
    "the midpoint after matching than without.",
    source="arXiv:2402.05966v1, section 4.2, Fig. 4D, and appendix F.3, Fig. 43",
    quantity="matched minus unmatched midpoint, mean absolute parameter over the "
    "endpoints', averaged over layers",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    variants=METHODS,
    unit="",
)


@MAGNITUDE_RETAINED.test
def test_magnitude_retained(trial):
    unmatched, matched = [], []
    for pair in trial.pairs():
        for method, values in (("none", unmatched), (trial.variant, matched)):
            found = relative_to_endpoints(pair, "magnitude", method)
            values.append(mean_over(found, list(found)))
    gain = differences(matched, unmatched)
    trial.decide(gain, unmatched=unmatched, matched=matched)


FISHER_RETAINED = Claim(
    id="activations/fisher-retained",
    sentence="A layer's mean diagonal Fisher information is larger at the matched "
    "midpoint than at the unmatched one, on average over layers.",
    source="arXiv:2402.05966v1, appendix F.3, Fig. 42",
    quantity="difference of matched and unmatched midpoint over their sum, mean "
    "diagonal Fisher information of a layer (labels of 256 training images), averaged "
    "over layers",
    rule=partial(superiority, margin=0.0),
    settings=PLAIN,
    variants=METHODS,
    unit="",
)


@FISHER_RETAINED.test
def test_fisher_retained(trial):
    gains, columns = [], {"endpoints": [], "unmatched": [], "matched": []}
    for pair in trial.pairs():
        unmatched, matched = (
            at_midpoint(pair, "fisher", method) for method in ("none", trial.variant)
        )
        # Bounded, so that no layer outweighs the others: layers differ by powers of
        # ten, and behind dead layers the information is exactly zero.
        gain = {
            name: (matched[name] - value) / ((matched[name] + value) or 1.0)
            for name, value in unmatched.items()
        }
        gains.append(mean_over(gain, list(gain)))
        ends = at_endpoints(pair, "fisher")
        for values, found in zip(
            columns.values(), (ends, unmatched, matched), strict=True
        ):
            values.append(mean_over(found, list(found)))
    trial.decide(gains, **columns)


PAIRS = 4
"""Of which midpoints are retrained."""

RECOVERY = {
    "source": "arXiv:2402.05966v1, section 4.2, Fig. 4C, and appendix F.3, Fig. 36-41",
    "settings": (*PLAIN, "bn-vgg", "bn-resnet"),
    "variants": METHODS,
    "networks": 2 * PAIRS,
}

STEPS = (
    "mini-batches to 90% training accuracy at lr 0.01, scored every 10; where it is "
    "not reached within 30 epochs, the steps of these"
)

STEPS_PAPER = (
    PaperValue("VGG16, WM midpoint, about", 60.0, None, "plain-vgg", "weights"),
    PaperValue("VGG16, WM or AM midpoint, at most", 100.0, None, "plain-vgg"),
    PaperValue("VGG16, unmatched midpoint, about", 3100.0, None, "plain-vgg"),
    PaperValue("VGG16, fresh network, more than", 6250.0, None, "plain-vgg"),
)

FAST_RECOVERY = Claim(
    **RECOVERY,
    id="activations/fast-recovery",
    sentence="Retrained, the matched midpoint reaches 90% training accuracy in less "
    "than half the steps of the unmatched midpoint.",
    quantity=f"half of the unmatched midpoint's minus the matched one's: {STEPS}",
    rule=partial(superiority, margin=0.0),
    unit="steps",
    paper=STEPS_PAPER,
    refuted={
        (
            "digits",
            "bn-resnet",
            "activations",
        ): "BatchNorm midpoints recover without matching too, 20 to 25 steps "
        "against 20 to 28: an epoch has 11 (-7.5 [-13, -1.6] steps, n = 4).",
        (
            "digits",
            "bn-resnet",
            "weights",
        ): "BatchNorm midpoints recover without matching too, 20 to 25 steps "
        "against 20 to 28: an epoch has 11 (-10 [-10, -10] steps, n = 4).",
        (
            "digits",
            "bn-vgg",
            "activations",
        ): "BatchNorm midpoints recover without matching too, 20 to 25 steps "
        "against 20 to 28: an epoch has 11 (-6.2 [-9.2, -3.3] steps, n = "
        "4).",
        (
            "digits",
            "bn-vgg",
            "weights",
        ): "BatchNorm midpoints recover without matching too, 20 to 25 steps "
        "against 20 to 28: an epoch has 11 (-11 [-17, -5.6] steps, n = 4).",
    },
    undecided={
        (
            "digits",
            "plain-resnet",
            "weights",
        ): "20 steps against 48 (3.8 [-1.9, 9.4] steps, n = 4).",
    },
)

FASTER_THAN_FRESH = Claim(
    **RECOVERY,
    id="activations/recovers-faster-than-fresh",
    sentence="Retrained, the matched midpoint reaches 90% training accuracy in fewer "
    "steps than a freshly initialized network.",
    quantity=f"fresh network's minus the matched midpoint's: {STEPS}",
    rule=partial(superiority, margin=0.0),
    unit="steps",
    paper=STEPS_PAPER,
    undecided={
        (
            "digits",
            "bn-vgg",
            "weights",
        ): "25 steps against 30, counted by fives (5 [-1.8, 12] steps, n = 4).",
    },
)

RECOVERY_GENERALIZES = Claim(
    **RECOVERY,
    id="activations/recovery-generalizes",
    sentence="Retrained to 90% training accuracy, the matched midpoint has no lower "
    "test accuracy than the better of unmatched midpoint and fresh network, by 3 "
    "points or more.",
    quantity="matched minus the better of unmatched and fresh, test accuracy when 90% "
    "training accuracy is reached, or after 30 epochs",
    rule=partial(noninferiority, margin=3.0),
    undecided={
        (
            "digits",
            "bn-resnet",
            "activations",
        ): "Networks that have just come back to 90% scatter by 5 points (1.1 "
        "[-4.7, 6.9] points, n = 4).",
        (
            "digits",
            "bn-vgg",
            "activations",
        ): "Networks that have just come back to 90% scatter by 5 points (-2.2"
        " [-6.7, 2.3] points, n = 4).",
        (
            "digits",
            "bn-vgg",
            "weights",
        ): "Networks that have just come back to 90% scatter by 5 points (-1.6"
        " [-6.1, 2.9] points, n = 4).",
        (
            "digits",
            "plain-resnet",
            "weights",
        ): "Networks that have just come back to 90% scatter by 5 points "
        "(-0.76 [-3.3, 1.8] points, n = 4).",
        (
            "digits",
            "plain-vgg",
            "activations",
        ): "Networks that have just come back to 90% scatter by 5 points (-2.3"
        " [-7.9, 3.3] points, n = 4).",
        (
            "digits",
            "plain-vgg",
            "weights",
        ): "Networks that have just come back to 90% scatter by 5 points (-3.4"
        " [-7.9, 1.1] points, n = 4).",
    },
)


@FAST_RECOVERY.test
def test_fast_recovery(trial):
    steps = {start: [found.steps for found in arm] for start, arm in recoveries(trial)}
    lead = [
        u / 2 - m for u, m in zip(steps["unmatched"], steps["matched"], strict=True)
    ]
    trial.decide(lead, **steps)


@FASTER_THAN_FRESH.test
def test_recovers_faster_than_fresh(trial):
    steps = {start: [found.steps for found in arm] for start, arm in recoveries(trial)}
    trial.decide(differences(steps["fresh"], steps["matched"]), **steps)


@RECOVERY_GENERALIZES.test
def test_recovery_generalizes(trial):
    tests = {start: [found.test for found in arm] for start, arm in recoveries(trial)}
    others = map(max, tests["unmatched"], tests["fresh"])
    trial.decide(differences(tests["matched"], list(others)), **tests)


def recoveries(trial):
    """Return how each start was retrained, pair by pair, with the start's name."""
    pairs = trial.pairs()
    starts = {"matched": trial.variant, "unmatched": "none", "fresh": "fresh"}
    return [
        (name, [recovery(pair, start) for pair in pairs])
        for name, start in starts.items()
    ]
