"""Renormalization, against numpy statistics and explicit layer-by-layer arithmetic."""

import copy
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader

from lmc import (
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
from lmc.graph import Graph, trace
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import normal, precise, randomized

EPSILON = 1e-5
METHODS = ["repair", "rescale", "rescale-average", "reshift"]
SHAPES = {"mlp": (4,), "far": (4,), "vgg": (1, 6, 6), "bn": (1, 6, 6)}
MAKE = {
    "mlp": lambda: MLP((4, 6, 5, 3)),
    "far": lambda: MLP((4, 3, 2)),
    "vgg": lambda: VGG((4, "M", 5), 3),
    "bn": lambda: VGG((4, "M", 5), 3, norm="bn"),
}
LAYERS = {"mlp": ("1", "3"), "vgg": ("features.0", "features.4")}


@cache
def graph(kind: str) -> Graph:
    """The graph of a small network."""
    return trace(MAKE[kind]().eval(), torch.zeros(2, *SHAPES[kind]))


def network(kind: str, seed: int) -> nn.Module:
    """A small float64 network with random values in every tensor."""
    return randomized(MAKE[kind](), seed).double()


def batches(kind: str, *counts: int) -> list[tuple[Tensor, None]]:
    """Batches of random inputs of the given sizes, without targets."""
    return [(normal(n, *SHAPES[kind], seed=70 + n), None) for n in counts]


def outputs(model: nn.Module, layer: str, x: Tensor) -> np.ndarray:
    """A layer's outputs as channels x (samples and pixels), by a hook."""
    seen = []
    hook = model.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.detach())
    )
    model(x)
    hook.remove()
    return seen[0].movedim(1, 0).flatten(1).numpy()


def goals(kind: str) -> dict[str, Statistics]:
    """Goal statistics chosen at will: nothing like those of the networks."""
    return {
        layer: Statistics(
            normal(size, seed=i), normal(size, seed=10 + i).square() + 0.1
        )
        for i, (layer, size) in enumerate(
            zip(LAYERS[kind], {"mlp": (6, 5), "vgg": (4, 5)}[kind], strict=True)
        )
    }


@pytest.mark.parametrize("kind", LAYERS)
def test_statistics_are_those_of_numpy(kind):
    """Mean and unbiased variance of each channel over samples and pixels."""
    model, data = network(kind, 0), batches(kind, 20)
    found = statistics(graph(kind), model.state_dict(), data)
    assert tuple(found) == LAYERS[kind]
    for layer in LAYERS[kind]:
        values = outputs(model, layer, data[0][0])
        np.testing.assert_allclose(found[layer].mean, values.mean(1), rtol=1e-10)
        np.testing.assert_allclose(found[layer].variance, values.var(1, ddof=1))
        np.testing.assert_allclose(found[layer].std, values.std(1, ddof=1))
        assert found[layer].mean.dtype == torch.float64


@pytest.mark.parametrize("counts", [(10, 10, 10), (20, 3)])
def test_statistics_are_averages_over_batches(counts):
    """Batches count alike, equal or not; variances are within batches."""
    model, data = network("vgg", 0), batches("vgg", *counts)
    found = statistics(graph("vgg"), model.state_dict(), data, ["features.4"])
    values = [outputs(model, "features.4", x) for x, _ in data]
    mean = np.mean([v.mean(1) for v in values], axis=0)
    variance = np.mean([v.var(1, ddof=1) for v in values], axis=0)
    np.testing.assert_allclose(found["features.4"].mean, mean, rtol=1e-10)
    np.testing.assert_allclose(found["features.4"].variance, variance, rtol=1e-10)


def test_statistics_accumulate_in_float64():
    """A float32 network far from zero keeps its deviation: no catastrophic rounding."""
    model = randomized(MLP((4, 3, 2)))
    state = model.state_dict() | {"1.bias": torch.full((3,), 3000.0)}
    x = normal(1000, 4).float()
    found = statistics(graph("far"), state, [(x, None)], ["1"])["1"]
    model.load_state_dict(state)
    exact = outputs(model, "1", x).astype(np.float64)
    np.testing.assert_allclose(found.mean, exact.mean(1), rtol=1e-13)
    np.testing.assert_allclose(found.variance, exact.var(1, ddof=1), rtol=1e-10)


