"""What must hold exactly, up to rounding: of all networks, so of random ones."""

from functools import cache, partial
from itertools import permutations

import hypothesis
import numpy as np
import scipy
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase
from scipy.linalg import polar
from torch import nn
from torch.func import functional_call

import lmc
from claims.claim import RANDOM, claim
from claims.evidence import exact
from claims.measure import METHODS
from claims.measure.memory import code_digest
from claims.papers import paper
from fixtures.measurements import remember
from lmc.features import alignment, feature_parts, singular_alignment, singular_values
from lmc.models import MLP, LocallyConnected2d
from lmc.pruning import magnitude_scores, prune
from lmc.renormalization import EPSILON
from lmc.renormalization import METHODS as RENORMALIZATIONS
from lmc.testing import KINDS, another, discover, images, networks

ROUNDING = 1e-9
"""Relative float64 error that sums in another order may cause."""

OUTPUTS = "relative difference of the outputs, float64"
SIDES = "relative difference of both sides, float64"
PARAMETERS = "largest difference between parameters that must be equal"

TINY = torch.finfo(torch.float64).tiny

seeds, few, sides = st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 12)
flags, shares, values = st.booleans(), st.floats(0, 1), st.floats(-100, 100)
widths, curves = (
    st.lists(few, min_size=1, max_size=3),
    st.lists(values, min_size=11, max_size=11),
)

# Different inputs, each with a permutation of its own, lead to the filters of a grouped
# convolution: its matrix is not permuted as a whole, which the theorems are about.
UNGROUPED = networks(kinds=[kind for kind in KINDS if kind != "grouped"])
AFFINE = networks(norms=(None, "ln"))
NORMED = networks(norms=("bn",), kinds=("plain", "identity", "dense"))


def invariant(paper_id, where, quantity, tolerance=ROUNDING, variants=("",)):
    """Return a decorator: a claim that a function's values are within the tolerance.

    The function gets the variant, if it has such a parameter, and examples of the
    strategies that its other parameters are annotated with.
    """

    def decorate(deviation):
        def test(trial):
            found, drawn = [], deviation.__annotations__
            variant = {} if variants == ("",) else {"variant": trial.variant}

            # Exporting a model takes a tenth of a second: no deadline on an example.
            @settings(
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
                database=kept_examples(f"{deviation.__name__} {trial.variant}"),
            )
            @given(st.fixed_dictionaries(drawn))
            def check(example):
                found.append(deviation(**variant, **example))
                assert found[-1] <= tolerance

            if settings.default.derandomize:
                once = partial(remembered, deviation, trial.variant, check, found)
                trial.examine(once, found)
            else:
                trial.examine(check, found)

        for name in ("__name__", "__module__", "__doc__"):
            setattr(test, name, getattr(deviation, name))
        made = {"kind": "invariant", "rule": exact(tolerance=tolerance), "unit": ""}
        made |= {"settings": RANDOM, "variants": variants, "quantity": quantity}
        return claim(source=paper(paper_id, where), **made)(test)

    return decorate


def remembered(deviation, variant, check, found):
    """Check the same examples as every time, once for the same code.

    What was found then is taken for what is found now; a failure is not kept.
    """

    def measure():
        check()
        return {"value": torch.tensor(found, dtype=torch.float64)}

    spec = {
        "invariant": deviation.__name__,
        "variant": variant,
        "examples": settings.default.max_examples,
        "threads": torch.get_num_threads(),
        "versions": [each.__version__ for each in (hypothesis, np, scipy, torch)],
    }
    code = code_digest(deviation.__module__)
    found[:] = remember("examples", spec, code, measure)["value"].tolist()


def kept_examples(name):
    """Return where failing examples of one invariant are kept, None where none are.

    By night: they are tried first then.  Hypothesis tells tests apart by their code,
    which is the same for all invariants, so that each would delete the others'.
    """
    kept = settings().database
    if not isinstance(kept, DirectoryBasedExampleDatabase):
        return kept
    return DirectoryBasedExampleDatabase(kept.path / name.strip().replace(" ", "-"))


# Permutations and matching


