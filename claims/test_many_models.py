"""Averages of more than two networks (arXiv 2402.05966, sections 3.3 and E.3)."""

from functools import partial

import numpy as np

from claims.claim import BROKEN, claim
from claims.evidence import frequency, noninferiority, superiority, trend
from claims.measure import METHODS, Several
from claims.measure.singular import third_barriers
from claims.papers import paper
from claims.test_matching import CONNECTED, V1

SLIGHT = 3.0
"""Points: a quarter of the 10.9 that the average of three has lost in the paper."""

OFTEN = 0.5
"""Probability: more often than not."""

BETTER = 0.1
"""Points: a quarter of what averages along SGD gain (arXiv 1803.05407: 0.4 to 0.5)."""

average = partial(
    claim,
    source=paper(V1, "section 3.3, Fig. 3B, E.3", tables=("Fig. 14",)),
    settings="bn-vgg ln-vgg bn-resnet ln-resnet",
    variants="reference sequential iterative",
    tuple_size=4,
    networks=20,
)


def accuracies(trial, regime, count):
    """Return the test accuracy of each tuple's average, after RESET if BatchNorm."""
    reset = trial.using().reset
    found = [each.average(regime, count, reset) for each in trial.tuples()]
    return np.array([average.accuracy for average in found])


@average(
    contrast="one - three",
    quantity="accuracy of the average of n matched networks: fall from n = 1 to 4",
    rule=trend("falling"),
)
def test_average_degrades(trial):
    """The average of matched networks gets worse from one network to four."""
    counts = {"one": 1, "two": 2, "three": 3, "four": 4}
    levels = {n: accuracies(trial, trial.variant, k) for n, k in counts.items()}
    axes = {"x_label": "networks", "y_label": "test accuracy of the average"}
    trial.decide_trend(levels, x=[*counts.values()], **axes)


@average(
    contrast="two - three",
    quantity="accuracy of the average of two matched networks minus that of four",
    rule=superiority(),
)
def test_average_keeps_degrading(trial):
    """The average of four matched networks is worse than that of two."""
    two, four = (accuracies(trial, trial.variant, count) for count in (2, 4))
    trial.decide(two - four, two=two, four=four)


@average(
    quantity="average of four by reference matching minus by this regime, accuracy",
    rule=noninferiority(SLIGHT),
    variants="sequential iterative",
)
def test_barely_better_than_reference(trial):
    """No regime gains 3 points over reference matching for four networks."""
    first, other = (accuracies(trial, how, 4) for how in ("reference", trial.variant))
    trial.decide(first - other, {"reference": first, trial.variant: other})


triples = partial(average, tuple_size=3, networks=24)


@triples(  # eight triples, as of fewer no frequency could differ from a half
    quantity="whether iterative matching of three has not converged in 30 rounds",
    rule=frequency(at_least=OFTEN),
    variants="",
    unit="",
)
def test_iterative_does_not_converge(trial):
    """Iterative matching often does not converge within 30 rounds."""
    rounds, converged = np.array([each.convergence(3) for each in trial.tuples()]).T
    trial.decide(converged == 0, rounds=rounds)


@triples(
    quantity="barrier of B and C, matched to A, minus mean of theirs with A",
    rule=superiority(),
    settings="ln-vgg ln-resnet",  # no midpoint has to be RESET
    variants=METHODS,
)
def test_not_transitive(trial):
    """Two networks matched to a third have a larger barrier between them than to it."""
    found, how = trial.tuples(), trial.variant
    apart = np.array([third_barriers(each, how)[1] for each in found])
    sides = [[each.pair(0, k).barrier(how) for k in (1, 2)] for each in found]
    third = np.mean(sides, axis=1)
    trial.decide(apart - third, to_each_other=apart, to_the_third=third)


@claim(
    source=paper(V1, "section 3.3, Fig. 3A and 3B"),
    quantity="average minus the best of its end models, test accuracy, without RESET",
    rule=superiority(BETTER),
    settings="retrained-bn-vgg retrained-bn-resnet",
    variants="2 3",
    uses=lambda place: (place.setting, place.setting.parent),
)
def test_beats_all_end_models(trial):
    """In one basin the average is better than all of the models averaged."""
    count = int(trial.variant)
    basins = [Several([*trial.origins([p.a]), p.a, p.b]) for p in trial.pairs()]
    best = np.array([basin.best(count) for basin in basins])
    merged = np.array([basin.average("none", count).accuracy for basin in basins])
    trial.decide(merged - best, best=best, average=merged)


def of_mlps(trial, regime):
    """Return the accuracy of each tuple's average, and its networks' mean."""
    found = [[net.evaluate().accuracy for net in t.networks] for t in trial.tuples()]
    return accuracies(trial, regime, len(found[0])), np.mean(found, axis=1)


@claim(
    source=paper(V1, "appendix E.3", tables=("Fig. 16",)),
    quantity="average of eight minus their mean accuracy by themselves, test accuracy",
    rule=noninferiority(CONNECTED),
    settings="mlp-merging",
    variants="reference sequential",
    tuple_size=8,
    networks=40,
    long=True,
)
def test_mnist_mlp_merges(trial):
    """Eight matched MLPs on MNIST merge well: within 2 points of one of them."""
    merged, single = of_mlps(trial, trial.variant)
    trial.decide(merged - single, average=merged, single=single)


@claim(
    source=paper(V1, "appendix E.3", tables=("Fig. 16",)),
    effect="single - unmatched_four",
    quantity="mean accuracy of four by themselves minus their average, test accuracy",
    rule=superiority(BROKEN),
    settings="mlp-merging",
    tuple_size=4,
    networks=20,
)
def test_mnist_mlp_needs_matching(trial):
    """The average of four unmatched MLPs on MNIST is more than 20 points worse."""
    merged, single = of_mlps(trial, "none")
    trial.decide(single - merged, single=single, unmatched_four=merged)
