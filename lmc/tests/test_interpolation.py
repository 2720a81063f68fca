"""Lines between networks and barriers, by hand and against numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from lmc import (
    LAMBDAS,
    Curve,
    average,
    barrier,
    curve,
    deviations,
    evaluate,
    interpolate,
)
from lmc.models import MLP, VGG
from lmc.tests.networks import normal, precise, randomized


def test_barrier_is_measured_from_the_line_between_the_endpoints():
    """Losses 1, 4, 3: the line is at 2 in the middle, so the barrier is 2."""
    assert barrier((0, 0.5, 1), (1.0, 4.0, 3.0)) == 2.0


def test_barrier_is_the_largest_rise_wherever_it_is():
    """Losses 1, 5, 5, 5, 9 over the line 1, 3, 5, 7, 9: the barrier is 2 at 0.25."""
    assert deviations((0, 0.25, 0.5, 0.75, 1), (1.0, 5.0, 5.0, 5.0, 9.0)) == [
        0,
        2,
        0,
        -2,
        0,
    ]
    assert barrier((0, 0.25, 0.5, 0.75, 1), (1.0, 5.0, 5.0, 5.0, 9.0)) == 2.0


def test_uneven_lambdas_have_an_uneven_line():
    """At lambda 0.2 the line from 0 to 10 is at 2."""
    assert barrier((0, 0.2, 1), (0.0, 5.0, 10.0)) == 3.0


@pytest.mark.parametrize("values", [(1.0, 2.0, 3.0), (3.0, 1.0, 2.0)])
def test_no_rise_is_a_barrier_of_zero(values):
    """A straight or sagging loss has no barrier, and none below zero."""
    assert barrier((0, 0.5, 1), values) == 0.0


def test_loss_rises_and_accuracy_falls():
    """Loss 0.1, 2.3, 0.3: 2.1 nats.  Accuracy 90, 50, 70 percent: 30 points."""
    found = Curve((0.0, 0.5, 1.0), (0.1, 2.3, 0.3), (90.0, 50.0, 70.0))
    assert found.loss_barrier == pytest.approx(2.1)
    assert found.accuracy_barrier == 30.0


def test_better_in_the_middle_is_no_barrier():
    """Neither a lower loss nor a higher accuracy counts."""
    found = Curve((0.0, 0.5, 1.0), (1.0, 0.2, 1.5), (60.0, 95.0, 70.0))
    assert found.loss_barrier == 0.0 and found.accuracy_barrier == 0.0


@pytest.mark.parametrize(
    ("lambdas", "values", "message"),
    [
        ((0, 0.5, 1), (1.0, 2.0), "3 lambdas but 2 values"),
        ((0, 0.5), (1.0, 2.0), r"both endpoints: lambdas from 0 to 1, got \(0, 0.5\)"),
        ((0.5, 1), (1.0, 2.0), "both endpoints"),
        ((0,), (1.0,), "both endpoints"),
        ((), (), "both endpoints"),
        ((0, 0.5, 1), (1.0, float("nan"), 2.0), "finite values, got .*nan"),
        ((0, 0.5, 1), (1.0, 2.0, float("inf")), "finite values, got .*inf"),
    ],
)
def test_what_has_no_barrier_is_refused(lambdas, values, message):
    """Missing endpoints, other lengths and diverged losses are errors."""
    with pytest.raises(ValueError, match=message):
        barrier(lambdas, values)
    with pytest.raises(ValueError, match=message):
        deviations(lambdas, values)


def test_lambdas_are_eleven_tenths():
    """The curve of the paper: 0, 0.1, ..., 1."""
    assert list(LAMBDAS) == [round(0.1 * index, 1) for index in range(11)]


def test_interpolate_by_hand():
    """A quarter of the way from (0, 8) to (4, 0) is (1, 6), buffers alike."""
    a = {"w": torch.tensor([0.0, 8.0]), "running_var": torch.tensor([1.0])}
    b = {"w": torch.tensor([4.0, 0.0]), "running_var": torch.tensor([5.0])}
    point = interpolate(a, b, 0.25)
    assert point["w"].tolist() == [1.0, 6.0] and point["running_var"].tolist() == [2.0]


def test_counts_are_taken_from_the_first_network():
    """An integer buffer is a's, in a tensor of its own."""
    a, b = {"n": torch.tensor(3)}, {"n": torch.tensor(9)}
    point = interpolate(a, b, 0.9)
    assert point["n"].dtype == torch.int64 and int(point["n"]) == 3
    point["n"] += 1
    assert int(a["n"]) == 3


