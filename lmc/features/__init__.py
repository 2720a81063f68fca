"""Quantities of networks that claims are about.

Of parameters alone: distance, magnitude, singular values and their alignment.  Of a
network on data: scale of the activations, dead units, the part of a feature that
depends on the input, input directions, and Fisher information.
"""

from lmc.features.activations import (
    ActivationScale,
    FeatureParts,
    LayerActivations,
    activation_scale,
    dead_units,
    feature_parts,
)
from lmc.features.fisher import diagonal_fisher, sample_gradients
from lmc.features.singular import (
    SingularAlignment,
    alignment,
    input_energy,
    singular_alignment,
    singular_values,
)
from lmc.features.weights import l2_distance, layer_means, parameter_magnitude

__all__ = [
    "ActivationScale",
    "FeatureParts",
    "LayerActivations",
    "SingularAlignment",
    "activation_scale",
    "alignment",
    "dead_units",
    "diagonal_fisher",
    "feature_parts",
    "input_energy",
    "l2_distance",
    "layer_means",
    "parameter_magnitude",
    "sample_gradients",
    "singular_alignment",
    "singular_values",
]
