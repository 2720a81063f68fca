"""What weight decay does to matching (arXiv 2402.05966v1, sections 4.3 and F.6).

A level is a multiple of the smallest weight decay: of 1e-4 in the paper, of far more at
a scale whose training has fewer steps, see :mod:`fixtures.scales`.  Matching is by
weights, as in the paper; barriers are of test accuracy, after RESET if BatchNorm.
"""

from functools import partial

import numpy as np

from claims.claim import at, claim
from claims.evidence import superiority, trend
from claims.measure.features import activation_size, parameter_size
from claims.measure.weights import deviation_spread
from claims.papers import paper
from claims.test_learning_rate import (
    HARM,
    OVER_KNOWN,
    barriers_and_endpoints,
    difference,
    relative_barriers,
)
from claims.test_matching import V1
from fixtures.scales import WEIGHT_DECAYS

TENTH = 0.15
"""Of log2: a fall by a tenth; less would not be seen on the paper's density plots."""

TOO_LARGE = {"plain-vgg": 10, "bn-resnet": 20}
"""Multiples of the smallest weight decay; of plain VGG nothing is left at 20."""

AXES = {"x_label": "weight decay, multiples of the smallest"}


decay = partial(
    claim,
    source=paper(V1, "section 4.3, Fig. 6, F.6", tables=("1",)),
    rule=superiority(),
    settings="plain-vgg bn-resnet ln-resnet",
    variants="weights",
)
swept = partial(decay, uses=at(decay=WEIGHT_DECAYS), networks=10)


@swept(
    quantity="barrier: fall from the smallest weight decay to five times that",
    rule=trend("falling"),
)
def test_larger_wd_lower_barrier(trial):
    """The larger the weight decay, 1 to 5 times the smallest, the lower the barrier."""
    found, ends = barriers_and_endpoints(trial)
    trial.decide_trend(found, ends, x=WEIGHT_DECAYS, y_label="barrier, points", **AXES)


@decay(
    source=paper(V1, "appendix A"),
    quantity=f"{OVER_KNOWN}: at 20 (plain VGG: 10) times the smallest decay minus at 5",
    rule=superiority(HARM),
    settings=[*TOO_LARGE],
    uses=lambda p: [p.setting.at(decay=n) for n in (TOO_LARGE[p.setting], 5)],
    networks=10,
    unit="",
)
def test_too_large_hurts(trial):
    """Of networks that trained, those of a weight decay that is too large, 20 times the
    smallest (plain VGG: 10 times), have a larger barrier, as a share of accuracy above
    chance, than those of 5 times."""
    found, columns, no = relative_barriers(trial)
    large, moderate = found.values()
    trial.decide(large - moderate, found | columns, unmet=no)


@decay(
    source=paper("2402.05966v4", "its protocol; version 1, F.6, Fig. 64, 66 and 68"),
    quantity="barrier at the smallest weight decay minus that at 5 times, degraded",
    uses=lambda p: [
        p.setting.at(decay=1),
        p.setting.at(decay=5).degraded,
        p.setting.at(decay=5),
    ],
)
def test_wd_not_from_better_endpoints(trial):
    """Networks of 5 times the smallest weight decay, made worse than those of the
    smallest by training on with it, still have the lower barrier."""
    difference(trial)


@decay(
    quantity="barrier at the smallest decay, retrained at 5 times, minus at 5 times",
    uses=lambda p: [p.setting.at(decay=1).degraded, p.setting.at(decay=5)],
)
def test_small_wd_retrained(trial):
    """Networks of the smallest weight decay, retrained for an epoch at 5 times that,
    still have a larger barrier than those trained at 5 times."""
    difference(trial)


single = partial(swept, rule=trend("falling", TENTH), variants="", unit="log2")


def over_decays(trial, measure, label):
    """Decide the trend of log2 of what is measured on single networks."""
    found = trial.by_setting(lambda n: np.log2([*map(measure, trial.networks(n))]))
    trial.decide_trend(found, x=WEIGHT_DECAYS, y_label=f"log2 of {label}", **AXES)


@single(quantity="log2 of the mean |parameter|: fall", settings="plain-vgg bn-resnet")
def test_wd_compresses(trial):
    """A larger weight decay, up to 5 times the smallest, makes parameters smaller."""
    over_decays(trial, parameter_size, "mean |parameter|")


@single(quantity="log2 of the mean |activation|: fall", settings="plain-vgg bn-resnet")
def test_wd_compresses_activations(trial):
    """A larger weight decay, up to 5 times the smallest, makes activations smaller."""
    over_decays(trial, activation_size, "mean |activation|")


def unevenness(network):
    """Return the coefficient of variation of channels' deviations, mean over layers."""
    return np.mean([*deviation_spread(network).values()])


@single(quantity="log2 of the variation of a layer's channel deviations: fall")
def test_evens_out_channels(trial):
    """A larger weight decay, up to 5 times the smallest, makes the deviations of a
    layer's channels more alike."""
    over_decays(trial, unevenness, "the variation of channels' deviations")


@decay(
    quantity="midpoint after REPAIR at twice the smallest weight decay minus at it",
    settings="plain-vgg",
    uses=at(decay=(1, 2)),
)
def test_wd_repairs_repair(trial):
    """Twice the smallest weight decay raises plain VGG's midpoint after REPAIR."""
    once, twice = (
        trial.midpoints("repair", setting=name).repair for name in trial.place.uses
    )
    trial.decide(twice - once, repair=once, repair_twice=twice)


@decay(
    quantity="what 5 times the smallest weight decay adds to the midpoint's accuracy: "
    "after REPAIR minus after RESCALE",
    settings="plain-vgg",
    uses=at(decay=(1, 5)),
)
def test_rescale_robust_to_wd(trial):
    """REPAIR gains more from 5 times the smallest weight decay than RESCALE does, by
    accuracy at plain VGG's midpoint."""
    once, more = (
        trial.midpoints("repair", "rescale", setting=name) for name in trial.place.uses
    )
    columns = once | {f"{name}_at_5": values for name, values in more.items()}
    gain = more.repair - once.repair
    trial.decide(gain - (more.rescale - once.rescale), columns)