def test_goals_interpolate_means_and_deviations():
    """Deviations 1 and 3 meet at 2: a variance of 4, and not of 5."""
    ends = [
        {"x": Statistics(torch.tensor([m]), torch.tensor([s**2]))}
        for m, s in ((0.0, 1.0), (4.0, 3.0))
    ]
    middle = interpolated_statistics(*ends, 0.5)["x"]
    assert (middle.mean, middle.std, middle.variance) == (2.0, 2.0, 4.0)
    quarter = interpolated_statistics(*ends, 0.25)["x"]
    assert (quarter.mean, quarter.std, quarter.variance) == (1.0, 1.5, 2.25)


def test_goals_of_different_layers_are_refused():
    """The layers that one network lacks are named."""
    one = {"x": Statistics(torch.ones(1), torch.ones(1))}
    for pair in ((one, {}), ({}, one)):
        with pytest.raises(ValueError, match=r"different layers: \['x'\]"):
            interpolated_statistics(*pair, 0.5)


@pytest.mark.parametrize("kind", LAYERS)
def test_repair_reaches_the_goal(kind):
    """On its own batch, mean and deviation are the goal's, up to epsilon.

    With scale = goal / sqrt(variance + epsilon) the deviation reached is the goal's
    times sqrt(1 - epsilon scale^2 / goal^2).  In the later layer it is so only if
    its statistics were taken behind the repaired earlier one.
    """
    state, data, goal = network(kind, 0).state_dict(), batches(kind, 30), goals(kind)
    repair = renormalize("repair", graph(kind), state, goal, data)
    repaired = network(kind, 1)
    repaired.load_state_dict(repair.fuse(state))
    for layer in LAYERS[kind]:
        values = outputs(repaired, layer, data[0][0])
        missing = EPSILON * (repair.scale[layer] / goal[layer].std).square()
        deviation = goal[layer].std * (1 - missing).sqrt()
        np.testing.assert_allclose(values.mean(1), goal[layer].mean, atol=1e-12)
        np.testing.assert_allclose(values.std(1, ddof=1), deviation, rtol=1e-10)
        np.testing.assert_allclose(deviation, goal[layer].std, rtol=0.01)


def test_repair_by_hand_of_one_layer():
    """Outputs 1 and 3 (mean 2, deviation sqrt 2) brought to mean 5, deviation 4."""
    state = {"1.weight": torch.ones(1, 1), "1.bias": torch.zeros(1)}
    one = trace(MLP((1, 1)).eval(), torch.zeros(2, 1))
    goal = {"1": Statistics(torch.tensor([5.0]), torch.tensor([16.0]))}
    data = [(torch.tensor([[1.0], [3.0]]), None)]
    found = renormalize("repair", one, state, goal, data)
    scale = 4 / (2 + EPSILON) ** 0.5
    assert float(found.scale["1"]) == pytest.approx(scale, rel=1e-12)
    assert float(found.shift["1"]) == pytest.approx(5 - 2 * scale, rel=1e-12)


def by_hand(method: str, mean, variance, goal: Statistics):
    """Scale and shift of one layer, from the formulas of the paper."""
    deviation = goal.std.numpy()
    if method == "rescale-average":
        deviation = np.full_like(deviation, deviation.mean())
    if method == "reshift":
        return np.ones_like(mean), goal.mean.numpy() - mean
    scale = deviation / np.sqrt(variance + EPSILON)
    shift = goal.mean.numpy() - scale * mean if method == "repair" else 0 * mean
    return scale, shift


@pytest.mark.parametrize("method", METHODS)
def test_layers_are_renormalized_one_behind_the_other(method):
    """An explicit loop over an MLP's layers and two unequal batches.

    Within a batch, a layer sees the earlier layers renormalized by the statistics
    of that batch; the result is made of the averages over batches.
    """
    state, data, goal = (
        network("mlp", 0).state_dict(),
        batches("mlp", 20, 7),
        goals("mlp"),
    )
    found = renormalize(method, graph("mlp"), state, goal, data)
    moments: dict[str, list] = {"1": [], "3": []}
    for x, _ in data:
        hidden = x.numpy()
        for layer in ("1", "3"):
            weight, bias = (state[f"{layer}.{p}"].numpy() for p in ("weight", "bias"))
            hidden = hidden @ weight.T + bias
            moments[layer].append((hidden.mean(0), hidden.var(0, ddof=1)))
            scale, shift = by_hand(method, *moments[layer][-1], goal[layer])
            hidden = np.maximum(scale * hidden + shift, 0)
    for layer, taken in moments.items():
        scale, shift = by_hand(method, *np.mean(taken, axis=0), goal[layer])
        np.testing.assert_allclose(found.scale[layer], scale, rtol=1e-10)
        np.testing.assert_allclose(found.shift[layer], shift, rtol=1e-10, atol=1e-12)


