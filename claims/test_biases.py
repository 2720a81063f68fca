"""What biases do to the barrier (arXiv 2402.05966, section 3.4, E.4 and E.5)."""

from functools import partial
from itertools import repeat

import numpy as np

from claims.claim import claim
from claims.evidence import equivalence, superiority
from claims.measure import METHODS, Pair, loss_curves
from claims.measure.partial import calibrated, without_biases
from claims.papers import paper

SIMILAR = 5.0
"""Points within which falls are similar: under a quarter of the paper's least, 37.8."""

NATS = 0.1
"""Loss that counts: a quarter of 2.62 - 2.28, which the paper calls no fall (E.5)."""

biases = partial(
    claim,
    source=paper("2402.05966v1", "section 3.4, E.4, E.5", ("section 3.4", "Fig. 27")),
    variants=METHODS,
)
plain = partial(biases, settings="plain-vgg plain-resnet")
removal = partial(
    biases,
    settings="debiased-vgg debiased-resnet",
    uses=lambda place: (place.setting, place.setting.parent),
)
lower = partial(
    removal,
    quantity="barrier with biases minus without, test accuracy at the midpoint",
    rule=superiority(),
)


REPAIRS = {"plain-vgg": "rescale", "plain-resnet": "repair"}
MEASURES = {
    "with_biases": lambda _, parents, how: parents.barrier(how),
    "without_biases": lambda pair, _, how: pair.barrier(how),
    "removed": lambda pair, parents, how: pair.barrier(how, found_on=parents),
    "renormalized": lambda _, parents, how: parents.barrier(
        how, REPAIRS[parents.setting.name]
    ),
    "bent": lambda _, parents, how: parents.endpoints() - calibrated(parents, how),
    "linear": lambda pair, _, how: pair.midpoint(how).accuracy,
    "homogeneous": lambda pair, _, how: calibrated(pair, how),
    "zeroed": lambda pair, _, how: without_biases(pair, how, None, "first"),
    "loss_with": lambda _, parents, how: parents.loss_barrier(how),
    "loss_without": lambda pair, _, how: pair.loss_barrier(how),
    "loss_bent": lambda pair, _, how: (
        pair.curve(how, homogeneous=True).loss[5] - pair.endpoint_loss()
    ),
}
"""Columns, barriers mostly ("bent": along the homogeneous line), each a function of a
pair, of its parents (or another pair with biases, or itself), and how to match."""


def column(trial, name, setting):
    """Return one of `MEASURES` for all pairs of a setting."""
    pairs, own = trial.pairs(setting), setting.startswith("debiased")
    parents = trial.parents(setting) if own else trial.pairs(trial.place.uses[-1])
    return np.array([*map(MEASURES[name], pairs, parents, repeat(trial.variant))])


def difference(trial, first, second, part=1.0, curves=None):
    """Decide on a column minus a part of another, see `MEASURES`."""
    columns = {name: column(trial, name, trial.setting) for name in (first, second)}
    trial.decide(columns[first] - part * columns[second], columns, curves=curves)


@lower(effect="with_biases - removed")
def test_removing_biases(trial):
    """Removing biases and fine-tuning lowers the barrier, by the old permutation."""
    difference(trial, "with_biases", "removed")


@plain(quantity="zeroed minus intact midpoint, test accuracy", rule=superiority())
def test_zeroing_lifts_midpoint(trial):
    """Zeroing all biases, before fine-tuning, already lifts the matched midpoint."""
    difference(trial, "zeroed", "linear")


@plain(quantity="intact minus zeroed, test accuracy", rule=superiority(), variants="")
def test_zeroing_hurts_networks(trial):
    """Zeroing all biases, before fine-tuning, makes the networks themselves worse."""
    networks, zeroed = trial.networks(), MEASURES["zeroed"]
    intact = np.array([network.evaluate().accuracy for network in networks])
    without = np.array([zeroed(Pair(net, net), None, "none") for net in networks])
    trial.decide(intact - without, intact=intact, zeroed=without)


@lower(effect="with_biases - without_biases", settings="nobias-vgg nobias-resnet")
def test_trained_without_biases(trial):
    """Networks trained without biases have a lower barrier than those with them."""
    difference(trial, "with_biases", "without_biases")


@removal(
    settings="nobias-vgg nobias-resnet",
    uses=lambda p: (p.setting, p.setting.parent.debiased, p.setting.parent),
    quantity="barrier, trained without biases minus removed",
    rule=equivalence(SIMILAR),
)
def test_trained_without_like_removal(trial):
    """Training without biases gives the same barrier as removing them, within 5."""
    without, removed = trial.barriers(), column(trial, "removed", trial.place.uses[1])
    trial.decide(without - removed, without_biases=without, removed=removed)


@removal(quantity="barrier, new minus old permutation", rule=equivalence(SIMILAR))
def test_new_permutation_same(trial):
    """A permutation found after removal changes the barrier by less than 5 points."""
    difference(trial, "without_biases", "removed")


@removal(
    settings="debiased-vgg debiased-resnet nobias-vgg nobias-resnet",
    quantity="loss barrier without biases minus half of that with, at the midpoint",
    rule=superiority(NATS),
    unit="nats",
)
def test_loss_barrier_remains(trial):
    """Without biases more than half of the loss barrier remains."""
    curves = loss_curves(trial.pairs(), trial.variant)
    difference(trial, "loss_without", "loss_with", 0.5, curves)


@removal(quantity="barrier, removed minus renormalized", rule=equivalence(SIMILAR))
def test_like_renormalization(trial):
    """Removing biases lowers the barrier as RESCALE (VGG) or REPAIR (ResNet) does."""
    difference(trial, "removed", "renormalized")


@plain(
    effect="homogeneous - linear",
    quantity="homogeneous minus linear midpoint, test accuracy",
    rule=superiority(),
)
def test_homogeneous_interpolation(trial):
    """Homogeneous interpolation lowers the accuracy barrier after matching."""
    difference(trial, "homogeneous", "linear")


@plain(
    quantity="homogeneous loss barrier minus half of the linear one, at the midpoint",
    rule=superiority(NATS),
    unit="nats",
)
def test_homogeneous_interpolation_loss(trial):
    """Homogeneous interpolation leaves more than half of the loss barrier."""
    difference(trial, "loss_bent", "loss_with", 0.5)


@removal(quantity="barrier, removed minus homogeneous", rule=equivalence(SIMILAR))
def test_homogeneous_like_removal(trial):
    """Homogeneous interpolation lowers the barrier as removing biases does."""
    difference(trial, "removed", "bent")


@plain(quantity="barrier, renormalized minus homogeneous", rule=equivalence(SIMILAR))
def test_homogeneous_like_renormalization(trial):
    """Homogeneous interpolation lowers the barrier as renormalization does."""
    difference(trial, "renormalized", "bent")
