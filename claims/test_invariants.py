"""What must hold exactly, up to rounding, on random architectures and weights."""

from functools import partial
from itertools import permutations

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.func import functional_call

import lmc
from claims.claim import Claim
from claims.decisions import exact
from lmc.features import feature_parts
from lmc.models import MLP
from lmc.testing import another, discover, images, networks

seeds = st.integers(0, 2**32 - 1)

# Exporting a model takes a tenth of a second: no deadline on an example.
examples = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ROUNDING = 1e-9
"""Relative float64 error that sums in another order may cause."""

PERMUTATION_INVARIANCE = Claim(
    id="matching/permutation-invariance",
    kind="invariant",
    sentence="Permuting hidden units together with the next layer's inputs leaves the "
    "function unchanged.",
    source="arXiv:2402.05966v1, section 2.2; arXiv:2209.04836, section 2",
    quantity="relative difference of the outputs, float64",
    rule=partial(exact, tolerance=ROUNDING),
    settings=("random",),
    unit="",
)


@PERMUTATION_INVARIANCE.test
def test_permutation_invariance(trial):
    deviations = []

    @examples
    @given(networks(), seeds)
    def check(model, seed):
        symmetry = discover(model)
        shuffle = lmc.Permutation.random(symmetry, torch.Generator().manual_seed(seed))
        shuffled = shuffle.apply(model.state_dict())
        x = images(seed)
        deviations.append(relative(functional_call(model, shuffled, x), model(x)))
        assert deviations[-1] <= ROUNDING

    trial.examine(check, deviations)


GROUP_LAWS = Claim(
    id="matching/group-laws",
    kind="invariant",
    sentence="Permutations form a group that acts on networks: the inverse undoes, and "
    "composing is applying one after the other.",
    source="arXiv:2209.04836, section 2",
    quantity="largest difference between parameters that must be equal",
    rule=partial(exact, tolerance=0.0),
    settings=("random",),
    unit="",
)


@GROUP_LAWS.test
def test_group_laws(trial):
    deviations = []

    @examples
    @given(networks(), seeds)
    def check(model, seed):
        generator = torch.Generator().manual_seed(seed)
        symmetry, state = discover(model), model.state_dict()
        p, q, r = (lmc.Permutation.random(symmetry, generator) for _ in range(3))
        one = lmc.Permutation.identity(symmetry)
        laws = [
            (one.apply(state), state),
            (p.invert().apply(p.apply(state)), state),
            (p.compose(q).apply(state), q.apply(p.apply(state))),
            (
                p.compose(q).compose(r).apply(state),
                p.compose(q.compose(r)).apply(state),
            ),
            (
                p.compose(q).invert().apply(state),
                q.invert().compose(p.invert()).apply(state),
            ),
        ]
        deviations.append(max(largest_difference(*law) for law in laws))
        assert deviations[-1] == 0

    trial.examine(check, deviations)


NEVER_FARTHER = Claim(
    id="matching/matching-never-farther",
    kind="invariant",
    sentence="Weight matching never increases the L2 distance, and none of its steps "
    "lowers its objective.",
    source="arXiv:2209.04836, section 3.2",
    quantity="relative increase of the distance, or fall of the objective",
    rule=partial(exact, tolerance=ROUNDING),
    settings=("random",),
    unit="",
)


@NEVER_FARTHER.test
def test_matching_never_farther(trial):
    deviations = []

    @examples
    @given(networks(), seeds, st.booleans())
    def check(model, seed, buffers):
        symmetry, a = discover(model), model.state_dict()
        b = another(model, seed)
        generator = torch.Generator().manual_seed(seed)
        found = lmc.weight_matching(
            symmetry, a, b, generator=generator, buffers=buffers
        )
        names = symmetry.graph.parameters if not buffers else None
        before = lmc.l2_distance(a, b, names)
        after = lmc.l2_distance(a, found.permutation.apply(b), names)
        steps = zip(found.history[:-1], found.history[1:], strict=True)
        falls = [max(0.0, x - y) / max(abs(x), 1e-300) for x, y in steps]
        deviations.append(max([max(0.0, after / before - 1), *falls]))
        assert deviations[-1] <= ROUNDING

    trial.examine(check, deviations)


ASSIGNMENT_OPTIMAL = Claim(
    id="matching/assignment-optimal",
    kind="invariant",
    sentence="On one hidden layer of at most 6 units, weight matching finds the "
    "nearest of all permutations.",
    source="arXiv:2209.04836, section 3.2",
    quantity="distance above that of the best permutation by brute force",
    rule=partial(exact, tolerance=ROUNDING),
    settings=("random",),
    unit="",
)


@ASSIGNMENT_OPTIMAL.test
def test_assignment_optimal(trial):
    deviations = []

    @examples
    @given(st.integers(2, 6), st.booleans(), seeds)
    def check(width, bias, seed):
        model = MLP((3, width, 2), bias=bias).double().eval()
        a, b = another(model, seed), another(model, seed + 1)
        symmetry = lmc.discover(model, torch.zeros(2, 3, dtype=torch.float64))
        generator = torch.Generator().manual_seed(seed)
        found = lmc.weight_matching(symmetry, a, b, generator=generator)
        matched = lmc.l2_distance(a, found.permutation.apply(b))
        best = min(
            brute_force_distance(a, b, order) for order in permutations(range(width))
        )
        deviations.append(abs(matched - best))
        assert deviations[-1] <= ROUNDING

    trial.examine(check, deviations)