def test_rescale_multiplies_the_bias_too():
    """The renormalized layer is g * (W x + b), not g * W x + b."""
    model, data = network("mlp", 0), batches("mlp", 20)
    state, x = model.state_dict(), data[0][0].numpy()
    goal = {"1": goals("mlp")["1"]}
    rescale = renormalize("rescale", graph("mlp"), state, goal, data)
    layer = x @ state["1.weight"].numpy().T + state["1.bias"].numpy()
    gain = goal["1"].std.numpy() / np.sqrt(layer.var(0, ddof=1) + EPSILON)
    model.load_state_dict(rescale.fuse(state))
    now = outputs(model, "1", data[0][0]).T
    np.testing.assert_allclose(now, gain * layer, rtol=1e-10)
    assert np.abs(gain * (layer - state["1.bias"].numpy()) - now).max() > 0.01


def test_rescale_average_has_one_goal_for_all_channels():
    """Goal deviations 1 and 3: both channels are brought to deviation 2."""
    model, data = network("vgg", 0), batches("vgg", 20)
    variance = torch.tensor([1.0, 9.0, 1.0, 9.0], dtype=torch.float64)
    goal = {"features.0": Statistics(torch.zeros(4), variance)}
    state = model.state_dict()
    found = renormalize("rescale-average", graph("vgg"), state, goal, data)
    model.load_state_dict(found.fuse(state))
    deviation = outputs(model, "features.0", data[0][0]).std(1, ddof=1)
    np.testing.assert_allclose(deviation, 2.0, rtol=1e-3)


def test_reshift_moves_the_mean_and_keeps_the_variance():
    """Weights stay; the mean of every layer is the goal's on its own batch."""
    model, data, goal = network("vgg", 0), batches("vgg", 20), goals("vgg")
    state = model.state_dict()
    before = outputs(model, "features.0", data[0][0]).var(1)
    shifted = renormalize("reshift", graph("vgg"), state, goal, data).fuse(state)
    assert all(torch.equal(shifted[k], state[k]) for k in state if "weight" in k)
    model.load_state_dict(shifted)
    np.testing.assert_allclose(outputs(model, "features.0", data[0][0]).var(1), before)
    for layer in LAYERS["vgg"]:
        mean = outputs(model, layer, data[0][0]).mean(1)
        np.testing.assert_allclose(mean, goal[layer].mean, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("kind", "layers"),
    [("mlp", ("1", "3", "5")), ("vgg", ("features.4", "classifier"))],
)
def test_fused_is_unfused(method, kind, layers):
    """In float64 to 1e-12, for convolutions and linear layers, chosen one by one."""
    state, data = network(kind, 0).state_dict(), batches(kind, 20, 5)
    ends = [
        statistics(graph(kind), network(kind, seed).state_dict(), data, layers)
        for seed in (1, 2)
    ]
    goal = interpolated_statistics(*ends, 0.3)
    found = renormalize(method, graph(kind), state, goal, data)
    assert tuple(found.scale) == layers
    x = normal(9, *SHAPES[kind], seed=3)
    unfused, model = found.run(state, x), network(kind, 3)
    model.load_state_dict(found.fuse(state))
    torch.testing.assert_close(model(x).detach(), unfused, rtol=1e-12, atol=1e-12)
    assert not torch.equal(unfused, graph(kind).run(state, x))


def test_fuse_leaves_its_input_alone():
    """A new dict; the network keeps its values and dtype."""
    state = randomized(MAKE["mlp"]()).state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    data = [(normal(9, 4).float(), None)]
    fused = renormalize("repair", graph("mlp"), state, goals("mlp"), data).fuse(state)
    assert all(torch.equal(state[name], before[name]) for name in state)
    assert {tensor.dtype for tensor in fused.values()} == {torch.float32}
    assert torch.equal(fused["5.weight"], state["5.weight"])


def test_fusing_is_in_float64():
    """Each weight is the float64 product rounded once."""
    state = randomized(MAKE["mlp"]()).state_dict()
    scale = normal(6).abs() + 0.1
    found = Renormalization(graph("mlp"), {"1": scale}, {"1": torch.zeros(6)})
    product = state["1.weight"].double().numpy() * scale.numpy()[:, None]
    expected = product.astype(np.float32)
    np.testing.assert_array_equal(found.fuse(state)["1.weight"].numpy(), expected)