def test_the_sum_is_formed_in_float64():
    """Each value is the float64 sum rounded once, in the dtype of a."""
    a, b = normal(1000).float(), normal(1000, seed=1).float()
    point = interpolate({"w": a}, {"w": b}, 0.3)["w"]
    exact = (1 - 0.3) * a.numpy().astype(np.float64) + 0.3 * b.numpy().astype(
        np.float64
    )
    assert point.dtype == torch.float32
    np.testing.assert_array_equal(point.numpy(), exact.astype(np.float32))
    assert not torch.equal(point, (1 - 0.3) * a + 0.3 * b)  # float32 would differ


@pytest.mark.parametrize(("lam", "end"), [(0.0, 0), (1.0, 1)])
def test_endpoints_are_the_networks(lam, end):
    """Lambda 0 gives a, 1 gives b, in new tensors."""
    ends = {"w": normal(5).float()}, {"w": normal(5, seed=1).float()}
    point = interpolate(*ends, lam)
    assert torch.equal(point["w"], ends[end]["w"])
    point["w"].zero_()
    assert ends[end]["w"].abs().sum() > 0


def test_interpolate_refuses_other_tensors():
    """The names in one network only are listed."""
    a, b = {"w": torch.zeros(1)}, {"w": torch.zeros(1), "v": torch.zeros(1)}
    for pair in ((a, b), (b, a)):
        with pytest.raises(ValueError, match=r"one architecture .* only: \['v'\]"):
            interpolate(*pair, 0.5)


def test_interpolate_refuses_other_shapes():
    """Broadcasting would make up a network."""
    message = r"w has shape \(2,\) in one network and \(1,\) in the other"
    with pytest.raises(ValueError, match=message):
        interpolate({"w": torch.zeros(2)}, {"w": torch.zeros(1)}, 0.5)


def batches(*counts: int) -> list:
    """Batches of random inputs and targets of 3 classes."""
    return [(normal(n, 4, seed=n).float(), torch.arange(n) % 3) for n in counts]


