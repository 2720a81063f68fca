"""Pruning as a case of interpolation (arXiv 2402.05966, sections 4.2, 5 and G)."""

from functools import partial

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from claims.bench.pruned import PRUNERS, Pruned
from claims.bench.recipes import differences
from claims.claim import Claim, PaperValue
from claims.decisions import equivalence, exact, noninferiority, superiority
from lmc.pruning import magnitude_scores, prune
from lmc.testing import discover, networks

SPARSITY = 0.9
"""High, of the 10 to 99% that the paper prunes."""

NETWORKS = 8
"""Independent networks that are pruned; each is a unit of evidence."""

SETTINGS = ("bn-resnet", "ln-resnet", "plain-resnet", "bn-vgg", "ln-vgg")
"""Those of Figures 72 and 73."""

RENORMALIZED_PRUNED = Claim(
    id="pruning/renormalized-pruned",
    sentence="At sparsity 0.9, RESET (BatchNorm) or REPAIR (plain, LayerNorm) toward "
    "the dense network's statistics raises the accuracy of the pruned network.",
    source="arXiv:2402.05966v1, section 5 and appendix G, Fig. 2A, 6D, 72, 73",
    quantity="pruned and renormalized minus pruned, test accuracy at sparsity 0.9",
    rule=partial(superiority, margin=0.0),
    settings=SETTINGS,
    # Section 5 says it of all; for VGG16 BN, Fig. 72 leaves diagonal Fisher out.
    variants=tuple(PRUNERS),
    networks=NETWORKS,
    paper=(
        PaperValue("ResNet50 BN/ImageNet at 80%, gain, about", 50.0, None, "bn-resnet"),
    ),
)


@RENORMALIZED_PRUNED.test
def test_renormalized_pruned(trial):
    dense = trial.networks()
    pruned = [Pruned(network, trial.variant, SPARSITY) for network in dense]
    bare, renormalized = accuracies(pruned), accuracies(pruned, renormalized=True)
    trial.decide(
        differences(renormalized, bare),
        dense=accuracies(dense),
        pruned=bare,
        renormalized=renormalized,
    )


GAP_TO_WOODFISHER_CLOSES = Claim(
    id="pruning/gap-to-woodfisher-closes",
    sentence="At sparsity 0.9 and after RESET or REPAIR, global magnitude pruning is "
    "not worse than WoodFisher by 3 points or more.",
    source="arXiv:2402.05966v1, section 5 and appendix G, Fig. 72, 73",
    quantity="global magnitude minus WoodFisher, both renormalized, test accuracy at "
    "sparsity 0.9",
    rule=partial(noninferiority, margin=3.0),
    settings=SETTINGS,
    networks=NETWORKS,
)


@GAP_TO_WOODFISHER_CLOSES.test
def test_gap_to_woodfisher_closes(trial):
    dense = trial.networks()
    magnitude, woodfisher = (
        [Pruned(network, pruner, SPARSITY) for network in dense]
        for pruner in ("global-magnitude", "wood-fisher")
    )
    ours = accuracies(magnitude, renormalized=True)
    theirs = accuracies(woodfisher, renormalized=True)
    trial.decide(
        differences(ours, theirs),
        magnitude_bare=accuracies(magnitude),
        woodfisher_bare=accuracies(woodfisher),
        magnitude=ours,
        woodfisher=theirs,
    )


ONE_BATCH_SUFFICES = Claim(
    id="pruning/one-batch-suffices",
    sentence="At sparsity 0.9, statistics from 64 training samples give the pruned "
    "network the accuracy that all training samples give, within 3 points.",
    source="arXiv:2402.05966v1, section 5 and appendix G, Fig. 74",
    quantity="renormalized by 64 samples minus by the training set, test accuracy at "
    "sparsity 0.9",
    rule=partial(equivalence, margin=3.0),
    settings=SETTINGS,  # Fig. 74 shows bn-resnet; the text says it in general
    variants=("global-magnitude", "layerwise-magnitude"),
    networks=NETWORKS,
    undecided={
        (
            "digits",
            "ln-vgg",
            "layerwise-magnitude",
        ): "The margin is inside the interval (-1.7 [-3.2, -0.23] points, n = 8).",
    },
)


@ONE_BATCH_SUFFICES.test
def test_one_batch_suffices(trial):
    dense = trial.networks()
    pruned = [Pruned(network, trial.variant, SPARSITY) for network in dense]
    few = accuracies(pruned, renormalized=True, samples=64)
    full = accuracies(pruned, renormalized=True)
    trial.decide(
        differences(few, full), pruned=accuracies(pruned), samples_64=few, all=full
    )


PRUNING_IS_INTERPOLATION = Claim(
    id="pruning/pruning-is-interpolation",
    kind="invariant",
    sentence="A magnitude-pruned network M(theta) is a parameter-wise interpolation: "
    "0.5 theta + 0.5 M(theta) where it is not pruned, 0 theta + 1 M(theta) where it "
    "is.",
    source="arXiv:2402.05966v1, section 4.2, Fig. 35",
    quantity="largest difference between a parameter and the interpolated one",
    rule=partial(exact, tolerance=0.0),
    settings=("random",),
    variants=("global", "layerwise"),
    unit="",
)


@PRUNING_IS_INTERPOLATION.test
def test_pruning_is_interpolation(trial):
    deviations = []

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(networks(), st.floats(0, 1))
    def check(model, sparsity):
        graph, state = discover(model).graph, model.state_dict()
        scores = magnitude_scores(graph, state)
        pruned = prune(graph, state, sparsity, scores, trial.variant)
        weights = {name: state[name] for name in scores}
        share = {name: 0.5 for name in state}  # of M(theta), where nothing is pruned
        share |= shares_by_rank(weights, sparsity, trial.variant)
        mixed = {n: (1 - share[n]) * v + share[n] * pruned[n] for n, v in state.items()}
        deviations.append(
            max(float((mixed[name] - pruned[name]).abs().max()) for name in state)
        )
        assert deviations[-1] == 0

    trial.examine(check, deviations)


def shares_by_rank(weights, sparsity, scope):
    """Return the pruned network's share: 1 for the smallest weights, 0.5 for others."""
    if scope == "layerwise":
        return {
            name: shares_by_rank({name: weight}, sparsity, "global")[name]
            for name, weight in weights.items()
        }
    sizes = torch.cat([weight.abs().flatten() for weight in weights.values()])
    ranks = sizes.argsort().argsort()
    shares = torch.where(ranks < round(sparsity * len(sizes)), 1.0, 0.5)
    parts = shares.split([weight.numel() for weight in weights.values()])
    return {
        name: part.view_as(weight)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def accuracies(networks, **how):
    """Return the test accuracies of dense or pruned networks."""
    return [network.evaluate(**how).accuracy for network in networks]
