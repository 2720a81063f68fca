"""Matching: the permutation of one network's units that brings it near another.

A permutation found from A to B means: B permuted by it lies near A.
"""

from lmc.matching.activations import activation_matching
from lmc.matching.result import Matching
from lmc.matching.weights import weight_matching

__all__ = ["Matching", "activation_matching", "weight_matching"]
