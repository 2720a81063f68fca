"""What connects networks of one initialization (arXiv 2312.09832).

The two networks of a pair have one initialization (or, if spawned, one parent), see
the training data in different orders, and are interpolated without a permutation.
Training ends at one training loss: 0.05; on all of MNIST 0.1, and 0.3 for logistic
regression, which comes no further.
"""

from functools import partial

from claims.claim import POINT, claim
from claims.evidence import equivalence, superiority, trend
from claims.measure import Pair, lines_between
from claims.measure.minimal import error_barrier, relative_barrier, training_loss
from claims.papers import paper, raised
from fixtures.scales import ADAM_RATES, COMPARED, IMAGES, SAMPLES

STABLE = 2.0
"""Points of error up to which a barrier counts as none.

Frankle et al. (arXiv 1912.05671, section 3) call networks stable below 2%."""

SHARE = 0.02
"""Of the accuracy above chance: 1.8 points of ten classes' 90."""

HARDEST = f"-cifar10-{SAMPLES}"
"""How settings of the claim on data sets end: they are at scale mnist alone."""

HUNDRED = f"-cifar100-{SAMPLES}"
"""How those end whose last data set has a hundred classes."""

ALIKE = 1.25
"""Factor up to which mean training losses count as equal: training stops by the mean
over an epoch, at whose end a network's own loss is somewhat lower."""

CONV = "minimal-conv"
"""What breaks connectivity: without a barrier there, nothing here can have one."""

FASTEST = f"minimal-adam-lr{max(ADAM_RATES):g}"

MEASURES = {
    "barrier": error_barrier,
    "endpoints": Pair.endpoints,
    "training loss": training_loss,
}

connected = partial(
    claim,
    source=paper("2312.09832", "abstract and summary, as its figures aren't at hand"),
    quantity="error barrier: largest rise of the test error over the endpoints' line",
)
compared = partial(connected, quantity="error barrier, the first minus the second's")


def pair_of(first, second, *others):
    """Return what names two settings that are compared, wherever it is asked."""
    return {"settings": first, "uses": lambda _: (first, second, *others)}


def report(trial):
    """Return what is shown of all settings, pair by pair, and their lines' curves."""
    columns = {
        f"{what} {name}": trial.each(measure, name)
        for what, measure in MEASURES.items()
        for name in trial.place.uses
    }
    lines = lines_between({name: trial.pairs(name) for name in trial.place.uses})
    return {"columns": columns, "curves": lines}


def barriers(trial):
    """Return the error barriers of each setting that is looked at, by its name."""
    return trial.by_setting(lambda name: trial.each(error_barrier, name))


def none_to_lower(barrier):
    """Return why a barrier can't be lowered, "" if there is one above a point."""
    return "" if barrier.mean() > POINT else "there is no barrier to lower"


def decide(trial):
    """Decide on the error barriers of the trial's own setting."""
    [own] = barriers(trial).values()
    trial.decide(own, **report(trial))


def decide_difference(trial, lowered=False, no=""):
    """Decide the first setting's error barriers minus the second's, which is said to
    have lowered them, or not; ``no`` says why it can't be decided."""
    first, second, *_ = barriers(trial).values()
    no = no or (none_to_lower(first) if lowered else "")
    trial.decide(first - second, unmet=no, **report(trial))


def decide_preserved(trial):
    """Decide the same where a convolution shows that there may be a barrier."""
    *_, breaking = barriers(trial).values()
    none = breaking.mean() <= STABLE
    decide_difference(trial, no="the convolution has no barrier either" if none else "")


@connected(settings="minimal-mlp", rule=equivalence(STABLE))
def test_mlp_connected(trial):
    """A ReLU MLP of one hidden layer is linearly connected from initialization: its
    error barrier is below 2 points."""
    decide(trial)


@connected(
    source=raised("2312.09832", "question 1 of a summary of it"),
    settings="minimal-logistic",
    rule=equivalence(STABLE),
)
def test_logistic_regression(trial):
    """Logistic regression, which is convex, has an error barrier below 2 points."""
    decide(trial)


@compared(**pair_of("minimal-local", "minimal-mlp", CONV), rule=equivalence(STABLE))
def test_locality_preserves(trial):
    """Local connections, each position with filters of its own, keep the error barrier
    within 2 points of the MLP's, where that of a convolution is larger than 2."""
    decide_preserved(trial)


