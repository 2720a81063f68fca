"""Trained networks, and what claims measure on them.

Everything expensive is measured once, and shared through the store by all claims and
workers: a pair's permutation, its curve, a renormalized midpoint.  The key of a value
covers the code that measures it, see `claims.measure.memory`.
"""

from claims.measure.architecture import Architecture
from claims.measure.bench import Bench, Setting
from claims.measure.matchers import MATCHERS, METHODS
from claims.measure.networks import Network
from claims.measure.pairs import (
    Pair,
    Repair,
    accuracy_curves,
    lines_between,
    loss_curves,
)
from claims.measure.several import Several

__all__ = [
    "MATCHERS",
    "METHODS",
    "Architecture",
    "Bench",
    "Network",
    "Pair",
    "Repair",
    "Setting",
    "Several",
    "accuracy_curves",
    "lines_between",
    "loss_curves",
]
