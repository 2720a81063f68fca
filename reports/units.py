"""Independent units, by the names that results give them: networks, pairs or tuples."""

import re

KINDS = {r"seed \d+": "networks", r"\d+-\d+": "pairs", r"\d+\.\.\d+": "tuples"}
"""What units are, by the pattern of their names."""


def kind(name: str) -> str:
    """Say what a unit is, in the plural.

    Examples
    --------
    >>> kind("seed 100"), kind("100-103"), kind("100..103"), kind("plain-vgg")
    ('networks', 'pairs', 'tuples', 'units')
    """
    for pattern, what in KINDS.items():
        if re.fullmatch(pattern, name):
            return what
    return "units"


def size(name: str) -> int | None:
    """Return how many networks a unit has; None where its name doesn't say.

    Examples
    --------
    >>> size("seed 100"), size("100-103"), size("100..103"), size("plain-vgg")
    (1, 2, 4, None)
    """
    if re.fullmatch(r"seed \d+", name):
        return 1
    if re.fullmatch(r"\d+-\d+", name):  # a seed in between has failed, maybe
        return 2
    if found := re.fullmatch(r"(\d+)\.\.(\d+)", name):
        return int(found[2]) - int(found[1]) + 1
    return None
