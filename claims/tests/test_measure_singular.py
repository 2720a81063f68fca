"""Singular vectors, expansions and matched parts of spectra, against plain numpy."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, hessian
from torch.nn import functional as F

import lmc
from claims.measure import Bench, Network, Pair, Several, matchers, top_tail
from claims.measure.expansion import expanded_loss, predicted_loss
from claims.measure.features import fresh
from claims.measure.singular import (
    BINS,
    aligned,
    alignment_curves,
    by_rank,
    correlations,
    large_directions,
    relative_distance,
    spectral_difference,
    third_barriers,
    third_side,
)
from claims.measure.top_tail import (
    degraded_to,
    moved,
    random_moves,
    split_spectrum,
    top_against_tail,
)
from fixtures import datasets, scales
from lmc.features import alignment
from lmc.features.singular import SingularAlignment
from lmc.graph import trace
from lmc.models import MLP
from lmc.testing import randomize

WEIGHTS = ("1.weight", "3.weight", "5.weight")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A store of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def mlps(cache):
    """Three MLPs as they were initialized, with biases; nothing is trained."""
    setting = Bench(scales.get("digits"), 0, 3, "cpu").setting("mlp")
    states = [fresh(setting, seed).state for seed in range(3)]
    return [
        Network(setting, seed, {n: v + 0.1 * ("bias" in n) for n, v in state.items()})
        for seed, state in enumerate(states)
    ]


@pytest.fixture
def pair(mlps):
    return Pair(*mlps[:2])


def halfway(a, b):
    """Return the midpoint's tensors by hand."""
    return {name: (a[name] + b[name]) / 2 for name in a}


