"""Where the order of RESCALE and REPAIR flips, and what it depends on.

In the paper RESCALE is ahead (arXiv 2402.05966v1, Tables 1 and 4: by 9 points after
weight matching, by 40 after activation matching).  Here one factor at a time goes from
one centre, 7 convolutions and 30 epochs, towards the paper's VGG16, so that what is
refuted at a small scale says in which direction, if any, the paper's networks lie.
Weight decay alone has another centre: at digits its levels begin at 4e-3, not at 1e-4.
What matters is a quarter of the paper's difference, whose sign is in question.

With the paper's own networks the factor is time: they are looked at as they were after
some epochs of their 160, all of which but the last before the rate first falls.

On real images the centre is the paper's VGG16 at a quarter of its width and of its
epochs.  Who is ahead is decided in each cell around it, and for each factor whether it
changes that; by corrected and by uncorrected statistics.
"""

from functools import partial

from claims.claim import claim
from claims.evidence import superiority, trend
from claims.measure import METHODS, Repair
from claims.papers import raised
from fixtures.scales import WEIGHT_DECAYS, Name

CENTRE = Name("plain-vgg")
DEEP = CENTRE.at(depth=13)
CORNER = DEEP.at(epochs=120)
"""As near to the paper's networks as a small scale comes."""

# By names that say the level, so that nothing is asked where the centre is another.
DEPTHS = {depth: CENTRE.at(depth=depth) for depth in (7, 10, 13)}
EPOCHS = {epochs: CENTRE.at(epochs=epochs) for epochs in (10, 30, 120)}
DEEP_EPOCHS = {30: DEEP.at(epochs=30), 120: CORNER}
STOPPED = {epochs: CENTRE.at(after=epochs) for epochs in (20, 40, 80)}
TIMES = {**STOPPED, 160: CENTRE}
DECAYS = {multiple: CENTRE.at(decay=multiple) for multiple in WEIGHT_DECAYS}
WIDTHS = {0.5: CENTRE.at(width="half"), 1: CENTRE, 2: CENTRE.at(width="double")}

# On real images; the settings' own names say which levels the centre has.
CONVOLUTIONS = {depth: CENTRE.at(depth=depth) for depth in (8, 10, 13)}
EARLIER = {10: CENTRE.at(after=10), 40: CENTRE.at(epochs=40)}
LONGER = {40: CENTRE.at(epochs=40), 160: CENTRE.at(epochs=160)}
FIVEFOLD = {multiple: CENTRE.at(decay=multiple) for multiple in (1, 5)}
WIDER = {0.25: CENTRE, 0.5: CENTRE.at(width="double")}
CELLS = (
    *(CENTRE, CENTRE.at(after=10), CENTRE.at(epochs=160)),
    *(CENTRE.at(depth=8), CENTRE.at(depth=10)),
    *(CENTRE.at(decay=5), CENTRE.at(width="double")),
)

UNCORRECTED = "uncorrected-"
PROTOCOLS = (*METHODS, *(UNCORRECTED + method for method in METHODS))
"""How networks are matched, by corrected statistics and by uncorrected ones."""


def order(levels, **declared):
    """Declare a claim about the difference's change over settings by their level."""
    return partial(
        claim,
        source=raised("2402.05966v1", "its section 4.1", tables=("1", "4", "5")),
        contrast="rescale - repair",
        quantity="change of RESCALE minus REPAIR, test accuracy at the midpoint",
        rule=trend("rising"),
        settings=CENTRE,
        variants=METHODS,
        uses=lambda place: levels.values(),
        networks=10,
        long=True,
    )(**declared)


def ahead(trial, setting=CENTRE, method=None, **options):
    """Return RESCALE minus REPAIR at a setting's midpoints, and both columns."""
    ways = {kind: Repair(kind, **options) for kind in ("repair", "rescale")}
    middle = trial.midpoints(setting=setting, method=method, **ways)
    return middle.rescale - middle.repair, middle


