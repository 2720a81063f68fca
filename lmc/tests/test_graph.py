"""The graph runs as the model does, and with its operations replaced."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree
from torch.utils.data import DataLoader

import lmc
from lmc.batches import as_arguments
from lmc.features import activation_scale, diagonal_fisher
from lmc.graph import TraceError, call, trace
from lmc.models import MLP, VGG, ResNet
from lmc.pruning import wood_fisher
from lmc.retraining import retrain
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


class Sum(nn.Module):
    """A classifier of two inputs."""

    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x, y):
        return self.last(F.relu(self.hidden(x - 2 * y)))


USES = {
    "evaluate": lambda model, graph, a, b, batches: (
        lmc.evaluate(model, a, batches).loss
    ),
    "curve": lambda model, graph, a, b, batches: lmc.curve(model, a, b, batches).loss,
    "activation_matching": lambda model, graph, a, b, batches: (
        lmc.activation_matching(
            lmc.discover(model, *as_arguments(batches[0][0])), a, b, batches
        ).permutation.indices
    ),
    "straight_through": lambda model, graph, a, b, batches: (
        lmc.straight_through(
            lmc.discover(model, *as_arguments(batches[0][0])),
            *(a, b, batches),
            generator=torch.Generator().manual_seed(0),
            epochs=1,
        ).history
    ),
    "statistics": lambda model, graph, a, b, batches: {
        name: (found.mean, found.variance)
        for name, found in lmc.statistics(graph, a, batches).items()
    },
    "retrain": lambda model, graph, a, b, batches: (
        retrain(model, a, batches, until=100.0, evaluate_on=batches, max_steps=2).state
    ),
    "activation_scale": lambda model, graph, a, b, batches: (
        activation_scale(graph, a, batches)["hidden"].before.absolute
    ),
    "diagonal_fisher": lambda model, graph, a, b, batches: diagonal_fisher(
        graph, a, batches
    ),
    "wood_fisher": lambda model, graph, a, b, batches: wood_fisher(
        graph, a, batches, subsample=3, mini_batch=4
    ).scores(),
}


@pytest.mark.parametrize("use", USES)
def test_inputs_may_be_lists_as_a_data_loader_makes_them(use):
    """Of samples ``((x, y), target)`` it makes ``[[x, y], target]``: as if a tuple."""
    model = randomized(Sum()).double()
    a = {name: value.clone() for name, value in model.state_dict().items()}
    b = randomized(Sum(), seed=9).double().state_dict()
    x, y, targets = normal(12, 4), normal(12, 4, seed=1), torch.arange(12) % 3
    samples = [((x[i], y[i]), targets[i]) for i in range(12)]
    listed = list(DataLoader(samples, batch_size=4))
    assert type(listed[0][0]) is list
    cut = [slice(start, start + 4) for start in (0, 4, 8)]
    tuples = [((x[part], y[part]), targets[part]) for part in cut]
    graph = trace(model, x, y)
    found, expected = (USES[use](model, graph, a, b, data) for data in (listed, tuples))
    torch.testing.assert_close(
        pytree.tree_leaves(found), pytree.tree_leaves(expected), rtol=0, atol=0
    )


class Elsewhere(nn.Module):
    """Makes tensors where it runs, in and out of torch.no_grad, and has constants."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("offset", torch.ones(4), persistent=False)
        self.mixing = torch.arange(16.0).reshape(4, 4)

    def forward(self, x):
        with torch.no_grad():
            places = torch.arange(x.shape[1], device=x.device)
        moved = x.to(x.device) + torch.zeros(4, device=x.device) + places.to(x.dtype)
        mixed = F.linear(moved.float(), self.mixing).type_as(x)
        return F.softmax(self.linear(mixed) + self.offset, -1, dtype=torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_run_is_where_the_state_is(device, dtype):
    """Constants, casts and new tensors of the trace follow the state, also twice."""
    model = randomized(Elsewhere())
    graph, x = trace(model, torch.ones(2, 4)), normal(3, 4)
    state = {
        name: value.to(device, dtype) for name, value in model.state_dict().items()
    }
    for _ in range(2):
        found = graph.run(state, x.to(device, dtype))
        assert (found.device.type, found.dtype, found.shape) == (device, dtype, (3, 4))
    if (device, dtype) == ("cpu", torch.float64):
        mixed = (x + torch.arange(4.0)).mm(torch.arange(16.0).reshape(4, 4).double().T)
        weight, bias = state["linear.weight"], state["linear.bias"]
        expected = (mixed @ weight.T + bias + 1).softmax(-1)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    kept = graph._program.constants["mixing"]
    assert (kept.device.type, kept.dtype) == ("cpu", torch.float32)
    assert graph.run(model.state_dict(), x.float()).dtype == torch.float32


def test_a_model_without_parameters_runs_where_its_input_is():
    """Its first floating input says where."""

    class Shifted(nn.Module):
        def forward(self, x):
            return x + torch.arange(4, device=x.device)

    graph = trace(Shifted().eval(), torch.ones(2, 4))
    assert graph.run({}, torch.ones(3, 4, device="meta")).device.type == "meta"


def test_around_is_called_elsewhere_too():
    """The graph at another place has the same nodes."""
    model = randomized(MLP((4, 3)))
    graph, seen = trace(model, torch.zeros(2, 4)), []

    def around(operation, *args):
        seen.append(args[1].device.type)
        return operation(*args)

    state = {name: value.to("meta") for name, value in model.state_dict().items()}
    x = torch.zeros(2, 4, device="meta")
    graph.run(state, x, around={graph.layers[0].node: around})
    assert seen == ["meta"]


def test_where_it_was_traced_nothing_is_moved():
    """The very tensors are used, and no other graph is made."""
    model, x = randomized(Elsewhere()), torch.ones(2, 4)
    graph, seen = trace(model, x), []

    def around(operation, *args):
        seen.extend(args)
        return operation(*args)

    nodes = {n.name: around for n in graph.nodes if n.op == "call_function"}
    linear = [n for n in nodes if n.startswith("linear")]
    graph.run(model.state_dict(), x, around={name: around for name in linear})
    assert any(value is graph._program.constants["mixing"] for value in seen)
    assert graph._moved == {}


@pytest.mark.parametrize("samples", [0, 1])
def test_a_single_sample_is_refused(samples):
    """Its graph would hold for one sample only; a mask of size one changes nothing."""
    x = torch.zeros(samples, 4)
    message = f"inputs have {samples} samples.*give at least two on the first axis"
    with pytest.raises(TraceError, match=message):
        trace(MLP((4, 3)).eval(), x)
    with pytest.raises(TraceError, match=message):
        trace(Difference().eval(), x, torch.zeros(1, 1)[:samples])


class Masked(nn.Module):
    """Takes samples, a mask that they share, a scalar tensor and a number."""

    def forward(self, x, mask, scale, power):
        return scale * (x * mask) ** power


def test_what_samples_share_needs_no_batch_axis():
    """A mask of size one, a scalar, a number; another number is no silent change."""
    x, mask, scale = torch.full((2, 3), 2.0), torch.ones(1, 3), torch.tensor(5.0)
    graph = trace(Masked().eval(), x, mask, scale, 3)
    for samples in (1, 7):
        x = torch.full((samples, 3), 2.0)
        assert torch.equal(graph.run({}, x, mask, scale, 3), torch.full_like(x, 40.0))
    message = "'power' was 3 when the model was traced.*trace the model again"
    for other in (2, torch.tensor(3)):
        with pytest.raises(ValueError, match=message):
            graph.run({}, x, mask, scale, other)
    with pytest.raises(ValueError, match=r"'scale' was a tensor .* got float"):
        graph.run({}, x, mask, 5.0, 3)


class Looped(nn.Module):
    """Applies a layer to one sample after another."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return torch.stack([self.layer(one) for one in x])


def test_another_number_of_samples_is_refused_where_the_graph_has_one():
    """The loop is unrolled: 16 samples would silently give 4 outputs."""
    model = randomized(Looped())
    graph, x = trace(model, torch.zeros(4, 4)), normal(16, 4).float()
    state = model.state_dict()
    torch.testing.assert_close(graph.run(state, x[:4]), model(x[:4]))
    message = "first axis of the input 'x' has size 16, but .* graph hold for 4 only"
    with pytest.raises(ValueError, match=message):
        graph.run(state, x)


def test_a_branch_on_the_number_of_samples_bounds_it():
    """Traced with two samples, the branch for more than eight is not in the graph."""

    class Branch(nn.Module):
        def forward(self, x):
            return x if x.shape[0] <= 8 else -x

    graph = trace(Branch().eval(), torch.zeros(2, 4))
    for samples in (1, 2, 8):
        x = normal(samples, 4)
        assert torch.equal(graph.run({}, x), x)
    with pytest.raises(ValueError, match=r"has size 9, but .* for 0 to 8 only"):
        graph.run({}, torch.zeros(9, 4))


class Named(nn.Module):
    """Takes a dictionary with a pair in it."""

    def forward(self, inputs):
        first, second = inputs["q"]
        return inputs["p"] - 10 * first + 100 * second


def test_inputs_are_taken_by_name():
    """The order of a dictionary says nothing; a list for a tuple is fine."""
    p, q, r = (normal(2, 3, seed=seed) for seed in range(3))
    graph = trace(Named().eval(), {"p": p, "q": (q, r)})
    for inputs in ({"q": (q, r), "p": p}, {"p": p, "q": [q, r]}):
        assert torch.equal(graph.run({}, inputs), p - 10 * q + 100 * r)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"p": 0, "r": (1, 2)},
            r"inputs\[0\]: .* names \['p', 'q'\], got \['p', 'r'\]",
        ),
        ({"p": 0, "q": (1, 2, 3)}, r"inputs\[0\]\['q'\]: .* 2 values here, got 3"),
        ({"p": (0, 1), "q": 2}, r"inputs\[0\]\['p'\]: .* single value here, got tuple"),
        ({"p": 0, "q": {"a": 1, "b": 2}}, r"\['q'\]: .* with a tuple here, got dict"),
        ((0, (1, 2)), r"inputs\[0\]: .* with a dict here, got tuple"),
    ],
)
def test_another_structure_of_inputs_is_refused(inputs, message):
    """With as many leaves, they would silently be taken for one another."""
    graph = trace(
        Named().eval(), {"p": torch.zeros(2, 3), "q": (torch.ones(2, 3),) * 2}
    )
    filled = pytree.tree_map(lambda _: torch.zeros(2, 3), inputs)
    with pytest.raises(ValueError, match=message):
        graph.run({}, filled)


class Counting(nn.Module):
    """Counts its calls and writes into its input, through a view and by itself."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)
        self.register_buffer("calls", torch.zeros(2))
        self.register_buffer("hidden_calls", torch.zeros(2), persistent=False)
        self.register_buffer("fixed", torch.ones(2))

    def forward(self, x):
        self.calls += 1
        with torch.no_grad():
            self.hidden_calls.add_(1)
        return self.linear(x) + self.calls + self.hidden_calls + self.fixed


class Writing(Counting):
    def forward(self, x):
        x.sub_(1.0)
        return self.linear(x)


class WritingToAView(Counting):
    def forward(self, x):
        first, _ = x.chunk(2, 1)
        first.mul_(3.0)
        return self.linear(x)


class WritingBehindDropout(Counting):
    """Dropout in evaluation mode returns its input itself."""

    def forward(self, x):
        return self.linear(F.relu_(F.dropout(x, 0.5, self.training)))


class Inside(Counting):
    def forward(self, x):
        with torch.no_grad():
            x.neg_()
        return self.linear(x)


WRITING = [Writing, WritingToAView, WritingBehindDropout, Inside]


@pytest.mark.parametrize("make", [Counting, *WRITING])
def test_run_changes_neither_state_nor_inputs(make):
    """A second run gives the same, and only what is written into is copied."""
    model, x = randomized(make()), normal(3, 4).float()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    expected = copy.deepcopy(model)(x.clone()).detach()
    graph = trace(model, torch.ones(2, 4))
    names = [node.name for node in graph.nodes]
    written = {"b_calls", "b_hidden_calls"} if make is Counting else {"x"}
    assert {names[position] for position in graph._mutated} == written
    given = x.clone()
    for _ in range(2):
        torch.testing.assert_close(graph.run(state, given), expected)
        assert torch.equal(given, x)
    for name, value in model.state_dict().items():
        assert torch.equal(state[name], value)
    assert graph._program.constants["hidden_calls"].tolist() == [0, 0]


@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_copied_of_a_model_that_writes_into_nothing(name):
    """In-place operations on what the model itself computed need no copy."""
    model = MODELS[name]()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    assert trace(model.eval(), torch.zeros(2, 1, 8, 8))._mutated == ()


def test_call_copies_the_buffers():
    """Neither the state nor the model counts the calls."""
    model, x = randomized(Counting()), normal(3, 4).float()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    first = call(model, state, (x,))
    assert torch.equal(call(model, state, (x,)), first)
    assert all(torch.equal(state[n], v) for n, v in model.state_dict().items())
    assert model.hidden_calls.tolist() == [0, 0]


@pytest.mark.parametrize("make", WRITING)
def test_call_refuses_a_model_that_changes_its_inputs(make):
    """Each point of a curve would see other data."""
    model, x = randomized(make()), normal(3, 4).float()
    batches = [(x, torch.zeros(3, dtype=torch.long))]
    message = f"{make.__name__} changes its inputs in place.*write x = x - 1"
    with pytest.raises(ValueError, match=message):
        lmc.curve(model, model.state_dict(), model.state_dict(), batches)
    with torch.inference_mode():  # whose tensors count no changes
        call(randomized(Counting()), model.state_dict(), (torch.ones(3, 4),))


@pytest.mark.parametrize("make", [Counting, *WRITING])
def test_a_model_that_changes_its_inputs_has_a_symmetry(make):
    """Its example inputs are left as they are, on the CPU and in float64 too."""
    model, x = randomized(make()).double(), normal(3, 4)
    assert lmc.discover(model, x).certificate.relative_difference < 1e-9
    assert torch.equal(x, normal(3, 4))