@invariant("2402.05966v1", "section 2.2", OUTPUTS)
def test_permutation_invariance(model: networks(), seed: seeds):
    """Permuting hidden units together with the next layer's inputs leaves the function
    unchanged."""
    other, x = shuffled(discover(model), model.state_dict(), seed), images(seed)
    return relative(functional_call(model, other, x), model(x))


@invariant("2209.04836", "section 2", PARAMETERS, 0.0)
def test_group_laws(model: networks(), seed: seeds):
    """Permutations form a group that acts on networks: the inverse undoes, and
    composing is applying one after the other."""
    generator = torch.Generator().manual_seed(seed)
    symmetry, state = discover(model), model.state_dict()
    p, q, r = (lmc.Permutation.random(symmetry, generator) for _ in range(3))
    both, inverse = p.compose(q), q.invert().compose(p.invert())
    return largest_difference(
        (lmc.Permutation.identity(symmetry).apply(state), state),
        (p.invert().apply(p.apply(state)), state),
        (both.apply(state), q.apply(p.apply(state))),
        (both.compose(r).apply(state), p.compose(q.compose(r)).apply(state)),
        (both.invert().apply(state), inverse.apply(state)),
    )


@invariant("2402.05966v1", "section 2.2", "relative increase of what must not increase")
def test_matching_never_farther(model: networks(), seed: seeds, buffers: flags):
    """Weight matching never increases the L2 distance, nor lowers the norm of the
    midpoint, and none of its steps lowers its objective."""
    symmetry, a, b = discover(model), model.state_dict(), another(model, seed)
    found = matching(symmetry, a, b, seed, buffers=buffers)
    names = None if buffers else symmetry.graph.parameters
    ends, minus = (b, found.permutation.apply(b)), {n: -v for n, v in a.items()}
    before, after = (lmc.l2_distance(a, end, names) for end in ends)
    # Of twice the midpoint, a + b.
    small, large = (lmc.l2_distance(minus, end, names) for end in ends)
    history = np.array(found.history)
    falls = -np.diff(history) / np.maximum(abs(history[:-1]), TINY)
    return max(0.0, after / before - 1, small / large - 1, *falls)


@invariant("2209.04836", "section 3", "score below the best, float64", variants=METHODS)
def test_assignment_optimal(variant, width: few, seed: seeds):
    """On one hidden layer of at most 5 units, matching finds the best of all
    permutations: the nearest, or the one with the largest sum of correlations."""
    symmetry, a, b = mlps((3, width + 1, 2), seed)
    x = noise(seed, 16, 3)

    def units(state):
        active = preactivations(state, x)[0].relu()
        centred = active - active.mean(0)
        return centred / centred.norm(dim=0).clamp(min=TINY)

    if variant == "weights":
        found = matching(symmetry, a, b, seed)
    else:
        found = lmc.activation_matching(symmetry, a, b, [(x, None)])
    states = *reordered(b), found.permutation.apply(b)
    if variant == "weights":
        scores = [-lmc.l2_distance(a, state) for state in states]
    else:
        scores = [float((units(a) * units(state)).sum()) for state in states]
    return max(scores) - scores[-1]


@claim(
    source=paper("2402.05966v1", "section 3.2 and appendix E.2"),
    quantity=PARAMETERS,
    **{"kind": "invariant", "rule": exact(tolerance=0.0), "unit": ""},
    settings="mlp plain-vgg nobias-vgg bn-vgg ln-vgg plain-resnet bn-resnet",
    variants=METHODS,
)
def test_shuffled_copy_recovered(trial):
    """A randomly permuted copy of a trained network is recovered exactly, apart from
    units that are constant on the data, which have no activation to match by: no
    theorem, as the search is a heuristic, but a tripwire."""
    found = [network.recovered(trial.variant) for network in trial.networks()]
    deviation, constant, _ = np.array(found).T
    trial.decide(deviation, constant_units=constant)


REGIMES = {"reference": lmc.match_to_reference, "sequential": lmc.match_sequentially}


