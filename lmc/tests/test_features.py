"""Quantities of networks, by hand, by hooks and by explicit loops in float64."""

import copy
import math
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmc.features import (
    FeatureParts,
    activation_scale,
    alignment,
    dead_units,
    diagonal_fisher,
    feature_parts,
    input_energy,
    l2_distance,
    layer_means,
    parameter_magnitude,
    sample_gradients,
    singular_alignment,
    singular_values,
)
from lmc.graph import Graph, trace
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import normal, randomized

MAKE: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: MLP((4, 6, 5, 3)),
    "vgg": lambda: VGG((4, "M", 5), 3),
    "bn": lambda: VGG((4, "M", 5), 3, norm="bn"),
    "ln": lambda: VGG((4, "M", 5), 3, norm="ln"),
    "resnet": lambda: ResNet((3, 4), (1, 1), 3, norm="bn"),
}
SHAPES = {kind: (4,) if kind == "mlp" else (1, 6, 6) for kind in MAKE}
FAMILIES = list(MAKE)


@cache
def graph(kind: str) -> Graph:
    """The graph of a small network."""
    return trace(MAKE[kind]().eval(), torch.zeros(2, *SHAPES[kind]))


def network(kind: str, seed: int = 0) -> nn.Module:
    """A small float64 network with random values in every tensor."""
    return randomized(MAKE[kind](), seed).double()


