"""What connects networks of one initialization (arXiv 2312.09832).

The two networks of a pair have one initialization (or, if spawned, one parent), see
the training data in different orders, and are interpolated without a permutation.
Training ends at one training loss everywhere.
"""

from functools import partial

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from claims.bench.minimal import (
    error_barriers,
    lines_between,
    relative_barriers,
    training_losses,
)
from claims.bench.recipes import differences, endpoints
from claims.claim import Claim
from claims.decisions import equivalence, exact, superiority, trend
from fixtures.scales import ADAM_RATES, COMPARED, IMAGES, SAMPLES
from lmc.models import LocallyConnected2d

STABLE = 2.0
"""Points of error up to which a barrier counts as none.

Frankle et al. (arXiv 1912.05671, section 3) call networks stable below 2%."""

ROUNDING = 1e-9
"""Relative float64 error that sums in another order may cause."""

SOURCE = "arXiv:2312.09832 (abstract and summary; its figures were not to be had)"

BARRIER = "largest rise of the test error over the endpoints' line, at 11 lambdas"

MLP_CONNECTED = Claim(
    id="minimal/mlp-connected",
    sentence="A ReLU MLP of one hidden layer is linearly connected from "
    "initialization: its error barrier is below 2 points.",
    source=SOURCE,
    quantity=f"error barrier: {BARRIER}",
    rule=partial(equivalence, margin=STABLE),
    settings=("minimal-mlp",),
)


@MLP_CONNECTED.test
def test_mlp_connected(trial):
    pairs = trial.pairs()
    trial.decide(
        error_barriers(pairs),
        endpoints=endpoints(pairs),
        training_loss=training_losses(pairs),
        curves=lines_between({"": pairs}),
    )


LOCALITY_PRESERVES = Claim(
    id="minimal/locality-preserves",
    sentence="Local connections, each position with filters of its own, keep the error "
    "barrier within 2 points of the MLP's.",
    source=SOURCE,
    quantity=f"error barrier of local minus that of full connections ({BARRIER})",
    rule=partial(equivalence, margin=STABLE),
    settings=("minimal-local",),
    uses=lambda _: ("minimal-local", "minimal-mlp"),
)


@LOCALITY_PRESERVES.test
def test_locality_preserves(trial):
    trial.decide(**barriers_of(trial, local="minimal-local", mlp="minimal-mlp"))


SHARING = {
    "source": SOURCE,
    "quantity": f"error barrier of shared minus that of unshared filters ({BARRIER})",
    "settings": ("minimal-conv",),
    "uses": lambda _: ("minimal-conv", "minimal-local", "spawned-minimal-conv"),
}

WEIGHT_SHARING_BREAKS = Claim(
    **SHARING,
    id="minimal/weight-sharing-breaks",
    sentence="Weight sharing, local connections made a convolution, raises the error "
    "barrier by more than 2 points.",
    rule=partial(superiority, margin=STABLE),
    refuted={
        (
            "digits",
            "minimal-conv",
            "",
        ): "Sharing raises the barrier, from 0.05 to 0.21 points: far below "
        "what counts as broken (0.16 [0.03, 0.3] points, n = 8).",
        (
            "mnist",
            "minimal-conv",
            "",
        ): "The barrier is 0.4 points with shared and 0 with unshared filters:"
        " no more than what counts as none (0.42 [-0.25, 1.1] points, n = "
        "4).",
    },
)

WEIGHT_SHARING_RAISES = Claim(
    **SHARING,
    id="minimal/weight-sharing-raises",
    sentence="Weight sharing, local connections made a convolution, raises the error "
    "barrier.",
    rule=partial(superiority, margin=0.0),
    undecided={
        (
            "mnist",
            "minimal-conv",
            "",
        ): "Two pairs of four have a barrier with shared filters, of 0.5 and "
        "1.2 points, and none without (0.42 [-0.25, 1.1] points, n = 4).",
    },
)


@WEIGHT_SHARING_BREAKS.test
def test_weight_sharing_breaks(trial):
    trial.decide(**shared_against_unshared(trial))


@WEIGHT_SHARING_RAISES.test
def test_weight_sharing_raises(trial):
    trial.decide(**shared_against_unshared(trial))


def shared_against_unshared(trial):
    """Return what is decided on weight sharing; for the report, a later spawn too."""
    found = barriers_of(trial, convolution="minimal-conv", local="minimal-local")
    spawned = trial.pairs("spawned-minimal-conv")
    return {**found, "spawned_convolution_barrier": error_barriers(spawned)}


def barriers_of(trial, **compared):
    """Return how far one setting's error barriers are above another's, pair by pair.

    Parameters
    ----------
    trial
        The trial to decide.
    **compared
        Two settings by their names in the report.

    Returns
    -------
    dict
        Arguments of ``trial.decide``: the first setting's barriers minus the second's,
        and what they come from.
    """
    pairs = {name: trial.pairs(setting) for name, setting in compared.items()}
    columns = {
        f"{name}_{column}": measure(pairs[name])
        for column, measure in (
            ("barrier", error_barriers),
            ("endpoints", endpoints),
            ("training_loss", training_losses),
        )
        for name in pairs
    }
    ours, others = (columns[f"{name}_barrier"] for name in pairs)
    values = differences(ours, others)
    return {"values": values, "curves": lines_between(pairs), **columns}