@invariant("2402.05966v1", "section 3.3", PARAMETERS, 0.0, variants=[*REGIMES])
def test_copies_merge(variant, width: few, count: few, seed: seeds):
    """Permuted copies of a network with one hidden layer are all matched to it."""
    symmetry, a, _ = mlps((3, width, 2), seed)
    copies = [a, *(shuffled(symmetry, a, seed + i) for i in range(count))]
    found = REGIMES[variant](
        symmetry,
        copies,
        lambda symmetry, a, b, *_: matching(symmetry, a, b, seed).permutation,
        generator=torch.Generator(),
    )
    return largest_difference(*((a, copy) for copy in found.apply(copies)))


# Interpolation and renormalization


@invariant("2402.05966v1", "section 2.1", "difference between equal barriers, float64")
def test_barrier_above_line(curve: curves, offset: values, slope: values):
    """The barrier is a curve's largest rise above the line between its endpoints: it
    is the same after any line is added to the curve."""
    lambdas, values = np.array(lmc.LAMBDAS), np.array(curve)
    both = values, values + offset + slope * lambdas
    found = [lmc.barrier(lmc.LAMBDAS, one.tolist()) for one in both]
    above = max(values - np.interp(lambdas, [0, 1], values[[0, -1]]))
    return float(np.ptp([*found, above]))


@invariant("2402.05966v1", "appendix E.5", PARAMETERS, 0.0)
def test_homogeneous_exact(widths: widths, lam: shares, seed: seeds):
    """Homogeneous interpolation gives the endpoints at 0 and 1, and without biases the
    linear interpolation."""
    laws = []
    for point, bias in ((0.0, True), (1.0, True), (lam, False)):
        symmetry, a, b = mlps((3, *widths, 2), seed, bias)
        found = lmc.interpolate_homogeneous(symmetry.graph, a, b, point)
        laws.append((found, lmc.interpolate(a, b, point)))
    return largest_difference(*laws)


@invariant("2402.05966v1", "section 5", OUTPUTS, variants=[*RENORMALIZATIONS])
def test_fused_equals_unfused(variant, model: AFFINE, seed: seeds):
    """Renormalization merged into weight and bias computes the same function."""
    graph, batches = discover(model).graph, [(images(seed, 16), None)]
    # A layer without bias cannot carry a shift, which is an error of its own.
    free, names = "rescale" in variant, lmc.default_layers(graph)
    layers = [name for name in names if free or graph.layer(name).bias]
    assume(layers)
    a, b = model.state_dict(), another(model, seed)
    ends = [lmc.statistics(graph, state, batches, layers) for state in (a, b)]
    goal = lmc.interpolated_statistics(*ends, 0.5)
    middle, x = lmc.interpolate(a, b, 0.5), images(seed + 1)
    found = lmc.renormalize(variant, graph, middle, goal, batches)
    fused = functional_call(model, found.fuse(middle), x)
    return relative(fused, found.run(middle, x))


@invariant("2402.05966v1", "section 4.1", SIDES, variants=[*RENORMALIZATIONS])
def test_renormalized_by_definition(variant, widths: widths, seed: seeds):
    """REPAIR gives each unit the means of the endpoints' means and standard deviations,
    RESHIFT the former, RESCALE the latter (bias included), its average the layer's."""
    symmetry, a, b = mlps((3, *widths, 2), seed)
    x, middle, worst = noise(seed, 16, 3), lmc.interpolate(a, b, 0.5), 0.0
    graph, batches = symmetry.graph, [(x, None)]
    ends = [lmc.statistics(graph, state, batches) for state in (a, b)]
    goal = lmc.averaged_statistics(ends)
    found = lmc.renormalize(variant, graph, middle, goal, batches)
    layers = (preactivations(s, x) for s in (found.fuse(middle), a, b))
    values, below = [*middle.values()], x
    for ours, *theirs in zip(*layers, strict=True):
        # As it is after all layers before it were renormalized.
        now = below @ values.pop(0).T + values.pop(0)
        mean = (theirs[0].mean(0) + theirs[1].mean(0)) / 2
        std = (theirs[0].std(0) + theirs[1].std(0)) / 2
        unit = now / (now.var(0) + EPSILON).sqrt()
        expected = {
            "repair": (unit - unit.mean(0)) * std + mean,
            "rescale": unit * std,
            "rescale-average": unit * std.mean(),
            "reshift": now - now.mean(0) + mean,
        }
        worst = max(worst, relative(ours, expected[variant]))
        below = ours.relu()
    return worst


