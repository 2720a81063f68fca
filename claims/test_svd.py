"""Why weight matching connects: singular vectors (arXiv 2402.04051).

Only the paper's abstract, introduction and reviews could be read; its figures that are
marked (2nd) come from a secondary review.  Its settings are an MLP with three hidden
layers, VGG11 and ResNet20; here ``deep-mlp``, ``plain-vgg`` and ``plain-resnet``.  The
last two keep a barrier at this size: of them is claimed what the paper says of singular
values and vectors, not that they are connected.

R is the alignment of the singular vectors of A and the permuted B; it counts triples
with values above gamma (0 or 0.3) times their layer's largest.
"""

from functools import partial

from claims.bench import accuracy_curves
from claims.bench.expansion import predicted_loss
from claims.bench.recipes import differences, endpoints
from claims.bench.singular import (
    aligned,
    alignment_curves,
    correlations,
    large_directions,
    relative_distance,
    spectral_difference,
    third_barriers,
)
from claims.bench.top_tail import top_against_tail
from claims.claim import Claim, PaperValue
from claims.decisions import equivalence, noninferiority, superiority, trend
from fixtures.scales import MLP_DECAYS, MLP_WIDTHS, WEIGHT_DECAYS

PAPER = "arXiv:2402.04051"
"""Sections are not known but where they are given."""

TRIO = ("deep-mlp", "plain-vgg", "plain-resnet")
"""The paper's three architectures."""

SEARCHES = ("ste", "ste-from-b")
"""The straight-through search from weight matching's permutation, and from none."""

FEW = 4
"""Pairs or tuples where a search takes a minute, or a claim sweeps levels."""


def level(width=256, decay=0.0):
    """Return the name of ``deep-mlp`` of a width, with a weight decay."""
    suffix = f"-{width}" if width != 256 else f"-wd{decay:g}" if decay else ""
    return f"deep-mlp{suffix}"


WIDTHS = {
    "deep-mlp": {f"width {width}": level(width) for width in MLP_WIDTHS},
    **{
        net: {"half": f"{net}-half", "whole": net, "double": f"{net}-double"}
        for net in ("plain-vgg", "plain-resnet")
    },
}
"""From narrow to wide, for each setting."""

DECAYS = {
    "deep-mlp": {f"decay {decay:g}": level(decay=decay) for decay in MLP_DECAYS},
    "plain-vgg": {f"wd {number}": f"plain-vgg-wd{number}" for number in WEIGHT_DECAYS},
}
"""From small to large weight decay, for each setting."""

MLP_LEVELS = tuple(
    dict.fromkeys([*WIDTHS["deep-mlp"].values(), *DECAYS["deep-mlp"].values()])
)
"""The six MLPs over which alignment and barrier are compared."""


# That there is something to explain, and what does not explain it

BARRIER_VANISHES = Claim(
    id="svd/barrier-vanishes",
    sentence="After weight matching the midpoint of MLPs with three hidden layers is "
    "at most 5 points of accuracy below the endpoints.",
    source=f"{PAPER}, the premise",
    quantity="midpoint minus endpoints' mean, test accuracy",
    rule=partial(noninferiority, margin=5.0),
    settings=("deep-mlp", "deep-mlp-512"),
)


@BARRIER_VANISHES.test
def test_barrier_vanishes(trial):
    short_of_endpoints(trial, trial.pairs(), "weights")


DISTANCE_IS_NOT_THE_REASON = Claim(
    id="svd/distance-is-not-the-reason",
    sentence="Weight matching lowers the L2 distance between MLPs by less than 20%, "
    "though their barrier vanishes.",
    source=f"{PAPER}, abstract and introduction",
    quantity="20 minus the share of the distance that matching removes, in percent",
    rule=partial(superiority, margin=0.0),
    settings=("deep-mlp", "deep-mlp-512", "mlp"),
    unit="%",
    paper=(
        PaperValue("at most 20% removed: 20 - 20", 0.0),
        PaperValue("at least 6% removed (2nd): 20 - 6", 14.0),
    ),
)


@DISTANCE_IS_NOT_THE_REASON.test
def test_distance_is_not_the_reason(trial):
    pairs = trial.pairs()
    original = [pair.distance("none") for pair in pairs]
    matched = [pair.distance("weights") for pair in pairs]
    removed = [100 * (1 - m / o) for o, m in zip(original, matched, strict=True)]
    trial.decide(
        [20 - share for share in removed],
        original=original,
        matched=matched,
        barrier=[pair.barrier("weights") for pair in pairs],
    )


