"""Preserve-first merging against widened networks that are built by hand."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lmc
from lmc import Statistics
from lmc.graph import trace
from lmc.models import MLP, VGG, ResNet
from lmc.preserving import preserve_first
from lmc.tests.networks import normal, precise

IMAGES = (6, 1, 8, 8)
MAKE = {
    "mlp": lambda: MLP((4, 5, 6, 7, 3)),
    "vgg": lambda: VGG((4, "M", 5, 6), 3),
    "resnet": lambda: ResNet((4, 6, 8), (1, 1, 1), 3),
    "bn": lambda: VGG((4, 5, "M", 6), 3, norm="bn"),
}


def setup(kind):
    """Two float64 networks, the graph of their architecture and an input."""
    a, b = precise(MAKE[kind](), seed=0), precise(MAKE[kind](), seed=100)
    x = normal(*((6, 4) if kind == "mlp" else IMAGES), seed=7)
    return a, b, trace(a, x), x


def merge(kind, layers):
    """The merged network of two, its output, and what it was made from."""
    a, b, graph, x = setup(kind)
    merged = preserve_first(graph, a.state_dict(), b.state_dict(), layers)
    return merged, merged.run(merged.state, x), a, b, x


def side_by_side(a, b, make):
    """A layer that computes A's layer on the first half of its inputs, B's on the
    other, and gives both outputs."""
    out = a.weight.shape[0]
    layer = make(a.weight.shape[1] + b.weight.shape[1], 2 * out)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[:out, : a.weight.shape[1]] = a.weight
        layer.weight[out:, a.weight.shape[1] :] = b.weight
        layer.bias.copy_(torch.cat([a.bias, b.bias]))
    return layer.double()


def first_of_both(a, b, make):
    """The same for a first layer, whose inputs are those of both."""
    layer = make(a.weight.shape[1], 2 * a.weight.shape[0]).double()
    with torch.no_grad():
        layer.weight.copy_(torch.cat([a.weight, b.weight]))
        layer.bias.copy_(torch.cat([a.bias, b.bias]))
    return layer


def joined(a, b, make):
    """The layer ``[W_A / 2, W_B / 2]`` on both features, with the mean bias."""
    layer = make(2 * a.weight.shape[1], a.weight.shape[0]).double()
    with torch.no_grad():
        layer.weight.copy_(torch.cat([a.weight, b.weight], 1) / 2)
        layer.bias.copy_((a.bias + b.bias) / 2)
    return layer


def averaged(a, b):
    """A layer in place of A's with averaged parameters."""
    middle = {n: (t + b.state_dict()[n]) / 2 for n, t in a.state_dict().items()}
    a.load_state_dict(middle)
    return a


def convolution(channels_in, channels):
    return nn.Conv2d(channels_in, channels, 3, padding=1)


@pytest.mark.parametrize("kind", MAKE)
def test_without_kept_layers_it_is_the_midpoint(kind):
    """No tensor is there twice."""
    merged, output, a, b, x = merge(kind, [])
    middle = lmc.interpolate(a.state_dict(), b.state_dict(), 0.5)
    assert list(merged.state) == list(middle)
    a.load_state_dict(middle)
    torch.testing.assert_close(output, a(x))
    assert merged.relative_size == 1
    assert merged.joining == ()


@pytest.mark.parametrize("kind", ["mlp", "vgg", "bn", "resnet"])
def test_with_all_kept_but_the_last_logits_are_averaged(kind):
    """Two networks and the mean of their logits, at twice the size."""
    *first, _ = (layer.name for layer in setup(kind)[2].layers)
    merged, output, a, b, x = merge(kind, first)
    torch.testing.assert_close(output, (a(x) + b(x)) / 2)
    assert merged.relative_size == 2


def test_widened_mlp():
    """Two layers of four kept: the third has both features as inputs."""
    merged, output, a, b, x = merge("mlp", ["1", "3"])
    widened = nn.Sequential(
        first_of_both(a[1], b[1], nn.Linear),
        nn.ReLU(),
        side_by_side(a[3], b[3], nn.Linear),
        nn.ReLU(),
        joined(a[5], b[5], nn.Linear),
        nn.ReLU(),
        averaged(a[7], b[7]),
    )
    torch.testing.assert_close(output, widened(x))
    assert not torch.allclose(output, merge("mlp", [])[1])
    assert merged.joining == ("5",)
    # Weights and biases of the layers 4-5, 5-6, 6-7 twice, of 7-3 once.
    assert merged.relative_size == (2 * (25 + 36 + 49) + 24) / (25 + 36 + 49 + 24)
    total = sum(value.numel() for value in merged.state.values())
    assert total == 2 * (25 + 36 + 49) + 24


