"""What the learning rate does to matching (arXiv 2402.05966v1, 4.3, F.4 and F.5).

A learning rate is the initial or the largest one.  Barriers are of test accuracy at
the midpoint, after RESET where there is BatchNorm.
"""

from functools import partial

import numpy as np

from claims.claim import BROKEN, POINT, at, claim
from claims.evidence import equivalence, noninferiority, superiority, trend
from claims.measure import METHODS, Pair
from claims.measure.features import fresh
from claims.measure.minimal import CHANCE
from claims.measure.weights import distance_to_start
from claims.papers import paper
from claims.test_matching import CONNECTED, V1
from claims.test_pruning import MAGNITUDE, SPARSITIES, accuracies
from claims.test_renormalization import COMPARABLE
from fixtures.scales.variants import LEARNING_RATES, TOO_LARGE_RATES

APART = 5.0
"""Points: by more the barriers of initializations differ where they matter, by less
where they don't. The paper's 40% of a barrier are more if that is above 12.5."""

HARM = 0.05
"""Of what the endpoints know: where that is nearly 100%, the 5 points that are the
largest margin elsewhere."""

LEARNED = 20.0
"""Points above chance that a setting's networks have which trained at all; as they are
asked for three times chance on the training set."""

FARTHER = 0.3
"""Of log2, a factor of 1.23: a quarter of log2(sqrt(6)), by which Kaiming normal
initialization puts networks farther apart than uniform does."""

AXES = {"x_label": "learning rate", "x_scale": "log", "y_label": "barrier, points"}


def barriers_and_endpoints(trial):
    """Return all settings' barriers by their names, and their endpoints as columns."""
    ends = {f"endpoints of {n}": trial.endpoints(n) for n in trial.place.uses}
    return {n: trial.barriers(setting=n) for n in trial.place.uses}, ends


def sweep(trial, *rates):
    """Decide the trend of the barrier over settings by their learning rate."""
    trial.decide_trend(*barriers_and_endpoints(trial), x=rates, **AXES)


def difference(trial):
    """Decide a first setting's barriers minus a second's.

    A third one's, if there is one, were degraded to the second: until they are worse
    than the first, and by no more than a point nearer to each other.
    """
    barriers, ends = barriers_and_endpoints(trial)
    first, second, *bare = barriers.values()
    better, worse, *_ = (values.mean() for values in ends.values())
    no = "the degraded networks are not worse" if bare and worse >= better else ""
    if bare and bare[0].mean() - second.mean() > POINT:
        no = "degrading the networks has itself lowered their barrier"
    trial.decide(first - second, barriers | ends, unmet=no)


def relative_barriers(trial):
    """Return all settings' barriers over what their endpoints know, both as columns,
    and why these have not learned, or an empty string."""
    barriers, ends = barriers_and_endpoints(trial)
    known = [values - CHANCE for values in ends.values()]
    trained = all(values.mean() > LEARNED for values in known)
    found = {
        # By a point at least: a pair at chance divides by next to nothing.
        name: barriers[name] / np.maximum(values, POINT)
        for name, values in zip(barriers, known, strict=True)
    }
    columns = {f"barrier of {name}": values for name, values in barriers.items()}
    return found, columns | ends, "" if trained else "endpoints are near chance"


OVER_KNOWN = "barrier over the endpoints' accuracy above chance"

rate = partial(
    claim,
    source=paper(V1, "section 4.3, Fig. 5, F.4, F.5", tables=("section 4.3",)),
    settings="bn-vgg ln-vgg bn-resnet ln-resnet",
    variants=METHODS,
    networks=10,
)


@rate(
    effect="fall",
    quantity="barrier: fall from learning rate 0.01 to 0.1",
    rule=trend("falling"),
    uses=at(lr=LEARNING_RATES),
)
def test_larger_lr_lower_barrier(trial):
    """The larger the rate, from 0.01 to 0.1, the lower the barrier after matching."""
    sweep(trial, *LEARNING_RATES)


@rate(
    source=paper(V1, "appendix A"),
    quantity=f"{OVER_KNOWN}: rise from learning rate 0.1 to 1",
    rule=trend("rising", HARM),
    settings="bn-vgg bn-resnet",
    uses=at(lr=(0.1, *TOO_LARGE_RATES)),
    unit="",
)
def test_too_large_hurts(trial):
    """Of networks that trained, those of a learning rate that is too large, 1, have a
    larger barrier, as a share of accuracy above chance, than those of 0.1."""
    found, columns, no = relative_barriers(trial)
    axes = AXES | {"y_label": OVER_KNOWN, "x": (0.1, *TOO_LARGE_RATES)}
    trial.decide_trend(found, columns, unmet=no, **axes)


