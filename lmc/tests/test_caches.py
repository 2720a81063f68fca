"""Models that keep tensors between calls run as if each call were the first."""

import pytest
import torch
from torch import nn

import lmc
from lmc.caches import forgetful
from lmc.graph import call
from lmc.tests.networks import randomized

X = torch.arange(20.0).reshape(4, 5).sin()


class Keeping(nn.Module):
    """Keeps a table made of a parameter, as timm's ``attention_bias_cache``."""

    def __init__(self, where):
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.zeros(8))
        self.where = where
        self.kept = {} if where == "dictionary" else []
        self.table = None

    def forward(self, x):
        if self.where == "dictionary":
            if "scale" not in self.kept:
                self.kept["scale"] = self.scale * 2
            scale = self.kept["scale"]
        elif self.where == "list":
            if not self.kept:
                self.kept.append(self.scale * 2)
            scale = self.kept[0]
        else:
            if self.table is None:
                self.table = self.scale * 2
            scale = self.table
        return self.last((self.first(x) * scale).relu())


class Constant(nn.Module):
    """Holds a constant in a dictionary, which it cannot do without."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.constants = {"half": torch.tensor(0.5)}

    def forward(self, x):
        return self.last((self.first(x) * self.constants["half"]).relu())


def by_hand(state, x):
    """What a keeping model computes with these parameters."""
    hidden = x @ state["first.weight"].T + state["first.bias"]
    hidden = (hidden * 2 * state["scale"]).relu()
    return hidden @ state["last.weight"].T + state["last.bias"]


@pytest.mark.parametrize("where", ["dictionary", "list", "attribute"])
def test_a_call_does_not_see_what_another_left(where):
    """Two networks in turn, each with its own table; nothing is left in the model."""
    model = randomized(Keeping(where))
    other = randomized(Keeping(where), seed=9).state_dict()
    for state in (model.state_dict(), other, model.state_dict()):
        found = call(model, state, (X,))
        torch.testing.assert_close(found, by_hand(state, X))
    assert not model.kept and model.table is None


def test_a_table_from_before_is_not_used_and_kept():
    """A model that has run keeps its table, which calls with others do without."""
    model = randomized(Keeping("dictionary"))
    with torch.no_grad():
        model(X)
    table = model.kept["scale"]
    other = randomized(Keeping("dictionary"), seed=9).state_dict()
    torch.testing.assert_close(call(model, other, (X,)), by_hand(other, X))
    assert model.kept["scale"] is table


def test_curve_of_a_model_that_keeps_tensors():
    """Losses at the ends are those of the networks by hand."""
    model = randomized(Keeping("dictionary"))
    a, b = (
        {name: value.clone() for name, value in state.items()}
        for state in (
            model.state_dict(),
            randomized(Keeping("dictionary"), seed=9).state_dict(),
        )
    )
    targets = torch.tensor([0, 1, 2, 0])
    found = lmc.curve(model, a, b, [(X, targets)], lambdas=(0.0, 1.0))
    expected = [nn.functional.cross_entropy(by_hand(s, X), targets) for s in (a, b)]
    assert found.loss == pytest.approx([float(loss) for loss in expected])


@pytest.mark.parametrize("warm", [False, True])
def test_symmetry_of_a_model_that_keeps_tensors(warm):
    """The kept table's parameter is one of the units' sites, warm or not."""
    model = randomized(Keeping("dictionary"))
    if warm:
        model(X)
    symmetry = lmc.discover(model, X)
    (group,) = symmetry.groups.values()
    assert group.size == 8
    assert {"first.weight", "scale", "last.weight"} <= {s.name for s in group.sites}


def test_constants_in_dictionaries_stay():
    """What a model cannot make again is no cache."""
    model = randomized(Constant())
    hidden = model.first(X)
    expected = model.last((hidden * 0.5).relu())
    torch.testing.assert_close(call(model, model.state_dict(), (X,)), expected)
    assert list(lmc.discover(model, X).groups) == ["first"]


def test_errors_of_the_model_are_its_own():
    """Where it fails with its tensors as well, that error is raised."""
    model = Constant()
    tries = []

    def fail():
        tries.append(len(model.constants))
        raise RuntimeError(f"try {len(tries)}")

    with pytest.raises(RuntimeError, match="try 2"):
        forgetful(model, fail)
    assert tries == [0, 1] and len(model.constants) == 1
