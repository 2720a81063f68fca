"""Matching: the permutation of one network's units that brings it near another.

A permutation found from A to B means: B permuted by it lies near A.
"""

from lmc.matching.activations import activation_matching
from lmc.matching.many import (
    ManyMatching,
    match_consistently,
    match_iteratively,
    match_sequentially,
    match_to_reference,
)
from lmc.matching.result import Matching
from lmc.matching.straight_through import straight_through
from lmc.matching.weights import weight_matching

__all__ = [
    "ManyMatching",
    "Matching",
    "activation_matching",
    "match_consistently",
    "match_iteratively",
    "match_sequentially",
    "match_to_reference",
    "straight_through",
    "weight_matching",
]