def labelled(kind: str, *counts: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of random inputs of the given sizes, with labels of three classes."""
    return [
        (normal(n, *SHAPES[kind], seed=70 + n), torch.arange(n) % 3) for n in counts
    ]


def hooked(model: nn.Module, name: str, inputs: list[Tensor]) -> np.ndarray:
    """All outputs of a module, as samples x units x places, by a hook."""
    seen = []
    hook = model.get_submodule(name).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.detach().clone())
    )
    for x in inputs:
        model(x)
    hook.remove()
    values = torch.cat(seen).numpy()
    return values.reshape(*values.shape[:2], -1)


def test_distance_by_hand():
    """3-4-12 in two tensors is a distance of 13."""
    a = {"w": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([5.0])}
    b = {"w": torch.tensor([[4.0, 6.0]]), "b": torch.tensor([-7.0])}
    assert l2_distance(a, b) == 13.0


def test_distance_of_complex_tensors_is_that_of_both_parts():
    """3-4-12 in one complex and one real number."""
    a = {"w": torch.tensor([1 + 2j]), "b": torch.tensor([5.0])}
    b = {"w": torch.tensor([4 + 6j]), "b": torch.tensor([-7.0])}
    assert l2_distance(a, b) == 13.0


def test_integer_tensors_do_not_count():
    """BatchNorm's count of batches is no coordinate of a network."""
    a = {"w": torch.zeros(1), "n": torch.tensor(3)}
    b = {"w": torch.tensor([2.0]), "n": torch.tensor(100)}
    assert l2_distance(a, b) == 2.0


def test_named_tensors_only():
    """With names, nothing else counts."""
    a = {"w": torch.zeros(1), "running_mean": torch.zeros(1)}
    b = {"w": torch.tensor([2.0]), "running_mean": torch.tensor([9.0])}
    assert l2_distance(a, b, names=["w"]) == 2.0


def test_distance_is_summed_in_float64():
    """A float32 difference of 1e-8 beside 1.0 is not rounded away."""
    a = {"w": torch.tensor([1e-8, 1.0], dtype=torch.float32)}
    b = {"w": torch.tensor([0.0, 1.0 + 2**-23], dtype=torch.float32)}
    exact = (float(a["w"][0]) ** 2 + 2.0**-46) ** 0.5
    assert l2_distance(a, b) == pytest.approx(exact, rel=1e-14)


def test_missing_tensor_is_refused():
    """A tensor in one network only is named, whichever network lacks it."""
    full, empty = {"w": torch.zeros(1)}, {}
    for pair in ((full, empty), (empty, full)):
        with pytest.raises(ValueError, match="'w' is missing from one of the networks"):
            l2_distance(*pair)


def test_other_shape_is_refused():
    """Broadcasting two shapes would give a distance of nothing."""
    message = r"w has shape \(2,\) in one network and \(1,\) in the other"
    with pytest.raises(ValueError, match=message):
        l2_distance({"w": torch.zeros(2)}, {"w": torch.zeros(1)})


def test_magnitude_is_one_mean_over_weight_and_bias():
    """Each entry of weight and bias counts once, whatever its sign."""
    state = network("vgg").state_dict()
    got = parameter_magnitude(graph("vgg"), state)
    assert list(got) == ["features.0", "features.4", "classifier"]
    for name, value in got.items():
        entries = [*state[f"{name}.weight"].flatten(), *state[f"{name}.bias"]]
        assert value == pytest.approx(sum(map(abs, map(float, entries))) / len(entries))


def test_layer_means_need_every_parameter():
    """A layer without values is named, with what to do."""
    message = r"no values for \['1.bias'\] of layer '1': give one tensor for each"
    with pytest.raises(ValueError, match=message):
        layer_means(graph("mlp"), {"1.weight": torch.ones(6, 4)})


AFTER = {
    "mlp": {"1": "2", "3": "4", "5": None},
    "vgg": {"features.0": "features.2", "features.4": "features.6"},
    "bn": {"features.0": "features.2", "features.4": "features.6"},
    "ln": {"features.0": "features.2", "features.4": "features.6"},
}


@pytest.mark.parametrize("kind", AFTER)
def test_scales_are_those_of_hooks(kind):
    """Before and after the nonlinearity: mean, variance and zeros of all the data."""
    model, batches = network(kind), labelled(kind, 5, 9, 2)
    inputs = [x for x, _ in batches]
    found = activation_scale(graph(kind), model.state_dict(), batches)
    for layer, after in AFTER[kind].items():
        for module, scale in (
            (layer, found[layer].before),
            (after, found[layer].after),
        ):
            if module is None:
                assert scale is None
                continue
            values = hooked(model, module, inputs).transpose(1, 0, 2)
            values = values.reshape(len(values), -1)
            np.testing.assert_allclose(scale.absolute, np.abs(values).mean(1))
            np.testing.assert_allclose(scale.variance, values.var(1), atol=1e-15)
            np.testing.assert_array_equal(scale.zeros, (values == 0).mean(1))
            assert scale.mean_absolute == pytest.approx(np.abs(values).mean())
            assert scale.mean_deviation == pytest.approx(values.std(1).mean())


def test_after_a_residual_sum_is_the_sum():
    """A block's last convolution and its shortcut share the ReLU behind the sum."""
    model, batches = network("resnet"), labelled("resnet", 4)
    found = activation_scale(graph("resnet"), model.state_dict(), batches)
    second, shortcut = (found[f"blocks.1.{n}"] for n in ("conv2", "shortcut.0"))
    assert second.node == shortcut.node
    values = hooked(model, "blocks.1", [batches[0][0]])
    np.testing.assert_allclose(second.after.absolute, values.mean((0, 2)))
    assert found["blocks.1.conv1"].node not in (None, second.node)
    assert found["classifier"].after is None


def test_after_pooling_is_pooled():
    """Where pooling comes before the ReLU, the ReLU's output is taken."""
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.MaxPool2d(2), nn.Sigmoid(), nn.ReLU())
    model = randomized(model).double()
    x = normal(4, 1, 6, 6)
    own = trace(model, x)
    found = activation_scale(own, model.state_dict(), [(x, None)])["0"]
    np.testing.assert_allclose(
        found.after.absolute, hooked(model, "2", [x]).mean((0, 2))
    )


def test_a_gate_ends_the_search():
    """Behind a product of two activations the units are no longer the layer's."""

    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.value, self.gate = nn.Linear(3, 4), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(self.value(x) * torch.sigmoid(self.gate(x)))

    model = randomized(Gated()).double()
    x = normal(5, 3)
    found = activation_scale(trace(model, x), model.state_dict(), [(x, None)])
    assert found["value"].after is None
    gate = torch.sigmoid(model.gate(x)).detach()
    np.testing.assert_allclose(found["gate"].after.absolute, gate.mean(0))


