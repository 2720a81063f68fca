"""Matching: the permutation of one network's units that brings it near another.

A permutation found from A to B means: B permuted by it lies near A.  To see how weight
matching works, read :mod:`lmc.matching.plain`: the algorithm in one function.
"""

from lmc.matching.activations import UnseenWarning, activation_matching
from lmc.matching.consistent import match_consistently
from lmc.matching.many import (
    ManyMatching,
    match_iteratively,
    match_sequentially,
    match_to_reference,
)
from lmc.matching.matchers import MATCHERS, Matcher
from lmc.matching.plain import plain_weight_matching
from lmc.matching.result import Matching
from lmc.matching.straight_through import straight_through
from lmc.matching.weights import weight_matching

__all__ = [
    "MATCHERS",
    "ManyMatching",
    "Matcher",
    "Matching",
    "UnseenWarning",
    "activation_matching",
    "match_consistently",
    "match_iteratively",
    "match_sequentially",
    "match_to_reference",
    "plain_weight_matching",
    "straight_through",
    "weight_matching",
]