def by_level(trial, levels, **options):
    """Return the difference by the name of its level, and columns for the report."""
    found = {
        f"{level:g}": ahead(trial, name, **options) for level, name in levels.items()
    }
    columns = {
        f"{kind}, {level}": values
        for level, (_, middle) in found.items()
        for kind, values in middle.items()
    }
    return {level: values for level, (values, _) in found.items()}, columns


def along(trial, levels, label, scale="log", beside=None, **options):
    """Decide the trend of RESCALE minus REPAIR over settings by their level."""
    axis = {"x": [*levels], "x_label": label, "x_scale": scale}
    unit = "RESCALE minus REPAIR, points"
    found, columns = by_level(trial, levels, **options)
    trial.decide_trend(found, columns | (beside or {}), **axis, y_label=unit)


@order(DEPTHS)
def test_depth(trial):
    """The deeper a plain VGG, from 7 to 13 convolutions, the more RESCALE is ahead."""
    along(trial, DEPTHS, "convolutions", "linear")


@order(EPOCHS)
def test_epochs(trial):
    """The longer it is trained, from 10 to 120 epochs, the more RESCALE is ahead."""
    along(trial, EPOCHS, "epochs")


@order(DEEP_EPOCHS, rule=superiority())
def test_epochs_of_deep(trial):
    """With 13 convolutions, RESCALE is more ahead after 120 epochs than after 30."""
    found, columns = by_level(trial, DEEP_EPOCHS)
    short, long = found.values()
    trial.decide(long - short, columns)


@order(
    {120: CORNER},
    settings=CORNER,
    quantity="RESCALE minus REPAIR, test accuracy at the midpoint",
    rule=superiority(),
)
def test_far_corner(trial):
    """With 13 convolutions and 120 epochs, RESCALE is better than REPAIR."""
    trial.decide(*ahead(trial, CORNER))


@order(DECAYS, rule=trend("falling"))
def test_decay(trial):
    """The larger the weight decay, up to five times, the less RESCALE is ahead."""
    along(trial, DECAYS, "multiple of the smallest weight decay", "linear")


@order(WIDTHS)
def test_width(trial):
    """The wider a plain VGG, from half to double width, the more RESCALE is ahead."""
    along(trial, WIDTHS, "width over the centre's")


@order({1: CENTRE}, rule=superiority())
def test_protocol(trial):
    """RESCALE is more ahead of REPAIR by uncorrected than by corrected statistics."""
    ours, corrected = ahead(trial)
    theirs, uncorrected = ahead(trial, corrected=False)
    columns = {f"uncorrected_{kind}": values for kind, values in uncorrected.items()}
    trial.decide(theirs - ours, corrected | columns)


def in_time(levels, **declared):
    """Declare a claim about a training of 160 epochs, by those that are done."""
    not_at = dict.fromkeys(["cifar10", "cifar100"], "its networks train for less")
    return order(levels, networks=16, long=False, not_at=not_at, **declared)


def meanwhile(trial):
    """Return what else matching and training have come to, by epoch, as columns."""

    def distance(method):
        return lambda pair: pair.distance(method)

    columns = {}
    for epochs, name in TIMES.items():
        columns |= {
            f"endpoints, {epochs}": trial.endpoints(name),
            f"unmatched L2 distance, {epochs}": trial.each(distance("none"), name),
            f"L2 distance, {epochs}": trial.each(distance(trial.variant), name),
            f"objective, {epochs}": trial.each(
                lambda pair: pair.objective(trial.variant), name
            ),
        }
    return columns


@in_time(TIMES)
def test_time(trial):
    """The longer VGG16 has been trained, from 20 to 160 epochs, the more RESCALE is
    ahead."""
    along(trial, TIMES, "epochs", beside=meanwhile(trial))


@in_time(
    TIMES,
    quantity="uncorrected statistics: change of RESCALE minus REPAIR, test accuracy",
)
def test_uncorrected_time(trial):
    """By uncorrected statistics, the longer VGG16 has been trained, from 20 to 160
    epochs, the more RESCALE is ahead."""
    along(trial, TIMES, "epochs", corrected=False)


def after(epochs):
    """Declare a claim about networks of some epochs alone."""
    return in_time(
        {epochs: STOPPED[epochs]},
        quantity="RESCALE minus REPAIR, test accuracy at the midpoint",
        rule=superiority(),
    )


