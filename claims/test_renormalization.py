"""What renormalization does to a midpoint (arXiv 2402.05966, 4.1, 4.2, F.1, F.2)."""

from functools import partial

import numpy as np

from claims.claim import BROKEN, POINT, claim
from claims.evidence import equivalence, noninferiority, superiority
from claims.measure import METHODS, Repair
from claims.papers import paper, raised

V1 = "2402.05966v1"

COMPARABLE = 3.0
"""Points: what the paper calls comparable is up to 2.2 apart (Tables 10 and 11)."""

FEW = 5.0
"""Points that are still "a few": the paper's barriers after RESET are 3.5 and 4.7."""

WAYS = {
    "midpoint": Repair(),
    "rescale_average": Repair("rescale-average"),
    "uncorrected_repair": Repair("repair", corrected=False),
    "uncorrected_rescale": Repair("rescale", corrected=False),
    "sequential_repair": Repair("repair", sequential=True),
    "sequential_rescale": Repair("rescale", sequential=True),
    "reset_by_batch": Repair("reset", by_batch=True),
    "repair_by_batch": Repair("repair", by_batch=True),
    "rescale_by_batch": Repair("rescale", by_batch=True),
    "all_layers": Repair("repair", layers="all"),
}
"""Columns that aren't called by a renormalization of all layers at once."""


def midpoints(trial, *columns):
    """Return the matched midpoints' accuracies by column, see `WAYS`."""
    return trial.midpoints(**{name: WAYS.get(name) or Repair(name) for name in columns})


def difference(trial, first, second, *others):
    """Decide on the first column minus the second, others stand beside."""
    middle = midpoints(trial, first, second, *others)
    trial.decide(middle[first] - middle[second], columns=middle)


ablation = partial(
    claim,
    source=paper(V1, "section 4.1, appendix F.1", tables=("1", "4", "5", "6", "7")),
    settings="plain-vgg plain-resnet fixup-resnet",
    variants=METHODS,
)


@ablation(
    effect="rescale - midpoint",
    quantity="RESCALE minus the bare midpoint, test accuracy",
    rule=superiority(),
)
def test_rescale_lifts_midpoint(trial):
    """RESCALE improves the matched midpoint of networks without normalization."""
    difference(trial, "rescale", "midpoint")


no_worse = partial(
    ablation,
    effect="rescale - repair",
    quantity="RESCALE minus REPAIR, test accuracy at the midpoint",
)


@no_worse(rule=noninferiority(COMPARABLE), settings="plain-resnet fixup-resnet")
def test_rescale_at_least_repair(trial):
    """On ResNets without normalization RESCALE is less than 3 points below REPAIR."""
    difference(trial, "rescale", "repair", "midpoint")


@no_worse(rule=noninferiority(POINT))
def test_rescale_consistently_no_worse(trial):
    """Without normalization layers RESCALE is nowhere a point below REPAIR."""
    difference(trial, "rescale", "repair", "midpoint")


@ablation(
    effect="rescale - repair",
    quantity="by corrected statistics: RESCALE minus REPAIR, test accuracy at midpoint",
    rule=superiority(),
    settings="plain-vgg",
)
def test_rescale_beats_repair(trial):
    """At the matched midpoint of plain VGG, RESCALE is better than REPAIR."""
    difference(trial, "rescale", "repair", "uncorrected_rescale", "uncorrected_repair")


@ablation(
    contrast="rescale - repair",
    quantity="uncorrected statistics: RESCALE minus REPAIR, test accuracy at midpoint",
    rule=superiority(),
    settings="plain-vgg",
)
def test_uncorrected_rescale_beats_repair(trial):
    """By statistics of the midpoint as it is, RESCALE beats REPAIR for plain VGG."""
    difference(trial, "uncorrected_rescale", "uncorrected_repair", "rescale", "repair")


@ablation(
    effect="rescale_average - repair",
    contrast="rescale - midpoint",
    quantity="RESCALE (average) minus REPAIR, test accuracy at the midpoint",
    rule=noninferiority(),
)
def test_rescale_average_suffices(trial):
    """RESCALE by one average goal deviation per layer is not worse than REPAIR."""
    difference(trial, "rescale_average", "repair", "rescale", "midpoint")