TAYLOR_FAILS = Claim(
    id="svd/taylor-fails",
    sentence="A second-order expansion of the training loss around the endpoints "
    "misses the loss of the matched midpoint by more than half of it.",
    source=f"{PAPER}, introduction",
    quantity="|predicted - true| / true, of the midpoint's training loss, by the mean "
    "of the expansions at A and at the matched B",
    rule=partial(superiority, margin=0.5),
    settings=("deep-mlp", "mlp", "plain-vgg"),
    unit="",
    refuted={
        (
            "digits",
            "deep-mlp",
            "",
        ): "The expansion gives 0.013 nats where the midpoint has 0.019: it "
        "misses by less than a third (0.31 [0.24, 0.38], n = 8).",
        (
            "mnist",
            "deep-mlp",
            "",
        ): "The expansion gives 0.108 nats where the midpoint has 0.081: it "
        "misses by a third (0.33 [0.28, 0.37], n = 4).",
        (
            "mnist",
            "mlp",
            "",
        ): "The expansion gives 0.036 nats where the midpoint has 0.039 (0.081"
        " [-0.00079, 0.16], n = 4).",
    },
)


@TAYLOR_FAILS.test
def test_taylor_fails(trial):
    pairs = trial.pairs()
    predicted = [predicted_loss(pair, "weights") for pair in pairs]
    true = [pair.midpoint("weights", split="train").loss for pair in pairs]
    missed = [abs(p - t) / t for p, t in zip(predicted, true, strict=True)]
    trial.decide(missed, predicted=predicted, true=true)


# What matching aligns

SPECTRA_EQUAL = Claim(
    id="svd/spectra-equal",
    sentence="The singular values of independent networks differ by less than 10%, "
    "over all layers but the last.",
    source=f"{PAPER}, Fig. 1",
    quantity="10 minus the L2 difference of the singular values relative to their root "
    "mean square norm, in percent",
    rule=partial(superiority, margin=0.0),
    settings=TRIO,
    unit="%",
)


@SPECTRA_EQUAL.test
def test_spectra_equal(trial):
    found = [spectral_difference(pair) for pair in trial.pairs()]
    hidden, output = zip(*found, strict=True)
    trial.decide([10 - h for h in hidden], difference=hidden, output_layer=output)


WM_ALIGNS_LARGE = Claim(
    id="svd/wm-aligns-large",
    sentence="After weight matching R of the large singular triples (gamma 0.3) is "
    "above R of all (gamma 0).",
    source=PAPER,
    quantity="R(0.3) minus R(0) after weight matching",
    rule=partial(superiority, margin=0.0),
    settings=TRIO,
    unit="",
    paper=(
        PaperValue("R(0.3), MLP (2nd)", 0.8, None, "deep-mlp"),
        PaperValue("R(0.3), VGG11 (2nd)", 0.2, None, "plain-vgg"),
        PaperValue("R(0.3), ResNet20 (2nd)", 0.2, None, "plain-resnet"),
    ),
    refuted={
        (
            "digits",
            "plain-resnet",
            "",
        ): "Larger triples are aligned more, as the curve over their rank "
        "shows, but with many triples of B: R at 0.3 counts B's large ones "
        "only, and R is 0.12 to 0.13 at both gammas (-0.0023 [-0.0032, "
        "-0.0015], n = 8).",
        (
            "digits",
            "plain-vgg",
            "",
        ): "Larger triples are aligned more, as the curve over their rank "
        "shows, but with many triples of B: R at 0.3 counts B's large ones "
        "only, and R is 0.12 to 0.13 at both gammas (-0.0015 [-0.0021, "
        "-0.00084], n = 8).",
    },
)

WM_ALIGNS = Claim(
    id="svd/wm-aligns",
    sentence="Weight matching raises R of all singular triples (gamma 0) by more than "
    "0.1.",
    source=PAPER,
    quantity="R(0) after weight matching minus R(0) without permutation",
    rule=partial(superiority, margin=0.1),
    settings=TRIO,
    unit="",
    refuted={
        (
            "mnist",
            "deep-mlp",
            "",
        ): "By 0.095, from zero: just below the margin (0.095 [0.094, 0.096], n = 4).",
    },
)