def by_hand(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Mean cross-entropy and accuracy in percent over all samples at once."""
    exponentials = np.exp(logits)
    chosen = exponentials[np.arange(len(targets)), targets] / exponentials.sum(1)
    right = logits.argmax(1) == targets
    return -np.log(chosen).mean(), 100 * right.mean()


def test_evaluation_is_over_samples_whatever_the_batches():
    """Unequal batches of 7, 2 and 1 count sample by sample."""
    model, data = randomized(MLP((4, 6, 3))), batches(7, 2, 1)
    with torch.no_grad():
        logits = torch.cat([model(x) for x, _ in data]).double().numpy()
    loss, accuracy = by_hand(logits, torch.cat([y for _, y in data]).numpy())
    found = evaluate(model, model.state_dict(), data)
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert found.accuracy == pytest.approx(accuracy, rel=1e-12)


def test_evaluation_is_of_the_state_and_leaves_the_model_alone():
    """The tensors passed are used, and the model keeps its own."""
    model, other = randomized(MLP((4, 6, 3))), randomized(MLP((4, 6, 3)), seed=9)
    before, data = model.state_dict()["1.weight"].clone(), batches(9)
    found = evaluate(model, other.state_dict(), data)
    assert found == evaluate(other, other.state_dict(), data)
    assert found != evaluate(model, model.state_dict(), data)
    assert torch.equal(model.state_dict()["1.weight"], before)


def test_evaluation_of_a_model_with_two_inputs():
    """A tuple of inputs is passed as several arguments."""

    class Scaled(MLP):
        def forward(self, x, scale):
            return super().forward(x * scale)

    model, (x, y) = randomized(Scaled((4, 3))), batches(6)[0]
    plain = randomized(MLP((4, 3)))
    two = evaluate(model, model.state_dict(), [((x, torch.tensor(3.0)), y)])
    assert two == evaluate(plain, plain.state_dict(), [(3 * x, y)])


def test_evaluation_of_tied_weights():
    """A tensor with two names is evaluated, with the values of the state dict."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again = nn.Linear(4, 4), nn.Linear(4, 4)
            self.again.weight = self.first.weight

        def forward(self, x):
            return self.again(self.first(x))

    model, other, data = randomized(Tied()), randomized(Tied(), seed=9), batches(5)
    found = evaluate(model, other.state_dict(), data)
    loss, _ = by_hand(other(data[0][0]).detach().double().numpy(), data[0][1].numpy())
    assert found.loss == pytest.approx(loss, rel=1e-6)


def test_evaluation_leaves_a_module_with_two_names_alone():
    """Its tensors are put in place twice, and must be taken out again."""

    class TwoNames(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.again = self.first

        def forward(self, x):
            return self.again(self.first(x))

    model, other, data = randomized(TwoNames()), randomized(TwoNames(), 9), batches(5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = evaluate(model, other.state_dict(), data)
    loss, _ = by_hand(other(data[0][0]).detach().double().numpy(), data[0][1].numpy())
    assert found.loss == pytest.approx(loss, rel=1e-6)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_evaluation_refuses_train_mode():
    """BatchNorm would use the batch, and dropout drop units."""
    model = VGG((4,), norm="bn")
    with pytest.raises(ValueError, match=r"train mode: call model.eval\(\) first"):
        evaluate(model, model.state_dict(), batches(2))


def test_evaluation_refuses_train_mode_of_a_part():
    """A BatchNorm left in train mode would change the state dict that is measured."""
    model = VGG((4,), norm="bn").eval()
    model.features[1].train()
    state, x = model.state_dict(), torch.ones(4, 1, 4, 4)
    with pytest.raises(ValueError, match=r"train mode: call model.eval\(\) first"):
        evaluate(model, state, [(x, torch.zeros(4, dtype=torch.int64))])
    assert not state["features.1.running_mean"].any()


def test_evaluation_refuses_an_incomplete_state():
    """The model's own tensors must not stand in for missing ones."""
    model = MLP((4, 3)).eval()
    with pytest.raises(ValueError, match=r"lacks \['1.weight'\].*state_dict\(\)"):
        evaluate(model, {"1.bias": torch.zeros(3)}, batches(2))


def test_evaluation_needs_samples():
    """No batch is an error, not a loss of zero or nan."""
    model = MLP((4, 3)).eval()
    with pytest.raises(ValueError, match="no samples: give at least one batch"):
        evaluate(model, model.state_dict(), [])


def test_evaluation_refuses_what_are_no_logits():
    """Maps of logits, a dict and too few samples: no accuracy is made up from them."""
    maps, (x, y) = nn.Conv2d(1, 3, 1).eval(), batches(6)[0]
    pixels = torch.zeros(2, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"return logits .*, got \(2, 3, 4, 4\) for 2"):
        evaluate(maps, maps.state_dict(), [(torch.zeros(2, 1, 4, 4), pixels)])

    class Named(MLP):
        def forward(self, x):
            return {"logits": super().forward(x)}

    named = randomized(Named((4, 3)))
    with pytest.raises(ValueError, match=r"must return logits .*, got dict for 6"):
        evaluate(named, named.state_dict(), [(x, y)])
    plain = randomized(MLP((4, 3)))
    with pytest.raises(ValueError, match=r"got \(6, 3\) for 5 samples"):
        evaluate(plain, plain.state_dict(), [(x, y[:5])])


def test_curve_evaluates_each_point_of_the_line():
    """Points are the evaluations of the interpolated networks, in order."""
    model, data = randomized(MLP((4, 6, 3))), batches(8, 3)
    a, b = (randomized(MLP((4, 6, 3)), seed).state_dict() for seed in (1, 2))
    lambdas = (0.0, 0.3, 1.0)
    found = curve(model, a, b, data, lambdas=lambdas)
    middle = {name: 0.7 * a[name] + 0.3 * b[name] for name in a}
    points = [evaluate(model, state, data) for state in (a, middle, b)]
    assert found.lambdas == lambdas
    assert found.loss == pytest.approx([point.loss for point in points], rel=1e-6)
    assert found.accuracy == tuple(point.accuracy for point in points)
    assert curve(model, a, b, data).lambdas == LAMBDAS


def test_repair_is_applied_between_the_endpoints_only():
    """The callback gets the interpolated network and lambda; its result is measured."""
    model, data, seen = randomized(MLP((4, 3))), batches(6), []
    a, b = (randomized(MLP((4, 3)), seed).state_dict() for seed in (1, 2))

    def repair(state, lam):
        seen.append((lam, state["1.bias"]))
        return {name: torch.zeros_like(tensor) for name, tensor in state.items()}

    found = curve(model, a, b, data, lambdas=(0.0, 0.25, 1.0), repair=repair)
    [(lam, bias)] = seen
    assert lam == 0.25
    torch.testing.assert_close(bias, 0.75 * a["1.bias"] + 0.25 * b["1.bias"])
    assert found.loss[1] == pytest.approx(np.log(3))
    assert found.loss[0] == evaluate(model, a, data).loss
    assert found.loss[2] == evaluate(model, b, data).loss


def test_average_is_the_weighted_sum():
    """Three networks by hand; dtype and integer tensors are the first one's."""
    states = [
        {"w": torch.tensor([value, 2 * value]).half(), "n": torch.tensor(int(value))}
        for value in (1.0, 2.0, 8.0)
    ]
    mean = average(states, [0.5, 0.25, 0.25])
    assert mean["w"].dtype == torch.float16
    assert mean["w"].tolist() == [3.0, 6.0] and mean["n"] == 1
    assert mean["n"] is not states[0]["n"]


def test_complex_tensors_are_interpolated_and_averaged():
    """Real and imaginary parts, in complex128."""
    a = {"w": torch.tensor([1 + 2j], dtype=torch.complex64)}
    b = {"w": torch.tensor([3 - 2j], dtype=torch.complex64)}
    for point in (interpolate(a, b, 0.25), average([a, b], [0.75, 0.25])):
        assert torch.equal(point["w"], torch.tensor([1.5 + 1j], dtype=torch.complex64))


def test_average_takes_the_weights_of_a_softmax():
    """Their sum is 1 as far as float32 has it."""
    weights = torch.zeros(7).softmax(0)
    assert abs(sum(weights.tolist()) - 1) > 1e-8
    mean = average(
        [{"w": torch.tensor([float(n)])} for n in range(7)], weights.tolist()
    )
    torch.testing.assert_close(mean["w"], (weights * torch.arange(7)).sum()[None])


def test_evaluation_needs_labels():
    """Inputs alone have no loss."""
    model = precise(MLP((4, 5, 3)))
    for batch in (normal(2, 4), (normal(2, 4), None)):
        with pytest.raises(ValueError, match="needs labels: give pairs of inputs and"):
            evaluate(model, model.state_dict(), [batch])


def test_average_of_two_is_the_midpoint():
    """Interpolation at one half."""
    a, b = {"w": normal(7)}, {"w": normal(7, seed=1)}
    torch.testing.assert_close(average([a, b])["w"], interpolate(a, b, 0.5)["w"])


@pytest.mark.parametrize(
    ("states", "weights", "message"),
    [
        ([], None, "nothing to average"),
        ([{"w": torch.zeros(1)}] * 2, [0.5, 0.6], "as many weights with sum 1"),
        ([{"w": torch.zeros(1)}] * 2, [1.0], "as many weights with sum 1"),
        ([{"w": torch.zeros(1)}, {"v": torch.zeros(1)}], None, "one architecture"),
        ([{"w": torch.zeros(1)}, {"w": torch.zeros(2)}], None, r"shape \(1,\) in one"),
    ],
)
def test_average_refuses_what_does_not_fit(states, weights, message):
    """Nothing, weights that do not sum to one, other names and other shapes."""
    with pytest.raises(ValueError, match=message):
        average(states, weights)


def test_a_function_is_evaluated_like_its_model():
    """What runs a state dict may stand in for the module."""
    model = precise(MLP((4, 5, 3)))
    batches = [(normal(20, 4), torch.arange(20) % 3)]
    state = model.state_dict()

    def run(tensors, x):
        hidden = (x @ tensors["1.weight"].T + tensors["1.bias"]).clamp(min=0)
        return hidden @ tensors["3.weight"].T + tensors["3.bias"]

    mine, its = evaluate(run, state, batches), evaluate(model, state, batches)
    assert mine.loss == pytest.approx(its.loss, rel=1e-12)
    assert mine.accuracy == its.accuracy
    one, other = (curve(m, state, state, batches) for m in (run, model))
    assert one.loss == pytest.approx(other.loss, rel=1e-12)