def already(trial, epochs):
    """Decide the difference after some epochs; uncorrected ones stand beside."""
    level = {epochs: STOPPED[epochs]}
    found, corrected = by_level(trial, level)
    _, uncorrected = by_level(trial, level, corrected=False)
    beside = {f"uncorrected {name}": values for name, values in uncorrected.items()}
    trial.decide(found[f"{epochs}"], corrected | beside)


@after(20)
def test_after_20_epochs(trial):
    """After 20 of its 160 epochs, RESCALE is better than REPAIR for VGG16."""
    already(trial, 20)


@after(40)
def test_after_40_epochs(trial):
    """After 40 of its 160 epochs, RESCALE is better than REPAIR for VGG16."""
    already(trial, 40)


@after(80)
def test_after_80_epochs(trial):
    """After 80 of its 160 epochs, RESCALE is better than REPAIR for VGG16."""
    already(trial, 80)


def around(levels, **declared):
    """Declare a claim about networks around the centre on real images."""
    elsewhere = dict.fromkeys(["digits", "paper"], "its levels are those above")
    not_at = {**elsewhere, "cifar100": "it has no networks around its centre"}
    declared = {"variants": PROTOCOLS, "not_at": not_at, "long": False, **declared}
    return order(levels, **declared)


def protocol(trial):
    """Return the options of `ahead` that a trial's variant stands for."""
    method = trial.variant.removeprefix(UNCORRECTED)
    return {"method": method, "corrected": method == trial.variant}


cell = partial(
    around,
    {},
    settings=CELLS,
    variants=METHODS,
    uses=None,
    rule=superiority(),
    networks=16,  # of the centre, as the headline; of the others there are ten
)


@cell(quantity="RESCALE minus REPAIR, test accuracy at the midpoint")
def test_cell(trial):
    """On real images RESCALE is better than REPAIR, for plain VGGs around a narrow
    VGG16 that differ from it in one thing."""
    trial.decide(*ahead(trial, trial.setting))


@cell(
    quantity="uncorrected statistics: RESCALE minus REPAIR, test accuracy at midpoint"
)
def test_uncorrected_cell(trial):
    """By statistics of the midpoint as it is, RESCALE is better than REPAIR for the
    same VGGs."""
    found, middle = ahead(trial, trial.setting, corrected=False)
    trial.decide(found, {f"uncorrected_{kind}": each for kind, each in middle.items()})


@around(CONVOLUTIONS)
def test_convolutions(trial):
    """The deeper a plain VGG, from VGG11 over VGG13 to VGG16, the more RESCALE is
    ahead."""
    along(trial, CONVOLUTIONS, "convolutions", "linear", **protocol(trial))


def change(levels, **declared):
    """Declare a claim about the change from the first to the second of two levels."""
    return around(levels, rule=superiority(), **declared)


def changed(trial, levels, sign=1):
    """Decide the change of RESCALE minus REPAIR; with sign -1 that it falls."""
    found, columns = by_level(trial, levels, **protocol(trial))
    first, second = found.values()
    trial.decide(sign * (second - first), columns)


# A first pair of the paper's own networks had it so, from 20 of 160 epochs on.
@change(
    EARLIER,
    quantity="fall of RESCALE minus REPAIR, test accuracy at the midpoint",
)
def test_while_the_rate_is_high(trial):
    """After ten of 40 epochs, before the learning rate first falls, RESCALE is more
    ahead than at the end."""
    changed(trial, EARLIER, sign=-1)


@change(LONGER)
def test_longer(trial):
    """After 160 epochs, as the paper's, RESCALE is more ahead than after 40."""
    changed(trial, LONGER)


@change(
    FIVEFOLD,
    quantity="fall of RESCALE minus REPAIR, test accuracy at the midpoint",
)
def test_fivefold_decay(trial):
    """With five times the weight decay RESCALE is less ahead."""
    changed(trial, FIVEFOLD, sign=-1)


@change(WIDER)
def test_wider(trial):
    """At half of the paper's width RESCALE is more ahead than at a quarter."""
    changed(trial, WIDER)