def logits(state, images):
    """The MLP by hand."""
    x = images.flatten(1)
    for layer in "13":
        x = F.relu(x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"])
    return x @ state["5.weight"].T + state["5.bias"]


def scores(state, split="test"):
    """Return loss and accuracy in percent by hand."""
    images, labels = datasets.load("digits").tensors(split)
    outputs = logits(state, images)
    right = (outputs.argmax(1) == labels).double().mean()
    return float(F.cross_entropy(outputs, labels)), 100 * float(right)


def svd(state, name):
    """Return a weight's singular triples by numpy."""
    return np.linalg.svd(state[name].double().numpy(), full_matrices=False)


@pytest.mark.parametrize(("method", "gamma"), [("none", 0.3), ("weights", 0.9)])
def test_aligned(pair, method, gamma):
    """Summed over all pairs of triples above gamma, one by one."""
    a, b = pair.a.state, pair.permutation(method).apply(pair.b.state)
    total, count = 0.0, 0.0
    for name in WEIGHTS:
        (u, s, v), (w, t, x) = (svd(state, name) for state in (a, b))
        ours, theirs = (np.flatnonzero(y > gamma * y[0]) for y in (s, t))
        count += (len(ours) + len(theirs)) / 2
        total += sum((u[:, i] @ w[:, j]) * (v[i] @ x[j]) for i in ours for j in theirs)
    assert aligned(pair, method, gamma) == pytest.approx(total / count, rel=1e-9)
    for other in ({"method": "activations"}, {"gamma": 0.5}):
        changed = aligned(pair, **{"method": method, "gamma": gamma, **other})
        assert changed != pytest.approx(total / count, rel=1e-3)


def test_matching_is_in_the_alignment(mlps):
    """A shuffled copy is aligned after matching, not before."""
    a = mlps[0]
    generator = torch.Generator().manual_seed(0)
    shuffle = lmc.Permutation.random(a.setting.symmetry, generator)
    b = Network(a.setting, 1, shuffle.apply(a.state))
    pair = Pair(a, b)
    assert aligned(pair, "weights") == pytest.approx(1)
    assert abs(aligned(pair, "none")) < 0.2


def compared(*diagonal, values=None):
    """A layer whose i-th triples have a given alignment, and no others any."""
    products = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    if values is None:
        values = torch.ones(len(diagonal), dtype=torch.float64)
    return SingularAlignment(values, values, products)


def test_by_rank():
    """Two triples fill half of the bins each, forty two a bin, three a third."""
    half = BINS // 2
    assert by_rank(compared(1.0, -1.0)).tolist() == [1.0] * half + [-1.0] * half
    many = by_rank(compared(*range(2 * BINS)))
    assert many.tolist() == [2 * number + 0.5 for number in range(BINS)]
    three = by_rank(compared(1.0, 0.0, 0.0))
    assert float(three.mean()) == pytest.approx(1 / 3)
    assert three[0] == 1 and three[-1] == 0 and 0 < three[BINS // 3] < 1
    # The vectors of a zero value are arbitrary.
    values = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert float(by_rank(compared(1.0, 1.0, values=values)).mean()) == 0.5


def test_by_rank_sums_over_the_other_network():
    """A's first triple lies along B's second one."""
    ones = torch.ones(2, dtype=torch.float64)
    products = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert by_rank(SingularAlignment(ones, ones, products))[0] == 1


def test_alignment_curves(pair):
    """Their mean is R at gamma 0; they are the report's form."""
    found = alignment_curves([pair], "none", "weights")
    assert set(found) == {"x", "x_label", "x_scale", "unit", "lines"}
    assert found["x"] == pytest.approx([(n + 0.5) / BINS for n in range(BINS)])
    graph = pair.setting.symmetry.graph
    for method, [line] in found["lines"].items():
        r = alignment(graph, pair.a.state, pair.matched(method))
        assert np.mean(line) == pytest.approx(r)
    assert found["lines"]["none"] != found["lines"]["weights"]


def test_spectral_difference(pair):
    """From roots of eigenvalues; none from signs, and known where B is twice A."""
    spectra = [
        [np.linalg.eigvalsh(m @ m.T if m.shape[0] < m.shape[1] else m.T @ m) ** 0.5]
        for end in (pair.a, pair.b)
        for m in [end.state[name].double().numpy() for name in WEIGHTS]
    ]
    a, b = np.array(spectra[:3], object), np.array(spectra[3:], object)
    expected = []
    for part in (slice(0, 2), slice(2, 3)):
        s, t = (np.concatenate([x[0] for x in end[part]]) for end in (a, b))
        size = ((s @ s + t @ t) / 2) ** 0.5
        expected.append(100 * np.linalg.norm(s - t) / size)
    assert spectral_difference(pair) == pytest.approx(expected, rel=1e-6)


def test_spectral_difference_known(mlps):
    """Twice A but for signs in the hidden layers, A in the last one."""
    a = mlps[0]
    factors = dict(zip(WEIGHTS, (2, -2, 1), strict=True))
    state = {n: v * factors.get(n, 3) for n, v in a.state.items()}
    b = Network(a.setting, 1, state)
    found = spectral_difference(Pair(a, b))
    assert found == pytest.approx((100 / 2.5**0.5, 0), abs=1e-4)


def test_large_directions(mlps):
    """Of the one hidden layer after the first: its inputs are 120 activations."""
    network = mlps[0]
    weight = network.state["3.weight"]
    weight[:] = torch.diag(torch.tensor([1.0] * 30 + [0.2] * 54)) @ weight
    images, _ = datasets.load("digits").tensors("train")
    state = {name: value.double() for name, value in network.state.items()}
    inputs = images.flatten(1).double() @ state["1.weight"].T + state["1.bias"]
    inputs = inputs.relu().numpy()
    _, values, v = svd(network.state, "3.weight")
    along = (inputs @ v[values > 0.3 * values[0]].T) ** 2
    energy, count = large_directions(network)
    assert energy == pytest.approx(100 * along.sum() / (inputs**2).sum(), rel=1e-4)
    assert count == pytest.approx(100 * (values > 0.3 * values[0]).sum() / 120)
    assert 0 < count < 100 * 84 / 120


def test_large_directions_known(mlps):
    """A layer that looks at one of its inputs alone, or at all of them alike."""
    network, other = mlps[:2]
    for chosen, where in ((network, 7), (other, slice(None))):
        chosen.state["3.weight"][:] = 0
        chosen.state["3.weight"][0, where] = 1.0
    for chosen in (network, other):
        chosen.state["1.weight"][:] = 0
        chosen.state["1.bias"][:] = 1.0
    assert large_directions(network) == pytest.approx((100 / 120, 100 / 120))
    assert large_directions(other) == pytest.approx((100, 100 / 120), rel=1e-5)


def test_third_side(mlps):
    """B and C, both matched to A, averaged and evaluated by hand."""
    several = Several(mlps)
    a, b, c = (network.state for network in mlps)
    match = several.setting.match
    near = [match("weights", a, x, 0).permutation.apply(x) for x in (b, c)]
    loss, accuracy = scores(halfway(*near))
    found = third_side(several, "weights")
    assert (found.loss, found.accuracy) == pytest.approx((loss, accuracy), rel=1e-5)
    assert third_side(several, "none").loss == pytest.approx(scores(halfway(b, c))[0])
    assert found.loss != pytest.approx(scores(halfway(b, c))[0], rel=1e-6)
    ends = np.mean([scores(b), scores(c)], axis=0)
    expected = (loss - ends[0], ends[1] - accuracy)
    assert third_barriers(several, "weights") == pytest.approx(expected, abs=1e-5)


def small(seed, sizes=(3, 4, 2), **options):
    """A small MLP in float64, two networks of it, and two batches."""
    model = MLP(sizes, **options).double().eval()
    states = []
    for number in (seed, seed + 1):
        randomize(model, number)
        states.append({n: v.clone() for n, v in model.state_dict().items()})
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(8, sizes[0], generator=generator, dtype=torch.float64)
    return model, *states, x


def test_expansion_by_an_explicit_hessian():
    """Gradient and Hessian of all parameters in one vector, over unequal batches."""
    model, a, b, x = small(0)
    y = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1])

    def unrolled(vector):
        parts = vector.split([value.numel() for value in a.values()])
        state = {n: p.view_as(a[n]) for n, p in zip(a, parts, strict=True)}
        return F.cross_entropy(functional_call(model, state, x), y)

    at, to = (torch.cat([v.flatten() for v in s.values()]) for s in (a, b))
    d = to - at
    g, h = torch.func.grad(unrolled)(at), hessian(unrolled)(at)
    expected = float(unrolled(at) + g @ d + d @ h @ d / 2)
    graph = trace(model, x)
    batches = [(x[:5], y[:5]), (x[5:], y[5:])]
    assert expanded_loss(graph, a, b, batches) == pytest.approx(expected, rel=1e-12)
    first_order = float(unrolled(at) + g @ d)
    assert abs(first_order - expected) > 1e-2  # the Hessian is in it
    assert expected != pytest.approx(float(unrolled(to)), rel=1e-2)
    assert expanded_loss(graph, a, a, batches) == pytest.approx(float(unrolled(at)))


