"""Pruning as a case of interpolation (arXiv 2402.05966v1, sections 4.2, 5 and G).

Renormalized is toward the dense network: by RESET with BatchNorm, by REPAIR without.
"""

from functools import partial

import numpy as np

from claims.claim import BROKEN, claim
from claims.evidence import equivalence, noninferiority, superiority
from claims.measure.pruned import Pruned
from claims.papers import paper
from claims.test_renormalization import COMPARABLE, V1

MAGNITUDE = "global-magnitude"

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Those of appendix G."""

HIGH = 0.8
"""The sparsity at which section 5 gives a number, of ResNet50 on ImageNet."""

SPARSE, GAP = 0.9, 4.0
"""Where pruners differ, and the points by which they do if there is a gap to close: of
so many one, the smallest effect of interest, is a quarter."""

PERCENTS = (50, 90, 99)
"""Of the weights, removed where renormalization might cost accuracy."""

POOR = 5.0
"""Points below magnitude that make a pruner poor: the most that a margin may be."""

prunes = partial(
    claim,
    source=paper(V1, "section 5, appendix G, Fig. 72 and 73"),
    settings="bn-resnet ln-resnet plain-resnet bn-vgg ln-vgg",
    networks=8,
    tuple_size=1,
)
# Fig. 72 leaves diagonal Fisher of VGG16 BN out, section 5 doesn't.
EACH = (MAGNITUDE, "layerwise-magnitude", "diagonal-fisher", "wood-fisher")


def accuracies(trial, pruner, *sparsities, ways=({},), setting=None):
    """Return test accuracies of pruned networks: by way, by network, by sparsity."""
    found = [
        [[each.evaluate(**way).accuracy for way in ways] for each in pruned]
        for network in trial.networks(setting)
        for pruned in [(Pruned(network, pruner, share) for share in sparsities)]
    ]
    return np.array(found).transpose(2, 0, 1)


def both(trial, pruner):
    """Return accuracies at all sparsities, before and after renormalization."""
    return accuracies(trial, pruner, *SPARSITIES, ways=({}, {"renormalized": True}))


def curves(**lines):
    """Return accuracies at all sparsities as curves for the report."""
    axes = {"x": SPARSITIES, "x_label": "sparsity", "unit": "test accuracy in percent"}
    return axes | {"lines": {name: rows.tolist() for name, rows in lines.items()}}


@prunes(
    quantity="pruned and renormalized minus pruned, test accuracy at sparsity 0.8",
    rule=superiority(),
    variants=EACH,
)
def test_renormalized_pruned(trial):
    """At sparsity 0.8 renormalization raises the accuracy of the pruned network."""
    bare, better = both(trial, trial.variant)
    shown, at = curves(pruned=bare, renormalized=better), SPARSITIES.index(HIGH)
    trial.decide((better - bare)[:, at], pruned=bare[:, at], curves=shown)


@prunes(
    quantity="renormalized minus pruned, test accuracy at the variant's sparsity, in %",
    rule=noninferiority(COMPARABLE),
    variants=[f"{pruner}-{percent}" for pruner in EACH for percent in PERCENTS],
)
def test_at_every_sparsity(trial):
    """Renormalizing costs a network that is pruned to 50, 90 or 99% less than 3 points
    of accuracy."""
    pruner, _, percent = trial.variant.rpartition("-")
    # A network's scores take longer than all that they are needed for: once for all.
    every = [share / 100 for share in PERCENTS]
    found = accuracies(trial, pruner, *every, ways=({}, {"renormalized": True}))
    bare, better = found[..., PERCENTS.index(int(percent))]
    trial.decide(better - bare, pruned=bare, renormalized=better)


@prunes(
    quantity="global magnitude minus WoodFisher, renormalized, at sparsity 0.9",
    rule=noninferiority(),
)
def test_gap_to_woodfisher_closes(trial):
    """Where magnitude pruning to 90% is more than 4 points behind WoodFisher, it isn't
    by one after renormalization."""
    bare, ours = both(trial, MAGNITUDE)
    bare_wood, wood = both(trial, "wood-fisher")
    shown = curves(bare=bare, bare_wood=bare_wood, magnitude=ours, wood=wood)
    before, after = (
        rows[:, SPARSITIES.index(SPARSE)] for rows in (bare_wood - bare, ours - wood)
    )
    no = "" if before.mean() > GAP else f"the gap before is at most {GAP:g} points"
    trial.decide(after, gap_before=before, curves=shown, unmet=no)


@prunes(
    quantity="magnitude minus diagonal Fisher, after RESET, mean of 11 sparsities",
    rule=superiority(POOR),
    settings="bn-vgg",
)
def test_diagonal_fisher_fails(trial):
    """On BatchNorm VGG diagonal Fisher is more than 5 points behind magnitude."""
    bare, ours = both(trial, MAGNITUDE)
    bare_fisher, fisher = both(trial, "diagonal-fisher")
    shown = curves(bare=bare, bare_fisher=bare_fisher, magnitude=ours, fisher=fisher)
    trial.decide((ours - fisher).mean(axis=1), curves=shown)


@prunes(  # Fig. 74 shows bn-resnet, with a third number of 258; the text is general
    source=paper(V1, "section 5, appendix G, Fig. 74"),
    quantity="renormalized by the variant's samples minus by all, test accuracy at "
    "sparsity 0.8, global magnitude",
    rule=equivalence(COMPARABLE),
    variants="64 128 256",
    not_at=dict.fromkeys(
        ("cifar10", "cifar100"),
        "2,560 images are looked at there, not the whole training set",
    ),
)
def test_one_batch_suffices(trial):
    """Where renormalization raises a pruned network's accuracy by more than 3 points,
    64, 128 and 256 samples do it as well as all, within 3 points."""
    ways = [{"renormalized": True, "samples": n} for n in (int(trial.variant), None)]
    bare, few, every = accuracies(trial, MAGNITUDE, HIGH, ways=[{}, *ways])[..., 0]
    no = "" if (every - bare).mean() > COMPARABLE else "all samples gain too little"
    trial.decide(few - every, pruned=bare, by_few=few, by_all=every, unmet=no)


by_size = partial(prunes, source=paper(V1, "section 4.2"))


@by_size(quantity="accuracy, smallest half pruned minus dense", rule=noninferiority())
def test_small_weights_can_go(trial):
    """Without the smaller half of its weights a network is as good, within a point."""
    dense, half = accuracies(trial, MAGNITUDE, 0.0, 0.5)[0].T
    trial.decide(half - dense, dense=dense, without_smallest_half=half)


@by_size(
    quantity="accuracy, smallest half pruned minus top tenth", rule=superiority(BROKEN)
)
def test_large_weights_matter(trial):
    """A network loses over 20 points more with the largest tenth of its weights than
    with the smallest half."""
    half = accuracies(trial, MAGNITUDE, 0.5)[0, :, 0]
    tenth = accuracies(trial, "largest-magnitude", 0.1)[0, :, 0]
    trial.decide(half - tenth, without_smallest_half=half, without_largest_tenth=tenth)