def brute_force_distance(a, b, order):
    """Distance after permuting the one hidden layer of an MLP, by its definition."""
    total = 0.0
    for name, value in b.items():
        if name == "3.weight":
            value = value[:, list(order)]
        elif name != "3.bias":
            value = value[list(order)]
        total += float(((a[name] - value) ** 2).sum())
    return total**0.5


FUSED_EQUALS_UNFUSED = Claim(
    id="renormalization/fused-equals-unfused",
    kind="invariant",
    sentence="Renormalization merged into weight and bias computes the same function.",
    source="arXiv:2211.08403, section 3; arXiv:2402.05966v1, section 5",
    quantity="relative difference of the outputs, float64",
    rule=partial(exact, tolerance=ROUNDING),
    settings=("random",),
    variants=("repair", "rescale", "rescale-average", "reshift"),
    unit="",
)


@FUSED_EQUALS_UNFUSED.test
def test_fused_equals_unfused(trial):
    deviations = []

    @examples
    @given(networks(norms=(None, "ln")), seeds)
    def check(model, seed):
        graph, batches = discover(model).graph, [(images(seed, 16), None)]
        # A layer without bias cannot carry a shift, which is an error of its own.
        layers = [
            name
            for name in lmc.default_layers(graph)
            if graph.layer(name).bias or trial.variant.startswith("rescale")
        ]
        assume(layers)
        a, b = model.state_dict(), another(model, seed)
        ends = [lmc.statistics(graph, state, batches, layers) for state in (a, b)]
        goal = lmc.interpolated_statistics(*ends, 0.5)
        middle = lmc.interpolate(a, b, 0.5)
        found = lmc.renormalize(trial.variant, graph, middle, goal, batches)
        x = images(seed + 1)
        fused = functional_call(model, found.fuse(middle), x)
        deviations.append(relative(fused, found.run(middle, x)))
        assert deviations[-1] <= ROUNDING

    trial.examine(check, deviations)


HOMOGENEOUS_EXACT = Claim(
    id="biases/homogeneous-exact",
    kind="invariant",
    sentence="Homogeneous interpolation gives the endpoints at 0 and 1, and without "
    "biases the linear interpolation.",
    source="arXiv:2210.01019, section 5; arXiv:2402.05966v1, appendix E.5",
    quantity="largest difference between parameters that must be equal",
    rule=partial(exact, tolerance=0.0),
    settings=("random",),
    unit="",
)


@HOMOGENEOUS_EXACT.test
def test_homogeneous_exact(trial):
    deviations = []

    @examples
    @given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.floats(0, 1), seeds)
    def check(widths, lam, seed):
        x = torch.zeros(2, 3, dtype=torch.float64)
        for bias in (True, False):
            model = MLP((3, *widths, 2), bias=bias).double().eval()
            graph = lmc.discover(model, x).graph
            a, b = another(model, seed), another(model, seed + 1)

            def between(lam, graph=graph, a=a, b=b):
                return lmc.interpolate_homogeneous(graph, a, b, lam)

            laws = [(between(0.0), a), (between(1.0), b)]
            if not bias:
                laws.append((between(lam), lmc.interpolate(a, b, lam)))
            deviations.append(max(largest_difference(*law) for law in laws))
            assert deviations[-1] == 0

    trial.examine(check, deviations)


DECOMPOSITION = Claim(
    id="vanishing/decomposition",
    kind="invariant",
    sentence="A feature is the sum of an input-dependent and a constant part, "
    "f = g + h, with Var f = Var g; about the mean, E f^2 = E g^2 + h^2.",
    source="arXiv:2402.05966v4, section 4",
    quantity="relative difference of both sides, float64",
    rule=partial(exact, tolerance=ROUNDING),
    settings=("random",),
    unit="",
)


@DECOMPOSITION.test
def test_decomposition(trial):
    deviations = []

    @examples
    @given(networks(), seeds)
    def check(model, seed):
        graph, state = discover(model).graph, model.state_dict()
        x = images(seed, 6)
        f, f0 = (feature(graph, state, inputs) for inputs in (x, torch.zeros_like(x)))
        last = graph.layers[-1].name
        mean, zero = (
            feature_parts(graph, state, [(x, None)], [last], constant=constant)[last]
            for constant in ("mean", "zero")
        )
        whole = float(f.square().mean())
        variance = float(f.var(0, correction=0).mean())
        offset = float((f.mean(0) - f0[0]).square().mean())
        sides = [
            (mean.dependent, variance),
            (mean.dependent + mean.constant, whole),
            (zero.dependent, variance + offset),
        ]
        scale = max(whole, zero.dependent, torch.finfo(torch.float64).tiny)
        deviations.append(max(abs(left - right) for left, right in sides) / scale)
        assert deviations[-1] <= ROUNDING

    trial.examine(check, deviations)


def feature(graph, state, inputs):
    """Output of the last layer, (samples, entries)."""
    seen = []

    def watched(operation, *args, **kwargs):
        seen.append(operation(*args, **kwargs).detach())
        return seen[-1]

    graph.run(state, inputs, around={graph.layers[-1].node: watched})
    return seen[0].flatten(1)


def relative(ours, reference):
    """Largest difference over the largest value; 0 where both are zero throughout."""
    scale = reference.detach().abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    return float((ours - reference).detach().abs().max() / scale)


def largest_difference(a, b):
    """Largest difference between the tensors of two state dicts."""
    return max(float((a[name] - b[name]).abs().max()) for name in a)