def test_expansion_of_a_quadratic_model():
    """Squared error of a linear layer: the expansion is the loss itself."""
    model, a, b, x = small(3, (3, 2))
    y = torch.ones(8, 2, dtype=torch.float64)
    found = expanded_loss(trace(model, x), a, b, [(x[:3], y[:3]), (x[3:], y[3:])], mse)
    assert found == pytest.approx(float(mse(functional_call(model, b, x), y)))


def mse(outputs, targets):
    """Mean squared error."""
    return F.mse_loss(outputs, targets)


def test_expansion_of_a_linear_loss():
    """A loss without any curvature: value and slope alone."""
    model, a, b, x = small(5, (3, 2), bias=False)
    y = torch.zeros(8)
    found = expanded_loss(trace(model, x), a, b, [(x, y)], lambda out, _: out.mean())
    assert found == pytest.approx(float(functional_call(model, b, x).mean()))


def test_expansion_refusals():
    """Running statistics are no parameters; no batches have no loss."""
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).eval()
    graph, state = trace(model, torch.zeros(2, 1, 4, 4)), model.state_dict()
    with pytest.raises(ValueError, match="choose a setting without BatchNorm"):
        expanded_loss(graph, state, state, [])
    model, a, b, x = small(0)
    with pytest.raises(ValueError, match="no batches: give a list of pairs"):
        expanded_loss(trace(model, x), a, b, [])


