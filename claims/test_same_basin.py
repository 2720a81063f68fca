"""Networks that share a basin (arXiv 2402.05966, sections 3.2 and E.2)."""

from functools import partial

from claims.bench import METHODS, Pair
from claims.claim import BROKEN, Claim, PaperValue
from claims.decisions import exact, frequency, noninferiority, superiority

SHUFFLED_COPY_RECOVERED = Claim(
    id="same-basin/shuffled-copy-recovered",
    kind="invariant",
    sentence="A randomly permuted copy of a trained network is recovered exactly, "
    "apart from units that are constant on the data, which have no activation to "
    "match by.",
    source="arXiv:2402.05966v1, section 3.2, Fig. 2D, and appendix E.2",
    quantity="largest difference between a parameter and the recovered one",
    rule=partial(exact, tolerance=0.0),
    settings=(
        "mlp",
        "plain-vgg",
        "nobias-vgg",
        "bn-vgg",
        "ln-vgg",
        "plain-resnet",
        "bn-resnet",
    ),
    variants=METHODS,
    unit="",
)


@SHUFFLED_COPY_RECOVERED.test
def test_shuffled_copy_recovered(trial):
    found = [network.recovered(trial.variant) for network in trial.networks()]
    trial.decide(
        [deviation for deviation, _ in found],
        constant_units=[constant for _, constant in found],
    )


SPAWNED = {
    "source": "arXiv:2402.05966v1, section 3.2, Fig. 2C, and appendix E.2",
    "settings": ("spawned-bn-vgg", "spawned-bn-resnet"),
}

SPAWNED_WITHOUT_RESET = Claim(
    **SPAWNED,
    id="same-basin/spawned-without-reset",
    sentence="Children of one early network have a small barrier without RESET: less "
    "than 20 points.",
    quantity="midpoint minus endpoints' mean, test accuracy, without RESET",
    rule=partial(noninferiority, margin=BROKEN),
    paper=(PaperValue("ResNet20, spawned, about", -15.0, None, "spawned-bn-resnet"),),
)

SPAWNED_WITH_RESET = Claim(
    **SPAWNED,
    id="same-basin/spawned-with-reset",
    sentence="With RESET the barrier between children of one early network nearly "
    "vanishes: less than 3 points.",
    quantity="midpoint minus endpoints' mean, test accuracy, with RESET",
    rule=partial(noninferiority, margin=3.0),
    paper=(PaperValue("ResNet20, spawned, at least", -1.0, None, "spawned-bn-resnet"),),
)

REBASIN_NEEDS_RESET = Claim(
    **SPAWNED,
    id="same-basin/rebasin-needs-reset",
    sentence="Without RESET, independent BatchNorm networks have a barrier after "
    "matching that is larger than that of spawned ones by more than 20 points.",
    quantity="barrier of two independent networks after weight matching minus the mean "
    "barrier between the children of each, test accuracy, without RESET",
    rule=partial(superiority, margin=BROKEN),
    uses=lambda place: (place.setting, place.setting.removeprefix("spawned-")),
    paper=(
        PaperValue(
            "ResNet20, over 75 against about 15", 60.0, None, "spawned-bn-resnet"
        ),
    ),
)


@SPAWNED_WITHOUT_RESET.test
def test_spawned_without_reset(trial):
    trial.decide([-pair.barrier("none") for pair in trial.pairs()])


@SPAWNED_WITH_RESET.test
def test_spawned_with_reset(trial):
    bare = [pair.barrier("none") for pair in trial.pairs()]
    reset = [pair.barrier("none", "reset") for pair in trial.pairs()]
    trial.decide([-barrier for barrier in reset], without_RESET=bare, RESET=reset)