@rate(
    quantity="barrier at learning rate 0.01 minus that at 0.1, degraded",
    rule=superiority(),
    uses=lambda p: [p.setting.at(lr=0.01), p.setting.degraded, p.setting],
    networks=16,
)
def test_not_from_better_endpoints(trial):
    """Networks of rate 0.1, made worse than those of 0.01, have the lower barrier."""
    difference(trial)


@rate(
    quantity="accuracy lost by pruning, mean of 11 sparsities: at 0.01 minus at 0.1",
    rule=superiority(),
    settings="bn-vgg bn-resnet",
    variants="",
    uses=at(lr=(0.01, 0.1)),
)
def test_lr_sparsity(trial):
    """Networks of rate 0.1 lose less by global magnitude pruning than those of 0.01."""
    measured = partial(accuracies, trial, MAGNITUDE, 0.0, *SPARSITIES)
    found = [measured(setting=name)[0] for name in trial.place.uses]
    small, large = (rows[:, 0] - rows[:, 1:].mean(axis=1) for rows in found)
    trial.decide(small - large, lost_at_small=small, lost_at_large=large)


INITS = (None, "uniform")
"""Kaiming normal, which is a setting's own, and uniform initialization."""

start = partial(
    rate, settings="ln-vgg ln-resnet", networks=16, uses=at(lr=(0.01,), init=INITS)
)


@start(
    quantity="barrier from normal minus uniform initialization, learning rate 0.01",
    rule=superiority(APART),
)
def test_init_matters_at_small_lr(trial):
    """At rate 0.01 matched networks have a larger barrier from Kaiming normal
    initialization than from uniform, by more than 5 points."""
    difference(trial)


@start(
    quantity="barrier from normal minus uniform initialization, learning rate 0.1",
    rule=equivalence(APART),
    uses=at(lr=(0.1,), init=INITS),
)
def test_init_does_not_matter_at_large_lr(trial):
    """At rate 0.1 barriers from Kaiming normal and uniform are alike, within 5."""
    difference(trial)


@start(
    quantity="endpoints from normal minus uniform, test accuracy, learning rate 0.01",
    rule=equivalence(COMPARABLE),
    variants="",
)
def test_init_performs_alike(trial):
    """At rate 0.01 both initializations lead to like test accuracies, within 3."""
    normal, uniform = map(trial.endpoints, trial.place.uses)
    trial.decide(normal - uniform, normal=normal, uniform=uniform)


dynamics = partial(start, rule=superiority(FARTHER), variants="", unit="log2")


def excess(trial, *names):
    """Return log2 of two settings' distances, first over second: at start, and end."""
    found = []
    for pairs in map(trial.pairs, names):
        before = [Pair(*(fresh(n.setting, n.seed) for n in (p.a, p.b))) for p in pairs]
        found.append([[p.distance("none", False) for p in x] for x in (before, pairs)])
    return np.log2(found[0]) - np.log2(found[1])


@dynamics(quantity="log2 of distance, normal over uniform, trained at rate 0.01")
def test_init_distance_persists(trial):
    """Trained at 0.01, networks stay farther apart from normal initialization than
    from uniform, by a fifth or more."""
    before, after = excess(trial, *trial.place.uses)
    trial.decide(after, before=before)


@dynamics(
    quantity="log2 of distance, normal over uniform, trained at rate 0.01 minus 0.1",
    uses=at(lr=(0.01, 0.1), init=INITS),
)
def test_init_distance_fades(trial):
    """The larger distance from normal initialization fades more at 0.1 than 0.01."""
    before, small = excess(trial, *trial.place.uses[:2])
    _, large = excess(trial, *trial.place.uses[2:])
    trial.decide(small - large, before=before, small=small, large=large)


@dynamics(
    quantity="log2 of the distance to the own initialization, rate 0.1 minus 0.01",
    settings="bn-vgg ln-vgg bn-resnet ln-resnet",
    uses=at(lr=(0.01, 0.1)),
)
def test_stays_near_initialization(trial):
    """Trained at 0.01 a network ends nearer to its initialization than at 0.1."""
    found = [[*map(distance_to_start, trial.networks(n))] for n in trial.place.uses]
    small, large = np.log2(found)
    trial.decide(large - small, small=small, large=large)


mnist = partial(rate, settings="ln-vgg-mnist")


@mnist(
    quantity="barrier: fall from largest learning rate 0.001 to 0.1",
    rule=trend("falling", BROKEN),
    uses=at(lr=(0.001, 0.01, 0.1)),
)
def test_mnist_vgg_ln_needs_lr(trial):
    """From rate 0.001 to 0.1 VGG LN's barrier on MNIST falls by more than 20 points."""
    sweep(trial, 0.001, 0.01, 0.1)


@mnist(quantity="matched midpoint minus endpoints", rule=noninferiority(CONNECTED))
def test_mnist_vgg_ln_matches(trial):
    """Trained at 0.1, VGG LN on MNIST is connected after matching: within 2 points."""
    trial.decide(-trial.barriers(), endpoints=trial.endpoints())