def test_predicted_loss(pair):
    """The mean of the expansions at both endpoints, along the matched line."""
    images, labels = datasets.load("digits").tensors("train")
    a, b = pair.a.state, pair.permutation("weights").apply(pair.b.state)
    expected = []
    for end, other in ((a, b), (b, a)):

        def loss(t, end=end, other=other):
            state = {n: v + t * (other[n].double() - v) for n, v in end.items()}
            return F.cross_entropy(logits(state, images.double()), labels)

        t, slope = torch.zeros((), dtype=torch.float64), torch.func.grad(loss)
        curvature = torch.func.grad(slope)
        expected.append(float(loss(t) + slope(t) / 2 + curvature(t) / 8))
    assert predicted_loss(pair, "weights") == pytest.approx(np.mean(expected), rel=1e-6)
    assert predicted_loss(pair, "none") != pytest.approx(np.mean(expected), rel=1e-3)


def test_relative_distance(pair):
    """By numpy; a network is as far from its negative as twice its size."""
    a, b = (
        np.concatenate([v.double().numpy().ravel() for v in end.state.values()])
        for end in (pair.a, pair.b)
    )
    size = ((a @ a + b @ b) / 2) ** 0.5
    assert relative_distance(pair, "none") == pytest.approx(
        np.linalg.norm(a - b) / size
    )
    assert relative_distance(pair, "weights") < relative_distance(pair, "none")


def test_correlations():
    """Block by block: in order, reversed, one exchange, and no order at all."""
    first = {"x": [1, 1, 1, 1], "y": [2, 2, 2, 1], "z": [3, 3, 3, 1]}
    second = {"x": [5, 9, 5, 1], "y": [6, 8, 9, 2], "z": [9, 7, 6, 3]}
    assert correlations(first, second) == pytest.approx([1, -1, 0.5, 0])
    assert correlations(second, first) == pytest.approx([1, -1, 0.5, 0])
    with pytest.raises(ValueError, match="differ: measure both quantities at the same"):
        correlations(first, {"x": [1], "z": [2], "y": [3]})


def test_split_spectrum(pair):
    """Parts add up, have the ranks of a split at half, and hold no biases."""
    graph, state = pair.setting.symmetry.graph, pair.a.state
    top, tail = split_spectrum(graph, state, 0.5)
    for name in WEIGHTS:
        _, values, _ = svd(state, name)
        large = int((values > 0.5 * values[0]).sum())
        torch.testing.assert_close(top[name] + tail[name], state[name].double())
        ranks = [np.linalg.matrix_rank(part[name].numpy()) for part in (top, tail)]
        assert ranks == [large, len(values) - large]
        assert 0 < large < len(values) or not tail[name].any()
        assert np.linalg.norm(top[name].numpy(), 2) == pytest.approx(values[0])
    for part in (top, tail):
        assert part.keys() == state.keys()
        assert all(not part[name].any() for name in state if "bias" in name)


def test_moves(pair):
    """Transpositions of two units of one group; 84 of 204 in the second one."""
    symmetry = pair.setting.symmetry
    moves = random_moves(symmetry, 2000, torch.Generator().manual_seed(0))
    assert all(first != second for _, first, second in moves)
    assert {name for name, *_ in moves} == {"1", "3"}
    share = sum(name == "3" for name, *_ in moves) / len(moves)
    assert share == pytest.approx(84 / 204, abs=0.05)
    assert max(max(rest) for name, *rest in moves if name == "3") == 83
    one = lmc.Permutation.identity(symmetry)
    found = moved(one, [("1", 0, 1), ("1", 1, 2)]).indices
    assert found["1"].tolist() == [1, 2, 0, *range(3, 120)]
    assert found["3"].tolist() == list(range(84))
    assert one.indices["1"].tolist() == list(range(120))  # left as it was


