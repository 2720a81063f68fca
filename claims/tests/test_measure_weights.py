"""What stands in weights, against arithmetic by hand."""

import pytest
import torch

from claims.measure import Bench, Network, Pair
from claims.measure.features import fresh
from claims.measure.weights import deviation_spread, distance_to_start, mismatch
from fixtures import scales

WEIGHTS = ("1.weight", "3.weight", "5.weight")


@pytest.fixture(scope="module")
def mlp(tmp_path_factory):
    """The MLP of a store of its own; nothing is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Bench(scales.get("digits"), 0, 2, "cpu").setting("mlp")


def test_mismatch(mlp):
    """Weight by weight, those of a layer sorted by their magnitude in A."""
    pair = Pair(fresh(mlp, 0), fresh(mlp, 1))
    for method in ("none", "weights"):
        b, sums = pair.matched(method), [0.0, 0.0]
        for name in WEIGHTS:
            ends = [s[name].flatten().double().tolist() for s in (pair.a.state, b)]
            pairs = sorted(zip(*ends, strict=True), key=lambda both: abs(both[0]))
            n = len(pairs)
            for which, low, high in ((0, 0.45, 0.55), (1, 0.9, 1)):
                part = pairs[round(low * n) : round(high * n)]
                assert len(part) == pytest.approx(n / 10, abs=1)
                sums[which] += sum((x - y) ** 2 for x, y in part)
        assert mismatch(pair, method) == pytest.approx(sums)
    for bare, matched in zip(mismatch(pair, "none"), sums, strict=True):
        assert matched < bare


def test_mismatch_of_known_networks(mlp):
    """None with itself; with minus itself four times that with zeros, where the largest
    tenth has most of it."""
    a = fresh(mlp, 0)
    zero = Network(mlp, 1, {n: 0 * v for n, v in a.state.items()})
    minus = Network(mlp, 1, {n: -v for n, v in a.state.items()})
    assert mismatch(Pair(a, a), "none") == (0.0, 0.0)
    median, largest = mismatch(Pair(a, zero), "none")
    assert largest > 5 * median > 0
    assert mismatch(Pair(a, minus), "none") == pytest.approx((4 * median, 4 * largest))


def test_distance_to_start(mlp):
    """To the initialization of the same seed."""
    start = fresh(mlp, 1)
    assert distance_to_start(start) == 0
    moved = {n: v + 0.5 if n == "5.bias" else v for n, v in start.state.items()}
    found = distance_to_start(Network(mlp, 1, moved))
    assert found == pytest.approx(0.5 * 10**0.5, rel=1e-5)
    assert distance_to_start(Network(mlp, 0, start.state)) > 5


def test_distance_to_start_is_of_parameters(mlp):
    """Running statistics begin at zero and one, and are left out."""
    setting = Bench(scales.get("digits"), 0, 2, "cpu").setting("bn-vgg")
    start = fresh(setting, 0)
    moved = {n: v + 1 if "running" in n else v for n, v in start.state.items()}
    assert distance_to_start(Network(setting, 0, moved)) == 0


def test_deviation_spread(mlp):
    """Of units' deviations over the training images, in each renormalized layer."""
    network = fresh(mlp, 0)
    images = torch.cat([x for x, _ in mlp.batches("train")]).flatten(1).double()
    state = {name: value.double() for name, value in network.state.items()}
    first = images @ state["1.weight"].T + state["1.bias"]
    second = first.relu() @ state["3.weight"].T + state["3.bias"]
    found = deviation_spread(network)
    assert list(found) == list(mlp.layers) == ["1", "3"]
    for name, outputs in (("1", first), ("3", second)):
        sizes = outputs.std(0)
        by_hand = float(sizes.std(correction=0) / sizes.mean())
        assert found[name] == pytest.approx(by_hand, rel=0.05)  # batches average
    doubled = {n: 2 * v if "1." in n else v for n, v in network.state.items()}
    other = deviation_spread(Network(mlp, 0, doubled))
    assert other["1"] == pytest.approx(found["1"], rel=1e-3)  # free of their size
