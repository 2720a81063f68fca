"""Pruned networks, against arithmetic by hand."""

import pytest
import torch
from torch.nn import functional as F

import lmc
from claims.measure import Bench, Network
from claims.measure.pruned import PRUNERS, Pruned, mini_batches
from fixtures import datasets, scales
from lmc.pruning import prune, wood_fisher

WEIGHTS = ("1.weight", "3.weight", "5.weight")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A store of its own, with four small networks after the first use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def mlp(cache):
    return Bench(scales.get("digits"), 0, 4, "cpu").setting("mlp")


def accuracy(networks, state):
    """Accuracy in percent by plain PyTorch."""
    images, labels = datasets.load("digits").tensors("test")
    networks.model.load_state_dict(state)
    with torch.no_grad():
        right = int((networks.model(images).argmax(1) == labels).sum())
    return 100 * right / len(labels)


def without_lowest(state, scores, sparsity):
    """Remove the weights whose scores are below the quantile of all scores."""
    every = torch.cat([score.double().flatten() for score in scores.values()])
    cut = every.sort().values[round(sparsity * len(every))]
    return {
        name: value * (scores[name] >= cut) if name in scores else value
        for name, value in state.items()
    }


def equal(a, b):
    """Whether two networks are the same."""
    return all(torch.equal(a[name], value) for name, value in b.items())


def test_global_magnitude(mlp):
    """The smallest weights of all layers together; biases stay."""
    network = mlp.networks()[0]
    scores = {name: network.state[name].abs() for name in WEIGHTS}
    expected = without_lowest(network.state, scores, 0.9)
    pruned = Pruned(network, "global-magnitude", 0.9)
    assert equal(pruned.state, expected)
    assert pruned.evaluate().accuracy == accuracy(mlp, expected)
    assert pruned.evaluate().accuracy < network.evaluate().accuracy


def test_layerwise_magnitude(mlp):
    """The smallest weights of each layer: other ones than of all layers."""
    network = mlp.networks()[0]
    expected = dict(network.state)
    for name in WEIGHTS:
        scores = {name: network.state[name].abs()}
        expected[name] = without_lowest(network.state, scores, 0.9)[name]
    assert equal(Pruned(network, "layerwise-magnitude", 0.9).state, expected)
    assert not equal(Pruned(network, "global-magnitude", 0.9).state, expected)


def test_diagonal_fisher(mlp):
    """Squared weight times mean squared gradient of the training samples."""
    network = mlp.networks()[0]
    images, labels = datasets.load("digits").tensors("train")
    model = mlp.model
    model.load_state_dict(network.state)
    weights = [dict(model.named_parameters())[name] for name in WEIGHTS]
    squares = [torch.zeros_like(weight, dtype=torch.float64) for weight in weights]
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        loss = F.cross_entropy(model(image), label)
        gradients = torch.autograd.grad(loss, weights)
        for square, gradient in zip(squares, gradients, strict=True):
            square += gradient.double() ** 2
    scores = {
        name: network.state[name].double() ** 2 * square
        for name, square in zip(WEIGHTS, squares, strict=True)
    }
    expected = without_lowest(network.state, scores, 0.8)
    found = Pruned(network, "diagonal-fisher", 0.8).state
    # Rounding may exchange weights whose scores are nearly equal.
    differ = [(found[n] == 0) != (expected[n] == 0) for n in WEIGHTS]
    assert sum(int(d.sum()) for d in differ) <= 4
    assert not equal(Pruned(network, "global-magnitude", 0.8).state, expected)


def test_wood_fisher(mlp):
    """The weights that are left move, as the loss's curvature says; it is better."""
    network = mlp.networks()[0]
    graph, batches = mlp.symmetry.graph, mlp.batches("train")
    found = wood_fisher(
        graph, network.state, batches, subsample=80, mini_batch=16, block=2000
    )
    still = prune(graph, network.state, 0.9, found.scores())
    pruned = Pruned(network, "wood-fisher", 0.9)
    for name in WEIGHTS:
        removed = still[name] == 0
        assert torch.equal(pruned.state[name] == 0, removed)
        assert not torch.equal(pruned.state[name], still[name])
    zeros = sum(int((pruned.state[name] == 0).sum()) for name in WEIGHTS)
    assert zeros == round(0.9 * sum(network.state[name].numel() for name in WEIGHTS))
    assert pruned.evaluate().loss == Pruned(network, "wood-fisher", 0.9).evaluate().loss
    assert (
        pruned.evaluate().loss
        != lmc.evaluate(mlp.model, still, mlp.batches("test")).loss
    )


