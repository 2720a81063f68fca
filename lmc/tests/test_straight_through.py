"""The straight-through estimator on a network small enough to try everything."""

from itertools import permutations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import lmc
from lmc.matching import straight_through
from lmc.models import MLP
from lmc.permutation import Permutation
from lmc.tests.networks import normal, precise

MODEL = precise(MLP((3, 4, 2)))
SYMMETRY = lmc.discover(MODEL, normal(2, 3))


def generator() -> torch.Generator:
    """A source of random numbers."""
    return torch.Generator().manual_seed(0)


def problem(seed: int):
    """Two networks and data that the first one labels."""
    a, b = (precise(MLP((3, 4, 2)), s).state_dict() for s in (seed, seed + 50))
    a, b = ({n: 3 * v.clone() for n, v in s.items()} for s in (a, b))
    x = normal(64, 3, seed=seed)
    y = logits(a, x).argmax(1)
    return a, b, [(x[:32], y[:32]), (x[32:], y[32:])]


def logits(state, x):
    """The network by hand."""
    hidden = (x @ state["1.weight"].T + state["1.bias"]).clamp(min=0)
    return hidden @ state["3.weight"].T + state["3.bias"]


def midpoint_loss(a, b, batches) -> float:
    """Mean loss of the midpoint, by hand."""
    middle = {name: (a[name] + b[name]) / 2 for name in a}
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return float(F.cross_entropy(logits(middle, x), y))


def all_losses(a, b, batches) -> list[float]:
    """The midpoint's loss under every permutation, sorted."""
    orders = (torch.tensor(order) for order in permutations(range(4)))
    return sorted(
        midpoint_loss(a, Permutation(SYMMETRY, {"1": order}).apply(b), batches)
        for order in orders
    )


@pytest.mark.parametrize("seed", range(4))
def test_loss_found_is_among_the_best(seed):
    """Of 24 permutations one of the best eight, no worse than weight matching."""
    a, b, batches = problem(seed)
    found = straight_through(
        SYMMETRY, a, b, batches, generator=generator(), lr=0.3, epochs=20
    )
    loss = midpoint_loss(a, found.permutation.apply(b), batches)
    assert -found.objective == pytest.approx(loss, rel=1e-12)
    assert loss <= all_losses(a, b, batches)[7] + 1e-12
    matched = lmc.weight_matching(SYMMETRY, a, b, generator=generator())
    weights = midpoint_loss(a, matched.permutation.apply(b), batches)
    assert -found.history[0] == pytest.approx(weights, rel=1e-12)
    assert loss <= weights + 1e-12
    assert len(found.history) == 21 and found.objective == max(found.history)


def test_gradient_reaches_the_projection():
    """Without any learning rate the projection stays where weight matching put it."""
    a, b, batches = problem(1)
    still = straight_through(
        SYMMETRY, a, b, batches, generator=generator(), lr=0.0, epochs=3
    )
    assert len(set(still.history)) == 1
    moving = straight_through(
        SYMMETRY, a, b, batches, generator=generator(), lr=0.5, epochs=10
    )
    assert len(set(moving.history)) > 1


def test_start_from_b():
    """The first projection is the identity, and descent gets away from it."""
    gains = []
    for seed in range(4):
        a, b, batches = problem(seed)
        found = straight_through(
            SYMMETRY,
            a,
            b,
            batches,
            generator=generator(),
            lr=0.3,
            epochs=20,
            start="b",
        )
        bare = midpoint_loss(a, b, batches)
        loss = midpoint_loss(a, found.permutation.apply(b), batches)
        assert -found.history[0] == pytest.approx(bare, rel=1e-12)
        assert -found.objective == pytest.approx(loss, rel=1e-12)
        gains.append(bare - loss)
    assert min(gains) >= 0 and max(gains) > 0


def test_start_from_b_needs_the_loss():
    """Without any learning rate B stays as it is, near as a permuted copy may be."""
    a, _, batches = problem(0)
    shuffled = Permutation(SYMMETRY, {"1": torch.tensor([2, 3, 1, 0])}).apply(a)
    for start, order in (("a", [3, 2, 0, 1]), ("b", [0, 1, 2, 3])):
        found = straight_through(
            SYMMETRY,
            a,
            shuffled,
            batches,
            generator=generator(),
            lr=0.0,
            epochs=1,
            start=start,
        )
        assert found.permutation.indices["1"].tolist() == order


def test_buffers_of_b_come_with_its_start():
    """A mask over hidden units enters the projections, with the values of B."""
    model = precise(Masked())
    symmetry = lmc.discover(model, normal(2, 3))
    a, b = ({n: v.clone() for n, v in model.state_dict().items()} for _ in range(2))
    b["mask"] = 100 * b["mask"].flip(0)
    found = straight_through(
        symmetry,
        a,
        b,
        [(normal(8, 3), torch.zeros(8, dtype=torch.int64))],
        generator=generator(),
        lr=0.0,
        epochs=1,
        start="b",
    )
    [order] = found.permutation.indices.values()
    assert order.tolist() == [0, 1, 2, 3]