def test_widened_vgg():
    """One convolution kept, pooled, and joined in the second."""
    _, output, a, b, x = merge("vgg", ["features.0"])
    convs = [(a.features[i], b.features[i]) for i in (0, 4, 7)]
    widened = nn.Sequential(
        first_of_both(*convs[0], convolution),
        nn.ReLU(),
        nn.MaxPool2d(2),
        joined(*convs[1], convolution),
        nn.ReLU(),
        averaged(*convs[2]),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        averaged(a.classifier, b.classifier),
    )
    torch.testing.assert_close(output, widened(x))


def test_parameters_of_the_papers_vgg():
    """PFM8 of VGG16 has 1.198 times the parameters (the published notebook)."""
    plan = (64, 64, "M", 128, 128, "M", *3 * (256,), "M", *3 * (512,), "M", *3 * (512,))
    model = VGG(plan, in_channels=3).eval()
    graph, state = trace(model, torch.zeros(2, 3, 32, 32)), model.state_dict()
    kept = [layer.name for layer in graph.layers[:7]]
    size = preserve_first(graph, state, state, kept).relative_size
    assert size == pytest.approx(1.198076362, abs=1e-9)


def test_residual_blocks():
    """Kept up to the end of a block, both paths of the next one join."""
    kept = ["stem", "blocks.0.conv1", "blocks.0.conv2"]
    merged, output, a, b, x = merge("resnet", kept)
    assert merged.joining == ("blocks.1.conv1", "blocks.1.shortcut.0")
    features = [n.blocks[0](F.relu(n.norm(n.stem(x)))) for n in (a, b)]

    def mean(of):
        return (of(a.blocks[1])(features[0]) + of(b.blocks[1])(features[1])) / 2

    inner, shortcut = (
        mean(lambda block: block.conv1),
        mean(lambda block: block.shortcut),
    )
    second = averaged(a.blocks[1].conv2, b.blocks[1].conv2)
    h = F.relu(second(F.relu(inner)) + shortcut)
    h = averaged(a.blocks[2], b.blocks[2])(h)
    expected = averaged(a.classifier, b.classifier)(a.pool(h).flatten(1))
    torch.testing.assert_close(output, expected)


class Shortcut(nn.Module):
    """A block with a layer in its shortcut, which runs after the nonlinearity."""

    def __init__(self, inplace):
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(6, 3)
        self.block, self.shortcut = nn.Linear(5, 6), nn.Linear(5, 6)
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x):
        x = torch.tanh(self.first(x))
        return self.last(self.relu(self.block(x)) + self.shortcut(x))


@pytest.mark.parametrize("inplace", [False, True])
def test_nonlinearities_in_place_behind_joining_layers(inplace):
    """B's output is averaged as the layer gave it, not as what follows left it."""
    a, b = precise(Shortcut(inplace)), precise(Shortcut(inplace), 50)
    x = normal(6, 4, seed=7)
    graph = trace(a, x)
    merged = preserve_first(graph, a.state_dict(), b.state_dict(), ["first"])
    assert merged.joining == ("block", "shortcut")
    ones = [(n, torch.tanh(n.first(x))) for n in (a, b)]
    block, shortcut = (
        sum(getattr(n, name)(hidden) for n, hidden in ones) / 2
        for name in ("block", "shortcut")
    )
    expected = averaged(a.last, b.last)(block.clamp(min=0) + shortcut)
    torch.testing.assert_close(merged.run(merged.state, x), expected)


def test_normalization_is_kept_with_its_layer():
    """BatchNorm behind a kept layer has each network's own statistics."""
    merged, *_ = merge("bn", ["features.0"])
    own = {name[2:] for name in merged.state if name.startswith("a:")}
    assert {"features.0.weight", "features.1.running_mean", "features.3.weight"} <= own
    assert "features.4.running_mean" in merged.state
    assert [norm.mean for norm in merged.batch_norms] == [
        f"features.{index}.running_mean" for index in (4, 8)
    ]


