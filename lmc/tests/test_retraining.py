"""Retraining, against explicit steps of SGD."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmc import retraining
from lmc.interpolation import evaluate
from lmc.models import MLP, VGG
from lmc.retraining import Retraining, retrain
from lmc.tests.networks import normal, randomized


def data(seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Batches of a problem that a linear network solves."""
    x = normal(48, 4, seed=seed)
    return list(zip(x.split(8), x[:, :3].argmax(1).split(8), strict=True))


def start() -> tuple[nn.Module, dict[str, Tensor]]:
    """A float64 network and random parameters for it."""
    model = randomized(MLP((4, 8, 3))).double()
    state = {n: v.clone() for n, v in randomized(model, 30).state_dict().items()}
    return randomized(model, 90), state


def run(**options) -> Retraining:
    """Retrain with options in place of the defaults of these tests."""
    model, state = start()
    own = {"evaluate_on": data(), "until": 90.0, "max_steps": 100, "lr": 0.05}
    batches = options.pop("batches", data())
    return retrain(model, state, batches, **{**own, **options})


def accuracy(parameters: dict[str, Tensor]) -> float:
    """Percent of right predictions, from matrix products."""
    right = 0
    for x, y in data():
        hidden = (x @ parameters["1.weight"].T + parameters["1.bias"]).clamp(min=0)
        logits = hidden @ parameters["3.weight"].T + parameters["3.bias"]
        right += int((logits.argmax(1) == y).sum())
    return 100 * right / 48


def test_steps_are_those_of_sgd():
    """Momentum and weight decay written out give the same network and count."""
    found = run(momentum=0.8, weight_decay=0.01, every=5)
    _, parameters = start()
    velocity: dict[str, Tensor] = {}
    scores = [(0, accuracy(parameters))]
    step = 0
    while scores[-1][1] < 90:
        x, y = data()[step % 6]
        own = {n: v.detach().clone().requires_grad_() for n, v in parameters.items()}
        hidden = (x @ own["1.weight"].T + own["1.bias"]).clamp(min=0)
        logits = hidden @ own["3.weight"].T + own["3.bias"]
        F.nll_loss(logits.log_softmax(1), y).backward()
        for name, value in own.items():
            gradient = value.grad + 0.01 * parameters[name]
            velocity[name] = 0.8 * velocity.get(name, 0 * gradient) + gradient
            parameters[name] = parameters[name] - 0.05 * velocity[name]
        step += 1
        if step % 5 == 0:
            scores.append((step, accuracy(parameters)))
    assert step > 10
    assert found.steps == step
    assert [(score.step, score.train.accuracy) for score in found.curve] == scores
    for name, value in parameters.items():
        torch.testing.assert_close(found.state[name], value)


def test_reached_at_once_takes_no_step():
    """A network that has the accuracy already is returned as it is."""
    state = run().state
    found = retrain(
        start()[0], state, data(), until=90, evaluate_on=data(), max_steps=9
    )
    assert found.steps == 0 and len(found.curve) == 1
    assert all(torch.equal(found.state[name], state[name]) for name in state)


def test_never_reached_is_none():
    """The last step is scored even off the grid, and so is a run of no steps."""
    found = run(lr=0.0, weight_decay=0.0, every=4, max_steps=10)
    assert found.steps is None
    assert [score.step for score in found.curve] == [0, 4, 8, 10]
    assert run(max_steps=0).steps is None


def test_test_batches_are_scored_beside():
    """They change nothing, and stop nothing."""
    found, without = run(test=data(1)), run()
    assert found.steps == without.steps
    assert all(score.test is not None for score in found.curve)
    assert all(score.test is None for score in without.curve)
    assert [score.train for score in found.curve] == [s.train for s in without.curve]
    assert found.curve[-1].test != found.curve[-1].train


@pytest.mark.parametrize("until", [20.0, 50.0, 75.0, 87.5, 95.0, 100.0])
def test_without_a_curve_steps_are_the_same(until, monkeypatch):
    """And fewer batches are looked at, as most scores are told by the first ones."""
    seen = []
    whole = evaluate

    def counted(model, state, batches):
        seen.append(len(batches))
        return whole(model, state, batches)

    monkeypatch.setattr(retraining, "evaluate", counted)
    kept = run(until=until, every=1)
    all_of_them = sum(seen)
    seen.clear()
    found = run(until=until, every=1, curve=False)
    assert (found.steps, found.curve) == (kept.steps, ())
    assert all(torch.equal(found.state[n], value) for n, value in kept.state.items())
    assert sum(seen) < all_of_them or until <= 50
    with pytest.raises(ValueError, match="no samples to score: give at least one"):
        run(evaluate_on=[], curve=False)


def test_same_batches_same_result():
    """Two runs agree bit by bit; the model and the state are left alone."""
    model, state = start()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kept = {name: value.clone() for name, value in state.items()}
    options = {"until": 90, "evaluate_on": data(), "max_steps": 20}
    one, two = (retrain(model, state, data(), **options) for _ in range(2))
    assert all(torch.equal(one.state[name], two.state[name]) for name in one.state)
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) and torch.equal(state[name], kept[name])


def test_train_mode_comes_back_after_each_score():
    """BatchNorm's statistics move in every step, however often the network is scored.

    In evaluation mode they would stand still from the first score on.
    """
    model = randomized(VGG((3,), 3, norm="bn")).double()
    images = [(normal(4, 1, 4, 4, seed=s), torch.arange(4) % 3) for s in range(3)]
    options = {"until": 100, "evaluate_on": images, "max_steps": 9, "lr": 1e-9}
    often, rarely = (
        retrain(model, model.state_dict(), images, every=every, **options)
        for every in (1, 9)
    )
    count = "features.1.num_batches_tracked"
    assert often.state[count] - model.state_dict()[count] == 9
    mean = "features.1.running_mean"
    assert torch.equal(often.state[mean], rarely.state[mean])
    assert not torch.equal(often.state[mean], model.state_dict()[mean])


def test_batches_of_each_epoch():
    """A function of the epoch is asked for one epoch after the other, no further."""
    asked = []

    def epoch(number: int) -> list[tuple[Tensor, Tensor]]:
        asked.append(number)
        return data()[:2]

    run(batches=epoch, lr=0.0, max_steps=5)
    assert asked == [0, 1, 2]


def test_several_inputs_come_as_a_tuple():
    """A model of two inputs is trained like one of one."""

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.layer(x + y)

    model = randomized(Two()).double()
    pairs = [((x, x), y) for x, y in data()]
    found = retrain(
        model, model.state_dict(), pairs, until=80, evaluate_on=pairs, max_steps=500
    )
    assert found.steps is not None and found.steps > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"until": 0}, "until is an accuracy in percent, above 0, got 0"),
        ({"until": 101}, "until is an accuracy in percent, above 0, got 101"),
        ({"every": 0}, "every must be at least 1 and max_steps at least 0, got 0"),
        ({"max_steps": -1}, "at least 0, got 10 and -1"),
        ({"batches": []}, "epoch 0 has no batches: give a list or a data loader"),
        ({"batches": iter(data()), "lr": 0.0}, "epoch 1 has no batches: give a list"),
        ({"evaluate_on": []}, "no samples: give at least one batch"),
    ],
)
def test_refusals(options, message):
    """Each says what is wrong and what to do."""
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_incomplete_state_is_refused():
    """The missing tensor is named."""
    model, state = start()
    del state["1.bias"]
    with pytest.raises(ValueError, match=r"lacks \['1.bias'\]: pass a whole model"):
        retrain(model, state, data(), until=90, evaluate_on=data(), max_steps=1)
