"""Why weight matching connects: singular vectors (arXiv 2402.04051).

Only the paper's abstract, introduction, a summary and reviews could be read.  Its
settings are an MLP with three hidden layers of 512, VGG11 and ResNet20; here
``deep-mlp``, half as wide (as wide: ``deep-mlp-512``, of which less is asked),
``plain-vgg`` and ``plain-resnet``, the last two with a barrier at this size: of them is
claimed what the paper says of singular values and vectors, not that they are connected.

The straight-through search has at least 500 steps here: 46 epochs of digits' 11
batches, two of MNIST's 469; the related code's has ten epochs.

R is the alignment of the singular vectors of A and the permuted B; it counts triples
with values above gamma (0 or 0.3) times their layer's largest.
"""

import numpy as np

from claims.claim import BROKEN, claim
from claims.evidence import equivalence, noninferiority, superiority, trend
from claims.measure import accuracy_curves
from claims.measure.expansion import predicted_loss
from claims.measure.singular import (
    aligned,
    alignment_curves,
    correlations,
    large_directions,
    relative_distance,
    spectral_difference,
    third_barriers,
)
from claims.measure.top_tail import Arm, top_against_tail
from claims.papers import paper, raised
from claims.test_matching import CONNECTED
from fixtures.scales import MLP_DECAYS, MLP_WIDTHS, WEIGHT_DECAYS, Name

TABLES = ("summary", "reviews")

REMOVED, MOST, DIFFERENT, MISSED = 20.0, 50.0, 10.0, 0.5
"""Percent of the L2 distance that matching removes at most (in a summary's words);
along which inputs mostly lie; by which spectra, or shares, differ that are not alike.
Share of the loss by which an expansion that explains nothing is wrong, at least."""

ALIGNED, SLIGHT, HALF, MOSTLY = 0.1, 0.05, 0.5, 0.75
"""R of networks that are aligned at all, its smallest difference of interest, and R
midway between networks with nothing in common and equal ones (also the share of a
barrier that a search leaves which works at all). Share of weight matching's R that is
"close" to it: what is missing is a quarter, the smallest effect of interest."""

NATS = 0.05
"""The smallest difference of losses of interest: 5% of the classes' probabilities."""

RHO = 0.3
"""Rank correlation, or difference of two, from which one counts: Cohen's medium one."""

TRIO = "deep-mlp plain-vgg plain-resnet"
"""The paper's three architectures."""

WIDE, BOTH = "deep-mlp deep-mlp-512", "deep-mlp mlp"

SEARCHES = {"variants": "ste ste-from-b", "networks": 10}
"""The straight-through search from weight matching's permutation, and from none."""

THREE = {"networks": 15, "tuple_size": 3}
BY_SEARCH = THREE | {"variants": SEARCHES["variants"]}

DEEP, PLAIN = Name("deep-mlp"), Name("plain-vgg")

# Levels from small to large, for each setting; some have no name but the setting's.
WIDTHS = {DEEP: {w: DEEP.at(width=w) if w != 256 else DEEP for w in MLP_WIDTHS}}
WIDTHS |= {
    net: {0.5: net.at(width="half"), 1: net, 2: net.at(width="double")}
    for net in (PLAIN, Name("plain-resnet"))
}
DECAYS = {DEEP: {wd: DEEP.at(decay=wd) if wd else DEEP for wd in MLP_DECAYS}}
DECAYS |= {PLAIN: {number: PLAIN.at(decay=number) for number in WEIGHT_DECAYS}}

MLPS = tuple(dict.fromkeys([*WIDTHS[DEEP].values(), *DECAYS[DEEP].values()]))
"""The six MLPs over which alignment and barrier are compared."""

SWEEP = {"uses": lambda _: MLPS, "networks": 10}
NARROW = {"uses": lambda _: WIDTHS[DEEP].values(), "networks": 10}

SHORT = "midpoint minus endpoints' mean, test accuracy"
MATCHED = "R(0.3) after weight matching"
GAIN = "loss barrier by weight matching minus by search"
ENERGY = "share of the mean square of hidden layers' inputs along large right vectors"
KEPT = "minus the share of the L2 distance that weight matching removes"
OFF = "|predicted - true| / true, training loss; mean of expansions at A and matched B"
SPECTRA = "minus the L2 difference of singular values over their root mean square norm"
BETWEEN = "loss barrier of B and C, both matched to A: by search minus by weights"
RANKS = "minus the rank correlation of R(0.3) and loss barrier, over six settings"


def about(source, quantity, rule, settings, unit="points", **more):
    """Return a decorator: a claim with what it measures, in this order."""
    own = {"quantity": quantity, "rule": rule, "settings": settings, "unit": unit}
    return claim(source=source, **own, **more)