@REBASIN_NEEDS_RESET.test
def test_rebasin_needs_reset(trial):
    children = trial.pairs()
    apart = trial.pairs(trial.setting.removeprefix("spawned-"), len(children) // 2)
    spawned = mean_of_two([pair.barrier("none") for pair in children])
    rebasin = [pair.barrier("weights") for pair in apart]
    excess = [r - s for r, s in zip(rebasin, spawned, strict=True)]
    trial.decide(excess, names=named(apart), independent=rebasin, spawned=spawned)


def mean_of_two(values):
    """Return the means of values 0 and 1, 2 and 3, ...; an odd one is left.

    The children (or copies) of networks 0, 1, 2, ... go with the independent pairs 0-1,
    2-3, ...: so no network, and no child of one, is in two of the values.
    """
    return [(a + b) / 2 for a, b in zip(values[::2], values[1::2], strict=False)]


RETRAINED = {
    "settings": ("retrained-bn-vgg", "retrained-bn-resnet"),
    "uses": lambda place: (place.setting, origin(place.setting)),
}


def origin(setting):
    """Return the setting whose networks were retrained."""
    return setting.removeprefix("retrained-")


def origins_and_copies(trial):
    """Return independent pairs of a network and its retrained copy."""
    copies = trial.networks()[::2]  # the first of two copies of each
    origins = trial.networks(origin(trial.setting), len(copies))
    return [Pair(a, b) for a, b in zip(origins, copies, strict=True)]


def named(pairs):
    """Return the pairs' names."""
    return [pair.name for pair in pairs]


RETRAINED_CONNECTED = Claim(
    **RETRAINED,
    id="same-basin/retrained-connected",
    sentence="A copy retrained at a large and then a small learning rate is linearly "
    "connected to its origin without RESET: the barrier is less than 3 points.",
    source="arXiv:2402.05966v1, section 3.2, Fig. 2C, and appendices C, E.2",
    quantity="midpoint minus endpoints' mean, test accuracy, without RESET",
    rule=partial(noninferiority, margin=3.0),
)


@RETRAINED_CONNECTED.test
def test_retrained_connected(trial):
    pairs = origins_and_copies(trial)
    ends = [pair.endpoints() for pair in pairs]
    middle = [pair.midpoint("none").accuracy for pair in pairs]
    short = [m - e for m, e in zip(middle, ends, strict=True)]
    trial.decide(short, names=named(pairs), endpoints=ends, midpoint=middle)


NEIGHBOUR_RECOVERED = Claim(
    **RETRAINED,
    id="same-basin/shuffled-neighbour-recovered",
    sentence="A permuted network is recovered exactly by matching it to a same-basin "
    "neighbour, more often than not (almost surely, in the paper).",
    source="arXiv:2402.05966v1, section 3.2, Fig. 2D, and appendix E.2",
    quantity="whether every parameter is where it was, but for units constant on the "
    "data",
    rule=partial(frequency, at_least=0.5),
    variants=METHODS,
    unit="",
)


@NEIGHBOUR_RECOVERED.test
def test_shuffled_neighbour_recovered(trial):
    pairs = origins_and_copies(trial)
    found = [pair.b.recovers(pair.a, trial.variant) for pair in pairs]
    trial.decide(
        [deviation == 0 for deviation, _ in found],
        names=named(pairs),
        largest_difference=[deviation for deviation, _ in found],
        constant_units=[constant for _, constant in found],
    )


SAME_BASIN_NEARER = Claim(
    **RETRAINED,
    id="same-basin/same-basin-nearer",
    sentence="Networks of one basin are less than half as far from each other as "
    "independent networks after matching.",
    source="arXiv:2402.05966v1, section 3.2 and appendix E.2, Fig. 13, Table 3",
    quantity="1 minus the mean distance of two networks from their copies over that "
    "between the two (BatchNorm statistics included)",
    rule=partial(superiority, margin=0.5),
    unit="",
)


@SAME_BASIN_NEARER.test
def test_same_basin_nearer(trial):
    pairs = origins_and_copies(trial)
    near = mean_of_two([pair.distance("none") for pair in pairs])
    apart = trial.pairs(origin(trial.setting), len(near))
    far = [pair.distance("weights") for pair in apart]
    closer = [1 - n / f for n, f in zip(near, far, strict=True)]
    trial.decide(closer, names=named(apart), one_basin=near, independent=far)