def test_variance_survives_a_large_mean():
    """A unit of 1e8 that varies by 1e-3 keeps its variance: no sums of squares."""
    own = trace(MLP((1, 1)).eval(), torch.zeros(2, 1))
    state = {"1.weight": torch.tensor([[1.0]]).double(), "1.bias": torch.tensor([1e8])}
    values = 1e-3 * normal(40, 1)
    batches = [(values[:7], None), (values[7:], None)]
    state = {name: value.double() for name, value in state.items()}
    found = activation_scale(own, state, batches)["1"].before
    seen = (values + 1e8).numpy()  # as the layer rounds it
    assert float(found.variance) == pytest.approx(seen.var(), rel=1e-6)
    parts = feature_parts(own, state, batches, constant="mean")["1"]
    assert parts.dependent == pytest.approx(seen.var(), rel=1e-6)


def test_dead_units_are_those_zero_on_all_data():
    """One value in one batch is enough for a unit to live."""
    state = {
        "1.weight": torch.tensor([[1.0], [-1.0], [0.0], [0.0]]),
        "1.bias": torch.tensor([-2.0, 0.0, -1.0, 1.0]),
        "3.weight": torch.ones(2, 4),
        "3.bias": torch.zeros(2),
    }
    own = trace(MLP((1, 4, 2)).eval(), torch.zeros(2, 1))
    batches = [(torch.tensor([[1.0], [0.5]]), None), (torch.tensor([[2.5]]), None)]
    (dead,) = dead_units(own, state, batches).values()
    assert dead.tolist() == [False, True, True, False]
    (dead,) = dead_units(own, state, batches[:1]).values()
    assert dead.tolist() == [True, True, True, False]


def test_dead_units_need_a_nonlinearity():
    """Asked for the logits, the function says that they cannot be dead."""
    state, batches = network("mlp").state_dict(), labelled("mlp", 3)
    with pytest.raises(ValueError, match="no nonlinearity follows layer '5': leave it"):
        dead_units(graph("mlp"), state, batches, ["5"])


@pytest.mark.parametrize("function", [activation_scale, feature_parts, input_energy])
def test_what_runs_on_data_needs_data(function):
    """No batch and empty batches are refused; unknown layers are named."""
    state = network("mlp").state_dict()
    for batches in ([], [(torch.zeros(0, 4).double(), None)]):
        with pytest.raises(ValueError, match="no samples: give at least one pair"):
            function(graph("mlp"), state, batches)
    with pytest.raises(ValueError, match="no convolution or linear layer 'x': choose"):
        function(graph("mlp"), state, labelled("mlp", 3), ["x"])


@pytest.mark.parametrize("kind", AFTER)
def test_feature_parts_by_hooks(kind):
    """Squares of g and h, entry by entry, for both meanings of the constant."""
    model, batches = network(kind), labelled(kind, 5, 9)
    inputs = [x for x, _ in batches]
    zero = feature_parts(graph(kind), model.state_dict(), batches)
    mean = feature_parts(graph(kind), model.state_dict(), batches, constant="mean")
    for layer in AFTER[kind]:
        f = hooked(model, layer, inputs)
        h = hooked(model, layer, [torch.zeros_like(inputs[0][:1])])[0]
        assert zero[layer].dependent == pytest.approx(((f - h) ** 2).mean())
        assert zero[layer].constant == pytest.approx((h**2).mean())
        h = f.mean(0)
        assert mean[layer].dependent == pytest.approx(((f - h) ** 2).mean())
        assert mean[layer].constant == pytest.approx((h**2).mean())
        squares = (f**2).mean()
        assert mean[layer].dependent + mean[layer].constant == pytest.approx(squares)
        assert mean[layer].share == pytest.approx(mean[layer].dependent / squares)


def test_variance_of_a_feature_is_that_of_its_dependent_part():
    """Var f = Var g: what is split off as constant does not change ``E g^2 - (E g)^2``.

    For a linear network ``g`` is the network without biases.
    """
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 3), nn.Linear(3, 2))
    model = randomized(model).double()
    x = normal(50, 4)
    own, state, batches = trace(model, x), model.state_dict(), [(x, None)]
    bare = {name: v * ("weight" in name) for name, v in state.items()}
    whole, without = (activation_scale(own, s, batches) for s in (state, bare))
    parts = feature_parts(own, state, batches)
    for layer in ("0", "1", "2"):
        f, g = whole[layer].before, without[layer].before
        torch.testing.assert_close(f.variance, g.variance)
        mean = hooked(_loaded(model, bare), layer, [x]).mean(0)
        square = float(f.variance.mean()) + (mean**2).mean()
        assert parts[layer].dependent == pytest.approx(square)


