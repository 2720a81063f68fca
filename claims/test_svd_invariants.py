"""What holds exactly of singular vectors under permutations (arXiv 2402.04051)."""

from functools import partial

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

import lmc
from claims.claim import Claim
from claims.decisions import exact
from claims.test_invariants import ROUNDING, examples, seeds
from lmc.features import alignment, singular_alignment, singular_values
from lmc.graph import trace
from lmc.models import MLP
from lmc.testing import KINDS, another, discover, networks

PAPER = "arXiv:2402.04051"

# Behind a grouped convolution's filters lie different inputs, each with a permutation
# of its own: its matrix is not permuted as a whole, which the theorems are about.
UNGROUPED = tuple(kind for kind in KINDS if kind != "grouped")


def shuffled(symmetry, state, seed):
    """Return a random permuted copy of a network."""
    generator = torch.Generator().manual_seed(seed)
    return lmc.Permutation.random(symmetry, generator).apply(state)


INVARIANT = {
    "kind": "invariant",
    "rule": partial(exact, tolerance=ROUNDING),
    "settings": ("random",),
    "unit": "",
}

OBJECTIVE_IDENTITY = Claim(
    **INVARIANT,
    id="svd/objective-identity",
    sentence="The squared distance of two permuted weight matrices is the sum of their "
    "squared norms minus twice the sum of products of singular values, each times the "
    "alignment of its singular vectors.",
    source=f"{PAPER}, theorem",
    quantity="difference of both sides over the sum of the squared norms, float64",
)


@OBJECTIVE_IDENTITY.test
def test_objective_identity(trial):
    deviations = []

    @examples
    @given(st.integers(1, 12), st.integers(1, 12), st.booleans(), seeds)
    def check(rows, columns, equal, seed):
        random = np.random.default_rng(seed)
        a, b = random.standard_normal((2, rows, columns))
        b = a if equal else b  # with one spectrum, and with two
        p, q = (np.eye(n)[random.permutation(n)] for n in (rows, columns))
        (u, s, v), (w, t, x) = (np.linalg.svd(m, full_matrices=False) for m in (a, b))
        left = ((a - p @ b @ q.T) ** 2).sum()
        cross = sum(
            s[i] * t[j] * (u[:, i] @ p @ w[:, j]) * (v[i] @ q @ x[j])
            for i in range(len(s))
            for j in range(len(t))
        )
        norms = (a**2).sum() + (b**2).sum()
        deviations.append(float(abs(left - (norms - 2 * cross)) / norms))
        # The library's products of the permuted matrices are those of the theorem.
        found = matrices_compared(a, p @ b @ q.T)
        values = torch.outer(found.values_a, found.values_b)
        ours = float((values * found.products).sum())
        deviations.append(abs(ours - cross) / norms)
        assert max(deviations[-2:]) <= ROUNDING

    trial.examine(check, deviations)


def matrices_compared(a, b):
    """Return how the singular vectors of two matrices lie, by the library."""
    model = MLP((a.shape[1], a.shape[0]), bias=False).double().eval()
    graph = trace(model, torch.zeros(2, a.shape[1], dtype=torch.float64))
    states = ({"1.weight": torch.from_numpy(matrix)} for matrix in (a, b))
    return singular_alignment(graph, *states)["1"]


VALUES_INVARIANT = Claim(
    **INVARIANT,
    id="svd/values-invariant",
    sentence="Permutations of hidden units leave the singular values of all layers "
    "unchanged.",
    source=PAPER,
    quantity="largest difference over the layer's largest singular value, float64",
)


@VALUES_INVARIANT.test
def test_values_invariant(trial):
    deviations = []

    @examples
    @given(networks(kinds=UNGROUPED), seeds)
    def check(model, seed):
        symmetry, state = discover(model), model.state_dict()
        other = shuffled(symmetry, state, seed)
        before, after = (singular_values(symmetry.graph, s) for s in (state, other))
        deviations.append(
            max(
                float((after[name] - values).abs().max() / values[0])
                for name, values in before.items()
            )
        )
        assert deviations[-1] <= ROUNDING

    trial.examine(check, deviations)


ALIGNMENT_MEASURE = Claim(
    **INVARIANT,
    id="svd/alignment-measure",
    sentence="R lies between -1 and 1 at gamma 0 and 0.3, is 1 between a network and "
    "itself, and at gamma 0 is the inner product of polar factors, free of the choice "
    "of singular vectors.",
    source=PAPER,
    quantity="by how much |R| exceeds 1, R of a network with itself differs from 1, or "
    "R differs from the polar factors' product, float64",
)


@ALIGNMENT_MEASURE.test
def test_alignment_measure(trial):
    # Where m of A's triples and n of B's count, the sum over them is the inner product
    # of two matrices of norm at most sqrt(min(m, n)): at most the mean of m and n.
    deviations = []

    @examples
    @given(networks(), seeds)
    def check(model, seed):
        symmetry, a = discover(model), model.state_dict()
        graph, b = symmetry.graph, another(model, seed)
        # An independent network, a permuted copy, and a neighbour: near the bound,
        # with other triples above gamma.
        for other in (b, shuffled(symmetry, a, seed), lmc.interpolate(a, b, 0.1)):
            for gamma in (0.0, 0.3):
                found = alignment(graph, a, other, gamma)
                deviations.append(max(0.0, abs(found) - 1))
        own = [alignment(graph, a, a, gamma) for gamma in (0.0, 0.3)]
        deviations.extend(abs(r - 1) for r in own)
        polar = polar_alignment(graph, a, b)
        deviations.append(abs(alignment(graph, a, b) - polar))
        assert max(deviations[-9:]) <= ROUNDING

    trial.examine(check, deviations)


def polar_alignment(graph, a, b):
    """R at gamma 0 of weights of full rank, without singular vectors."""
    total, count = 0.0, 0
    for name in singular_values(graph, a):
        weight = graph.layer(name).weight
        ours, theirs = (polar_factor(state[weight].flatten(1)) for state in (a, b))
        total += float((ours * theirs).sum())
        count += min(ours.shape)
    return total / count


def polar_factor(matrix):
    """Orthogonal factor of a matrix of full rank, by Newton's iteration."""
    if matrix.shape[0] < matrix.shape[1]:
        return polar_factor(matrix.T).T
    q, x = torch.linalg.qr(matrix)
    for _ in range(60):
        x = (x + torch.linalg.inv(x).T) / 2
    return q @ x
