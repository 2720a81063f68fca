"""The table of operations against what the operations do to numbers."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import activation

from lmc import Permutation, activation_matching, discover, homogeneous_degrees
from lmc.operations import ACTIVATIONS, CURVES, ELEMENTWISE, HOMOGENEOUS, IDENTITIES
from lmc.tests.networks import normal, precise

VALUES = 4 * normal(40)

ARGUMENTS = {
    "prelu": (torch.tensor([0.3], dtype=torch.float64),),
    "threshold": (0.1, -0.5),
    "clamp": (-0.5, 0.7),
    "clamp_min": (0.2,),
    "clamp_max": (0.2,),
    "pow": (2,),
    **dict.fromkeys("eq ne lt le gt ge maximum minimum".split(), (VALUES[3],)),
    "type_as": (torch.zeros(1, dtype=torch.float64),),
    "to": (torch.float64,),
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout"), (0.5, False)),
}
"""What an operation is called with beside its values."""


def called(name: str, values: Tensor) -> Tensor:
    """Call an ATen operation; a NaN (a root of a negative) is a number of its own."""
    operation = getattr(torch.ops.aten, name)
    return operation(values, *ARGUMENTS.get(name, ())).double().nan_to_num(77.0)


def elementwise(function, values: Tensor) -> bool:
    """Whether an entry of the result depends on the same entry of the values alone."""
    before, moved = function(values), values.clone()
    moved.view(-1)[0] += 0.7
    same = function(moved).flatten()[1:] == before.flatten()[1:]
    return bool(same.all()) and before.shape == values.shape


def linear(function, values: Tensor) -> bool:
    """Whether a sum of values gives the sum of the results, but for a constant."""
    a, b = values, values.flip(-1) + 0.3
    both = function(a) + function(b) - function(torch.zeros_like(a))
    return torch.allclose(function(a + b), both)


def homogeneous(function, values: Tensor) -> bool:
    """Whether f(c x) = c f(x) for some c > 0."""
    return all(
        torch.allclose(function(c * values), c * function(values)) for c in (0.2, 3.0)
    )


@pytest.mark.parametrize("name", sorted(ACTIVATIONS | CURVES | IDENTITIES | {"neg"}))
def test_operations_are_of_their_kind(name):
    """Elementwise all of them; linear and homogeneous those that are said to be."""

    def function(values: Tensor) -> Tensor:
        if name in ("copy", "lift_fresh_copy", "lift_fresh"):
            return values
        return called(name, values)

    assert name in ELEMENTWISE
    assert elementwise(function, VALUES)
    assert linear(function, VALUES) == (name not in ACTIVATIONS | CURVES)
    assert homogeneous(function, VALUES) == (name in HOMOGENEOUS)
    if name in IDENTITIES:
        assert torch.equal(function(VALUES), VALUES)


MODULES = {
    "Threshold": lambda: nn.Threshold(0.1, -0.5),
    "Softmin": lambda: nn.Softmin(-1),
    "Softmax": lambda: nn.Softmax(-1),
    "LogSoftmax": lambda: nn.LogSoftmax(-1),
}
NAMES = sorted({*activation.__all__} - {"MultiheadAttention"})  # which is a layer


class Between(nn.Module):
    """A nonlinearity between two layers."""

    def __init__(self, function):
        super().__init__()
        self.first, self.function, self.last = (
            nn.Linear(4, 6),
            function,
            nn.LazyLinear(3),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, 4)`` (images for Softmax2d) to ``(N, 3)``."""
        return self.last(self.function(self.first(x)))


class Formula(nn.Module):
    """A nonlinearity that is written out."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        """Map values to values."""
        return self.formula(x)


FORMULAS = {
    "quick GELU": lambda x: x * torch.sigmoid(1.702 * x),
    "GELU by tanh": lambda x: (
        0.5 * x * (1 + torch.tanh(0.8 * (x + 0.0447 * torch.pow(x, 3))))
    ),
    "GELU by erf": lambda x: x * 0.5 * (1 + torch.erf(x / 1.414)),
    "squared ReLU, in place": lambda x: F.relu(x).mul_(F.relu(x)),
    "leaky ReLU by where": lambda x: torch.where(x > 0, x, 0.1 * x),
}


def between(function, shape: tuple[int, ...]) -> tuple[nn.Module, Tensor]:
    """The model in float64, with inputs."""
    model, x = Between(function), normal(*shape)
    model(x.float())
    return precise(model), x


@pytest.mark.parametrize("name", [*NAMES, *FORMULAS])
def test_activations_are_seen_where_they_are(name):
    """Rule, tap and homogeneity of each activation are those that its numbers show."""
    if name in FORMULAS:
        function = Formula(FORMULAS[name])
    else:
        function = MODULES.get(name, getattr(nn, name))()
    model, x = between(function, (5, 2, 3, 4) if name == "Softmax2d" else (5, 4))
    symmetry = discover(model, x)
    hidden, order = model.first(8 * x).detach(), torch.tensor([2, 0, 1, 5, 3, 4])
    behind = function(hidden)

    # The rule: all units are free if the function moves with them; GLU has pairs.
    free = behind.shape == hidden.shape and torch.allclose(
        function(hidden[..., order]), behind[..., order]
    )
    assert free or name == "GLU"
    sizes = [(group.size, group.copies) for group in symmetry.groups.values()]
    assert not symmetry.refused
    assert sizes == [(6 if free else 3, 1)]

    # The tap: what is behind the nonlinearity of each unit, or else the layer itself.
    (group,) = symmetry.groups.values()
    node = group.activations[0].node
    seen = {}

    def tapped(operation, *args, **kwargs):
        seen[node] = operation(*args, **kwargs).clone()
        return seen[node]

    symmetry.graph.run(model.state_dict(), 8 * x, around={node: tapped})
    # Of small values: among large ones a softmax is that of the largest alone.
    alone = elementwise(function, hidden / 8)
    unit_by_unit = alone and not linear(function, hidden)
    assert torch.allclose(seen[node], behind if unit_by_unit else hidden)
    assert unit_by_unit == (node in symmetry.graph.nonlinearities)
    assert len(group.activations) == (1 if name != "GLU" else 2)

    # Homogeneity.
    if name in NAMES and homogeneous(function, hidden):
        degrees = homogeneous_degrees(symmetry.graph)
        assert degrees == {"first.bias": 1, "last.bias": 2}
    elif name in NAMES:
        with pytest.raises(ValueError, match="is not homogeneous"):
            homogeneous_degrees(symmetry.graph)


def test_activation_matching_sees_behind_a_prelu():
    """Units that differ by their slopes alone are told apart, one for each channel."""
    model = Between(nn.PReLU(6))
    model(torch.zeros(2, 4))
    model = precise(model)
    state = model.state_dict()
    state["first.weight"][:] = state["first.weight"][0]
    state["first.bias"][:] = 0
    symmetry = discover(model, normal(2, 4))
    p = Permutation(symmetry, {"first": torch.tensor([3, 0, 4, 1, 5, 2])})
    shuffled = p.apply(state)
    found = activation_matching(symmetry, state, shuffled, [(normal(50, 4), None)])
    recovered = found.permutation.apply(shuffled)
    torch.testing.assert_close(recovered, state, rtol=0, atol=0)


def test_parts_of_a_norm_are_no_activations():
    """The square of an RMSNorm that is written out is not what a unit does."""

    def norm(x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6)

    model, x = between(Formula(norm), (5, 4))
    symmetry = discover(model, x)
    assert symmetry.graph.nonlinearities == frozenset()
    assert [tap.node for tap in symmetry.groups["first"].activations] == ["linear"]