@ablation(
    effect="midpoint - reshift",
    contrast="rescale - midpoint",
    quantity="bare midpoint minus RESHIFT, test accuracy",
    rule=noninferiority(),
)
def test_reshift_does_not_help(trial):
    """Correcting means alone does not help: RESHIFT is no better than the midpoint."""
    difference(trial, "midpoint", "reshift")


ruin = partial(ablation, contrast="rescale - reshift", rule=equivalence())


@ruin(
    effect="reshift - 10",
    quantity="RESHIFT minus chance (10 classes: 10%), test accuracy at the midpoint",
    not_at={"cifar100": "of its 100 classes renormalization/reshift-ruins-100 speaks"},
)
def test_reshift_ruins(trial):
    """RESHIFT leaves the midpoint at chance."""
    middle = midpoints(trial, "reshift", "midpoint")
    trial.decide(middle.reshift - 10, columns=middle)


@ruin(
    effect="reshift - 1",
    quantity="RESHIFT minus chance (100 classes: 1%), test accuracy at the midpoint",
    settings="plain-vgg",
    not_at=dict.fromkeys(["digits", "cifar10", "paper"], "it has ten classes"),
)
def test_reshift_ruins_100(trial):
    """RESHIFT leaves the midpoint at chance, of 100 classes too."""
    middle = midpoints(trial, "reshift", "midpoint")
    trial.decide(middle.reshift - 1, columns=middle)


needs_matching = partial(
    claim,
    source=paper(V1, "section 4.2", tables=("section 4.2", "1", "6")),
    rule=noninferiority(),
    settings="plain-vgg plain-resnet",
    variants="weights",  # of the gain that it is contrasted with
)


@needs_matching(
    contrast="repair - midpoint",
    quantity="unmatched: bare midpoint minus REPAIR, test accuracy",
)
def test_repair_needs_matching(trial):
    """Without matching, REPAIR brings no obvious improvement over the midpoint."""
    without_matching(trial, "repair")


@needs_matching(
    effect="unmatched - unmatched_rescale",
    contrast="rescale - midpoint",
    quantity="unmatched: bare midpoint minus RESCALE, test accuracy",
)
def test_rescale_needs_matching(trial):
    """Without matching, RESCALE brings no obvious improvement over the midpoint."""
    without_matching(trial, "rescale")


def without_matching(trial, repair):
    """Decide what the unmatched midpoint loses; the matched one stands beside it."""
    bare, repaired = trial.midpoints("", repair, method="none").values()
    columns = {"unmatched": bare, f"unmatched_{repair}": repaired}
    trial.decide(bare - repaired, columns | midpoints(trial, "midpoint", repair))


@claim(
    source=paper(V1, "section 3.2, Fig. 2C", tables=("10",)),
    quantity="RESET minus the bare midpoint, test accuracy",
    rule=superiority(BROKEN),
    settings="bn-vgg bn-resnet",
    variants=METHODS,
    not_at={"cifar100": "20 points are nearly all that is left of 100 classes"},
)
def test_reset_restores_batchnorm(trial):
    """RESET improves BatchNorm networks' midpoint by tens of points: more than 20."""
    difference(trial, "reset", "midpoint")


@claim(
    source=paper(V1, "appendix D.2", tables=("2", "10")),
    effect="0 - barrier_ours",
    quantity="RESET minus the endpoints' mean, test accuracy at the midpoint",
    rule=noninferiority(FEW),
    settings="bn-vgg",
    variants=METHODS,
)
def test_reset_leaves_a_few_points(trial):
    """After RESET a BatchNorm VGG's barrier is a few points: less than 5."""
    reset, endpoints = midpoints(trial, "reset").reset, trial.endpoints()
    trial.decide(reset - endpoints, endpoints=endpoints, reset=reset)


lent = partial(
    claim,
    source=paper(V1, "appendix F.1", tables=("8",)),
    rule=superiority(),
    settings="plain-vgg",
    variants=METHODS,
    tuple_size=3,  # two endpoints, and one that lends its statistics
    networks=15,
)


@lent(
    effect="independent - midpoint",
    quantity="RESCALE by a third network's deviations minus midpoint, test accuracy",
)
def test_independent_statistics(trial):
    """RESCALE by a third, independent network's deviations improves the midpoint."""
    gain_by_third(trial, "rescale", "independent")