def test_embeddings_are_kept_with_what_they_feed():
    """A parameter in front of a kept layer belongs to both networks."""

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(4))
            self.net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))

        def forward(self, x):
            return self.net(x + self.shift)

    a, b, x = precise(Shifted()), precise(Shifted(), 50), normal(6, 4, seed=7)
    graph = trace(a, x)
    merged = preserve_first(graph, a.state_dict(), b.state_dict(), ["net.0"])
    torch.testing.assert_close(merged.run(merged.state, x), (a(x) + b(x)) / 2)
    merged = preserve_first(graph, a.state_dict(), b.state_dict(), [])
    torch.testing.assert_close(merged.run(merged.state, x), averaged(a, b)(x))


GOAL = {  # nothing like the networks' own
    name: Statistics(normal(size, seed=size), normal(size, seed=9).square() + 0.1)
    for name, size in (("features.0", 4), ("features.4", 5), ("features.7", 6))
}


def goal_of_repair(kind, kept, method, sequential=False):
    merged, _, *_, x = merge(kind, kept)
    batches = [(x, None)]
    repaired = merged.renormalized(method, GOAL, batches, sequential=sequential)
    return merged, repaired, lmc.statistics(repaired, repaired.state, batches), x


@pytest.mark.parametrize("sequential", [False, True])
def test_repair_of_merged_layers(sequential):
    """All but the kept layer get the goal's mean and deviation."""
    merged, repaired, now, _ = goal_of_repair(
        "vgg", ["features.0"], "repair", sequential
    )
    assert list(now) == ["features.4", "features.7"]
    for name, found in now.items():
        torch.testing.assert_close(found.mean, GOAL[name].mean, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(found.std, GOAL[name].std, atol=1e-3, rtol=1e-3)
    first = [name for name in merged.state if "features.0." in name]
    assert len(first) == 4
    assert all(torch.equal(merged.state[n], repaired.state[n]) for n in first)


def test_renormalized_equals_what_runs_unfused():
    """`lmc.renormalize` takes the merged network as the graph that it is."""
    merged, repaired, _, x = goal_of_repair("vgg", ["features.0"], "rescale")
    goal = {name: GOAL[name] for name in ("features.4", "features.7")}
    unfused = lmc.renormalize("rescale", merged, merged.state, goal, [(x, None)])
    torch.testing.assert_close(
        unfused.run(merged.state, x), repaired.run(repaired.state, x)
    )


def test_rescale_by_hand():
    """The joining layer's mean, times the goal deviation over its own."""
    kept = ["features.0"]
    _, repaired, _, x = goal_of_repair("vgg", kept, "rescale")
    a, b, *_ = setup("vgg")
    mean = sum(net.features[4](net.features[:4](x)) for net in (a, b)) / 2
    std = mean.movedim(1, 0).flatten(1).std(1)
    h = F.relu(mean * (GOAL["features.4"].std / std).view(-1, 1, 1))
    h = averaged(a.features[7], b.features[7])(h)
    std = h.movedim(1, 0).flatten(1).std(1)
    h = F.relu(h * (GOAL["features.7"].std / std).view(-1, 1, 1))
    expected = averaged(a.classifier, b.classifier)(a.pool(h).flatten(1))
    found = repaired.run(repaired.state, x)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_renormalization_of_the_plain_midpoint():
    """Without kept layers it is that of `lmc.renormalize`."""
    _, repaired, _, x = goal_of_repair("vgg", [], "repair")
    a, b, graph, _ = setup("vgg")
    middle = lmc.interpolate(a.state_dict(), b.state_dict(), 0.5)
    plain = lmc.renormalize("repair", graph, middle, GOAL, [(x, None)]).fuse(middle)
    for name, value in plain.items():
        torch.testing.assert_close(repaired.state[name], value)


def test_reset_of_the_merged_part():
    """`lmc.reset` recomputes the statistics behind the joining layers."""
    merged, _, a, b, x = merge("bn", ["features.0"])
    reset = lmc.reset(merged, merged.state, [(x, None)])
    changed = {
        name for name in reset if not torch.equal(reset[name], merged.state[name])
    }
    assert changed == {
        f"features.{index}.running_{what}"
        for index in (4, 8)
        for what in ("mean", "var")
    }
    mean = (a.features[:4](x) + b.features[:4](x)) / 2  # of the joining convolution
    torch.testing.assert_close(reset["features.4.running_mean"], mean.mean((0, 2, 3)))
    variance = mean.movedim(1, 0).flatten(1).var(1)
    torch.testing.assert_close(reset["features.4.running_var"], variance)


def test_evaluated_like_any_network():
    """Accuracy of the merged network by `lmc.evaluate`, from float32 tensors."""
    merged, output, _, _, x = merge("vgg", ["features.0"])
    right = output.argmax(1)
    assert lmc.evaluate(merged.run, merged.state, [(x, right)]).accuracy == 100
    single = {name: value.float() for name, value in merged.state.items()}
    assert merged.run(single, x.float()).dtype == torch.float32
    torch.testing.assert_close(
        merged.run(single, x.float()).double(), output, atol=1e-4, rtol=1e-4
    )


def test_networks_are_left_alone():
    """Neither merging nor renormalizing writes into the endpoints."""
    a, b, graph, x = setup("vgg")
    before = [{n: v.clone() for n, v in net.state_dict().items()} for net in (a, b)]
    merged = preserve_first(graph, a.state_dict(), b.state_dict(), ["features.0"])
    merged.renormalized("repair", GOAL, [(x, None)])
    for net, old in zip((a, b), before, strict=True):
        assert all(torch.equal(old[n], v) for n, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "kept", "message"),
    [
        ("vgg", ["features.1"], "no convolution or linear layer 'features.1'"),
        (
            "vgg",
            ["features.4"],
            "layer 'features.4' cannot be kept, since it lies behind layers that are "
            "merged: keep those too, or leave it out",
        ),
        (
            "vgg",
            ["features.0", "features.4", "features.7", "classifier"],
            "nothing would be merged before the model's output: leave at least the "
            "last layer out",
        ),
        (
            "resnet",
            ["stem"],
            "aten.add.Tensor (node add) joins kept features with merged ones, as the "
            "sum of a residual block does: on all its paths a layer must follow the "
            "kept ones, or none",
        ),
        (
            "resnet",
            ["stem", "blocks.0.conv1", "blocks.0.conv2", "blocks.1.shortcut.0"],
            "(node add_1) joins kept features with merged ones",
        ),
    ],
)
def test_what_cannot_be_kept(kind, kept, message):
    """What is wrong, and what to do."""
    a, b, graph, _ = setup(kind)
    with pytest.raises(ValueError, match=re.escape(message)):
        preserve_first(graph, a.state_dict(), b.state_dict(), kept)