@pytest.mark.parametrize(
    ("images", "found"),
    [
        (50_000, (400, 125)),
        (60_000, (400, 150)),
        (6400, (400, 16)),
        (2560, (160, 16)),
        (1400, (80, 16)),
    ],
)
def test_mini_batches_of_wood_fisher(images, found):
    """As many as the paper's where there are images for them."""
    assert mini_batches(images) == found
    assert found[0] * found[1] <= images


def test_renormalized_has_the_dense_statistics(mlp):
    """REPAIR by hand: scale and shift of the first layer, which sees the images."""
    network = mlp.networks()[1]
    pruned = Pruned(network, "global-magnitude", 0.9)
    images, _ = datasets.load("digits").tensors("train")
    x = images[:64].flatten(1)
    dense, bare = (
        F.linear(x, s["1.weight"], s["1.bias"]).double()
        for s in (network.state, pruned.state)
    )
    scale = dense.std(0) / (bare.var(0) + 1e-5).sqrt()
    shift = dense.mean(0) - scale * bare.mean(0)
    found = lmc.renormalize(
        "repair",
        mlp.symmetry.graph,
        pruned.state,
        lmc.statistics(
            mlp.symmetry.graph, network.state, [(images[:64], None)], mlp.layers
        ),
        [(images[:64], None)],
    )
    first = mlp.layers[0]
    torch.testing.assert_close(found.scale[first], scale, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.shift[first], shift, rtol=1e-4, atol=1e-5)
    by_hand = accuracy(mlp, found.fuse(pruned.state))
    assert pruned.evaluate(renormalized=True, samples=64).accuracy == by_hand
    losses = {
        pruned.evaluate().loss,
        pruned.evaluate(renormalized=True, samples=64).loss,
        pruned.evaluate(renormalized=True).loss,
    }
    assert len(losses) == 3


def test_reset_where_there_is_batchnorm(cache):
    """Running statistics become the pruned network's own; REPAIR elsewhere."""
    setting = Bench(scales.get("digits"), 0, 1, "cpu").setting("bn-vgg")
    network = Network(setting, 0, setting.recipe.build_model().state_dict())
    pruned = Pruned(network, "global-magnitude", 0.5)
    expected = lmc.reset(setting.symmetry.graph, pruned.state, setting.batches("train"))
    found = pruned.evaluate(renormalized=True)
    by_hand = lmc.evaluate(setting.model, expected, setting.batches("test"))
    assert found.loss == by_hand.loss != pruned.evaluate().loss


def test_measured_once(mlp, monkeypatch):
    """Neither pruned nor evaluated again, but for another network."""
    network = mlp.networks()[2]
    before = Pruned(network, "global-magnitude", 0.5).evaluate()
    monkeypatch.setitem(PRUNERS, "global-magnitude", None)
    assert Pruned(network, "global-magnitude", 0.5).evaluate() == before
    with pytest.raises(TypeError):
        Pruned(mlp.networks()[3], "global-magnitude", 0.5).evaluate()


def test_unknown_pruner(mlp):
    """The message names the choices."""
    with pytest.raises(ValueError, match="unknown pruner 'obd': choose global-magn"):
        Pruned(mlp.networks()[0], "obd", 0.5)


@pytest.mark.parametrize("pruner", PRUNERS)
def test_sparsities(mlp, pruner):
    """From 10 to 99%, each with as many weights as are left."""
    network = mlp.networks(1)[0]
    total = sum(network.state[name].numel() for name in WEIGHTS)
    for sparsity in (0.1, 0.5, 0.95, 0.99):
        state = Pruned(network, pruner, sparsity).state
        zeros = sum(int((state[name] == 0).sum()) for name in WEIGHTS)
        assert zeros == pytest.approx(sparsity * total, abs=len(WEIGHTS))


def test_more_samples(mlp):
    """Statistics of 64, 128 and 256 samples are three measurements."""
    pruned = Pruned(mlp.networks(1)[0], "global-magnitude", 0.9)
    losses = {
        pruned.evaluate(renormalized=True, samples=n).loss for n in (64, 128, 256)
    }
    assert len(losses) == 3
