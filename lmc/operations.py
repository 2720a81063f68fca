"""What kinds of ATen operations there are: the one place that lists them by name.

Names are those of :func:`lmc.exported.operation_name`, without overload and without
the underscore of an in-place variant.  How an operation moves units is said by its
rule in :mod:`lmc.rules`, which takes the names of a kind from here.
"""

HOMOGENEOUS_ACTIVATIONS = frozenset("relu leaky_relu prelu rrelu".split())
"""Nonlinearities f with f(c x) = c f(x) for c > 0."""

ACTIVATIONS = HOMOGENEOUS_ACTIVATIONS | frozenset(
    "relu6 elu selu celu gelu silu mish sigmoid tanh hardtanh hardsigmoid hardswish "
    "softplus log_sigmoid hardshrink softshrink threshold clamp clamp_min clamp_max "
    "sin cos erf".split()
)
"""Nonlinearities of a unit, whose output is the unit's activation."""

CURVES = frozenset(
    "abs square sqrt rsqrt reciprocal pow exp expm1 log log1p sign round floor ceil "
    "eq ne lt le gt ge maximum minimum".split()
)
"""Other functions of each position that are not linear: parts of a formula."""

IDENTITIES = frozenset(
    "dropout feature_dropout alpha_dropout clone contiguous detach alias to type_as "
    "_to_copy lift_fresh lift_fresh_copy".split()
)
"""What returns its values as they are, in evaluation mode."""

SUMS = frozenset("add sub rsub".split())

ELEMENTWISE = (
    ACTIVATIONS
    | CURVES
    | IDENTITIES
    | SUMS
    | frozenset(
        "neg mul div floor_divide where masked_fill lerp addcmul zero fill copy "
        "logical_and logical_or logical_not bitwise_and bitwise_or bitwise_not "
        "isnan isinf isfinite nan_to_num".split()
    )
)
"""What treats each position alike, with broadcasting."""

FACTORIES = frozenset(
    "zeros ones full empty arange linspace eye tril triu new_zeros new_ones new_full "
    "new_empty zeros_like ones_like full_like empty_like scalar_tensor".split()
)
"""Functions whose result depends on no value of their arguments.

``tril`` and ``triu`` of such a result are one too; of others they have no rule."""

LAYERS = {
    "conv1d": ("convolution", 1),
    "conv2d": ("convolution", 1),
    "conv3d": ("convolution", 1),
    "linear": ("linear", -1),
}
"""From an operation to the kind of its layer and the axis of its output's channels."""

NORMALIZATIONS = frozenset(
    "batch_norm layer_norm group_norm instance_norm rms_norm".split()
)

POOLING = {
    f"{kind}{dimensions}d": dimensions
    for kind in (
        "max_pool avg_pool adaptive_avg_pool adaptive_max_pool upsample_nearest".split()
    )
    for dimensions in (1, 2, 3)
} | {
    "upsample_linear1d": 1,
    "upsample_nearest_exact2d": 2,
    "upsample_bilinear2d": 2,
    "upsample_bicubic2d": 2,
    "_upsample_bilinear2d_aa": 2,
    "_upsample_bicubic2d_aa": 2,
    "_upsample_lanczos2d_aa": 2,
    "upsample_trilinear3d": 3,
}
"""Pooling and interpolation over the last axes, channel by channel: of how many."""

RESHAPES = frozenset(
    "flatten view reshape reshape_as view_as _unsafe_view squeeze unsqueeze "
    "unflatten".split()
)

MOVES = (
    RESHAPES
    | IDENTITIES
    | frozenset(
        "permute transpose swapaxes swapdims movedim expand broadcast_to slice narrow "
        "select chunk split split_with_sizes unbind flip".split()
    )
)
"""What returns values of its first argument, at other places."""

JOINS = SUMS | frozenset("cat stack maximum minimum".split())
"""Functions f of several values with f(c x, c y) = c f(x, y) for c > 0."""

HOMOGENEOUS = (
    HOMOGENEOUS_ACTIVATIONS
    | IDENTITIES
    | RESHAPES
    | POOLING.keys()
    | frozenset(
        "abs neg permute transpose mean sum amax amin slice select expand pad getitem "
        "chunk split".split()
    )
)
"""Functions f with f(c x) = c f(x) for c > 0: ``pad`` if by zeros."""