@invariant("2211.08403", "section 3", SIDES)
def test_reset_is_training_mode(model: NORMED, seed: seeds):
    """RESET gives BatchNorm what PyTorch gathers in training mode, batches alike."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm2d)]
    assume(norms)
    batches = [(images(seed + more, 16), None) for more in range(2)]
    found = lmc.reset(discover(model).graph, model.state_dict(), batches)
    for norm in norms:
        norm.momentum = None  # an average with equal weights
        norm.reset_running_stats()
    for x, _ in batches:
        model.train()(x)
    names = [name for name in found if "running" in name]
    return max(relative(found[name], model.state_dict()[name]) for name in names)


@invariant("2402.05966v4", "section 4", SIDES)
def test_decomposition(model: networks(), seed: seeds):
    """A feature is the sum of an input-dependent and a constant part, f = g + h, with
    Var f = Var g; about the mean, E f^2 = E g^2 + h^2."""
    graph, state, x = discover(model).graph, model.state_dict(), images(seed, 6)
    f, at_zero = (model(inputs).detach() for inputs in (x, torch.zeros_like(x)))
    last = graph.layers[-1].name
    mean, zero = (
        feature_parts(graph, state, [(x, None)], [last], constant=constant)[last]
        for constant in ("mean", "zero")
    )
    ours = [mean.dependent, mean.dependent + mean.constant, zero.dependent]
    variance, offset = f.var(0, correction=0).mean(), f.mean(0) - at_zero[0]
    theirs = [variance, f.square().mean(), variance + offset.square().mean()]
    return relative(torch.tensor(ours, dtype=torch.float64), torch.stack(theirs))


@invariant("2402.05966v1", "section 4.2", PARAMETERS, 0.0, variants="global layerwise")
def test_pruning_is_interpolation(variant, model: networks(), sparsity: shares):
    """A magnitude-pruned network M(theta) is an interpolation, parameter by parameter:
    0.5 theta + 0.5 M(theta) where not pruned, 0 theta + 1 M(theta) where it is."""
    graph, state = discover(model).graph, model.state_dict()
    scores = magnitude_scores(graph, state)
    pruned = prune(graph, state, sparsity, scores, variant)
    mixed = lmc.interpolate(state, pruned, 0.5)
    scopes = [[*scores]] if variant == "global" else [[n] for n in scores]
    for names in scopes:
        sizes = torch.cat([state[name].abs().flatten() for name in names])
        smallest = sizes.argsort().argsort() < round(sparsity * len(sizes))
        parts = smallest.split([state[name].numel() for name in names])
        for name, part in zip(names, parts, strict=True):
            mixed[name][part.view_as(mixed[name])] = 0.0
    return largest_difference((mixed, pruned))


@invariant("2312.09832", "the control of its comparison", OUTPUTS)
def test_convolution_is_tied_locality(
    kernel: few, stride: few, bias: flags, channels: few, more: few, seed: seeds
):
    """A convolution and a locally connected layer that has the convolution's filters at
    every position compute the same function."""
    size = kernel + more, kernel + channels
    conv = nn.Conv2d(channels, 4, kernel, stride, bias=bias).double()
    for part, value in enumerate(conv.parameters()):
        value.data = noise(seed + part, *value.shape)
    x = noise(seed, 3, channels, *size)
    return relative(LocallyConnected2d.from_convolution(conv, size)(x), conv(x))


# Singular values and vectors


@invariant("2402.04051", "theorem", SIDES)
def test_objective_identity(rows: sides, columns: sides, equal: flags, seed: seeds):
    """The squared distance of two permuted weight matrices is the sum of their squared
    norms minus twice the sum of products of singular values, each times the alignment
    of its singular vectors."""
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((2, rows, columns))
    b = a if equal else b  # with one spectrum, and with two
    p, q = (np.eye(n)[random.permutation(n)] for n in (rows, columns))
    (u, s, v), (w, t, z) = (np.linalg.svd(m, full_matrices=False) for m in (a, b))
    cross = s @ ((u.T @ p @ w) * (v @ q @ z.T)) @ t
    moved, norms = p @ b @ q.T, (a**2).sum() + (b**2).sum()
    # The library's products of the permuted matrices are those of the theorem.
    symmetry, *_ = mlps((columns, rows), seed, bias=False)
    states = ({"1.weight": torch.from_numpy(matrix)} for matrix in (a, moved))
    found = singular_alignment(symmetry.graph, *states)["1"]
    ours = float(found.values_a @ found.products @ found.values_b)
    off = ((a - moved) ** 2).sum() - norms + 2 * cross
    return max(abs(off), abs(ours - cross)) / norms


@invariant("2402.04051", "section 4", SIDES)
def test_values_invariant(model: UNGROUPED, seed: seeds):
    """Permutations of hidden units leave all layers' singular values unchanged."""
    symmetry, state = discover(model), model.state_dict()
    other = singular_values(symmetry.graph, shuffled(symmetry, state, seed))
    own = singular_values(symmetry.graph, state)
    return max(relative(other[name], values) for name, values in own.items())