UNMATCHED_NOT_ALIGNED = Claim(
    id="svd/unmatched-not-aligned",
    sentence="Without permutation R is zero within 0.05.",
    source=PAPER,
    quantity="R without permutation, at gamma 0 and 0.3",
    rule=partial(equivalence, margin=0.05),
    settings=TRIO,
    variants=("0", "0.3"),
    unit="",
)


@WM_ALIGNS_LARGE.test
def test_wm_aligns_large(trial):
    pairs = trial.pairs()
    all_of_them, large = (alignments(pairs, "weights", gamma) for gamma in (0.0, 0.3))
    trial.decide(
        differences(large, all_of_them),
        R_all=all_of_them,
        R_large=large,
        curves=alignment_curves(pairs, "none", "weights"),
    )


@WM_ALIGNS.test
def test_wm_aligns(trial):
    pairs = trial.pairs()
    bare, matched = (alignments(pairs, m, 0.0) for m in ("none", "weights"))
    trial.decide(differences(matched, bare), R_bare=bare, R_matched=matched)


@UNMATCHED_NOT_ALIGNED.test
def test_unmatched_not_aligned(trial):
    trial.decide(alignments(trial.pairs(), "none", float(trial.variant)))


INPUTS_USE_LARGE = Claim(
    id="svd/inputs-use-large",
    sentence="More than half of the energy of hidden layers' inputs lies along right "
    "singular vectors with values above 0.3 of the largest.",
    source=f"{PAPER}, Fig. 4",
    quantity="share of the inputs' mean square along these vectors, mean over the "
    "hidden layers behind the first, training set",
    rule=partial(superiority, margin=50.0),
    settings=TRIO,
    unit="%",
    refuted={
        (
            "digits",
            "plain-resnet",
            "",
        ): "Large directions, a seventh (VGG) or a third (ResNet) of the "
        "dimensions, hold more than their part of the energy, and less than"
        " half (45 [45, 46] %, n = 16).",
        (
            "digits",
            "plain-vgg",
            "",
        ): "Large directions, a seventh (VGG) or a third (ResNet) of the "
        "dimensions, hold more than their part of the energy, and less than"
        " half (33 [32, 33] %, n = 16).",
    },
)

INPUTS_USE_LARGE_BEYOND_COUNT = Claim(
    id="svd/inputs-use-large-beyond-count",
    sentence="That share of the energy is larger, by more than 10 points, than the "
    "share of these vectors among the dimensions of the inputs.",
    source=f"{PAPER}, Fig. 4",
    quantity="share of the inputs' mean square minus share of the dimensions, mean "
    "over the hidden layers behind the first",
    rule=partial(superiority, margin=10.0),
    settings=TRIO,
)


@INPUTS_USE_LARGE.test
def test_inputs_use_large(trial):
    energy, count = energies(trial)
    trial.decide(energy, dimensions=count)


@INPUTS_USE_LARGE_BEYOND_COUNT.test
def test_inputs_use_large_beyond_count(trial):
    energy, count = energies(trial)
    trial.decide(differences(energy, count), energy=energy, dimensions=count)


def energies(trial):
    """Return the shares of energy and of dimensions of all networks."""
    found = [large_directions(network) for network in trial.networks()]
    return tuple(zip(*found, strict=True))


# Other searches

AM_SAME_PRINCIPLE = Claim(
    id="svd/am-same-principle",
    sentence="Activation matching aligns the large singular vectors as weight matching "
    "does: R(0.3) is the same within 0.1.",
    source=f"{PAPER}, section 5",
    quantity="R(0.3) after activation matching minus after weight matching",
    rule=partial(equivalence, margin=0.1),
    settings=TRIO,
    unit="",
)

AM_SAME_BARRIER = Claim(
    id="svd/am-same-barrier",
    sentence="Activation matching leaves the same barrier as weight matching, within 5 "
    "points of accuracy.",
    source=f"{PAPER}, section 5",
    quantity="barrier at the midpoint after activation matching minus after weight "
    "matching, test accuracy",
    rule=partial(equivalence, margin=5.0),
    settings=("deep-mlp",),
)