def said(where, *given, **more):
    """Return a decorator: a claim of the paper."""
    return about(paper("2402.04051", where, tables=TABLES), *given, **more)


def asked(where, *given, **more):
    """Return a decorator: a claim about a question that the paper's summary raises."""
    source = raised("2402.04051", f"{where} of a summary of it", tables=TABLES)
    return about(source, *given, **more)


# That there is something to explain, and what does not explain it


@said("the premise", SHORT, noninferiority(CONNECTED), WIDE)
def test_barrier_vanishes(trial):
    """After weight matching the midpoint of MLPs with three hidden layers is at most 2
    points of accuracy below the endpoints."""
    short_of_endpoints(trial, "weights")


@said("summary", KEPT, noninferiority(REMOVED), f"{WIDE} mlp", "%")
def test_distance_is_not_the_reason(trial):
    """Weight matching lowers the L2 distance between MLPs by less than 20%, though
    their barrier vanishes."""
    before, after = (distances(trial, m) for m in ("none", "weights"))
    removed, barrier = 100 * (1 - after / before), trial.barriers("weights")
    columns = {"before": before, "after": after, "removed": removed, "barrier": barrier}
    trial.decide(-removed, columns, unmet=unmet(barrier))


@said("introduction", OFF, superiority(MISSED), BOTH, "")
def test_taylor_fails(trial):
    """A second-order expansion of the training loss around the endpoints misses the
    loss of the matched midpoint by more than half of it, where the barrier vanishes."""
    predicted = trial.each(lambda pair: predicted_loss(pair, "weights"))
    true = trial.each(lambda pair: pair.midpoint("weights", split="train").loss)
    missed, barrier = abs(predicted - true), trial.barriers("weights")
    no = unmet(barrier) or small(missed, NATS, "the miss")
    columns = {"predicted": predicted, "true": true, "barrier": barrier}
    trial.decide(missed / true, columns, unmet=no)


# What matching aligns


@said("Fig. 1", SPECTRA, noninferiority(DIFFERENT), TRIO, "%")
def test_spectra_equal(trial):
    """The singular values of independent networks differ by less than 10%, over all
    layers but the last."""
    hidden, output = np.array([spectral_difference(pair) for pair in trial.pairs()]).T
    trial.decide(-hidden, difference=hidden, output_layer=output)


@said("abstract", "R(0.3) minus R(0), matched", superiority(SLIGHT), TRIO, "")
def test_wm_aligns_large(trial):
    """After weight matching R of the large singular triples (gamma 0.3) is above R of
    all (gamma 0)."""
    every, large = (alignments(trial, "weights", gamma) for gamma in (0.0, 0.3))
    curves = alignment_curves(trial.pairs(), "none", "weights")
    trial.decide(large - every, all=every, matched=large, curves=curves)


@said("abstract", "R(0), matched minus bare", superiority(ALIGNED), TRIO, "")
def test_wm_aligns(trial):
    """Weight matching raises R of all singular triples (gamma 0) by more than 0.1."""
    bare, matched = (alignments(trial, method, 0.0) for method in ("none", "weights"))
    trial.decide(matched - bare, bare=bare, all=matched)


@said("abstract", "R of gamma", equivalence(SLIGHT), TRIO, "", variants="0 0.3")
def test_unmatched_not_aligned(trial):
    """Without permutation R is zero within 0.05."""
    trial.decide(alignments(trial, "none", float(trial.variant)))


@said("Fig. 4", ENERGY, superiority(MOST), TRIO, "%")
def test_inputs_use_large(trial):
    """More than half of the energy of hidden layers' inputs lies along right singular
    vectors with values above 0.3 of the largest."""
    energy, count = np.array([large_directions(net) for net in trial.networks()]).T
    trial.decide(energy, dimensions=count)


@said("Fig. 4", f"{ENERGY}, minus of dimensions", superiority(DIFFERENT), TRIO, "%")
def test_inputs_use_large_beyond_count(trial):
    """The energy's share along large right singular vectors exceeds, by more
    than 10%, their share of the inputs' dimensions."""
    energy, count = np.array([large_directions(net) for net in trial.networks()]).T
    trial.decide(energy - count, energy=energy, dimensions=count)


@asked("question 9", f"minus {MATCHED}", noninferiority(HALF), WIDE, "")
def test_half_is_enough(trial):
    """MLPs that weight matching connects are less than half aligned: R(0.3) < 0.5."""
    matched, barrier = alignments(trial, "weights"), trial.barriers("weights")
    trial.decide(-matched, matched=matched, barrier=barrier, unmet=unmet(barrier))