class Twice(nn.Module):
    """Layers of one size that are used at chosen places."""

    def __init__(self, *order):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(max(order) + 1))
        self.norm = nn.LayerNorm(4)
        self.order = order

    def forward(self, x):
        for index in self.order:
            x = self.norm(F.relu(self.layers[index](x)))
        return x


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ((0, 0, 1), "layer 'layers.0' is used 2 times"),
        ((0, 1, 2), "norm.bias is used by kept and by averaged layers: keep all"),
    ],
)
def test_shared_parameters_are_in_one_part(order, message):
    """One tensor cannot be averaged here and not there."""
    model, x = precise(Twice(*order)), normal(6, 4)
    graph, state = trace(model, x), model.state_dict()
    with pytest.raises(ValueError, match=message):
        preserve_first(graph, state, state, ["layers.0"])


def test_no_observation_inside_the_branches():
    """What runs twice has no one output."""
    merged, *_, x = merge("vgg", ["features.0"])
    node = next(n.name for n in merged.nodes if n.name.startswith("relu"))
    with pytest.raises(ValueError, match=rf"\['{node}'\] run in both.*features.4"):
        merged.run(merged.state, x, around={node: lambda operation, *args: args[0]})
    with pytest.raises(ValueError, match=r"'features\.0' is kept.*features\.4"):
        lmc.statistics(merged, merged.state, [(x, None)], ["features.0"])


def test_shift_without_bias_is_refused():
    """As by `lmc.Renormalization.fuse`, which says what to do."""
    make = lambda: precise(VGG((4, 5), 3, bias=False))  # noqa: E731
    x = normal(*IMAGES)
    graph, state = trace(make(), x), make().state_dict()
    merged = preserve_first(graph, state, state, ["features.0"])
    goal = {"features.3": GOAL["features.4"]}
    with pytest.raises(ValueError, match="has no bias that could carry the shift"):
        merged.renormalized("repair", goal, [(x, None)])
    unfused = lmc.renormalize("repair", merged, merged.state, goal, [(x, None)])
    assert unfused.run(merged.state, x).shape == (6, 3)
    merged.renormalized("rescale", goal, [(x, None)])