def _loaded(model: nn.Module, state: dict[str, Tensor]) -> nn.Module:
    other = copy.deepcopy(model)
    other.load_state_dict(state)
    return other


def test_share_of_nothing_is_zero():
    """A layer that gives zeros has no input-dependent part."""
    assert FeatureParts(0.0, 0.0).share == 0.0


def test_feature_parts_refusals():
    """Unknown constants and inputs without a zero are refused, with a way out."""
    state, batches = network("mlp").state_dict(), labelled("mlp", 3)
    with pytest.raises(ValueError, match="constant part 'median': choose 'zero' or 'm"):
        feature_parts(graph("mlp"), state, batches, constant="median")
    words = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 2)).eval()
    tokens = torch.tensor([0, 3, 4])
    own, state = trace(words, tokens), words.state_dict()
    with pytest.raises(ValueError, match=r"inputs of integers .* use constant='mean'"):
        feature_parts(own, state, [(tokens, None)])
    assert feature_parts(own, state, [(tokens, None)], constant="mean")["1"].share > 0


def log_probability(model: nn.Module, x: Tensor, y: int) -> Tensor:
    """Log p(y|x) of one sample, by the definition of softmax."""
    logits = model(x[None])[0]
    return logits[y] - logits.exp().sum().log()


def loop_gradients(model: nn.Module, x: Tensor, y: int) -> dict[str, Tensor]:
    """The gradient of log p(y|x) for one sample, by backward."""
    model.zero_grad()
    log_probability(model, x, y).backward()
    return {name: value.grad.clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("kind", FAMILIES)
def test_sample_gradients_are_those_of_a_loop(kind):
    """One backward for each sample, BatchNorm in evaluation mode."""
    model, ((x, y),) = network(kind), labelled(kind, 4)
    found = sample_gradients(graph(kind), model.state_dict(), x, y)
    for index in range(len(x)):
        for name, value in loop_gradients(model, x[index], int(y[index])).items():
            torch.testing.assert_close(found[name][index], value)


@pytest.mark.parametrize("kind", ["mlp", "bn"])
@pytest.mark.parametrize("targets", ["data", "model"])
def test_fisher_is_that_of_a_loop(kind, targets):
    """Mean squared gradients over samples, and over classes by their probability."""
    model, batches = network(kind), labelled(kind, 5, 2)
    found = diagonal_fisher(
        graph(kind), model.state_dict(), batches, targets=targets, chunk=3
    )
    expected = {n: torch.zeros_like(v) for n, v in model.named_parameters()}
    for x, y in batches:
        for index in range(len(x)):
            for c in range(3):
                weight = float(c == y[index])
                if targets == "model":
                    weight = float(log_probability(model, x[index], c).exp().detach())
                for name, value in loop_gradients(model, x[index], c).items():
                    expected[name] += weight * value**2 / 7
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_sampled_labels_come_from_the_generator():
    """The same seed gives the same result; the mean over seeds nears the exact one."""
    model, batches = network("mlp"), [(x, None) for x, _ in labelled("mlp", 6)]

    def fisher(targets: str, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return diagonal_fisher(
            graph("mlp"),
            model.state_dict(),
            batches,
            targets=targets,
            generator=generator,
        )["5.bias"]

    assert torch.equal(fisher("sampled", 1), fisher("sampled", 1))
    draws = torch.stack([fisher("sampled", seed) for seed in range(100)])
    error = draws.std(0) / math.sqrt(len(draws))
    assert bool(((draws.mean(0) - fisher("model")).abs() < 5 * error).all())


def test_fisher_of_a_tensor_with_two_names():
    """A tied weight gets the gradient of both places, under both names."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(x)))

    model = Tied().double().eval()
    x = normal(2, 3)
    batches = [(x, torch.tensor([0, 2]))]
    found = diagonal_fisher(trace(model, x), model.state_dict(), batches)
    one, two = (loop_gradients(model, x[i], y) for i, y in ((0, 0), (1, 2)))
    expected = (one["first.weight"] ** 2 + two["first.weight"] ** 2) / 2
    torch.testing.assert_close(found["first.weight"], expected)
    torch.testing.assert_close(found["second.weight"], expected)


class Attends(nn.Module):
    """Attention, which PyTorch computes with the samples on the second axis."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


def test_fisher_of_attention():
    """Attention runs sample by sample as well."""
    model = randomized(Attends()).double()
    x, y = normal(3, 5, 4), torch.tensor([0, 1, 2])
    found = sample_gradients(trace(model, x), model.state_dict(), x, y)
    for index in range(3):
        for name, value in loop_gradients(model, x[index], index).items():
            torch.testing.assert_close(found[name][index], value)


def test_fisher_refusals():
    """Unknown targets, no labels, no generator, no samples, no logits."""
    own, state = graph("mlp"), network("mlp").state_dict()
    x = normal(3, 4)
    with pytest.raises(
        ValueError, match="unknown targets 'labels': choose 'data', 'mo"
    ):
        diagonal_fisher(own, state, [(x, None)], targets="labels")
    with pytest.raises(ValueError, match="targets='data' needs labels: give pairs"):
        diagonal_fisher(own, state, [(x, None)])
    with pytest.raises(ValueError, match="targets='sampled' needs a generator to draw"):
        diagonal_fisher(own, state, [(x, None)], targets="sampled")
    with pytest.raises(ValueError, match="no samples: give at least one pair"):
        diagonal_fisher(own, state, [])
    convolution = nn.Conv2d(1, 2, 1).double().eval()
    images = normal(3, 1, 2, 2)
    with pytest.raises(ValueError, match=r"must return logits .* got \(1, 2, 2, 2\)"):
        sample_gradients(
            trace(convolution, images),
            convolution.state_dict(),
            images,
            torch.zeros(3, dtype=torch.int64),
        )


@pytest.mark.parametrize("kind", ["mlp", "vgg"])
def test_singular_values_are_roots_of_eigenvalues(kind):
    """Of W W^T, with a filter of a convolution for a row."""
    state = network(kind).state_dict()
    for name, values in singular_values(graph(kind), state).items():
        weight = state[f"{name}.weight"].numpy()
        matrix = weight.reshape(len(weight), -1)
        roots = np.linalg.eigvalsh(matrix @ matrix.T)[::-1][: len(values)] ** 0.5
        np.testing.assert_allclose(values, roots, rtol=1e-8)


def polar(weight: Tensor) -> np.ndarray:
    """Orthogonal polar factor, by Newton-Schulz iteration: no singular vectors."""
    matrix = weight.flatten(1).numpy()
    wide = len(matrix) <= matrix.shape[1]
    factor = matrix / np.linalg.norm(matrix, 2)
    for _ in range(100):
        gram = factor @ factor.T if wide else factor.T @ factor
        step = (3 * np.eye(len(gram)) - gram) / 2
        factor = step @ factor if wide else factor @ step
    return factor


@pytest.mark.parametrize("kind", ["mlp", "vgg"])
def test_alignment_is_the_inner_product_of_polar_factors(kind):
    """At gamma 0, divided by the number of singular vectors."""
    a, b = (network(kind, seed).state_dict() for seed in (0, 40))
    factors = [
        [polar(state[layer.weight]) for layer in graph(kind).layers] for state in (a, b)
    ]
    product = sum(float((x * y).sum()) for x, y in zip(*factors, strict=True))
    count = sum(min(x.shape) for x in factors[0])
    found = alignment(graph(kind), a, b)
    assert found == pytest.approx(product / count, rel=1e-6)
    assert found == pytest.approx(alignment(graph(kind), b, a))
    assert abs(found) < 1


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9])
def test_alignment_bounds(gamma):
    """1 with itself, -1 with the negative, free of scale, below 1 with another."""
    own, a, b = (
        graph("vgg"),
        network("vgg").state_dict(),
        network("vgg", 5).state_dict(),
    )
    assert alignment(own, a, a, gamma) == pytest.approx(1)
    scaled = {name: -3 * value for name, value in a.items()}
    assert alignment(own, a, scaled, gamma) == pytest.approx(-1)
    assert abs(alignment(own, a, b, gamma)) < 1