@AM_SAME_PRINCIPLE.test
def test_am_same_principle(trial):
    pairs = trial.pairs()
    found = {m: alignments(pairs, m) for m in ("activations", "weights")}
    trial.decide(differences(*found.values()), **found)


@AM_SAME_BARRIER.test
def test_am_same_barrier(trial):
    pairs = trial.pairs()
    found = {m: [pair.barrier(m) for pair in pairs] for m in ("activations", "weights")}
    trial.decide(differences(*found.values()), **found)


STE_LOW_BARRIER = Claim(
    id="svd/ste-low-barrier",
    sentence="After a straight-through search the midpoint is at most 5 points of "
    "accuracy below the endpoints.",
    source=PAPER,
    quantity="midpoint minus endpoints' mean, test accuracy",
    rule=partial(noninferiority, margin=5.0),
    settings=("deep-mlp",),
    variants=SEARCHES,
    networks=2 * FEW,
)

STE_WITHOUT_ALIGNMENT = Claim(
    id="svd/ste-without-alignment",
    sentence="A straight-through search does not align the large singular vectors: "
    "R(0.3) is zero within 0.1.",
    source=PAPER,
    quantity="R(0.3) after the search",
    rule=partial(equivalence, margin=0.1),
    settings=("deep-mlp",),
    variants=SEARCHES,
    networks=2 * FEW,
    unit="",
    refuted={
        (
            "digits",
            "deep-mlp",
            "ste",
        ): "The search starts at weight matching's permutation, whose R is "
        "0.23, and stays near it (0.22 [0.22, 0.22], n = 4).",
        (
            "mnist",
            "deep-mlp",
            "ste",
        ): "The search starts at weight matching's permutation, whose R is "
        "0.21, and stays near it (0.19 [0.18, 0.2], n = 4).",
    },
)


@STE_LOW_BARRIER.test
def test_ste_low_barrier(trial):
    short_of_endpoints(trial, trial.pairs(), trial.variant)


@STE_WITHOUT_ALIGNMENT.test
def test_ste_without_alignment(trial):
    pairs = trial.pairs()
    trial.decide(
        alignments(pairs, trial.variant),
        R_bare=alignments(pairs, "none"),
        R_weights=alignments(pairs, "weights"),
        barrier=[pair.barrier(trial.variant) for pair in pairs],
    )


THREE_NETWORKS = Claim(
    id="svd/three-networks",
    sentence="Of two networks that are both matched to a third, the loss barrier "
    "between them is larger by straight-through search than by weight matching.",
    source=PAPER,
    quantity="loss barrier at the midpoint of B and C after the search minus after "
    "weight matching, test set",
    rule=partial(superiority, margin=0.0),
    settings=("deep-mlp",),
    variants=SEARCHES,
    networks=3 * FEW,
    tuple_size=3,
    unit="nats",
    paper=(
        PaperValue("barrier by WM, MLP on CIFAR-10 (2nd)", -0.098, 0.040),
        PaperValue("barrier by STE, MLP on CIFAR-10 (2nd)", 0.296, 0.003),
    ),
    undecided={
        (
            "digits",
            "deep-mlp",
            "ste",
        ): "The search starts at weight matching's permutation and lowers the "
        "barrier a little further (-0.02 [-0.049, 0.0086] nats, n = 4).",
    },
    refuted={
        (
            "mnist",
            "deep-mlp",
            "ste",
        ): "The search starts at weight matching's permutation and lowers this"
        " barrier too, from 0.13 to 0.09 nats (-0.037 [-0.055, -0.018] "
        "nats, n = 2).",
    },
)

THREE_NETWORKS_CONNECTED = Claim(
    id="svd/three-networks-connected",
    sentence="Two networks that are both matched to a third by weights are connected: "
    "their midpoint is at most 5 points of accuracy below them.",
    source=PAPER,
    quantity="midpoint of B and C minus their mean, test accuracy",
    rule=partial(noninferiority, margin=5.0),
    settings=("deep-mlp",),
    tuple_size=3,
)


@THREE_NETWORKS.test
def test_three_networks(trial):
    tuples = trial.tuples()
    found = {
        m: [third_barriers(several, m)[0] for several in tuples]
        for m in (trial.variant, "weights")
    }
    trial.decide(differences(*found.values()), **found)


