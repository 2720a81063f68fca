"""Partial merges, against the same arithmetic by plain PyTorch."""

import pytest
import torch

import lmc
from claims.measure import Bench, Network, Pair
from claims.measure.partial import (
    calibrated,
    permuted_curve,
    permuted_first,
    preserved,
    without_biases,
)
from fixtures import datasets, scales

LAYERS = ("1", "3", "5")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A store of its own, with four small networks after the first use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def mlp(cache):
    return Bench(scales.get("digits"), 0, 4, "cpu").setting("mlp")


@pytest.fixture
def pair(mlp):
    return mlp.pairs()[0]


def linear(state, layer, x):
    return x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]


def percent(logits):
    _, labels = datasets.load("digits").tensors("test")
    return 100 * int((logits.argmax(1) == labels).sum()) / len(labels)


def accuracy(state):
    """Accuracy of an MLP in percent."""
    x = datasets.load("digits").tensors("test")[0].flatten(1)
    for layer in LAYERS[:-1]:
        x = linear(state, layer, x).relu()
    return percent(linear(state, LAYERS[-1], x))


def midpoint(a, b):
    return {name: (a[name] + b[name]) / 2 for name in a}


def test_preserved(pair):
    """The first layer of each, the mean of both second ones, the averaged third."""
    a, b = pair.a.state, pair.matched("weights")
    x = datasets.load("digits").tensors("test")[0].flatten(1)
    second = [linear(s, "3", linear(s, "1", x).relu()) for s in (a, b)]
    hidden = ((second[0] + second[1]) / 2).relu()
    found = preserved(pair, "weights", 2)
    assert found.accuracy == percent(linear(midpoint(a, b), "5", hidden))
    one, two, three = 64 * 120 + 120, 120 * 84 + 84, 84 * 10 + 10
    assert found.relative_size == 1 + (one + two) / (one + two + three)


def test_nothing_and_all_preserved(pair):
    """From the midpoint (also with one layer of both) to the mean of both logits."""
    middle = pair.midpoint("weights").accuracy
    assert preserved(pair, "weights", 0) == (middle, 1.0)
    assert preserved(pair, "weights", 1).accuracy == middle
    x = datasets.load("digits").tensors("test")[0]
    logits = [
        torch.func.functional_call(pair.setting.model, network.state, (x,))
        for network in (pair.a, pair.b)
    ]
    found = preserved(pair, "none", 3)
    assert found == (percent(logits[0] + logits[1]), 2.0)
    assert found.accuracy != pair.midpoint("none").accuracy


def test_preserved_with_rescale(pair):
    """The joining layer's deviation is brought to the mean of the endpoints'."""
    a, b = pair.a.state, pair.matched("weights")
    batches = pair.setting.batches("train")

    def hidden(x):
        x = x.flatten(1)
        second = [linear(s, "3", linear(s, "1", x).relu()) for s in (a, b)]
        return [*second, (second[0] + second[1]) / 2]

    variance = [
        torch.stack([hidden(x)[which].double().var(0) for x, _ in batches]).mean(0)
        for which in range(3)
    ]
    scale = (variance[0].sqrt() + variance[1].sqrt()) / 2 / (variance[2] + 1e-5).sqrt()
    x = datasets.load("digits").tensors("test")[0]
    h = (scale.float() * hidden(x)[2]).relu()
    by_hand = percent(linear(midpoint(a, b), "5", h))
    assert preserved(pair, "weights", 2, "rescale").accuracy == by_hand


def test_rescale_without_preserved_layers(pair):
    """The plain midpoint, however it is made."""
    zero = preserved(pair, "weights", 0, "rescale").accuracy
    assert zero == pair.midpoint("weights", "rescale").accuracy
    assert preserved(pair, "weights", 1, "rescale").accuracy == zero


def test_permuted_first(pair):
    """Of two groups the first is permuted: rows of its layer, columns of the next."""
    order = pair.permutation("weights").indices["1"]
    b = dict(pair.b.state)
    b |= {name: b[name][order] for name in ("1.weight", "1.bias")}
    b["3.weight"] = b["3.weight"][:, order]
    expected = accuracy(midpoint(pair.a.state, b))
    assert permuted_first(pair, "weights", 0.5) == expected
    assert permuted_first(pair, "weights", 0) == pair.midpoint("none").accuracy
    assert permuted_first(pair, "weights", 1) == pair.midpoint("weights").accuracy
    ends = [pair.midpoint(method).accuracy for method in ("none", "weights")]
    assert permuted_curve(pair, "weights") == [ends[0], expected, ends[1]]


def test_without_biases(pair):
    """In both endpoints, from either side."""
    ends = (pair.a.state, pair.matched("weights"))
    for side, layers in (("last", ("5", "3")), ("first", ("1", "3"))):
        zeros = {
            name: torch.zeros_like(ends[0][name])
            for name in (f"{layer}.bias" for layer in layers)
        }
        expected = accuracy(midpoint(*({**end, **zeros} for end in ends)))
        assert without_biases(pair, "weights", 2, side) == expected
    every = {name: 0 * v if "bias" in name else v for name, v in ends[0].items()}
    bare = midpoint(every, {n: 0 * v if "bias" in n else v for n, v in ends[1].items()})
    assert without_biases(pair, "weights") == accuracy(bare)
    assert without_biases(pair, "weights", 0, "last") == accuracy(midpoint(*ends))


def test_sides_differ(mlp):
    """Large biases in the first layer only: it matters from which side they go."""
    moved = [
        Network(mlp, own.seed, {**own.state, "1.bias": own.state["1.bias"] + 100})
        for own in mlp.networks(2)
    ]
    pair = Pair(*moved)
    plain = pair.midpoint("none").accuracy
    assert without_biases(pair, "none", 1, "last") != without_biases(
        pair, "none", 1, "first"
    )
    assert without_biases(pair, "none", 1, "first") != plain


def test_calibrated(pair):
    """Each bias is divided by two as often as there are layers up to it."""
    a, b = pair.a.state, pair.matched("weights")
    middle = midpoint(a, b)
    for depth, layer in enumerate(LAYERS, 1):
        bias = f"{layer}.bias"
        middle[bias] = (a[bias] + b[bias]) / 2**depth
    assert calibrated(pair, "weights") == accuracy(middle)


def test_measured_once(pair, monkeypatch):
    """What was measured is found, by what it was measured with."""
    before = [preserved(pair, "weights", k) for k in (2, 3)]
    first = without_biases(pair, "weights", 2, "first")
    monkeypatch.setattr(lmc, "evaluate", None)
    assert [preserved(pair, "weights", k) for k in (2, 3)] == before
    assert without_biases(pair, "weights", 2, "first") == first
    for other in (
        lambda: preserved(pair, "activations", 2),
        lambda: preserved(pair, "weights", 2, "repair"),
        lambda: permuted_first(pair, "activations", 0.75),
        lambda: without_biases(pair, "weights", 3, "first"),
    ):
        with pytest.raises(TypeError):
            other()