@asked("question 3", "barrier, accuracy", superiority(BROKEN), "plain-vgg plain-resnet")
def test_aligned_yet_broken(trial):
    """Plain convolutional networks have a barrier of more than 20 points although
    weight matching aligns them (R(0.3) above 0.1)."""
    barrier, matched = trial.barriers("weights"), alignments(trial, "weights")
    rescaled = trial.barriers("weights", "rescale")
    no = small(matched, ALIGNED, "the alignment")
    trial.decide(barrier, matched=matched, rescaled=rescaled, unmet=no)


# Other searches, and three networks


@said("section 5", "R(0.3) by AM over that by WM", superiority(MOSTLY), TRIO, "")
def test_am_same_principle(trial):
    """Activation matching aligns the large singular vectors too: it keeps at least
    three quarters of weight matching's alignment, R(0.3)."""
    ours, theirs = (alignments(trial, method) for method in ("activations", "weights"))
    no = small(theirs, ALIGNED, "the alignment by weights")
    trial.decide(ours / theirs, activations=ours, matched=theirs, unmet=no)


@said("section 5", "barrier by AM minus by WM", equivalence(CONNECTED), DEEP)
def test_am_same_barrier(trial):
    """Activation matching leaves the same barrier as weight matching, within 2 points
    of accuracy."""
    ours, theirs = (trial.barriers(method) for method in ("activations", "weights"))
    trial.decide(ours - theirs, by_activations=ours, by_weights=theirs)


@said("abstract", SHORT, noninferiority(CONNECTED), BOTH, **SEARCHES)
def test_ste_low_barrier(trial):
    """After a straight-through search the midpoint is at most 2 points of accuracy
    below the endpoints."""
    short_of_endpoints(trial, trial.variant)


@said("abstract", "R(0.3)", equivalence(ALIGNED), BOTH, "", **SEARCHES)
def test_ste_without_alignment(trial):
    """A straight-through search that at least halves the barrier does not align the
    large singular vectors: R(0.3) is zero within 0.1."""
    methods = "none", "weights", trial.variant
    bare, matched, found = (alignments(trial, method) for method in methods)
    barriers = {"unmatched": trial.barriers("none"), "by_search": trial.barriers()}
    no = no_search(*barriers.values())
    trial.decide(found, bare=bare, matched=matched, unmet=no, **barriers)


@asked("question 6", GAIN, superiority(NATS), f"{BOTH} deep-mlp-64", "nats", **SEARCHES)
def test_ste_wins_for_two(trial):
    """Of two networks a straight-through search leaves a lower loss barrier than weight
    matching does."""
    theirs, ours = (loss_barriers(trial, m) for m in ("weights", trial.variant))
    trial.decide(theirs - ours, by_weights=theirs, by_search=ours)


@asked("question 6", GAIN, trend("falling", NATS), DEEP, "nats", **NARROW)
def test_ste_wins_when_narrow(trial):
    """What a straight-through search gains over weight matching in loss barrier falls
    from width 64 to 512."""
    by = {m: over(trial, loss_barriers, WIDTHS[DEEP], m) for m in ("weights", "ste")}
    gains = {level: by["weights"][level] - by["ste"][level] for level in by["ste"]}
    trial.decide_trend(gains, x=MLP_WIDTHS, x_label="width", y_label="nats")


@said("abstract", BETWEEN, superiority(NATS), BOTH, "nats", **BY_SEARCH)
def test_three_networks(trial):
    """Of two networks that are both matched to a third, the loss barrier between them
    is larger by straight-through search, though it at least halves the barriers to the
    third, than by weight matching."""
    (search, _), (weights, _) = (between(trial, m) for m in (trial.variant, "weights"))
    barriers = {
        name: np.array([sides(several, method) for several in trial.tuples()])
        for name, method in (("unmatched", "none"), ("by_search", trial.variant))
    }
    columns = {"straight_through": search, "weights": weights} | barriers
    trial.decide(search - weights, columns, unmet=no_search(*barriers.values()))


@said("abstract", SHORT, noninferiority(CONNECTED), f"{WIDE} mlp", **THREE)
def test_three_networks_connected(trial):
    """Two networks that are both matched to a third by weights are connected: their
    midpoint is at most 2 points of accuracy below them."""
    loss, accuracy = between(trial, "weights")
    trial.decide(-accuracy, loss_barrier=loss)


# What the alignment says of the barrier


@asked("point 2", RANKS, superiority(RHO), DEEP, "", **SWEEP)
def test_alignment_predicts_barrier(trial):
    """Over MLPs of four widths and three weight decays the loss barrier after weight
    matching falls as R(0.3) rises."""
    r, barriers = (over(trial, each) for each in (alignments, loss_barriers))
    columns = {f"R {net}": values for net, values in r.items()}
    columns |= {f"barrier {net}": values for net, values in barriers.items()}
    trial.decide(-np.array(correlations(r, barriers)), columns)