class Masked(nn.Module):
    """Four hidden units, each with a fixed factor."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)
        self.register_buffer("mask", torch.ones(4))

    def forward(self, x):
        """Map ``(N, 3)`` to ``(N, 2)``."""
        return self.last(torch.relu(self.first(x)) * self.mask)


def test_networks_are_left_alone():
    """Neither endpoint is changed by the descent."""
    a, b, batches = problem(0)
    before = [{n: v.clone() for n, v in state.items()} for state in (a, b)]
    straight_through(SYMMETRY, a, b, batches, generator=generator(), epochs=2)
    for state, old in zip((a, b), before, strict=True):
        assert all(torch.equal(state[name], old[name]) for name in old)


def test_bad_arguments_are_refused():
    """The messages say what is wrong."""
    a, b, batches = problem(0)
    with pytest.raises(ValueError, match="no batches: give a list"):
        straight_through(SYMMETRY, a, b, [], generator=generator())
    with pytest.raises(ValueError, match="unknown start 'c': choose 'a' or 'b'"):
        straight_through(SYMMETRY, a, b, batches, generator=generator(), start="c")
    with pytest.raises(ValueError, match="the loss is not finite"):
        straight_through(
            SYMMETRY,
            a,
            b,
            batches,
            generator=generator(),
            loss=lambda outputs, targets: outputs.sum() * torch.inf,
        )


def test_descent_that_diverges_is_refused():
    """A loss that is finite between A and the first projection, and then is not."""
    a, b, batches = problem(0)

    def loss(outputs, targets):
        return F.cross_entropy(outputs, targets) / (not torch.is_grad_enabled())

    with pytest.raises(ValueError, match="the loss is not finite: one of the networks"):
        straight_through(SYMMETRY, a, b, batches, generator=generator(), loss=loss)


@pytest.mark.parametrize("start", ["a", "b"])
def test_each_projection_is_a_weight_matching(start):
    """The same as by a whole weight matching after every step, to the last bit."""
    sizes = 3, 8, 8, 2
    model = precise(MLP(sizes))
    symmetry = lmc.discover(model, normal(2, 3))
    a, b = (
        {name: 3 * v for name, v in precise(MLP(sizes), seed).state_dict().items()}
        for seed in (1, 2)
    )
    x = normal(64, 3)
    batches = [(part, symmetry.graph.run(a, part).argmax(1)) for part in x.split(16)]
    own, source = {"a": a, "b": b}[start], generator()
    auxiliary = {name: value.clone() for name, value in own.items()}
    optimizer = torch.optim.Adam(auxiliary.values(), lr=0.3)
    here = Permutation.identity(symmetry)
    seen = []

    def project():
        found = lmc.weight_matching(
            symmetry, auxiliary, b, generator=source, start=here
        )
        seen.append(found.permutation)
        return seen[-1]

    def mean_loss(middle):
        values = [
            len(targets)
            * float(F.cross_entropy(symmetry.graph.run(middle, inputs), targets))
            for inputs, targets in batches
        ]
        return sum(values) / len(x)

    here = project()
    losses = [mean_loss(lmc.interpolate(a, here.apply(b), 0.5))]
    for _ in range(5):
        for inputs, targets in batches:
            middle = lmc.interpolate(a, here.apply(b), 0.5)
            leaves = {n: v.requires_grad_() for n, v in middle.items()}
            F.cross_entropy(symmetry.graph.run(leaves, inputs), targets).backward()
            for name, value in auxiliary.items():
                value.grad = leaves[name].grad / 2
            optimizer.step()
            here = project()
        losses.append(mean_loss(lmc.interpolate(a, here.apply(b), 0.5)))
    assert not torch.equal(seen[0].indices["3"], seen[-1].indices["3"])
    found = straight_through(
        symmetry, a, b, batches, generator=generator(), start=start, lr=0.3, epochs=5
    )
    assert found.history == tuple(-loss for loss in losses)
    best = seen[4 * found.history.index(found.objective)]
    assert all(
        torch.equal(best.indices[n], p) for n, p in found.permutation.indices.items()
    )


@pytest.mark.parametrize("start", ["a", "b"])
def test_other_state_dicts_are_refused(start):
    """Whichever of the two does not fit, and wherever the descent starts."""
    a, b, batches = problem(0)
    for pair in (({}, b), (a, {}), ({**a, "w": a["1.bias"]}, b)):
        with pytest.raises(ValueError, match="not a state dict of this model: missing"):
            straight_through(
                SYMMETRY, *pair, batches, generator=generator(), start=start
            )


def test_gradients_are_taken_where_the_caller_takes_none():
    """Inside ``torch.no_grad()`` the same is found, and no graph is kept."""
    a, b, batches = problem(1)

    def found():
        return straight_through(
            SYMMETRY, a, b, batches, generator=generator(), lr=0.5, epochs=3
        )

    with torch.no_grad():
        inside = found()
        assert not torch.is_grad_enabled()
    assert inside.history == found().history


def test_networks_in_half_precision():
    """Adam's squares would be none in float16, and its steps not finite."""
    a, b, batches = problem(0)
    half = [{n: v.half() for n, v in state.items()} for state in (a, b)]
    given = [(x.half(), y) for x, y in batches]
    found = straight_through(
        SYMMETRY, *half, given, generator=generator(), lr=0.3, epochs=20
    )
    loss = midpoint_loss(a, found.permutation.apply(b), batches)
    assert loss <= all_losses(a, b, batches)[7] + 1e-3


def test_batches_without_samples_are_nothing():
    a, b, batches = problem(0)
    none = batches[0][0][:0], batches[0][1][:0]
    full, sparse = (
        straight_through(SYMMETRY, a, b, given, generator=generator(), epochs=3)
        for given in (batches, [none, *batches, none])
    )
    assert sparse.history == full.history