def without_bias() -> tuple[Graph, dict[str, Tensor], list]:
    """A network without biases and a batch."""
    model, x = randomized(MLP((4, 6, 3), bias=False)), normal(9, 4).float()
    return trace(model, x), model.state_dict(), [(x, None)]


@pytest.mark.parametrize("method", ["repair", "reshift"])
def test_a_shift_needs_a_bias(method):
    """Fusing names the layer and the alternatives; unfused it works."""
    one, state, data = without_bias()
    goal = {"1": goals("mlp")["1"]}
    found = renormalize(method, one, state, goal, data)
    with pytest.raises(ValueError, match=r"'1' has no bias .*Renormalization.run, or"):
        found.fuse(state)
    assert found.run(state, data[0][0]).isfinite().all()


def test_rescale_needs_no_bias():
    """A network without biases can be rescaled and fused."""
    one, state, data = without_bias()
    goal = {"1": goals("mlp")["1"]}
    found = renormalize("rescale", one, state, goal, data)
    fused = found.fuse(state)
    assert set(fused) == set(state)
    torch.testing.assert_close(
        one.run(fused, data[0][0]), found.run(state, data[0][0]), rtol=1e-5, atol=1e-5
    )


class Autoencoder(nn.Module):
    """The decoder is the transposed encoder: one weight at two places."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 6)

    def forward(self, x):
        return F.relu(self.encoder(x)) @ self.encoder.weight


def test_a_weight_at_two_places_cannot_be_fused():
    """Scaling it for the one would change the other: refused, not done silently."""
    model, x = randomized(Autoencoder()), normal(9, 4).float()
    one, goal = trace(model, x), {"encoder": goals("mlp")["1"]}
    found = renormalize("rescale", one, model.state_dict(), goal, [(x, None)])
    message = r"encoder.weight is used at 2 places.*use Renormalization.run"
    with pytest.raises(ValueError, match=message):
        found.fuse(model.state_dict())


def test_all_names_of_a_fused_tensor_are_written():
    """A module under two names has one weight, whichever name the graph knows."""

    class TwoNames(MLP):
        def __init__(self):
            super().__init__((4, 6, 3))
            self.alias = self[1]

        def forward(self, x):
            return self[3](F.relu(self[1](x)))

    model, x = randomized(TwoNames()), normal(9, 4).float()
    one = trace(model, x)
    [name] = {layer.name for layer in one.layers} - {"3"}
    goal, data = {name: goals("mlp")["1"]}, [(x, None)]
    fused = renormalize("repair", one, model.state_dict(), goal, data).fuse(
        model.state_dict()
    )
    for tensor in ("weight", "bias"):
        assert torch.equal(fused[f"1.{tensor}"], fused[f"alias.{tensor}"])
        assert not torch.equal(fused[f"1.{tensor}"], model.state_dict()[f"1.{tensor}"])


def test_default_layers_are_the_convolutions():
    """All convolutions of a VGG or ResNet, and not the classifier."""
    resnet = ResNet((4, 8), (1, 1)).eval()
    names = default_layers(trace(resnet, torch.zeros(2, 1, 8, 8)))
    assert set(names) == {*resnet.block_convolutions(), "stem", "blocks.1.shortcut.0"}
    assert default_layers(graph("vgg")) == ("features.0", "features.4")


def test_default_layers_of_an_mlp_are_the_hidden_ones():
    """The logits are not renormalized."""
    assert default_layers(graph("mlp")) == ("1", "3")


class Patches(nn.Module):
    """A transformer's shape without its attention: patches, then linear layers."""

    def __init__(self):
        super().__init__()
        self.cut = nn.Conv2d(1, 4, 2, 2)
        self.grow, self.shrink = nn.Linear(4, 8), nn.Linear(8, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        """Map images ``(N, 1, H, W)`` to ``(N, 3)``."""
        tokens = self.cut(x).flatten(2).transpose(1, 2)
        return self.head(self.shrink(torch.relu(self.grow(tokens))).mean(1))


def test_default_layers_of_a_transformer_are_those_before_the_logits():
    """Its one convolution is not what it consists of."""
    model = trace(Patches().eval(), torch.zeros(2, 1, 4, 4))
    assert default_layers(model) == ("cut", "grow", "shrink")


def test_a_constant_channel_is_multiplied_by_the_published_formula():
    """RESCALE takes its bias away, where the goal is constant too; REPAIR does not."""
    model = randomized(nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2)))
    model[0].weight.data[0] = 0
    model[0].bias.data[0] = 2
    graph, state = trace(model, torch.zeros(2, 3)), model.state_dict()
    batches = [normal(20, 3).float()]
    goal = statistics(graph, state, batches)
    biases = {
        method: float(
            renormalize(method, graph, state, goal, batches).fuse(state)["0.bias"][0]
        )
        for method in ("rescale", "repair", "reshift")
    }
    assert biases == {"rescale": 0.0, "repair": 2.0, "reshift": 2.0}