@invariant("2402.04051", "section 4", "by how much R is not what it must be, float64")
def test_alignment_measure(model: networks(), seed: seeds):
    """R lies between -1 and 1 at gamma 0 and 0.3, is 1 between a network and itself,
    and at gamma 0 is the inner product of polar factors, free of the choice of singular
    vectors."""
    # Where m of A's triples and n of B's count, the sum over them is the inner product
    # of two matrices of norm at most sqrt(min(m, n)): at most the mean of m and n.
    symmetry, a, b = discover(model), model.state_dict(), another(model, seed)
    graph = symmetry.graph
    # An independent network, a permuted copy, and a neighbour: near the bound,
    # with other triples above gamma.
    others = b, shuffled(symmetry, a, seed), lmc.interpolate(a, b, 0.1)
    bounded = [abs(alignment(graph, a, o, g)) - 1 for o in others for g in (0, 0.3)]
    own = [abs(alignment(graph, a, a, gamma) - 1) for gamma in (0, 0.3)]
    total, count = 0.0, 0
    for name in singular_values(graph, a):
        weight = graph.layer(name).weight
        ours, theirs = (polar(state[weight].flatten(1))[0] for state in (a, b))
        total, count = total + (ours * theirs).sum(), count + min(ours.shape)
    return max(0.0, *bounded, *own, abs(alignment(graph, a, b) - total / count))


def matching(symmetry, a, b, seed, **options):
    """Return what weight matching finds, in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    return lmc.weight_matching(
        symmetry, a, b, generator=generator, start="identity", **options
    )


def shuffled(symmetry, state, seed):
    """Return a random permuted copy of a network."""
    generator = torch.Generator().manual_seed(seed)
    return lmc.Permutation.random(symmetry, generator).apply(state)


@cache
def discovered(sizes, bias):
    """Return an MLP and its symmetry."""
    model = MLP(sizes, bias=bias).double().eval()
    return model, lmc.discover(model, noise(0, 2, sizes[0]))


def mlps(sizes, seed, bias=True):
    """Return the symmetry of an MLP, and two random networks of it."""
    model, symmetry = discovered(sizes, bias)
    return symmetry, another(model, seed), another(model, seed + 1)


def preactivations(state, x):
    """Return the pre-activations of the hidden layers of an MLP with biases."""
    values, found = [*state.values()], []
    for weight, bias in zip(values[:-2:2], values[1:-2:2], strict=True):
        found.append((found[-1].relu() if found else x) @ weight.T + bias)
    return found


def reordered(state):
    """Return an MLP with its hidden units, one layer, in each of all orders."""
    *own, last = (name for name in state if name != "3.bias")
    for order in map(list, permutations(range(len(state[own[0]])))):
        moved = {name: state[name][order] for name in own}
        yield state | moved | {last: state[last][:, order]}


def noise(seed, *shape):
    """Return normal noise in float64."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def relative(ours, reference):
    """Return the largest difference over the largest value; 0 where all are zero."""
    scale = reference.detach().abs().max().clamp(min=TINY)
    return float((ours - reference).detach().abs().max() / scale)


def largest_difference(*laws):
    """Return the largest difference between tensors, over pairs of state dicts."""
    return max(float((a[n] - b[n]).abs().max()) for a, b in laws for n in a)
