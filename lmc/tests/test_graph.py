"""The graph runs as the model does, and with its operations replaced."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lmc.graph import TraceError, trace
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import normal, randomized


class Branches(nn.Module):
    """Chooses a sign by its data, which no fixed graph can."""

    def forward(self, x):
        return x if x.sum() > 0 else -x


class Difference(nn.Module):
    """Two inputs, of which one is scaled, and a dictionary of outputs."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0]))
        self.register_buffer("offset", torch.tensor([1.0]), persistent=False)

    def forward(self, x, y):
        return {"difference": self.scale * x - y, "sum": (x + y + self.offset,)}


class Twice(nn.Module):
    """One linear layer used at two places."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.again(F.relu(self.again(F.relu(self.first(x)))))


MODELS = {
    "mlp": lambda: MLP((64, 6, 3)),
    "vgg-bn": lambda: VGG((4, "M", 6), 3, norm="bn"),
    "vgg-ln": lambda: VGG((4, "M", 6), 3, norm="ln"),
    "resnet-bn": lambda: ResNet((4, 8), (1, 1), 3, norm="bn"),
}


@pytest.mark.parametrize("name", MODELS)
def test_run_is_the_model_for_every_batch_size(name):
    """Traced with two samples, run with 1, 2, 3 and 7, in float64."""
    model = randomized(MODELS[name]())
    graph = trace(model, torch.zeros(2, 1, 8, 8))
    model.double()
    for samples in (1, 2, 3, 7):
        x = normal(samples, 1, 8, 8)
        logits = graph.run(model.state_dict(), x)
        torch.testing.assert_close(logits, model(x), rtol=1e-12, atol=1e-12)


def test_run_keeps_the_structure_of_inputs_and_outputs():
    """Two inputs go in, the dictionary comes out; constants need no state dict."""
    model, x, y = Difference().eval(), torch.ones(2, 3), torch.full((2, 3), 5.0)
    outputs = trace(model, x, y).run({"scale": torch.tensor([3.0])}, x, y)
    assert set(outputs) == {"difference", "sum"}
    assert torch.equal(outputs["difference"], torch.full((2, 3), -2.0))
    assert torch.equal(outputs["sum"][0], torch.full((2, 3), 7.0))


def test_around_stands_in_for_an_operation():
    """The linear layer's output is doubled and reversed by what stands in for it."""
    model = randomized(MLP((4, 3))).double()
    graph, x = trace(model, normal(2, 4)), normal(5, 4, seed=1)
    layer = graph.layer("1")

    def double_reversed(operation, *args, **kwargs):
        return 2 * operation(*args, **kwargs).flip(1)

    changed = graph.run(model.state_dict(), x, around={layer.node: double_reversed})
    torch.testing.assert_close(changed, 2 * model(x).flip(1))


def test_layers_are_named_in_order_with_their_tensors():
    """Convolutions have their channels on axis 1, linear layers on axis -1."""
    graph = trace(VGG((4, 5), bias=False).eval(), torch.zeros(2, 1, 4, 4))
    found = [(v.name, v.kind, v.weight, v.bias, v.channel_axis) for v in graph.layers]
    assert found == [
        ("features.0", "convolution", "features.0.weight", None, 1),
        ("features.3", "convolution", "features.3.weight", None, 1),
        ("classifier", "linear", "classifier.weight", None, -1),
    ]


def test_parameters_and_buffers_are_told_apart():
    """BatchNorm's statistics are buffers and are found with their operation."""
    graph = trace(VGG((4,), norm="bn").eval(), torch.zeros(2, 1, 4, 4))
    assert graph.parameters == (
        "features.0.weight",
        "features.0.bias",
        "features.1.weight",
        "features.1.bias",
        "classifier.weight",
        "classifier.bias",
    )
    statistics = ("features.1.running_mean", "features.1.running_var")
    assert graph.buffers == (*statistics, "features.1.num_batches_tracked")
    assert [(n.mean, n.variance) for n in graph.batch_norms] == [statistics]


def test_unknown_layer_is_refused():
    """The error lists the layers there are."""
    graph = trace(MLP((4, 3, 2)).eval(), torch.zeros(2, 4))
    message = "no convolution or linear layer 'fc1': choose from 1, 3"
    with pytest.raises(ValueError, match=message):
        graph.layer("fc1")


def test_layer_used_at_two_places_is_refused():
    """Its name does not say which of the two outputs is meant."""
    graph = trace(Twice().eval(), torch.zeros(2, 4))
    assert [layer.name for layer in graph.layers] == ["first", "again", "again"]
    assert graph.layer("first").weight == "first.weight"
    with pytest.raises(ValueError, match="layer 'again' is used 2 times"):
        graph.layer("again")


def test_unknown_node_is_refused():
    """A replaced operation that is not there would silently change nothing."""
    model = MLP((4, 3)).eval()
    graph = trace(model, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"the graph has no nodes \['nowhere'\]"):
        graph.run(model.state_dict(), torch.zeros(2, 4), around={"nowhere": print})


def test_missing_tensor_is_refused():
    """The error names the tensor and what to pass."""
    model = MLP((4, 3)).eval()
    graph = trace(model, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"lacks '1.bias', .*model.state_dict\(\)"):
        graph.run({"1.weight": torch.zeros(3, 4)}, torch.zeros(2, 4))


@pytest.mark.parametrize("given", [0, 2])
def test_wrong_number_of_inputs_is_refused(given):
    """Neither a StopIteration nor an input that is silently ignored."""
    model = MLP((4, 3)).eval()
    graph = trace(model, torch.zeros(2, 4))
    with pytest.raises(ValueError, match=f"takes 1 inputs, got {given}"):
        graph.run(model.state_dict(), *[torch.zeros(2, 4)] * given)


def test_train_mode_is_refused():
    """The error says what to call."""
    with pytest.raises(TraceError, match=r"train mode.*call model.eval\(\) first"):
        trace(MLP((4, 3)), torch.zeros(2, 4))


def test_train_mode_of_a_part_is_refused():
    """A BatchNorm left in train mode would count the tracing as a batch."""
    model = VGG((4,), norm="bn").eval()
    model.features[1].train()
    with pytest.raises(TraceError, match=r"train mode.*call model.eval\(\) first"):
        trace(model, torch.zeros(2, 1, 4, 4))
    assert int(model.features[1].num_batches_tracked) == 0


def test_control_flow_on_data_is_refused():
    """The error says how such a branch can be written."""
    with pytest.raises(TraceError, match=r"(?s)refuses Branches.*torch.where or torch"):
        trace(Branches().eval(), torch.ones(2, 3))


def test_inputs_that_do_not_fit_are_no_matter_of_export():
    """The model's own error is passed on."""
    with pytest.raises(TraceError, match=r"Linear does not run on the example inputs"):
        trace(torch.nn.Linear(3, 2).eval(), torch.zeros(2, 4))


def test_a_slice_of_a_data_set_does_not_keep_all_of_it():
    """The graph keeps its inputs; a view would keep what it is a view of."""
    images = torch.zeros(1000, 1, 8, 8)
    graph = trace(MLP((64, 4, 2)).eval(), images[:2])
    kept = pytree.tree_leaves(graph._program.example_inputs)
    assert [value.shape for value in kept] == [(2, 1, 8, 8)]
    assert kept[0].untyped_storage().nbytes() == kept[0].nbytes