def test_batches_without_labels_are_inputs():
    """A tensor, a tuple of one, or a pair with None: not pairs of their samples."""
    x = normal(2, *SHAPES["mlp"])
    state = network("mlp", 0).state_dict()
    expected = statistics(graph("mlp"), state, [(x, None)])
    for batch in (x, [x], (x,)):
        found = statistics(graph("mlp"), state, [batch])
        for layer, value in expected.items():
            assert torch.equal(found[layer].mean, value.mean)
        [(first, targets)] = first_samples([batch], 1)
        assert torch.equal(first, x[:1]) and targets is None


def test_batches_of_three_parts_are_refused():
    """Several inputs go into a tuple of their own."""
    x = normal(2, *SHAPES["mlp"])
    message = r"a pair of inputs and targets, got 3 parts: give several inputs as a"
    with pytest.raises(ValueError, match=message):
        statistics(graph("mlp"), network("mlp", 0).state_dict(), [(x, x, None)])


def weight_normalized(*names: str) -> nn.Module:
    """A small VGG in which some layers' weights are computed from two parameters."""
    model = MAKE["vgg"]()
    for name in names:
        parametrizations.weight_norm(model.get_submodule(name))
    return randomized(model).double()


def test_default_layers_leave_out_computed_weights():
    """Of convolutions and linear layers alike; the last one is the logits' in any case.

    Without a convolution among the layers, a model of convolutions has no default.
    """
    x = torch.zeros(2, 1, 6, 6).double()
    one = trace(weight_normalized("features.0"), x)
    assert default_layers(one) == ("features.4",)
    none = trace(weight_normalized("features.0", "features.4"), x)
    assert default_layers(none) == ()
    mlp = randomized(MAKE["mlp"]())
    parametrizations.weight_norm(mlp.get_submodule("5"))
    assert default_layers(trace(mlp.eval(), torch.zeros(2, 4))) == ("1", "3")


def test_no_layers_to_renormalize_are_refused():
    """Computed weights are named, with the way out, which is one."""
    model, data = weight_normalized("features.0", "features.4"), batches("vgg", 9)
    one, state = trace(model, data[0][0]), model.state_dict()
    message = (
        r"no layers by default .*layers=; "
        r"the weight of conv2d \(module 'features.0'\), "
        r"conv2d_1 \(module 'features.4'\) is computed .*remove_parametrizations"
    )
    with pytest.raises(ValueError, match=message):
        statistics(one, state, data)
    assert set(statistics(one, state, data, ["classifier"])) == {"classifier"}
    for name in ("features.0", "features.4"):
        parametrize.remove_parametrizations(model.get_submodule(name), "weight")
    plain = trace(model, data[0][0])
    assert set(statistics(plain, model.state_dict(), data)) == set(LAYERS["vgg"])
    single, x = randomized(MLP((4, 3))), torch.zeros(3, 4)
    with pytest.raises(ValueError, match=r"no layers by default .*some by layers=$"):
        statistics(trace(single, x), single.state_dict(), [(x, None)])


def test_an_empty_goal_is_refused():
    """It would renormalize nothing; statistics of no layers are none."""
    state, data = network("mlp", 0).state_dict(), batches("mlp", 9)
    goal = statistics(graph("mlp"), state, data, [])
    assert goal == {}
    for method in METHODS:
        with pytest.raises(
            ValueError, match=r"the goal is empty, .*statistics of some layers$"
        ):
            renormalize(method, graph("mlp"), state, goal, data)
    model = weight_normalized("features.0", "features.4")
    one = trace(model, torch.zeros(2, 1, 6, 6).double())
    with pytest.raises(ValueError, match=r"the goal is empty.*features\.4.*computed"):
        renormalize("repair", one, model.state_dict(), {}, batches("vgg", 9))


