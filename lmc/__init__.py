"""Match, merge and repair neural networks: tools for linear mode connectivity.

The ladder of a merge, from two state dicts ``a`` and ``b`` of one architecture::

    symmetry = lmc.discover(model, inputs)
    matching = lmc.weight_matching(symmetry, a, b, generator=generator)
    b = matching.permutation.apply(b)
    middle = lmc.interpolate(a, b, 0.5)
    ends = [lmc.statistics(symmetry.graph, state, batches) for state in (a, b)]
    goal = lmc.interpolated_statistics(*ends, 0.5)
    rescale = lmc.renormalize("rescale", symmetry.graph, middle, goal, batches)
    merged = rescale.fuse(middle)
"""

from lmc import pruning, retraining
from lmc.certificate import CertificateError, certify
from lmc.discovery import discover
from lmc.features import l2_distance
from lmc.homogeneous import homogeneous_degrees, interpolate_homogeneous
from lmc.interpolation import (
    LAMBDAS,
    Curve,
    Evaluation,
    average,
    barrier,
    curve,
    deviations,
    evaluate,
    interpolate,
)
from lmc.matching import (
    ManyMatching,
    Matching,
    activation_matching,
    match_consistently,
    match_iteratively,
    match_sequentially,
    match_to_reference,
    straight_through,
    weight_matching,
)
from lmc.permutation import Permutation
from lmc.preserving import PreserveFirst, preserve_first
from lmc.renormalization import (
    Renormalization,
    RenormalizationByBatch,
    Statistics,
    averaged_statistics,
    default_layers,
    first_samples,
    interpolated_statistics,
    renormalize,
    reset,
    statistics,
)
from lmc.symmetry import Symmetry

__all__ = [
    "LAMBDAS",
    "CertificateError",
    "Curve",
    "Evaluation",
    "ManyMatching",
    "Matching",
    "Permutation",
    "PreserveFirst",
    "Renormalization",
    "RenormalizationByBatch",
    "Statistics",
    "Symmetry",
    "activation_matching",
    "average",
    "averaged_statistics",
    "barrier",
    "certify",
    "curve",
    "default_layers",
    "deviations",
    "discover",
    "evaluate",
    "first_samples",
    "homogeneous_degrees",
    "interpolate",
    "interpolate_homogeneous",
    "interpolated_statistics",
    "l2_distance",
    "match_consistently",
    "match_iteratively",
    "match_sequentially",
    "match_to_reference",
    "preserve_first",
    "pruning",
    "renormalize",
    "reset",
    "retraining",
    "statistics",
    "straight_through",
    "weight_matching",
]
