"""Two networks run in lockstep, and nothing is kept that is not looked at."""

import weakref

import pytest
import torch

from lmc.graph import trace
from lmc.models import MLP
from lmc.observing import observe_both
from lmc.tests.networks import normal, precise

X = normal(6, 3)
MODEL = precise(MLP((3, 5, 4, 4, 2)))
GRAPH = trace(MODEL, X)
NODES = sorted(GRAPH.nonlinearities)


def networks():
    """Two networks of the architecture."""
    return [precise(MLP((3, 5, 4, 4, 2)), seed).state_dict() for seed in (1, 9)]


def hidden(state, x):
    """The activations of an MLP, layer by layer."""
    for layer in ("1", "3", "5"):
        x = torch.relu(x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"])
        yield x


def test_pairs_of_outputs_of_each_batch():
    """In the order of execution, A's before B's, without gradients."""
    a, b = networks()
    batches = [(X[:4], None), (X[4:], None)]
    found = list(observe_both(GRAPH, a, b, batches, NODES))
    expected = [
        pair
        for x, _ in batches
        for pair in zip(hidden(a, x), hidden(b, x), strict=True)
    ]
    assert len({name for name, *_ in found}) == 3
    for (_, *own), pair in zip(found, expected, strict=True):
        for one, other in zip(own, pair, strict=True):
            torch.testing.assert_close(one, other)
            assert not one.requires_grad
    assert torch.is_grad_enabled()


def test_outputs_are_gone_when_the_next_come():
    """So that memory does not grow with the depth of the network."""
    a, b = networks()
    gone = []
    for _, *outputs in observe_both(GRAPH, a, b, [X], NODES):
        assert all(before() is None for before in gone[:-2])
        gone += [weakref.ref(output) for output in outputs]
        del outputs
    assert len(gone) == 6


def test_nothing_runs_behind_the_last():
    """A layer there that would fail doesn't."""
    a, b = ({**state, "7.weight": torch.zeros(1, 1).double()} for state in networks())
    assert len(list(observe_both(GRAPH, a, b, [X], NODES))) == 3
    with pytest.raises(RuntimeError):
        GRAPH.run(a, X)


def test_steps_of_a_model_that_changes_values_in_place():
    """An output is seen as it is when its operation has run."""

    class InPlace(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 3)

        def forward(self, x):
            y = torch.tanh(self.layer(x))
            return y.mul_(0) + 1

    model = precise(InPlace())
    graph = trace(model, X)
    [name] = graph.nonlinearities
    [(_, value)] = [
        (n, v.clone()) for n, v in graph.steps(model.state_dict(), X, nodes=[name])
    ]
    torch.testing.assert_close(value, torch.tanh(model.layer(X)))


@pytest.mark.parametrize("batches", [[], [(X[:0], None)]])
def test_no_samples_are_refused(batches):
    """No batch, or none with a sample."""
    with pytest.raises(ValueError, match="no samples: give at least one pair"):
        list(observe_both(GRAPH, *networks(), batches, NODES))


def test_unknown_operations_are_refused():
    """As by `Graph.run`."""
    with pytest.raises(ValueError, match=r"the graph has no nodes \['nothing'\]"):
        list(observe_both(GRAPH, *networks(), [X], ["nothing"]))