@connected(settings=CONV, rule=superiority(STABLE))
def test_weight_sharing_breaks(trial):
    """With weight sharing, as convolutions have it, networks are not connected: the
    error barrier is above 2 points."""
    decide(trial)


@compared(**pair_of(CONV, "minimal-local"), rule=superiority())
def test_weight_sharing_raises(trial):
    """Weight sharing, local connections made a convolution, raises the error barrier by
    more than a point."""
    decide_difference(trial)


# Neither the abstract nor the summary says which way: hence both ways.
@compared(**pair_of("minimal-sparse", "minimal-mlp", CONV), rule=equivalence(STABLE))
def test_sparsity(trial):
    """Fixed random sparse connections, as many as local ones, keep the error barrier
    within 2 points of the MLP's, where that of a convolution is larger than 2."""
    decide_preserved(trial)


# Not after the smallest rate, 0.0003, which is to restore connectivity (below).
@compared(
    rule=superiority(STABLE),
    settings="minimal-mlp",
    variants=[f"{lr:g}" for lr in ADAM_RATES[1:]],
    uses=lambda place: (f"minimal-adam-lr{place.variant}", "minimal-mlp"),
)
def test_adam_breaks(trial):
    """At equal training loss the error barrier of the MLP is larger by more than 2
    points after Adam (at each of three learning rates) than after SGD."""
    by_adam, by_sgd = (
        trial.each(training_loss, name).mean() for name in trial.place.uses
    )
    apart = max(by_adam / by_sgd, by_sgd / by_adam)
    no = "" if apart <= ALIKE else f"training losses differ by a factor of {apart:.3g}"
    decide_difference(trial, no=no)


@connected(
    quantity="error barrier: fall from Adam's learning rate 0.01 to 0.0003",
    rule=trend("rising"),
    settings=FASTEST,
    uses=lambda _: [f"minimal-adam-lr{lr:g}" for lr in ADAM_RATES],
    networks=10,
)
def test_smaller_rate_restores(trial):
    """A smaller learning rate of Adam, 0.0003 for 0.01, lowers the error barrier."""
    found = barriers(trial)
    axes = {"x_label": "learning rate", "x_scale": "log", "y_label": "error barrier"}
    no = none_to_lower(found[FASTEST])
    trial.decide_trend(found, x=ADAM_RATES, unmet=no, **axes)


@compared(**pair_of(FASTEST, f"{FASTEST}-warmup"), rule=superiority())
def test_warmup_restores(trial):
    """Warm-up lowers the error barrier after Adam at learning rate 0.01."""
    decide_difference(trial, lowered=True)


@compared(
    source=paper("1912.05671", "section 3"),
    rule=superiority(),
    settings=f"{FASTEST} {CONV}",
    uses=lambda place: (place.setting, place.setting.spawned),
)
def test_later_spawn_restores(trial):
    """Networks that part after the first epoch have a lower error barrier than those
    that part at initialization."""
    decide_difference(trial, lowered=True)


def on_each(place):
    """Return the settings of a place's networks on each data set up to its own."""
    kind, last, samples = place.setting.rsplit("-", 2)
    sets = [*IMAGES]
    return [f"{kind}-{each}-{samples}" for each in sets[: sets.index(last) + 1]]


harder = partial(
    connected, rule=trend("rising", SHARE), uses=on_each, networks=10, unit=""
)


def along_data(trial):
    """Decide the trend of the relative barrier over data sets."""
    found = trial.by_setting(lambda name: trial.each(relative_barrier, name))
    trial.decide_trend(found, x_label="data set", y_label="barrier over accuracy")


@harder(
    quantity="error barrier over the endpoints' accuracy above chance: rise from "
    "digits to CIFAR-10",
    settings=[f"{name.removesuffix('-')}{HARDEST}" for name in COMPARED],
)
def test_harder_data(trial):
    """From digits over MNIST to CIFAR-10, with 1400 training images each and at equal
    training loss, the error barrier grows as a share of the accuracy above chance."""
    along_data(trial)


@harder(
    quantity="error barrier over the endpoints' accuracy above chance: rise from "
    "digits to CIFAR-100",
    settings=[f"{name.removesuffix('-')}{HUNDRED}" for name in COMPARED],
)
def test_hundred_classes(trial):
    """From digits over MNIST and CIFAR-10 to CIFAR-100, with 1400 training images each
    and at equal training loss, the error barrier grows as a share of the accuracy above
    chance."""
    along_data(trial)