CONVOLUTION_IS_TIED_LOCALITY = Claim(
    id="minimal/convolution-is-tied-locality",
    kind="invariant",
    sentence="A convolution and a locally connected layer that has the convolution's "
    "filters at every position compute the same function.",
    source=f"{SOURCE}; the control of its comparison",
    quantity="relative difference of the outputs, float64",
    rule=partial(exact, tolerance=ROUNDING),
    settings=("random",),
    unit="",
)


@CONVOLUTION_IS_TIED_LOCALITY.test
def test_convolution_is_tied_locality(trial):
    deviations = []

    @settings(deadline=None)
    @given(convolutions(), st.integers(0, 2**32 - 1))
    def check(shape, seed):
        channels, size, options = shape
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            convolution = nn.Conv2d(*channels, **options, dtype=torch.float64)
            images = torch.randn(3, channels[0], *size, dtype=torch.float64)
        local = LocallyConnected2d.from_convolution(convolution, size)
        with torch.no_grad():
            expected, found = convolution(images), local(images)
        assert found.shape == expected.shape
        deviations.append(float((found - expected).abs().max() / expected.abs().max()))
        assert deviations[-1] <= ROUNDING

    trial.examine(check, deviations)


@st.composite
def convolutions(draw):
    """Draw channels in and out, height and width, and a convolution's options."""
    kernel = draw(st.integers(1, 4))
    sides = st.integers(kernel, 9)
    options = {
        "kernel_size": kernel,
        "stride": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
    }
    channels = draw(st.tuples(st.integers(1, 3), st.integers(1, 4)))
    return channels, (draw(sides), draw(sides)), options


# Neither the abstract nor the summary says which way: hence both ways.
SPARSITY = Claim(
    id="minimal/sparsity",
    sentence="Fixed random sparse connections, as many as local ones, keep the error "
    "barrier within 2 points of the MLP's, above or below.",
    source=SOURCE,
    quantity=f"error barrier of sparse minus that of full connections ({BARRIER})",
    rule=partial(equivalence, margin=STABLE),
    settings=("minimal-sparse",),
    uses=lambda _: ("minimal-sparse", "minimal-mlp"),
)


@SPARSITY.test
def test_sparsity(trial):
    trial.decide(**barriers_of(trial, sparse="minimal-sparse", mlp="minimal-mlp"))


ADAM_BREAKS = Claim(
    id="minimal/adam-breaks",
    sentence="At equal training loss the error barrier of the MLP is larger by more "
    "than 2 points after Adam (at each of three learning rates) than after SGD.",
    source=SOURCE,
    quantity=f"error barrier after Adam minus that after SGD ({BARRIER})",
    rule=partial(superiority, margin=STABLE),
    settings=("minimal-mlp",),
    variants=tuple(f"{lr:g}" for lr in ADAM_RATES[1:]),
    uses=lambda place: (f"minimal-adam-lr{place.variant}", "minimal-mlp"),
    refuted={
        (
            "digits",
            "minimal-mlp",
            "0.001",
        ): "Adam's networks are as well connected as SGD's at every rate: no "
        "barrier on digits exceeds a few tenths of a point (-0.028 [-0.12, "
        "0.061] points, n = 8).",
        (
            "digits",
            "minimal-mlp",
            "0.003",
        ): "Adam's networks are as well connected as SGD's at every rate: no "
        "barrier on digits exceeds a few tenths of a point (0.054 [-0.058, "
        "0.17] points, n = 8).",
        (
            "digits",
            "minimal-mlp",
            "0.01",
        ): "Adam's networks are as well connected as SGD's at every rate: no "
        "barrier on digits exceeds a few tenths of a point (0.044 [-0.12, "
        "0.21] points, n = 8).",
        (
            "mnist",
            "minimal-mlp",
            "0.001",
        ): "At this rate Adam's networks are as well connected as SGD's "
        "(-0.049 [-0.17, 0.07] points, n = 4).",
        (
            "mnist",
            "minimal-mlp",
            "0.003",
        ): "At this rate Adam's networks are as well connected as SGD's; at "
        "0.01 the barrier is 17 points (0.18 [-0.13, 0.48] points, n = 4).",
    },
)


@ADAM_BREAKS.test
def test_adam_breaks(trial):
    adam = f"minimal-adam-lr{trial.variant}"
    trial.decide(**barriers_of(trial, adam=adam, sgd="minimal-mlp"))


SMALLER_RATE_RESTORES = Claim(
    id="minimal/smaller-rate-restores",
    sentence="Over Adam's learning rates 0.0003, 0.001, 0.003 and 0.01 the error "
    "barrier rises: a smaller one lowers it.",
    source=SOURCE,
    quantity=f"rank correlation of learning rate and error barrier ({BARRIER})",
    rule=partial(trend, direction="increasing"),
    settings=("minimal-adam-lr0.01",),
    uses=lambda _: [f"minimal-adam-lr{lr:g}" for lr in ADAM_RATES],
    unit="",
    undecided={
        (
            "digits",
            "minimal-adam-lr0.01",
            "",
        ): "No rate has a barrier above 0.2 points on average (0.26 [-0.16, "
        "0.69], n = 8).",
    },
)


