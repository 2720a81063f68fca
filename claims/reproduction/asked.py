"""What is asked of a setting: the papers' main numbers, and what they may hang on."""

from claims.claim import Place, declared
from claims.training import node_id
from fixtures.scales import Scale

CLAIMS = (
    # The headline, by both protocols of statistics, and each way to renormalize.
    "renormalization/rescale-beats-repair",
    "renormalization/rescale-at-least-repair",
    "renormalization/rescale-lifts-midpoint",
    "renormalization/uncorrected-rescale-beats-repair",
    "renormalization/rescale-average-suffices",
    "renormalization/reshift-ruins",
    "renormalization/reset-restores-batchnorm",
    "renormalization/reset-leaves-a-few-points",
    # Endpoints and curves: without matching, and after it.
    "matching/plain-nets-stay-broken",
    "renormalization/repair-needs-matching",
    "renormalization/rescale-needs-matching",
    # What midpoints hold, layer by layer.
    "vanishing-features/feature-shrinks",
    "activations/scale-shrinks-with-depth",
    "activations/dead-units",
    # A pass over the training set for each layer.
    "renormalization/sequential-repair-better",
    "renormalization/sequential-beats-uncorrected",
    "renormalization/sequential-rescale-same",
)
"""Ids of claims, what matters most first."""

LATER = (
    # Where the order flips, in time: each pair at four epochs.
    "order/time",
    "order/uncorrected-time",
    "order/after-20-epochs",
    "order/after-40-epochs",
    "order/after-80-epochs",
)
"""Those that take longest, of which most is known by a pair: when all is trained."""


def places(scale: Scale, setting: str) -> list[Place]:
    """Return where `CLAIMS` and those of `LATER` are asked of a setting.

    Raises
    ------
    ValueError
        None is.
    """
    name = scale.canonical(setting)
    known = declared()
    found = [
        place
        for id in CLAIMS + LATER
        for place in known[id].places(scale)
        if place.setting == name
    ]
    if not found:
        raise ValueError(
            f"nothing that is reproduced is asked of {setting!r} at scale "
            f"{scale.name!r}: choose plain-vgg, plain-resnet or bn-resnet"
        )
    return found


def halves(places: list[Place]) -> dict[str, list[str]]:
    """Return the node ids of places by name, in two halves that share little.

    Almost all that is measured hangs on how networks are matched.
    """
    found: dict[str, list[str]] = {"activations": [], "weights": []}
    for place in places:
        half = "activations" if "activations" in place.variant else "weights"
        found[half].append(node_id(place))
    return {half: nodes for half, nodes in found.items() if nodes}