@lent(
    effect="independent_average - midpoint",
    quantity="RESCALE by a third network's averages minus midpoint, test accuracy",
)
def test_independent_average_statistics(trial):
    """RESCALE by a third network's average deviations improves the midpoint."""
    gain_by_third(trial, "rescale-average", "independent_average")


def gain_by_third(trial, repair, column):
    """Decide what is gained by statistics that the third of a triple lends."""
    rows = []
    for triple in trial.tuples():
        pair, third = triple.pair(), triple.networks[2]
        ways = ({}, {"repair": repair}, {"repair": repair, "goal_of": third})
        rows.append([pair.midpoint(trial.variant, **way).accuracy for way in ways])
    bare, own, by_third = np.array(rows).T
    trial.decide(by_third - bare, {"midpoint": bare, "own": own, column: by_third})


sequential = partial(
    claim,
    source=paper(V1, "appendix F.1", tables=("9",)),
    contrast="sequential_repair - repair",
    rule=superiority(),
    settings="plain-vgg",
    variants=METHODS,
)


@sequential(
    effect="sequential_repair - repair",
    quantity="sequential minus simultaneous REPAIR, test accuracy at midpoint",
)
def test_sequential_repair_better(trial):
    """REPAIR layer by layer beats REPAIR of all layers at once."""
    difference(trial, "sequential_repair", "repair")


@sequential(quantity="sequential minus uncorrected REPAIR, test accuracy at midpoint")
def test_sequential_beats_uncorrected(trial):
    """REPAIR layer by layer beats REPAIR by statistics of the midpoint as it is."""
    difference(trial, "sequential_repair", "uncorrected_repair")


@sequential(
    quantity="sequential minus simultaneous RESCALE, test accuracy at the midpoint",
    rule=equivalence(),
)
def test_sequential_rescale_same(trial):
    """RESCALE gains nothing from going layer by layer, and loses nothing."""
    difference(trial, "sequential_rescale", "rescale")


data_independent = partial(
    claim,
    source=paper(V1, "appendix F.2", tables=("10", "11")),
    quantity="by statistics of test batches minus of the training set, test accuracy",
    rule=noninferiority(COMPARABLE),
    variants=METHODS,
)


@data_independent(effect="reset_by_batch - reset", settings="bn-vgg")
def test_data_independent_reset(trial):
    """Evaluating in batch-statistics mode comes within 3 points of RESET."""
    difference(trial, "reset_by_batch", "reset")


@data_independent(effect="repair_by_batch - repair", settings="ln-vgg")
def test_data_independent_repair(trial):
    """REPAIR by each batch's statistics comes within 3 points of REPAIR."""
    difference(trial, "repair_by_batch", "repair")


@data_independent(effect="rescale_by_batch - rescale", settings="ln-vgg")
def test_data_independent_rescale(trial):
    """RESCALE by each batch's statistics comes within 3 points of RESCALE."""
    difference(trial, "rescale_by_batch", "rescale")


@claim(
    source=paper(V1, "appendices F.2 and G (5,000 examples: arXiv:2211.08403)"),
    quantity="by a tenth minus by the whole training set, test accuracy at midpoint",
    rule=noninferiority(COMPARABLE),
    settings="plain-vgg bn-vgg plain-resnet bn-resnet",
    variants=METHODS,
    not_at=dict.fromkeys(
        ["cifar10", "cifar100"],
        "2,560 images are looked at there, not the whole training set",
    ),
)
def test_few_samples_suffice(trial):
    """A tenth of the samples repairs as well as all of them, within 3 points."""
    kind = trial.using().reset or "repair"
    few = Repair(kind, samples=trial.scale.few_samples)
    middle = trial.midpoints(few=few, whole=Repair(kind))
    trial.decide(middle.few - middle.whole, columns=middle)


@claim(
    source=raised(V1, "its published code against arXiv:2211.08403 and 2311.00056"),
    quantity="REPAIR on all layers minus REPAIR in blocks, test accuracy at midpoint",
    rule=equivalence(POINT),
    settings="plain-resnet",
    variants=METHODS,
)
def test_statistics_layers_do_not_matter(trial):
    """Renormalizing stem and shortcuts too changes the midpoint by under a point."""
    difference(trial, "all_layers", "repair")
