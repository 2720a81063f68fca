"""What measurements say about a claim: rules for one place, contradiction over all."""

from claims.evidence.decision import Decision, Verdict
from claims.evidence.family import contradiction
from claims.evidence.rules import (
    ALPHA,
    FEWEST,
    LEANING,
    UNITS,
    Rule,
    equivalence,
    exact,
    frequency,
    grain_of,
    noninferiority,
    superiority,
    trend,
)

__all__ = [
    "ALPHA",
    "FEWEST",
    "LEANING",
    "UNITS",
    "Decision",
    "Rule",
    "Verdict",
    "contradiction",
    "equivalence",
    "exact",
    "frequency",
    "grain_of",
    "noninferiority",
    "superiority",
    "trend",
]
