"""The bench: trained networks, and what claims measure on them.

Everything expensive is measured once, and shared through the store by all claims and
workers: a pair's permutation, its curve, a renormalized midpoint.  All code of this
package is part of the key of what is measured.
"""

from claims.bench.matchers import MATCHERS, METHODS
from claims.bench.networks import Bench, Network, Setting, code_digest
from claims.bench.pairs import Pair, Repair, accuracy_curves, loss_curves
from claims.bench.several import Several

__all__ = [
    "MATCHERS",
    "METHODS",
    "Bench",
    "Network",
    "Pair",
    "Repair",
    "Setting",
    "Several",
    "accuracy_curves",
    "code_digest",
    "loss_curves",
]