@pytest.mark.parametrize("method", METHODS)
def test_goals_come_to_the_device_of_the_network(method):
    """Statistics of networks on another device than the one that is renormalized."""
    data, goal = [(torch.zeros(5, 4, device="meta").double(), None)], goals("mlp")
    state = {n: v.to("meta") for n, v in network("mlp", 0).state_dict().items()}
    for sequential in (False, True):
        found = renormalize(
            method, graph("mlp"), state, goal, data, sequential=sequential
        )
        for value in (*found.scale.values(), *found.shift.values()):
            assert value.device.type == "meta"
    by_batch = RenormalizationByBatch(graph("mlp"), method, goal)
    assert by_batch.run(state, data[0][0]).device.type == "meta"


def test_goals_of_networks_on_two_devices():
    """They come to the device of the first network's statistics."""
    there = {
        name: Statistics(value.mean.to("meta"), value.variance.to("meta"))
        for name, value in goals("mlp").items()
    }
    for found in (
        interpolated_statistics(there, goals("mlp"), 0.5),
        averaged_statistics([there, goals("mlp"), goals("mlp")]),
    ):
        for value in found.values():
            assert value.mean.device.type == value.variance.device.type == "meta"


def test_unknown_method_is_refused():
    """The error lists the methods."""
    message = "unknown renormalization 'reset': choose from repair, rescale, rescale-av"
    with pytest.raises(ValueError, match=message):
        renormalize("reset", graph("mlp"), {}, {}, [])


def test_unknown_layer_is_refused():
    """By statistics, by goals and by a renormalization alike."""
    state, data = network("mlp", 0).state_dict(), batches("mlp", 4)
    one, goal = graph("mlp"), {"fc": goals("mlp")["1"]}
    affine = {"fc": torch.ones(6)}
    for refused in (
        lambda: statistics(one, state, data, ["fc"]),
        lambda: renormalize("repair", one, state, goal, data),
        lambda: Renormalization(one, affine, affine).fuse(state),
        lambda: Renormalization(one, affine, affine).run(state, data[0][0]),
    ):
        with pytest.raises(ValueError, match="layer 'fc': choose from 1, 3, 5"):
            refused()


def test_no_batches_are_refused():
    """Statistics of nothing are an error."""
    state = network("bn", 0).state_dict()
    goal = {"features.0": Statistics(torch.zeros(4), torch.ones(4))}
    for refused in (
        lambda: statistics(graph("bn"), state, []),
        lambda: renormalize("rescale", graph("bn"), state, goal, []),
        lambda: reset(graph("bn"), state, []),
    ):
        with pytest.raises(ValueError, match="no samples: give at least one pair"):
            refused()


def test_a_single_value_has_no_variance():
    """A batch of one sample without pixels is refused, with what to do."""
    state = network("mlp", 0).state_dict()
    with pytest.raises(ValueError, match="two values per channel: use larger batches"):
        statistics(graph("mlp"), state, batches("mlp", 5, 1))


def test_reset_is_update_bn():
    """torch's own recomputation, over two BatchNorms and unequal batches."""
    model, data = network("bn", 0), batches("bn", 12, 5, 3)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = {name: tensor.clone() for name, tensor in state.items()}
    found = reset(graph("bn"), state, data)
    update_bn([x for x, _ in data], model)
    for name, tensor in model.state_dict().items():
        if "num_batches_tracked" not in name:
            torch.testing.assert_close(found[name], tensor, rtol=1e-12, atol=1e-12)
        assert torch.equal(state[name], before[name]), "the input was changed"
    changed = {name for name in state if not torch.equal(found[name], state[name])}
    assert changed == {
        f"features.{norm}.running_{moment}"
        for norm in (1, 5)
        for moment in ("mean", "var")
    }