@asked("point 2", f"{RANKS}, minus distance's", superiority(RHO), DEEP, "", **SWEEP)
def test_alignment_predicts_better(trial):
    """The loss barrier follows R(0.3) more closely than the relative distance after
    weight matching."""
    r, barriers, far = (over(trial, f) for f in (alignments, loss_barriers, distances))
    alignment = -np.array(correlations(r, barriers))
    distance = np.array(correlations(far, barriers))
    no = small(alignment, RHO, "the alignment's own correlation")
    columns = {"by_alignment": alignment, "by_distance": distance}
    trial.decide(alignment - distance, columns, unmet=no)


@asked("question 2", "midpoint by large minus by others", superiority(), BOTH)
def test_top_against_tail(trial):
    """At equal L2 distance, matching by the large singular triples alone gives a better
    midpoint than matching by the others alone."""
    columns, no = arms(trial)
    trial.decide(columns["top_accuracy"] - columns["tail_accuracy"], columns, unmet=no)


@asked("question 2", "endpoints' mean minus midpoint", superiority(CONNECTED), BOTH)
def test_tail_does_not_connect(trial):
    """Matching by the small singular triples alone leaves a barrier of more than 2
    points of accuracy."""
    (columns, no), ends = arms(trial, equal=False), trial.endpoints()
    barrier = ends - columns["tail_accuracy"]
    trial.decide(barrier, columns, endpoints=ends, unmet=no)


def by_level(levels):
    """Return the rest of a claim's declaration, for a trend of R over levels."""
    uses = {"uses": lambda place: levels[place.setting].values(), "networks": 10}
    return {"rule": trend("rising", SLIGHT), "settings": [*levels], "unit": "", **uses}


@asked("question 10", MATCHED, **by_level(WIDTHS))
def test_width_raises_alignment(trial):
    """R(0.3) after weight matching rises with width."""
    found = over(trial, alignments, WIDTHS[trial.setting])
    trial.decide_trend(found, x=[*map(float, found)], x_label="width", y_label="R(0.3)")


@asked("question 8", MATCHED, **by_level(DECAYS))
def test_decay_raises_alignment(trial):
    """R(0.3) after weight matching rises with weight decay."""
    found = over(trial, alignments, DECAYS[trial.setting])
    trial.decide_trend(
        found, x=[*map(float, found)], x_label="weight decay", y_label="R(0.3)"
    )


def alignments(trial, method, gamma=0.3, setting=None):
    """Return R of each pair."""
    return trial.each(lambda pair: aligned(pair, method, gamma), setting)


def loss_barriers(trial, method, setting=None):
    """Return the loss barrier of each pair at the midpoint."""
    return trial.each(lambda pair: pair.loss_barrier(method), setting)


def distances(trial, method, setting=None):
    """Return the distance of each pair over its networks' norm."""
    return trial.each(lambda pair: relative_distance(pair, method), setting)


def over(trial, each, levels=None, method="weights"):
    """Return a measure of every pair at each level, by default of the six MLPs."""
    levels = levels or {name: name for name in MLPS}
    return {str(k): each(trial, method, setting=net) for k, net in levels.items()}


def between(trial, method):
    """Return the barriers of loss and accuracy between B and C, both matched to A."""
    return np.array([third_barriers(several, method) for several in trial.tuples()]).T


def short_of_endpoints(trial, method):
    """Decide on how far the matched midpoint is above the endpoints' mean."""
    barrier, ends = trial.barriers(method), trial.endpoints()
    curves = accuracy_curves(trial.pairs(), "none", method)
    trial.decide(-barrier, endpoints=ends, midpoint=ends - barrier, curves=curves)


def unmet(barrier):
    """Return why networks are not connected, or an empty string."""
    return "" if barrier.mean() <= CONNECTED else "the barrier has not vanished"


def small(values, bound, what):
    """Return that something is too small on average, or an empty string."""
    return "" if values.mean() > bound else f"{what} is at most {bound:g} on average"


def no_search(unmatched, found):
    """Return that a search fails for two networks, or an empty string."""
    works = found.mean() < HALF * unmatched.mean()
    return "" if works else "the search leaves half of the barrier of two networks"


def sides(several, method):
    """Return the mean barrier of a tuple's A with B and of A with C."""
    return np.mean([several.pair(0, other).barrier(method) for other in (1, 2)])


def arms(trial, equal=True):
    """Return all that is known of both arms, as columns, and why they are too alike."""
    found = np.array([top_against_tail(pair, equal) for pair in trial.pairs()])
    names = [f"{arm}_{field}" for arm in ("top", "tail") for field in Arm._fields]
    columns = dict(zip(names, found.reshape(-1, len(names)).T, strict=True))
    excess = columns["top_alignment"] - columns["tail_alignment"]
    return columns, small(excess, SLIGHT, "what the top aligns more than the tail")