def test_alignment_by_explicit_loops():
    """The sum over pairs above gamma, from numpy's singular vectors."""
    a, b = network("mlp").state_dict(), network("mlp", 9).state_dict()
    total, count = 0.0, 0.0
    for layer in ("1", "3", "5"):
        u, s, v = np.linalg.svd(a[f"{layer}.weight"].numpy(), full_matrices=False)
        w, t, x = np.linalg.svd(b[f"{layer}.weight"].numpy(), full_matrices=False)
        rows = [i for i in range(len(s)) if s[i] > 0.5 * s[0]]
        columns = [j for j in range(len(t)) if t[j] > 0.5 * t[0]]
        for i in rows:
            for j in columns:
                total += (u[:, i] @ w[:, j]) * (v[i] @ x[j])
        count += (len(rows) + len(columns)) / 2
    assert alignment(graph("mlp"), a, b, 0.5) == pytest.approx(total / count)


def test_products_give_the_distance():
    """||A - B||^2 = ||A||^2 + ||B||^2 - 2 sum s_i s'_j (u_i.u'_j)(v_i.v'_j)."""
    a, b = network("vgg").state_dict(), network("vgg", 9).state_dict()
    for layer, found in singular_alignment(graph("vgg"), a, b).items():
        x, y = a[f"{layer}.weight"], b[f"{layer}.weight"]
        cross = found.values_a[:, None] * found.products * found.values_b
        expected = x.square().sum() + y.square().sum() - 2 * cross.sum()
        torch.testing.assert_close((x - y).square().sum(), expected)


