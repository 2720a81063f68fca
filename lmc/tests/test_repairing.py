"""Points between networks, repaired as their place on the line asks for."""

import pytest
import torch

import lmc
from lmc.models import MLP
from lmc.tests.networks import normal, precise

X = normal(30, 3)
BATCHES = [(X, (X[:, 0] > 0).long())]
MODEL = precise(MLP((3, 6, 2)))
GRAPH = lmc.trace(MODEL, X)


def networks(count):
    """State dicts of the architecture."""
    return [precise(MLP((3, 6, 2)), 9 * n).state_dict() for n in range(count)]


def deviations(state):
    """Standard deviations of the first layer's outputs."""
    return (X @ state["1.weight"].T + state["1.bias"]).std(0)


@pytest.mark.parametrize("lam", [0.25, 0.5])
def test_goal_is_that_of_the_point(lam):
    """Interpolated deviations for points on a line."""
    a, b = networks(2)
    point = lmc.interpolate(a, b, lam)
    found = lmc.Repair(GRAPH, [a, b], BATCHES, "rescale")(point, lam)
    goal = (1 - lam) * deviations(a) + lam * deviations(b)
    torch.testing.assert_close(deviations(found), goal, rtol=1e-3, atol=0)


def test_goal_of_an_average_is_the_mean():
    """Of three networks."""
    ends = networks(3)
    found = lmc.Repair(GRAPH, ends, BATCHES)(lmc.average(ends))
    goal = torch.stack([deviations(end) for end in ends]).mean(0)
    torch.testing.assert_close(deviations(found), goal, rtol=1e-3, atol=0)


def test_none_changes_nothing():
    """And needs no data, as the automatic choice without any."""
    ends = networks(2)
    middle = lmc.average(ends)
    for method in ("none", "auto"):
        repair = lmc.Repair(GRAPH, ends, None, method)
        assert repair.method == "none" and repair.layers == ()
        found = repair(middle, 0.5)
        assert all(torch.equal(found[name], value) for name, value in middle.items())


def test_what_cannot_be_is_refused():
    """An unknown method, and one without its data."""
    with pytest.raises(ValueError, match="unknown renormalization 'fix': choose auto"):
        lmc.Repair(GRAPH, networks(2), BATCHES, "fix")
    with pytest.raises(ValueError, match="rescale takes statistics on data: give"):
        lmc.Repair(GRAPH, networks(2), None, "rescale")