@THREE_NETWORKS_CONNECTED.test
def test_three_networks_connected(trial):
    found = [third_barriers(several, "weights") for several in trial.tuples()]
    loss, accuracy = zip(*found, strict=True)
    trial.decide([-barrier for barrier in accuracy], loss_barrier=loss)


# What the alignment says of the barrier

ALIGNMENT_PREDICTS_BARRIER = Claim(
    id="svd/alignment-predicts-barrier",
    sentence="Over MLPs of four widths and three weight decays the loss barrier after "
    "weight matching falls as R(0.3) rises.",
    source=f"raised by {PAPER}",
    quantity="minus the rank correlation of R(0.3) and loss barrier at the midpoint, "
    "over one pair of each of six settings",
    rule=partial(superiority, margin=0.0),
    settings=("deep-mlp",),
    uses=lambda _: MLP_LEVELS,
    unit="",
    refuted={
        (
            "digits",
            "deep-mlp",
            "",
        ): "Weight decay raises R(0.3) and leaves the barrier; from width 64 "
        "to 512 both fall, R from 0.30 to 0.23 (-0.34 [-0.51, -0.16], n = "
        "8).",
        (
            "mnist",
            "deep-mlp",
            "",
        ): "Weight decay doubles R(0.3) and leaves the barrier; from width 64 "
        "to 512 both fall (-0.26 [-0.42, -0.092], n = 4).",
    },
)

ALIGNMENT_PREDICTS_BETTER = Claim(
    id="svd/alignment-predicts-better",
    sentence="The loss barrier follows R(0.3) more closely than the relative distance "
    "after weight matching.",
    source=f"raised by {PAPER}",
    quantity="minus the rank correlation of R(0.3) and loss barrier, minus that of "
    "distance (over the networks' root mean square norm) and loss barrier",
    rule=partial(superiority, margin=0.0),
    settings=("deep-mlp",),
    uses=lambda _: MLP_LEVELS,
    unit="",
)


@ALIGNMENT_PREDICTS_BARRIER.test
def test_alignment_predicts_barrier(trial):
    r, barriers = over_levels(trial, aligned), over_levels(trial, loss_barrier)
    trial.decide(
        [-rho for rho in correlations(r, barriers)],
        **{f"R {name}": values for name, values in r.items()},
        **{f"barrier {name}": values for name, values in barriers.items()},
    )


@ALIGNMENT_PREDICTS_BETTER.test
def test_alignment_predicts_better(trial):
    barriers = over_levels(trial, loss_barrier)
    distances = over_levels(trial, relative_distance)
    by_alignment = [-rho for rho in correlations(over_levels(trial, aligned), barriers)]
    by_distance = correlations(distances, barriers)
    trial.decide(
        differences(by_alignment, by_distance),
        by_alignment=by_alignment,
        by_distance=by_distance,
        **{f"distance {name}": values for name, values in distances.items()},
    )


def over_levels(trial, measure):
    """Return a measure of every pair of each of the six MLPs, after matching."""
    return {
        name: [measure(pair, "weights") for pair in trial.pairs(name)]
        for name in MLP_LEVELS
    }


def loss_barrier(pair, method):
    """Return a pair's loss barrier at the midpoint."""
    return pair.loss_barrier(method)


TOP_AGAINST_TAIL = Claim(
    id="svd/top-against-tail",
    sentence="At equal L2 distance, matching by the large singular triples alone gives "
    "a midpoint that is better by more than 5 points of accuracy than matching by the "
    "others alone.",
    source=f"raised by {PAPER}; never run by its authors",
    quantity="midpoint by triples with values above 0.3 of the largest minus midpoint "
    "by the others, test accuracy",
    rule=partial(superiority, margin=5.0),
    settings=("deep-mlp", "mlp"),
    undecided={
        (
            "digits",
            "mlp",
            "",
        ): "The pairs of the narrow MLP scatter by 20 points (6 [-1.5, 13] "
        "points, n = 8).",
        (
            "mnist",
            "deep-mlp",
            "",
        ): "Ten points at the mean of four pairs, with the margin of 5 inside "
        "the interval (10 [2.6, 17] points, n = 4).",
        (
            "mnist",
            "mlp",
            "",
        ): "Seven points at the mean of four pairs, with the margin of 5 "
        "inside the interval (6.7 [-1.4, 15] points, n = 4).",
    },
)