@SMALLER_RATE_RESTORES.test
def test_smaller_rate_restores(trial):
    trial.decide_trend(
        {
            f"lr {lr:g}": error_barriers(trial.pairs(f"minimal-adam-lr{lr:g}"))
            for lr in ADAM_RATES
        },
        x=ADAM_RATES,
        x_label="learning rate of Adam",
        x_scale="log",
        y_label="error barrier in points",
    )


WARMUP_RESTORES = Claim(
    id="minimal/warmup-restores",
    sentence="Warm-up lowers the error barrier after Adam at learning rate 0.01.",
    source=SOURCE,
    quantity=f"error barrier without minus that with warm-up ({BARRIER})",
    rule=partial(superiority, margin=0.0),
    settings=("minimal-adam-lr0.01",),
    uses=lambda place: (place.setting, f"{place.setting}-warmup"),
    undecided={
        (
            "digits",
            "minimal-adam-lr0.01",
            "",
        ): "There is no barrier for warm-up to lower: 0.16 points without it "
        "(-0.013 [-0.24, 0.22] points, n = 8).",
    },
)


@WARMUP_RESTORES.test
def test_warmup_restores(trial):
    warm = f"{trial.setting}-warmup"
    trial.decide(**barriers_of(trial, sudden=trial.setting, warmed_up=warm))


LATER_SPAWN_RESTORES = Claim(
    id="minimal/later-spawn-restores",
    sentence="Networks that part after the first epochs have a lower error barrier "
    "than those that part at initialization.",
    source=f"{SOURCE}; arXiv:1912.05671, section 3",
    quantity=f"error barrier from initialization minus that of spawned ({BARRIER})",
    rule=partial(superiority, margin=0.0),
    settings=("minimal-adam-lr0.01", "minimal-conv"),
    uses=lambda place: (place.setting, f"spawned-{place.setting}"),
    undecided={
        (
            "digits",
            "minimal-adam-lr0.01",
            "",
        ): "There is hardly a barrier for a later spawn to lower: at most 0.2 "
        "points (0.085 [-0.063, 0.23] points, n = 8).",
        (
            "digits",
            "minimal-conv",
            "",
        ): "There is hardly a barrier for a later spawn to lower: at most 0.2 "
        "points (0.063 [-0.11, 0.23] points, n = 8).",
        (
            "mnist",
            "minimal-conv",
            "",
        ): "Two pairs of four have a barrier, of 0.5 and 1.2 points, and none "
        "has one after a later spawn (0.42 [-0.25, 1.1] points, n = 4).",
    },
)


@LATER_SPAWN_RESTORES.test
def test_later_spawn_restores(trial):
    children = f"spawned-{trial.setting}"
    trial.decide(**barriers_of(trial, initial=trial.setting, spawned=children))


HARDEST = f"-cifar10-{SAMPLES}"
"""How settings of the claim on data sets end: they are at scale mnist alone."""


def on_each(place):
    """Return the settings of a place's networks on each data set."""
    kind = place.setting.removesuffix(HARDEST)
    return [f"{kind}-{dataset}-{SAMPLES}" for dataset in IMAGES]


HARDER_DATA = Claim(
    id="minimal/harder-data",
    sentence="From digits over MNIST to CIFAR-10, with 1400 training images each and "
    "at equal training loss, the error barrier grows as a share of the accuracy above "
    "chance.",
    source=SOURCE,
    quantity="rank correlation of data set and relative barrier: largest rise of the "
    "test error over the endpoints' line, over their mean accuracy above chance",
    rule=partial(trend, direction="increasing"),
    settings=tuple(f"{name.removesuffix('-')}{HARDEST}" for name in COMPARED),
    uses=on_each,
    unit="",
    undecided={
        (
            "mnist",
            "minimal-adam-lr0.001-cifar10-1400",
            "",
        ): "No barrier exceeds 1% of what is learned from 1400 images (-0.12 "
        "[-1, 0.88], n = 4).",
        (
            "mnist",
            "minimal-conv-cifar10-1400",
            "",
        ): "No barrier exceeds 1% of what is learned from 1400 images (-0.062 "
        "[-1, 0.88], n = 4).",
        (
            "mnist",
            "minimal-mlp-cifar10-1400",
            "",
        ): "No barrier exceeds 1% of what is learned from 1400 images (-0.38 "
        "[-0.94, 0.19], n = 4).",
    },
)


@HARDER_DATA.test
def test_harder_data(trial):
    trial.decide_trend(
        {
            dataset: relative_barriers(trial.pairs(setting))
            for dataset, setting in zip(IMAGES, on_each(trial), strict=True)
        },
        x_label="data set",
        y_label="error barrier over accuracy above chance",
    )