def test_degraded(pair):
    """It is there after as many moves as are left in, and not after one fewer."""
    symmetry, a, b = pair.setting.symmetry, pair.a.state, pair.b.state
    near = pair.permutation("weights")
    ends = [lmc.l2_distance(a, p.apply(b)) for p in (near, pair.permutation("none"))]
    distance = sum(ends) / 2
    found = degraded_to(near, a, b, distance, seed=5)
    reached = lmc.l2_distance(a, found.apply(b))
    assert distance <= reached <= 1.01 * distance
    moves = random_moves(symmetry, 2040, torch.Generator().manual_seed(5))
    here, count = near, 0
    while any((here.indices[n] != found.indices[n]).any() for n in ("1", "3")):
        before, count = here, count + 1
        here = moved(before, moves[count - 1 : count])
    assert lmc.l2_distance(a, before.apply(b)) < distance
    same = degraded_to(near, a, b, ends[0], seed=5)
    assert all(torch.equal(same.indices[n], p) for n, p in near.indices.items())


def test_degraded_refusal(pair):
    """No shuffle brings two networks twice as far apart; nor nearer."""
    a, b, none = pair.a.state, pair.b.state, pair.permutation("none")
    whole = lmc.l2_distance(a, b)
    for distance in (2 * whole, whole / 2):
        with pytest.raises(ValueError, match="the two matchings have no common dist"):
            degraded_to(none, a, b, distance, seed=0)


def test_top_against_tail(pair, monkeypatch):
    """The farther arm is left as its matching gave it, by hand; the other follows."""
    graph = pair.setting.symmetry.graph
    seen = []
    monkeypatch.setattr(
        top_tail,
        "degraded_to",
        lambda *args: seen.append(args) or degraded_to(*args),
    )
    arms = top_against_tail(pair)
    a, b = pair.a.state, pair.b.state
    parts = zip(*(split_spectrum(graph, s) for s in (a, b)), strict=True)
    plain = [pair.setting.match("weights", *p, 0).permutation.apply(b) for p in parts]
    distances = [lmc.l2_distance(a, other) for other in plain]
    farther = distances.index(max(distances))
    expected = scores(halfway(a, plain[farther]))[1]
    assert arms[farther].accuracy == pytest.approx(expected, abs=1e-6)
    assert arms[farther].distance == pytest.approx(max(distances))
    assert arms[farther].alignment == pytest.approx(
        alignment(graph, a, plain[farther], 0.3)
    )
    [(permutation, *_, seed)] = seen
    nearer = permutation.apply(b)
    assert lmc.l2_distance(a, nearer) == pytest.approx(min(distances))
    other = arms[1 - farther]
    assert other.distance == pytest.approx(max(distances), rel=0.01)
    assert min(distances) < 0.99 * max(distances)  # so that it had to be degraded
    after = degraded_to(permutation, a, b, max(distances), seed).apply(b)
    assert other.accuracy == pytest.approx(scores(halfway(a, after))[1], abs=1e-6)
    assert seed == pair.a.seed
    for arm, b in zip(top_against_tail(pair, equal=False), plain, strict=True):
        assert arm.distance == pytest.approx(lmc.l2_distance(a, b))
        assert arm.accuracy == pytest.approx(scores(halfway(a, b))[1], abs=1e-6)
    assert len(seen) == 1  # these are not degraded


@pytest.mark.parametrize(
    ("method", "start"), [("ste", "weights"), ("ste-from-b", "none")]
)
def test_straight_through(pair, monkeypatch, method, start):
    """12 steps are two epochs of 11; the search starts where it says."""
    monkeypatch.setattr(matchers, "STEPS", 12)
    found = pair.setting.match(method, pair.a.state, pair.b.state, 0)
    assert len(found.history) == 3
    bare = pair.permutation(start).apply(pair.b.state)
    loss, _ = scores(halfway(pair.a.state, bare), "train")
    assert -found.history[0] == pytest.approx(loss, rel=1e-5)
    other = pair.permutation("none" if start == "weights" else "weights")
    loss, _ = scores(halfway(pair.a.state, other.apply(pair.b.state)), "train")
    assert -found.history[0] != pytest.approx(loss, rel=1e-3)
