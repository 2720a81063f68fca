"""What is refused, and why: operations, dtypes, and models that can't be traced."""

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lmc.rules.calls
from lmc import discover
from lmc.graph import TraceError
from lmc.models import VGG
from lmc.tests.networks import Layers, randomized
from lmc.tests.symmetries import sites

IMAGES = torch.zeros(2, 1, 8, 8)


class Cumulated(Layers):
    def forward(self, x):
        hidden = self.first(x)
        return self.last(hidden.cumsum(-1))


class Fourier(Layers):
    def forward(self, x):
        return self.last(torch.fft.rfft(self.first(x), n=10).abs())


class Products(Layers):
    def forward(self, x):
        return self.last(self.first(x).cumprod(1))


@pytest.mark.parametrize(
    ("model", "operation", "line"),
    [
        (Cumulated, "aten.cumsum.default (node cumsum", "hidden.cumsum"),
        (Fourier, "aten.fft_rfft.default (node fft_rfft", "torch.fft"),
        (Products, "aten.cumprod.default (node cumprod", ".cumprod(1)"),
    ],
)
def test_unknown_operation_pins_and_is_named(model, operation, line):
    """No group, but the operation with its node, file and line."""
    symmetry = discover(randomized(model()), torch.zeros(2, 4))
    lines, start = inspect.getsourcelines(model.forward)
    number = start + next(i for i, text in enumerate(lines) if line in text)
    assert not symmetry.groups
    assert symmetry.refused[0].startswith(f"no rule for {operation}")
    assert f"test_refused.py, line {number}, in forward)" in symmetry.refused[0]
    assert symmetry.refused[0] in {entry.reason for entry in symmetry.pinned}


def test_unknown_operation_of_a_module_is_named_by_the_module():
    """Where only torch's own source is on the stack, the module's path says more."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.PixelUnshuffle(2), nn.Flatten())
    symmetry = discover(randomized(model), IMAGES)
    assert symmetry.refused == (
        "no rule for aten.pixel_unshuffle.default (node pixel_unshuffle, module 1)",
    )


def test_unknown_operation_leaves_the_other_groups():
    """Only what a running product touches is pinned; the layer before is free."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), Products())
    model[2].first = nn.Linear(5, 6)
    assert sites(discover(randomized(model), torch.zeros(2, 4))) == {
        "0": "5: 0.weight:0 0.bias:0 2.first.weight:1"
    }


class Bits(Layers):
    def forward(self, x):
        hidden = F.relu(self.first(x))
        return self.last(hidden) + hidden.view(torch.int16).sum(-1, keepdim=True).sign()


class Joined(Layers):
    def forward(self, x):
        hidden = F.relu(self.first(x))
        return self.last(torch.cat([hidden[:, :6], hidden[:, 6:]], 1))


class Turned(Layers):
    def __init__(self):
        super().__init__()
        self.register_buffer("turn", torch.polar(torch.ones(6), torch.arange(6.0)))

    def forward(self, x):
        return self.last((self.first(x) * self.turn).abs())


class Grouped(nn.Module):
    """Two convolutions of two groups, the second with a weight of its caller's."""

    def __init__(self, second):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 1)
        self.weight = nn.Parameter(torch.ones(4, 2, 1, 1))
        self.flat = nn.Parameter(torch.ones(8))
        self.last = nn.Linear(4, 3)
        self.second = second

    def forward(self, x):
        hidden = F.conv2d(self.first(x).relu(), self.weight, groups=2).relu()
        hidden = F.conv2d(hidden, self.second(self), groups=2).relu()
        return self.last(hidden.mean((2, 3)))


def test_convolutions_may_share_the_weight_of_their_groups():
    symmetry = discover(randomized(Grouped(lambda model: model.weight)), IMAGES)
    assert symmetry.refused == ()
    assert [group.size for group in symmetry.groups.values()] == [2, 2]


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (lambda model: 2 * model.weight, "with other uses"),
        (lambda model: model.weight + model.weight.mean(), "with other uses"),
        (lambda model: model.flat.reshape(4, 2, 1, 1), "units of its own in each row"),
    ],
)
def test_a_weight_of_groups_that_is_computed_is_refused(second, reason):
    """Its columns mean other units in each group, which other uses would not know."""
    symmetry = discover(randomized(Grouped(second)), IMAGES)
    assert reason in symmetry.refused[-1]
    assert symmetry.certificate.relative_difference < 1e-9


def test_single_bytes_are_refused():
    """Two numbers of 16 bits for each of 32: no rule says whose they are."""
    symmetry = discover(randomized(Bits()), torch.ones(2, 4))
    assert not symmetry.groups
    (reason,) = symmetry.refused
    assert reason.startswith("no rule for single bytes in aten.view.dtype (node view")
    assert "test_refused.py, line" in reason


def test_an_operation_whose_rule_fails_is_refused(monkeypatch):
    """Discovery goes on: it says where, and what the fault of the rule was."""

    def faulty(call):
        raise IndexError("no such axis")

    monkeypatch.setitem(lmc.rules.calls._RULES, "relu", faulty)
    symmetry = discover(randomized(Layers()), torch.zeros(2, 4))
    assert not symmetry.groups
    (reason,) = symmetry.refused
    start = "the rule fails (IndexError: no such axis) for aten.relu.default (node relu"
    assert reason.startswith(start)
    assert "networks.py, line" in reason
    assert reason in {entry.reason for entry in symmetry.pinned}


def test_an_empty_slice_has_no_units():
    """A slice from the last unit on, joined to all of them, changes nothing."""
    symmetry = discover(randomized(Joined()), torch.zeros(2, 4))
    assert sites(symmetry) == {"first": "6: first.weight:0 first.bias:0 last.weight:1"}


def test_complex_parameters_are_refused():
    """They are named, and the error says how to write them."""
    model = Turned()
    model.turn = nn.Parameter(model._buffers.pop("turn"))
    message = "turn are complex parameters.*call torch.view_as_complex in forward"
    with pytest.raises(TraceError, match=message):
        discover(model.eval(), torch.zeros(2, 4))


def test_units_of_a_complex_buffer_are_pinned():
    """No cost is computed of complex numbers."""
    symmetry = discover(randomized(Turned()), torch.zeros(2, 4))
    assert not symmetry.groups and not symmetry.refused
    pinned = {(entry.name, entry.reason) for entry in symmetry.pinned}
    assert ("first.weight", "its values are complex") in pinned


def test_train_mode_is_refused():
    """BatchNorm in train mode is no function of the parameters."""
    with pytest.raises(TraceError, match=r"call model.eval\(\) first"):
        discover(VGG((4,), norm="bn"), IMAGES)


def test_control_flow_on_data_is_refused():
    """The error names the model and what to do."""

    class Branches(Layers):
        def forward(self, x):
            hidden = self.first(x)
            return self.last(hidden if hidden.sum() > 0 else -hidden)

    message = r"(?s)refuses Branches.*move such branches out of forward"
    with pytest.raises(TraceError, match=message):
        discover(randomized(Branches()), torch.ones(2, 4))
