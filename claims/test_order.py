"""Where the order of RESCALE and REPAIR flips, and what it depends on.

In the paper RESCALE is ahead (arXiv 2402.05966v1, Tables 1 and 4: by 9 points after
weight matching, by 40 after activation matching).  Here one factor at a time goes from
one centre, 7 convolutions and 30 epochs, towards the paper's VGG16, so that what is
refuted at a small scale says in which direction, if any, the paper's networks lie.
Weight decay alone has another centre: at digits its levels begin at 4e-3, not at 1e-4.
What matters is a quarter of the paper's difference, whose sign is in question.
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

DEPTHS = {7: CENTRE, 10: CENTRE.at(depth=10), 13: DEEP}
EPOCHS = {10: CENTRE.at(epochs=10), 30: CENTRE, 120: CENTRE.at(epochs=120)}
DEEP_EPOCHS = {30: DEEP, 120: CORNER}
DECAYS = {multiple: CENTRE.at(decay=multiple) for multiple in WEIGHT_DECAYS}
WIDTHS = {0.5: CENTRE.at(width="half"), 1: CENTRE, 2: CENTRE.at(width="double")}


def order(levels, **declared):
    """Declare a claim about the difference's change over settings by their level."""
    return partial(
        claim,
        source=raised("2402.05966v1", "section 4.1", tables=("1", "4")),
        contrast="rescale - repair",
        quantity="change of RESCALE minus REPAIR, test accuracy at the midpoint",
        rule=trend("rising"),
        settings=CENTRE,
        variants=METHODS,
        uses=lambda place: levels.values(),
        networks=10,
        long=True,
    )(**declared)


def ahead(trial, setting=CENTRE, **options):
    """Return RESCALE minus REPAIR at a setting's midpoints, and both columns."""
    ways = {kind: Repair(kind, **options) for kind in ("repair", "rescale")}
    middle = trial.midpoints(setting=setting, **ways)
    return middle.rescale - middle.repair, middle


def by_level(trial, levels):
    """Return the difference by the name of its level, and columns for the report."""
    found = {f"{level:g}": ahead(trial, name) for level, name in levels.items()}
    columns = {
        f"{kind}, {level}": values
        for level, (_, middle) in found.items()
        for kind, values in middle.items()
    }
    return {level: values for level, (values, _) in found.items()}, columns


def along(trial, levels, label, scale="log"):
    """Decide the trend of RESCALE minus REPAIR over settings by their level."""
    axis = {"x": [*levels], "x_label": label, "x_scale": scale}
    unit = "RESCALE minus REPAIR, points"
    trial.decide_trend(*by_level(trial, levels), **axis, y_label=unit)


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
    effect="rescale - repair",
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
