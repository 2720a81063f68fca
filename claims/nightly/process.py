"""What a process of evidence is: a claim at a place, by a rule, on networks of recipes.

Its id is a digest of all that a change of would make its values another question's.
"""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from math import isfinite
from typing import Any, NamedTuple

from claims import again
from claims.claim import Place
from claims.evidence.nights import null_shares
from claims.nightly.history import Row

Key = tuple[str, str]
"""A claim's id, and a place as in "plain-vgg weights"."""


class Measured(NamedTuple):
    """What a place's fresh units gave.

    Attributes
    ----------
    key
        Which place.
    values
        One for each unit.
    unmet
        Whether these networks lack the claim's premise.
    """

    key: Key
    values: list[float]
    unmet: bool = False


def key_of(place: Place) -> Key:
    """Return the key of a place."""
    return place.claim.id, place.name


def process_of(place: Place, accepted: int) -> Row:
    """Return the row of a place's present process, ``process`` being its id.

    Parameters
    ----------
    place
        Of an empirical claim.
    accepted
        How often a person has accepted other values of history's networks there.
    """
    rule, margin = place.claim.rule, place.margin
    low, high = rule.region(margin)
    shares = null_shares(rule, margin)
    asked = {
        "claim": place.claim.id,
        "place": place.name,
        "scale": place.scale.name,
        "sentence": place.claim.sentence,
        "quantity": place.claim.quantity,
        "rule": repr(rule),
        "unit": place.claim.unit,
        "low": low if isfinite(low) else None,
        "high": high if isfinite(high) else None,
        "null_for": shares[0],
        "null_against": shares[1],
    }
    same = {
        "recipes": [place.scale.recipe(name).key for name in place.uses],
        "fixed": _fixed().get(" ".join(key_of(place))),
        "accepted": accepted,
    }
    text = json.dumps([asked, same], sort_keys=True)
    return {"process": hashlib.sha256(text.encode()).hexdigest()[:10], **asked}


@cache
def _fixed() -> Mapping[str, Any]:
    """Return what is accepted of the fixed networks: another value, another process."""
    return again.kept()["values"]