TAIL_DOES_NOT_CONNECT = Claim(
    id="svd/tail-does-not-connect",
    sentence="Matching by the small singular triples alone leaves a barrier of more "
    "than 5 points of accuracy.",
    source=f"raised by {PAPER}; never run by its authors",
    quantity="endpoints' mean minus midpoint by triples with values up to 0.3 of the "
    "largest, test accuracy, at the distance of the other arm",
    rule=partial(superiority, margin=5.0),
    settings=("deep-mlp", "mlp"),
)


@TOP_AGAINST_TAIL.test
def test_top_against_tail(trial):
    top, tail, columns = arms(trial.pairs())
    trial.decide(differences(top, tail), **columns)


@TAIL_DOES_NOT_CONNECT.test
def test_tail_does_not_connect(trial):
    pairs = trial.pairs()
    _, tail, columns = arms(pairs)
    ends = endpoints(pairs)
    trial.decide(differences(ends, tail), endpoints=ends, **columns)


def arms(pairs):
    """Return both arms' accuracies, and all that is known of them as columns."""
    found = [top_against_tail(pair) for pair in pairs]
    columns = {
        f"{name}_{field}": [getattr(arm, field) for arm in column]
        for name, column in zip(("top", "tail"), zip(*found, strict=True), strict=True)
        for field in ("distance", "alignment", "accuracy")
    }
    return columns["top_accuracy"], columns["tail_accuracy"], columns


WIDTH_RAISES_ALIGNMENT = Claim(
    id="svd/width-raises-alignment",
    sentence="R(0.3) after weight matching rises with width.",
    source=f"raised by {PAPER}",
    quantity="rank correlation of width and R(0.3) after weight matching",
    rule=partial(trend, direction="increasing"),
    settings=tuple(WIDTHS),
    uses=lambda place: [*WIDTHS[place.setting].values()],
    unit="",
    refuted={
        (
            "digits",
            "deep-mlp",
            "",
        ): "R falls as the networks become wider: matching aligns a smaller "
        "part of more directions (-0.85 [-1, -0.52], n = 8).",
        (
            "digits",
            "plain-resnet",
            "",
        ): "R falls as the networks become wider: matching aligns a smaller "
        "part of more directions (-1 [-1, -0.56], n = 8).",
        (
            "digits",
            "plain-vgg",
            "",
        ): "R falls as the networks become wider: matching aligns a smaller "
        "part of more directions (-1 [-1, -0.56], n = 8).",
        (
            "mnist",
            "deep-mlp",
            "",
        ): "R falls from 0.29 at width 64 to 0.21 at 256: matching aligns a "
        "smaller part of more directions (-0.8 [-1, -0.3], n = 4).",
    },
)

DECAY_RAISES_ALIGNMENT = Claim(
    id="svd/decay-raises-alignment",
    sentence="R(0.3) after weight matching rises with weight decay.",
    source=f"raised by {PAPER}",
    quantity="rank correlation of weight decay and R(0.3) after weight matching",
    rule=partial(trend, direction="increasing"),
    settings=tuple(DECAYS),
    uses=lambda place: [*DECAYS[place.setting].values()],
    networks={"plain-vgg": 2 * FEW},  # of five levels
    unit="",
)


@WIDTH_RAISES_ALIGNMENT.test
def test_width_raises_alignment(trial):
    trial.decide_trend(
        alignment_by_level(trial, WIDTHS), x_label="width", y_label="R(0.3)"
    )


@DECAY_RAISES_ALIGNMENT.test
def test_decay_raises_alignment(trial):
    trial.decide_trend(
        alignment_by_level(trial, DECAYS), x_label="weight decay", y_label="R(0.3)"
    )


def alignment_by_level(trial, levels):
    """Return R(0.3) of all pairs at each level."""
    return {
        name: alignments(trial.pairs(setting), "weights")
        for name, setting in levels[trial.setting].items()
    }


def alignments(pairs, method, gamma=0.3):
    """Return R of each pair."""
    return [aligned(pair, method, gamma) for pair in pairs]


def short_of_endpoints(trial, pairs, method):
    """Decide on how far the matched midpoint is above the endpoints' mean."""
    ends = endpoints(pairs)
    middle = [pair.midpoint(method).accuracy for pair in pairs]
    trial.decide(
        differences(middle, ends),
        endpoints=ends,
        midpoint=middle,
        curves=accuracy_curves(pairs, "none", method),
    )
