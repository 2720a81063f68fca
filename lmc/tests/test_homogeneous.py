"""Homogeneous interpolation against the definition of homogeneity."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lmc.graph import trace
from lmc.homogeneous import homogeneous_degrees, interpolate_homogeneous
from lmc.interpolation import interpolate
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import normal, precise

MODELS = {
    "mlp": (lambda: MLP((4, 5, 6, 3)), (2, 4)),
    "vgg": (lambda: VGG((4, "M", 6), in_channels=1), (2, 1, 8, 8)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_scaling_by_degree_scales_the_output(kind):
    """Weights times c, the bias of layer l times c^l: outputs times c^L."""
    make, shape = MODELS[kind]
    model = precise(make())
    graph, x, c = trace(model, normal(*shape)), normal(*shape, seed=1), 1.7
    before = model(x)
    degrees = homogeneous_degrees(graph)
    assert sorted(degrees.values()) == list(range(1, len(graph.layers) + 1))
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor *= c ** degrees.get(name, 1)
    torch.testing.assert_close(model(x), before * c ** len(graph.layers))


def test_biases_by_hand():
    """Two layers at lambda 1/4."""
    model = precise(MLP((4, 5, 3)))
    graph = trace(model, normal(2, 4))
    a, b = model.state_dict(), precise(MLP((4, 5, 3)), seed=9).state_dict()
    point = interpolate_homogeneous(graph, a, b, 0.25)
    expected = {
        "1.weight": 0.75 * a["1.weight"] + 0.25 * b["1.weight"],
        "1.bias": 0.75 * a["1.bias"] + 0.25 * b["1.bias"],
        "3.weight": 0.75 * a["3.weight"] + 0.25 * b["3.weight"],
        "3.bias": 0.5625 * a["3.bias"] + 0.0625 * b["3.bias"],
    }
    for name, tensor in expected.items():
        torch.testing.assert_close(point[name], tensor)


def test_endpoints_are_exact():
    """Lambda 0 and 1 give the networks themselves."""
    model = precise(MLP((4, 5, 6, 3)))
    graph = trace(model, normal(2, 4))
    a, b = model.state_dict(), precise(MLP((4, 5, 6, 3)), seed=9).state_dict()
    for lam, end in ((0.0, a), (1.0, b)):
        point = interpolate_homogeneous(graph, a, b, lam)
        assert all(torch.equal(point[name], tensor) for name, tensor in end.items())


def test_of_residual_networks_the_longest_path_counts():
    """Stem 1, a block's convolutions 2 and 3, the shortcut beside them 2, and so on."""
    model = precise(ResNet((4, 6), (1, 1), norm=None))
    graph = trace(model, normal(2, 1, 8, 8))
    degrees = homogeneous_degrees(graph, joins="longest")
    order = [degrees[layer.bias] for layer in graph.layers if layer.bias]
    assert sorted(order) == [1, 2, 3, 4, 4, 5, 6]
    a, b = model.state_dict(), precise(ResNet((4, 6), (1, 1)), seed=9).state_dict()
    point = interpolate_homogeneous(graph, a, b, 0.5, joins="longest")
    for name, degree in degrees.items():
        torch.testing.assert_close(point[name], 0.5**degree * (a[name] + b[name]))


def test_without_biases_it_is_linear():
    """Nothing but weights is left."""
    make = lambda: VGG((4, "M", 6), in_channels=1, bias=False)  # noqa: E731
    a, b = precise(make()).state_dict(), precise(make(), seed=9).state_dict()
    graph = trace(precise(make()), normal(2, 1, 8, 8))
    mine, plain = interpolate_homogeneous(graph, a, b, 0.3), interpolate(a, b, 0.3)
    assert all(torch.equal(mine[name], plain[name]) for name in plain)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ResNet((4, 6), (1, 1)), r"joins paths of \[1, 3\] layers.*use interpolate"),
        (VGG((4, 6), in_channels=1, norm="bn"), "aten.batch_norm.*not homogeneous"),
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.GELU()), "aten.gelu.*not homogeneous"),
    ],
)
def test_other_models_are_refused(model, message):
    """Residual sums, normalization and smooth nonlinearities."""
    graph = trace(precise(model), normal(2, 1, 8, 8))
    with pytest.raises(ValueError, match=message):
        homogeneous_degrees(graph)


class Shifted(nn.Module):
    """A layer between operations, and another one."""

    def __init__(self, before, behind):
        super().__init__()
        self.before, self.behind = before, behind
        self.first, self.last = nn.Linear(4, 5), nn.LazyLinear(3)

    def forward(self, x):
        """Map ``(N, 4)`` to ``(N, 3)``."""
        return self.last(self.behind(torch.relu(self.first(self.before(x)))))


def traced(before, behind):
    """The model, and its graph."""
    model = Shifted(before, behind)
    model(torch.zeros(2, 4))
    model = precise(model)
    return model, trace(model, normal(2, 4))


SHIFTS = {
    "sum": (lambda h: h + 0.5, "aten.add.Tensor.*adds the constant 0.5"),
    "in place": (lambda h: h.add_(2), "aten.add_.Tensor.*adds the constant 2"),
    "difference": (lambda h: h - 1, "aten.sub.Tensor.*adds the constant 1"),
    "pad": (
        lambda h: F.pad(h, (0, 1), value=1.0),
        "aten.pad.default.*adds the constant 1.0",
    ),
}


@pytest.mark.parametrize("shift", SHIFTS)
def test_constants_behind_layers_are_refused(shift):
    """They have no part in what grows with the layers' scale."""
    move, message = SHIFTS[shift]
    _, graph = traced(nn.Identity(), move)
    message += " behind 1 layers: the model is not homogeneous.*use interpolate"
    with pytest.raises(ValueError, match=message):
        homogeneous_degrees(graph)


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (lambda x: (x - 0.5) + 2, nn.Identity()),  # the inputs are not scaled
        (nn.Identity(), lambda h: h + 0),
        (nn.Identity(), lambda h: torch.add(h, h.abs(), alpha=2)),
        (nn.Identity(), lambda h: F.pad(h, (0, 1))),
        (nn.Identity(), lambda h: F.pad(h, (0, 1), value=0.0)),
        (nn.Identity(), lambda h: F.pad(h, (0, 1), mode="reflect")),
    ],
)
def test_what_leaves_a_model_homogeneous_is_accepted(before, behind):
    """Shifted inputs, and sums with nothing: the output scales as it should."""
    model, graph = traced(before, behind)
    x, c = normal(6, 4, seed=3), 1.7
    expected, degrees = c**2 * model(x), homogeneous_degrees(graph)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            tensor *= c ** degrees.get(name, 1)
    torch.testing.assert_close(model(x), expected)
