"""Match, merge and repair neural networks: tools for linear mode connectivity.

One call merges trained networks of one architecture, and says what it was worth::

    merge = lmc.merge(model, [a, b], batches)
    model.load_state_dict(merge.state)

Its steps, from two state dicts ``a`` and ``b``::

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
from lmc.graph import Graph, trace
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
    Matcher,
    Matching,
    UnseenWarning,
    activation_matching,
    match_consistently,
    match_iteratively,
    match_sequentially,
    match_to_reference,
    straight_through,
    weight_matching,
)
from lmc.merging import Merge, MergeWarning, merge
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
from lmc.repairing import Repair
from lmc.stored import load_symmetry, save_symmetry
from lmc.symmetry import Symmetry
from lmc.version import __version__

__all__ = [
    "LAMBDAS",
    "CertificateError",
    "Curve",
    "Evaluation",
    "Graph",
    "ManyMatching",
    "Matcher",
    "Matching",
    "Merge",
    "MergeWarning",
    "Permutation",
    "PreserveFirst",
    "Renormalization",
    "RenormalizationByBatch",
    "Repair",
    "Statistics",
    "Symmetry",
    "UnseenWarning",
    "__version__",
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
    "load_symmetry",
    "match_consistently",
    "match_iteratively",
    "match_sequentially",
    "match_to_reference",
    "merge",
    "preserve_first",
    "pruning",
    "renormalize",
    "reset",
    "retraining",
    "save_symmetry",
    "statistics",
    "straight_through",
    "trace",
    "weight_matching",
]
