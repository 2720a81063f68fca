"""What a partial merge, or a partial repair, changes (arXiv 2402.05966, version 4).

Its VGG16 has 13 convolutions and a classifier; here as large a share of fewer is taken.
"""

from functools import partial

import numpy as np

from claims.claim import POINT, claim
from claims.evidence import noninferiority, superiority, trend
from claims.measure import METHODS
from claims.measure.partial import calibrated, permuted_first, preserved, without_biases
from claims.papers import paper
from claims.test_renormalization import COMPARABLE

SHARES = {"none": 0.0, "1/4": 0.25, "1/2": 0.5, "3/4": 0.75, "all": 1.0}
"""Of the permutation groups, in the order of depth, those that are permuted."""

SATURATED = 0.25
"""Of the whole rise: half of it would be no saturation, nothing a perfect one."""

merged = partial(
    claim,
    source=paper("2402.05966v4", "preserve-first merging", tables=("merging",)),
    rule=superiority(),
    settings="plain-vgg",
    variants=METHODS,
)
unbiased = partial(
    merged,
    source=paper("2402.05966v4", "section 4.3", tables=("merging",)),
    variants="weights",
)


def preserving(trial):
    """Return accuracies of all pairs' PFM8 with RESCALE, and how large these are."""
    kept = round(8 / 13 * len(trial.using().layers))
    found = [preserved(p, trial.variant, kept, "rescale") for p in trial.pairs()]
    accuracy, size = np.array(found).T
    return {"preserved": accuracy, "relative_size": size}


@merged(
    effect="preserved - rescale",
    quantity="PFM8 minus merging of all layers, both with RESCALE, test accuracy",
)
def test_preserve_first(trial):
    """Keeping both networks' first 8 of 13 convolutions (PFM8) beats merging all."""
    found, everything = preserving(trial), trial.midpoints("rescale")
    trial.decide(found["preserved"] - everything.rescale, found | everything)


@merged(
    effect="preserved - (endpoint_a + endpoint_b) / 2",
    quantity="PFM8 with RESCALE minus endpoints' mean, test accuracy",
    variants="activations",
)
def test_preserve_first_surpasses_endpoints(trial):
    """PFM8 with RESCALE surpasses the mean of its endpoints without any training."""
    found, ends = preserving(trial), trial.endpoints()
    trial.decide(found["preserved"] - ends, found, endpoints=ends)


def by_share(trial):
    """Return the midpoints' accuracies by the share of groups that are permuted."""
    how = trial.variant
    return {
        name: trial.each(lambda pair, share=share: permuted_first(pair, how, share))
        for name, share in SHARES.items()
    }


@merged(
    effect="midpoint - unmatched",
    quantity="midpoint with all groups permuted minus with none, test accuracy",
    rule=trend("rising"),
)
def test_permute_first_rises(trial):
    """The midpoint's accuracy rises with the number of first layers permuted."""
    x, label = [*SHARES.values()], "share of the groups that are permuted, first ones"
    trial.decide_trend(by_share(trial), x=x, x_label=label, y_label="test accuracy")


@merged(
    quantity="quarter of the rise minus what the second half of groups adds, accuracy",
    rule=noninferiority(),
)
def test_permute_first_saturates(trial):
    """Permuting the second half of the layers adds at most a quarter of the rise."""
    found = by_share(trial)
    rise, late = found["all"] - found["none"], found["all"] - found["1/2"]
    flat = SATURATED * rise.mean() < POINT
    unmet = "a quarter of the rise is less than a point" if flat else ""
    trial.decide(SATURATED * rise - late, found, unmet=unmet)


def without(trial, side, share=5 / 14):
    """Return midpoints' accuracies without the biases of some first or last layers."""
    layers = round(share * (len(trial.using().layers) + 1))
    return trial.each(lambda pair: without_biases(pair, trial.variant, layers, side))


@unbiased(quantity="midpoint without the last biases minus midpoint, test accuracy")
def test_bias_removal_backward(trial):
    """Zeroing the biases of the last 5 of 14 layers lifts the matched midpoint."""
    last, middle = without(trial, "last"), trial.midpoints("", "rescale", "repair")
    trial.decide(last - middle.midpoint, middle, without_last=last)


@unbiased(
    quantity="midpoint without the last biases minus without any, test accuracy",
    rule=noninferiority(COMPARABLE),
)
def test_last_biases_suffice(trial):
    """Zeroing the last 5 of 14 biases comes within 3 points of zeroing all of them."""
    last, none = without(trial, "last"), without(trial, "last", 1)
    trial.decide(last - none, without_last=last, without_any=none)


@unbiased(
    quantity="midpoint without the last minus without as many first biases, accuracy"
)
def test_bias_removal_forward(trial):
    """Zeroing the biases of the first 5 of 14 layers is worse than of the last 5."""
    last, first = without(trial, "last"), without(trial, "first")
    trial.decide(last - first, without_last=last, without_first=first)


@unbiased(quantity="midpoint without any biases minus REPAIR, test accuracy")
def test_bias_removal_beats_repair(trial):
    """Zeroing all biases brings the matched midpoint above REPAIR."""
    none, middle = without(trial, "last", 1), trial.midpoints("", "repair", "rescale")
    trial.decide(none - middle.repair, middle, without_any=none)


@unbiased(
    effect="bias_calibration - repair",
    quantity="bias calibration minus REPAIR, test accuracy at the midpoint",
    variants=METHODS,
)
def test_bias_calibration_beats_repair(trial):
    """At the matched midpoint, bias calibration is better than REPAIR."""
    found = trial.each(lambda pair: calibrated(pair, trial.variant))
    middle = trial.midpoints("", "repair", "rescale")
    trial.decide(found - middle.repair, middle, bias_calibration=found)