def test_reset_of_a_batch_norm_used_twice_is_update_bn():
    """Its statistics are averages over both places, not those of the last."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 6)
            self.norm = nn.BatchNorm1d(6)

        def forward(self, x):
            return self.norm(self.last(F.relu(self.norm(self.first(x)))))

    model, x = randomized(Twice()).double(), normal(20, 4)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = reset(trace(model, x), state, [(x, None)])
    update_bn([x], model)
    for name in ("norm.running_mean", "norm.running_var"):
        torch.testing.assert_close(found[name], model.state_dict()[name])


def test_reset_keeps_the_dtype():
    """Float32 statistics stay float32."""
    state = randomized(MAKE["bn"]()).state_dict()
    found = reset(graph("bn"), state, [(normal(9, 1, 6, 6).float(), None)])
    assert found["features.1.running_var"].dtype == torch.float32


def test_reset_needs_batch_norm():
    """A plain network is sent to the other methods."""
    state, data = network("vgg", 0).state_dict(), batches("vgg", 3)
    with pytest.raises(ValueError, match=r"no BatchNorm .*use repair or rescale"):
        reset(graph("vgg"), state, data)


def relu_pass(state, x, scales=(1.0, 1.0), shifts=(0.0, 0.0)):
    """Pre-activations of both hidden layers of an MLP, each scaled and shifted."""
    first = (x @ state["1.weight"].T + state["1.bias"]) * scales[0] + shifts[0]
    second = first.clamp(min=0) @ state["3.weight"].T + state["3.bias"]
    return first, second * scales[1] + shifts[1]


def test_sequential_statistics_are_taken_behind_the_final_earlier_layers():
    """Two batches by hand: the second layer sees the first with one affine for all."""
    model = precise(MLP((4, 5, 6, 3)))
    graph, state = trace(model, normal(2, 4)), model.state_dict()
    batches = [(normal(30, 4, seed=1), None), (3 * normal(30, 4, seed=2), None)]
    goal = {
        "1": Statistics(normal(5, seed=3), normal(5, seed=4).square()),
        "3": Statistics(normal(6, seed=5), normal(6, seed=6).square()),
    }
    found = renormalize("repair", graph, state, goal, batches, sequential=True)
    scales, shifts = [1.0, 1.0], [0.0, 0.0]
    for layer, name in enumerate(("1", "3")):
        seen = [relu_pass(state, x, scales, shifts)[layer] for x, _ in batches]
        mean = sum(values.mean(0) for values in seen) / 2
        variance = sum(values.var(0) for values in seen) / 2
        scales[layer] = goal[name].std / (variance + 1e-5).sqrt()
        shifts[layer] = goal[name].mean - scales[layer] * mean
        torch.testing.assert_close(found.scale[name], scales[layer])
        torch.testing.assert_close(found.shift[name], shifts[layer])
    together = renormalize("repair", graph, state, goal, batches)
    assert not torch.allclose(together.scale["3"], found.scale["3"], rtol=1e-3)


def test_uncorrected_statistics_are_those_of_the_network_as_it_is():
    """By hand: no layer sees another one renormalized."""
    model = precise(MLP((4, 5, 6, 3)))
    graph, state = trace(model, normal(2, 4)), model.state_dict()
    x = 3 * normal(50, 4, seed=1)
    goal = {
        "1": Statistics(normal(5, seed=3), normal(5, seed=4).square()),
        "3": Statistics(normal(6, seed=5), normal(6, seed=6).square()),
    }
    found = renormalize("repair", graph, state, goal, [(x, None)], corrected=False)
    for name, values in zip(("1", "3"), relu_pass(state, x), strict=True):
        scale = goal[name].std / (values.var(0) + EPSILON).sqrt()
        torch.testing.assert_close(found.scale[name], scale)
        shift = goal[name].mean - scale * values.mean(0)
        torch.testing.assert_close(found.shift[name], shift)
    usual = renormalize("repair", graph, state, goal, [(x, None)])
    torch.testing.assert_close(usual.scale["1"], found.scale["1"])
    assert not torch.allclose(usual.scale["3"], found.scale["3"], rtol=1e-3)
    with pytest.raises(ValueError, match="leave out sequential=True or corrected="):
        renormalize(
            "repair", graph, state, goal, [(x, None)], sequential=True, corrected=False
        )


def test_sequential_needs_batches_that_can_be_gone_through_again():
    """An iterator is empty at the second layer, which is said."""
    model = precise(MLP((4, 5, 6, 3)))
    graph, batches = trace(model, normal(2, 4)), [(normal(30, 4), None)]
    goal = statistics(graph, model.state_dict(), batches)
    with pytest.raises(ValueError, match="no samples"):
        renormalize(
            "repair", graph, model.state_dict(), goal, iter(batches), sequential=True
        )


def test_goals_of_an_independent_network_are_reached():
    """Target statistics may come from any network of the architecture."""
    model, other = precise(MLP((4, 5, 3))), precise(MLP((4, 5, 3)), seed=9)
    graph, batches = trace(model, normal(2, 4)), [(normal(200, 4), None)]
    goal = statistics(graph, other.state_dict(), batches)
    found = renormalize("repair", graph, model.state_dict(), goal, batches)
    now = statistics(graph, found.fuse(model.state_dict()), batches)["1"]
    torch.testing.assert_close(now.mean, goal["1"].mean)
    torch.testing.assert_close(now.std, goal["1"].std, rtol=1e-3, atol=0)


@pytest.mark.parametrize("method", METHODS)
def test_by_batch_is_renormalization_on_that_batch(method):
    """A batch is changed as if it were all the data."""
    model = precise(VGG((4, "M", 6), in_channels=1))
    graph, state = trace(model, normal(2, 1, 8, 8)), model.state_dict()
    x, y = normal(8, 1, 8, 8, seed=1), normal(5, 1, 8, 8, seed=2)
    goal = statistics(graph, precise(model, seed=7).state_dict(), [(y, None)])
    by_batch = RenormalizationByBatch(graph, method, goal)
    for batch in (x, y):
        fixed = renormalize(method, graph, state, goal, [(batch, None)])
        torch.testing.assert_close(by_batch.run(state, batch), fixed.run(state, batch))


def test_reset_by_batch_is_the_module_in_train_mode():
    """Every BatchNorm normalizes by the batch; running statistics do not matter."""
    model = precise(VGG((4, "M", 6), in_channels=1, norm="bn"))
    graph, x = trace(model, normal(2, 1, 8, 8)), normal(8, 1, 8, 8, seed=1)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = RenormalizationByBatch(graph, "reset").run(state, x)
    torch.testing.assert_close(found, copy.deepcopy(model).train()(x))


def test_by_batch_refuses_what_it_cannot_do():
    """An unknown method, no goal, no BatchNorm."""
    graph = trace(precise(MLP((4, 5, 3))), normal(2, 4))
    with pytest.raises(ValueError, match=r"unknown renormalization 'rescue'.*reset"):
        RenormalizationByBatch(graph, "rescue")
    with pytest.raises(ValueError, match="repair needs goal statistics"):
        RenormalizationByBatch(graph, "repair")
    with pytest.raises(ValueError, match="no BatchNorm"):
        RenormalizationByBatch(graph, "reset")


@pytest.mark.parametrize(("samples", "lengths"), [(3, [3]), (4, [4]), (6, [4, 2])])
def test_first_samples_cuts_the_last_batch(samples, lengths):
    """Inputs, also several, and targets alike; twice the same."""
    inputs = torch.arange(8).view(2, 4)
    batches = [((part, -part), part + 1) for part in inputs]
    few = first_samples(batches, samples)
    for _ in range(2):
        cut = list(few)
        assert [len(targets) for _, targets in cut] == lengths
        for field, sign in ((0, 1), (1, -1)):
            joined = torch.cat([inputs[field] for inputs, _ in cut])
            assert joined.tolist() == [sign * n for n in range(samples)]


def test_first_samples_needs_enough():
    """Too few samples and no positive number are refused."""
    with pytest.raises(ValueError, match=r"9 samples were asked for, .* hold only 8"):
        list(first_samples([(torch.zeros(8), None)], 9))
    with pytest.raises(ValueError, match="must be positive, got 0"):
        first_samples([], 0)


def test_first_samples_of_a_data_loader():
    """Lists, dicts and named inputs, whose structure stays: ten of batches of eight."""
    x, y = torch.arange(24.0).view(12, 2), -torch.arange(12)
    pairs = [((x[i], y[i]), i) for i in range(12)]
    dicts = [({"x": x[i], "more": (y[i],)}, i) for i in range(12)]
    for samples, names in ((pairs, (0, 1)), (dicts, ("x", "more"))):
        found = list(first_samples(DataLoader(samples, batch_size=8), 10))
        assert [len(targets) for _, targets in found] == [8, 2]
        last, targets = found[1]
        assert targets.tolist() == [8, 9]
        assert type(last) is type(found[0][0]) and len(last) == 2
        assert torch.equal(last[names[0]], x[8:10])
        second = last[names[1]]
        assert torch.equal(second if names[1] == 1 else second[0], y[8:10])
    with pytest.raises(ValueError, match=r"13 samples were asked for, .* hold only 12"):
        list(first_samples(DataLoader(pairs, batch_size=8), 13))


def test_first_samples_leaves_numbers_alone():
    """What has no samples is the same for all of them."""
    inputs = (torch.arange(6), torch.tensor(3.0), None, 2)
    [(cut, targets)] = first_samples([(inputs, None)], 4)
    assert cut[0].tolist() == [0, 1, 2, 3] and targets is None
    assert (float(cut[1]), *cut[2:]) == (3.0, None, 2)
    with pytest.raises(ValueError, match="inputs hold no tensor: give them as tensors"):
        list(first_samples([([1, 2, 3], None)], 2))