def test_vectors_of_zero_singular_values_do_not_count():
    """A matrix of rank one aligns with itself by its one triple."""
    own = trace(MLP((3, 3), bias=False).eval(), torch.zeros(2, 3))
    a = {"1.weight": torch.outer(torch.tensor([1.0, 2, 3]), torch.tensor([3.0, 1, 1]))}
    assert alignment(own, a, a) == pytest.approx(1)
    rows, _ = singular_alignment(own, a, a)["1"].kept(0.0)
    assert rows.tolist() == [True, False, False]


def test_alignment_refusals():
    """Gamma out of bounds, other shapes, and networks of zeros."""
    own, a = graph("mlp"), network("mlp").state_dict()
    for gamma in (-0.1, 1.0):
        with pytest.raises(
            ValueError, match="gamma is a share of the largest singular"
        ):
            alignment(own, a, a, gamma)
    with pytest.raises(ValueError, match=r"1.weight is a matrix \(6, 4\) in one"):
        alignment(own, a, {**a, "1.weight": torch.zeros(6, 3)})
    zero = {name: 0 * value for name, value in a.items()}
    with pytest.raises(ValueError, match="all weights are zero: they have no singular"):
        alignment(own, zero, zero)


@pytest.mark.parametrize("groups", [1, 2])
def test_input_energy_of_patches(groups):
    """Patches cut by unfold, along numpy's right singular vectors."""
    convolution = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=groups)
    model = randomized(nn.Sequential(convolution)).double()
    inputs = [normal(3, 4, 7, 7, seed=1), normal(5, 4, 7, 7, seed=2)]
    own = trace(model, inputs[0])
    batches = [(x, None) for x in inputs]
    found = input_energy(own, model.state_dict(), batches)["0"]
    right = np.linalg.svd(model[0].weight.detach().numpy().reshape(6, -1))[2]
    along, total = np.zeros(len(found)), 0.0
    for x in inputs:
        for part in x.chunk(groups, 1):
            patches = F.unfold(part, 3, padding=1, stride=2).movedim(1, -1)
            rows = patches.reshape(-1, patches.shape[-1]).numpy()
            total += (rows**2).sum()
            along += ((rows @ right[: len(found)].T) ** 2).sum(0)
    np.testing.assert_allclose(found, along / total)
    assert 0 < float(found.sum()) < 1


def test_input_energy_of_linear_layers():
    """Shares of a layer with full column rank sum to 1, also behind other layers."""
    model, batches = network("mlp"), labelled("mlp", 6, 3)
    found = input_energy(graph("mlp"), model.state_dict(), batches)
    hidden = hooked(model, "2", [x for x, _ in batches])[:, :, 0]
    right = np.linalg.svd(model[3].weight.detach().numpy())[2][:5]
    along = ((hidden @ right.T) ** 2).sum(0) / (hidden**2).sum()
    np.testing.assert_allclose(found["3"], along)
    assert float(found["1"].sum()) == pytest.approx(1)


