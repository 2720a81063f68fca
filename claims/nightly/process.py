"""What a process of evidence is: a claim at a place, by a rule, on networks of recipes.

Its id is a digest of all that a change of would make its values another question's.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isfinite, log
from typing import Any, NamedTuple

from claims import again
from claims.claim import Place
from claims.evidence.nights import DECIDED, DIRECTIONS, null_shares
from claims.nightly.history import Row

LOG_DECIDED = log(DECIDED)

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


class Change(NamedTuple):
    """An alarm of drift: the values of a process have moved within a stratum."""

    night: str
    since: str
    before: float
    after: float
    nights: int
    stratum: str


@dataclass(eq=False)
class Process:
    """One process of evidence, as far as it has come.

    Attributes
    ----------
    row
        Of the history's table: what is asked where.
    blocks
        First seeds of the blocks that have visited it.
    nights, strata, counts, met
        Of each visit its night, stratum, number of units, and whether they met the
        claim's premise.
    values
        Of all units, in their order.
    evidence
        Logarithms of the e-values after each visit, by `DIRECTIONS`.
    means
        Of all units so far, after each visit.
    sums
        Units beyond the margin, by direction; all units; and their values' sum.
    decided
        From a direction to the night on which it was first decided.
    certain
        Likewise to the night from which it may be said though it is one of many places.
    changes
        Alarms of drift.
    """

    row: Row
    blocks: set[int] = field(default_factory=set)
    nights: list[str] = field(default_factory=list)
    strata: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    met: list[bool] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    evidence: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    means: list[float] = field(default_factory=list)
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)
    decided: dict[str, str] = field(default_factory=dict)
    certain: dict[str, str] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)

    @property
    def key(self) -> Key:
        """Where it is asked."""
        return self.row["claim"], self.row["place"]

    @property
    def name(self) -> str:
        """Claim and place."""
        return " ".join(self.key)

    @property
    def units(self) -> int:
        """How many independent units there were."""
        return len(self.values)

    @property
    def log_e(self) -> tuple[float, float]:
        """Logarithms of both e-values tonight."""
        in_favour, against = self.evidence
        return (in_favour[-1], against[-1]) if in_favour else (0.0, 0.0)

    @property
    def verdict(self) -> str:
        """The direction that was decided, first if both were; "" for none."""
        return min(self.decided, key=self.decided.__getitem__, default="")

    @property
    def visited(self) -> str:
        """The last night that measured it; "" for none."""
        return self.nights[-1] if self.nights else ""

    def visit(self, block: Row, row: Row) -> None:
        """Add what a block has measured, whose evidence is weighed later."""
        self.blocks.add(row["block"])
        self.nights.append(block["night"])
        self.strata.append(block["stratum"])
        self.counts.append(len(row["values"]))
        self.met.append("unmet" not in row)
        self.values += row["values"]

    def weigh(
        self, evidence: Sequence[list[float]], means: list[float], certain: float
    ) -> None:
        """Add the e-values, and the means, after the visits not yet weighed.

        ``certain`` is the log e-value from which on something may be said of any place.
        """
        nights = self.nights[len(self.means) :]
        self.means += means
        for direction, old, new in zip(
            DIRECTIONS, self.evidence, evidence, strict=True
        ):
            old += new
            for night, value in zip(nights, new, strict=True):
                if value >= LOG_DECIDED:
                    self.decided.setdefault(direction, night)
                if value >= certain:
                    self.certain.setdefault(direction, night)
