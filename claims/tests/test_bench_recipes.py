"""What is compared between recipes, against arithmetic by hand."""

import pytest
import torch
from torch import nn

import lmc
from claims.bench import Bench, Network, Pair
from claims.bench.recipes import (
    activation_size,
    barriers,
    degraded_against_small,
    endpoints,
    midpoints,
    parameter_size,
)
from fixtures.training import initialize


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A store of its own, with four small networks after the first use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def mlp(cache):
    return Bench("digits", 4, "cpu").setting("mlp")


def untrained(name, seeds=2):
    """Networks of a setting as they were initialized."""
    setting = Bench("digits", seeds, "cpu").setting(name)
    for seed in range(seeds):
        setting._states[seed] = initialize(setting.recipe, seed).state_dict()
    return [Network(setting, seed) for seed in range(seeds)]


def test_midpoints_and_barriers(mlp):
    """Bare where there is no BatchNorm; the barrier is what lacks to the endpoints."""
    pairs = mlp.pairs()
    expected = [pair.midpoint("weights").accuracy for pair in pairs]
    assert midpoints(pairs, "weights") == expected
    ends = [
        (pair.a.evaluate().accuracy + pair.b.evaluate().accuracy) / 2 for pair in pairs
    ]
    assert endpoints(pairs) == ends
    lacking = [end - middle for end, middle in zip(ends, expected, strict=True)]
    assert barriers(pairs, "weights") == lacking


def test_batchnorm_is_reset(cache):
    """The midpoint's running statistics are its own, not the endpoints' average."""
    a, b = untrained("bn-vgg")
    pair, setting = Pair(a, b), a.setting
    middle = lmc.interpolate(a.state, b.state, 0.5)
    batches = setting.batches("train")
    reset = lmc.reset(setting.symmetry.graph, middle, batches)
    found, bare = (
        lmc.evaluate(setting.model, state, setting.batches("test")).accuracy
        for state in (reset, middle)
    )
    assert midpoints([pair], "none") == [found] != [bare]
    assert barriers([pair], "none") == [endpoints([pair])[0] - found]


def test_degraded_against_small(mlp):
    """The other pairs' barriers minus the degraded pairs', if those are the worse."""
    good = mlp.pairs()
    raw = untrained("mlp", 4)
    bad = [Pair(raw[0], raw[1]), Pair(raw[2], raw[3])]
    found = degraded_against_small(bad, good, "none")
    ours, others = ([pair.barrier("none") for pair in those] for those in (bad, good))
    assert found.gain == [o - d for o, d in zip(others, ours, strict=True)]
    assert found.columns["degraded_endpoints"] == [pair.endpoints() for pair in bad]
    assert found.columns["small_endpoints"] == [pair.endpoints() for pair in good]
    assert found.columns["degraded_barrier"] == ours != found.columns["small_barrier"]
    assert found.unmet == ""
    unmet = degraded_against_small(good, bad, "none").unmet
    assert unmet == "the endpoints are not worse"


def test_parameter_size(cache):
    """Weights and biases of layers alike; not BatchNorm's affine parameters."""
    [network] = untrained("bn-resnet", 1)
    model = network.setting.model
    model.load_state_dict(network.state)
    total, count = 0.0, 0
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            for value in module.parameters():
                total += float(value.detach().double().abs().sum())
                count += value.numel()
    assert parameter_size(network) == pytest.approx(total / count, rel=1e-12)
    network.state["classifier.bias"] += 100  # it is the network that is measured
    assert parameter_size(network) > total / count


def test_activation_size(cache):
    """Mean over units, the same as over all activations of networks of two widths."""
    [network] = untrained("mlp", 1)
    images, _ = zip(*network.setting.batches("train"), strict=True)
    x = torch.cat(images).flatten(1)
    first = torch.relu(x @ network.state["1.weight"].T + network.state["1.bias"])
    second = torch.relu(first @ network.state["3.weight"].T + network.state["3.bias"])
    by_unit = torch.cat([layer.double().mean(0) for layer in (first, second)])
    assert len(by_unit) == 120 + 84
    assert activation_size(network) == pytest.approx(float(by_unit.mean()), rel=1e-5)


def test_activations_of_shortcuts_count_once(cache):
    """One nonlinearity behind a sum, though two layers end in it."""
    [network] = untrained("bn-resnet", 1)
    model = network.setting.model
    model.load_state_dict(network.state)
    original, seen = torch.relu, []

    def relu(x):
        seen.append(original(x))
        return seen[-1]

    images = torch.cat([x for x, _ in network.setting.batches("train")])
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(torch, "relu", relu)
        patch.setattr(torch.nn.functional, "relu", lambda x, **_: relu(x))
        model(images)
    by_unit = torch.cat([x.double().mean((0, 2, 3)) for x in seen])
    assert activation_size(network) == pytest.approx(float(by_unit.mean()), rel=1e-5)