def test_input_energy_of_silence_is_zero():
    """Inputs of zeros have no direction."""
    state, zeros = network("mlp").state_dict(), torch.zeros(3, 4).double()
    found = input_energy(graph("mlp"), state, [(zeros, None)], ["1"])
    assert found["1"].tolist() == [0.0] * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["convolution", "linear"])
def test_input_energy_of_networks_in_half_precision(kind, dtype):
    """Squares and sums that float16 lacks (above 65504) are in float64."""
    layer = nn.Conv2d(2, 3, 3) if kind == "convolution" else nn.Linear(8, 3)
    model = randomized(nn.Sequential(layer)).to(dtype)
    shape = (3, 2, 5, 5) if kind == "convolution" else (3, 8)
    x = (normal(*shape) * 20000).to(dtype)
    found = input_energy(trace(model, x), model.state_dict(), [(x, None)])["0"]
    patches = x.double()
    if kind == "convolution":
        patches = F.unfold(patches, 3).movedim(1, -1).flatten(0, 1)
    weight = model[0].weight.detach().double().flatten(1).numpy()
    along = ((patches.numpy() @ np.linalg.svd(weight)[2][:3].T) ** 2).sum(0)
    np.testing.assert_allclose(found, along / (patches.numpy() ** 2).sum(), rtol=1e-10)


@pytest.mark.parametrize("constant", ["zero", "mean"])
def test_feature_parts_where_samples_are_not_the_first_axis(constant):
    """In-projection and head by matrix products, over unequal batches."""
    model = randomized(Attends()).double()
    own, inputs = trace(model, normal(3, 5, 4)), [normal(n, 5, 4) for n in (6, 2)]
    names = ["attention.in_proj_weight", "head"]
    found = feature_parts(
        *(own, model.state_dict(), [(x, None) for x in inputs], names),
        constant=constant,
    )
    x, attention = torch.cat(inputs), model.requires_grad_(False).attention
    projected = x @ attention.in_proj_weight.T + attention.in_proj_bias
    held = {"zero": attention.in_proj_bias.expand(5, -1), "mean": projected.mean(0)}
    outputs, zeros = model(x), model(0 * x[:1])[0]
    last = {"zero": zeros, "mean": outputs.mean(0)}
    for name, f, h in zip(
        names, (projected, outputs), (held[constant], last[constant]), strict=True
    ):
        assert found[name].dependent == pytest.approx(float((f - h).square().mean()))
        assert found[name].constant == pytest.approx(float(h.square().mean()))


class AttendsInThree(Attends):
    """The same for three samples only, so that no size in its graph is a symbol."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.view(3, 5, 4))


@pytest.mark.parametrize("make", [Attends, AttendsInThree])
def test_feature_parts_need_samples_on_an_axis(make):
    """The out-projection has samples and places on one axis."""
    model, x = randomized(make()).double(), normal(3, 5, 4)
    own, state = trace(model, x), model.state_dict()
    message = (
        r"'attention.out_proj' .* no axis of the samples alone.*leave it out, name "
        "the others by layers="
    )
    with pytest.raises(ValueError, match=message):
        feature_parts(own, state, [(x, None)], ["head", "attention.out_proj"])
    names = ["attention.in_proj_weight", "head"]
    found = feature_parts(own, state, [(x, None)], names, constant="mean")
    projected = (x @ model.attention.in_proj_weight.T).detach()
    for name, f in zip(names, (projected, model(x).detach()), strict=True):
        variance = float(f.var(0, correction=0).mean())
        assert found[name].dependent == pytest.approx(variance)


def test_feature_parts_of_what_depends_on_no_input():
    """A layer of parameters alone is constant, and its places are no samples."""

    class Prompted(nn.Module):
        def __init__(self):
            super().__init__()
            self.prompt = nn.Parameter(torch.ones(7, 2))
            self.embed, self.head = nn.Linear(2, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + self.embed(self.prompt).mean(0))

    model, x = randomized(Prompted()).double(), normal(5, 4)
    own, state = trace(model, x), model.state_dict()
    embedded = model.embed(model.prompt).detach()
    for constant in ("zero", "mean"):
        found = feature_parts(own, state, [(x, None)], ["embed"], constant=constant)
        assert found["embed"].dependent == pytest.approx(0, abs=1e-20)
        assert found["embed"].constant == pytest.approx(float(embedded.square().mean()))
