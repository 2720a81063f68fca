"""Matching, against brute force over all permutations and correlations in numpy."""

from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lmc import (
    Matching,
    Permutation,
    Symmetry,
    activation_matching,
    discover,
    weight_matching,
)
from lmc.graph import State
from lmc.models import MLP, VGG, ResNet
from lmc.tests.networks import normal, randomized


@cache
def symmetry(kind: str) -> Symmetry:
    """Groups of a small network."""
    return discover(network(kind), torch.zeros(2, *SHAPES[kind]))


def network(kind: str, seed: int = 0) -> nn.Module:
    """A small network with random values in every tensor."""
    return randomized(MAKE[kind](), seed)


def state(kind: str, seed: int) -> dict[str, Tensor]:
    """The tensors of such a network in float64."""
    return {
        name: tensor.double() if tensor.is_floating_point() else tensor
        for name, tensor in network(kind, seed).state_dict().items()
    }


class Residual(nn.Module):
    """A residual stream whose units appear behind two nonlinearities."""

    def __init__(self):
        super().__init__()
        self.first, self.branch = nn.Linear(3, 5), nn.Linear(5, 5)
        self.last = nn.Linear(5, 2)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.last(torch.tanh(x + self.branch(x)))


class InPlace(nn.Module):
    """Changes its activations in place behind the nonlinearity."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x):
        hidden = F.relu(self.first(x))
        hidden += 10 * x.sum(1, keepdim=True)
        return self.last(hidden)


class Attention(nn.Module):
    """Three heads of two channels between inputs and outputs that are fixed."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(3, 6) for _ in range(3))
        self.o = nn.Linear(6, 3)

    def forward(self, x):
        heads = [
            layer(x).unflatten(-1, (3, 2)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        ]
        mixed = F.scaled_dot_product_attention(*heads)
        return self.o(mixed.transpose(1, 2).flatten(2))


class Grouped(nn.Module):
    """A convolution of three groups, with two channels in and two out in each."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.grouped = nn.Conv2d(6, 6, 1, groups=3)
        self.last = nn.Conv2d(6, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.grouped(F.relu(self.first(x)))))


class Concatenated(nn.Module):
    """Two layers whose units meet one nonlinearity, side by side."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 3), nn.Linear(3, 4)
        self.last = nn.Linear(7, 2)

    def forward(self, x):
        return self.last(F.relu(torch.cat([self.left(x), self.right(x)], 1)))


class Parameters(nn.Module):
    """Adds a sum over units that appear on no activation."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(5, 3))

    def forward(self, x):
        return x + self.table.sum(0)


MAKE = {
    "one": lambda: MLP((3, 5, 2)),
    "mlp": lambda: MLP((3, 4, 4, 2)),
    "norm": lambda: VGG((5,), 2, norm="bn"),
    "vgg": lambda: VGG((4, "M", 5), 3),
    "resnet": lambda: ResNet((4, 6), (1, 1), 3, norm="bn"),
    "residual": Residual,
    "in-place": InPlace,
    "parameters": Parameters,
    "attention": Attention,
    "grouped": Grouped,
    "concatenated": Concatenated,
}
IMAGE = (1, 4, 4)
SHAPES = (
    {kind: (3,) for kind in MAKE}
    | {kind: IMAGE for kind in ("norm", "vgg", "resnet", "grouped")}
    | {"attention": (4, 3)}
)


def match(
    kind: str, a: State, b: State, *, start="identity", seed=0, **options
) -> Matching:
    """Weight matching with a fixed order of the groups, from the identity."""
    generator = torch.Generator().manual_seed(seed)
    return weight_matching(
        symmetry(kind), a, b, generator=generator, start=start, **options
    )


def inner(a: State, b: State, names) -> float:
    """Inner product of two networks over some tensors, in numpy."""
    return sum(float(np.vdot(a[name].numpy(), b[name].numpy())) for name in names)


def squared_distance(a: State, b: State, names) -> float:
    """Squared Euclidean distance of two networks over some tensors, in numpy."""
    return sum(float(((a[n].numpy() - b[n].numpy()) ** 2).sum()) for n in names)


def one_layer(b: State, order, rows, columns) -> dict[str, Tensor]:
    """Permute a network with one hidden layer by hand."""
    index = torch.tensor(order)
    return {
        **b,
        **{name: b[name][index] for name in rows},
        **{name: b[name][:, index] for name in columns},
    }


ONE = (("1.weight", "1.bias"), ("3.weight",))


@pytest.mark.parametrize("seed", range(6))
def test_weight_matching_of_one_layer_is_the_best_of_all_permutations(seed):
    """All 120 permutations of 5 units; the objective is that inner product."""
    a, b = state("one", seed), state("one", seed + 100)
    scores = {
        order: inner(a, one_layer(b, order, *ONE), sum(ONE, ()))
        for order in permutations(range(5))
    }
    found = match("one", a, b)
    best = max(scores, key=scores.get)
    assert tuple(found.permutation.indices["1"].tolist()) == best
    assert found.objective == pytest.approx(scores[best], rel=1e-12)
    assert found.history[0] == pytest.approx(scores[tuple(range(5))], rel=1e-12)


PAIRS = list(product(permutations(range(2)), repeat=3))


def blocks(order, inside) -> torch.Tensor:
    """Positions of three blocks of two in an order, each with an order inside."""
    parts = zip(order, inside, strict=True)
    return torch.tensor([2 * block + unit for block, own in parts for unit in own])


def attention_by_hand(b: State, heads, qk, v) -> dict[str, Tensor]:
    """Permute heads, then queries with keys and values in each head."""
    permuted = dict(b)
    for name in ("q.weight", "q.bias", "k.weight", "k.bias"):
        permuted[name] = b[name][blocks(heads, qk)]
    for name in ("v.weight", "v.bias"):
        permuted[name] = b[name][blocks(heads, v)]
    permuted["o.weight"] = b["o.weight"][:, blocks(heads, v)]
    return permuted


@pytest.mark.parametrize("seed", range(3))
def test_weight_matching_of_attention_is_the_best_of_all_permutations(seed):
    """All 384 ways to permute heads, queries with keys, and values."""
    a, b = state("attention", seed), state("attention", seed + 100)
    scores = {
        choice: inner(a, attention_by_hand(b, *choice), set(a) - {"o.bias"})
        for choice in product(permutations(range(3)), PAIRS, PAIRS)
    }
    found = match("attention", a, b)
    best = max(scores, key=scores.get)
    assert found.objective == pytest.approx(scores[best], rel=1e-12)
    permuted, by_hand = found.permutation.apply(b), attention_by_hand(b, *best)
    assert all(torch.equal(permuted[name], by_hand[name]) for name in a)


def grouped_by_hand(b: State, order, before, after) -> dict[str, Tensor]:
    """Permute the groups of a convolution, and channels before and after it."""
    inner_after = blocks(order, after)
    weight = b["grouped.weight"][inner_after]
    weight = torch.stack(
        [weight[i, list(before[i // 2])] for i in range(6)]  # each group's own inputs
    )
    return {
        "first.weight": b["first.weight"][blocks(order, before)],
        "first.bias": b["first.bias"][blocks(order, before)],
        "grouped.weight": weight,
        "grouped.bias": b["grouped.bias"][inner_after],
        "last.weight": b["last.weight"][:, inner_after],
        "last.bias": b["last.bias"],
    }


@pytest.mark.parametrize("seed", range(3))
def test_no_group_of_a_grouped_convolution_could_be_matched_better(seed):
    """Given the others; the objective is the inner product of that permutation.

    The best of all 384 is reached from a network near a permuted copy.
    """
    a, b = state("grouped", seed), state("grouped", seed + 100)
    names = set(a) - {"last.bias"}
    every = {
        choice: grouped_by_hand(b, *choice)
        for choice in product(permutations(range(3)), PAIRS, PAIRS)
    }
    found = match("grouped", a, b)
    permuted = found.permutation.apply(b)
    (here,) = (
        choice
        for choice, by_hand in every.items()
        if all(torch.equal(by_hand[name], permuted[name]) for name in a)
    )
    assert found.objective == pytest.approx(inner(a, permuted, names), rel=1e-12)
    for choice, by_hand in every.items():
        if sum(mine != other for mine, other in zip(here, choice, strict=True)) == 1:
            assert inner(a, by_hand, names) <= found.objective * (1 + 1e-12)
    planted = list(every)[137]
    near = {
        name: value + 0.05 * normal(*value.shape, seed=seed)
        for name, value in grouped_by_hand(a, *planted).items()
    }
    best = max(
        inner(a, grouped_by_hand(near, *choice), names)
        for choice in product(permutations(range(3)), PAIRS, PAIRS)
    )
    found = match("grouped", a, near, start="forward")
    assert found.objective == pytest.approx(best, rel=1e-12)


def test_start_at_a_permutation():
    """The history begins with the objective of the start."""
    a, b = state("mlp", 0), state("mlp", 1)
    start = Permutation.random(symmetry("mlp"), torch.Generator().manual_seed(5))
    names = [name for name in a if name != "5.bias"]
    found = match("mlp", a, b, start=start)
    assert found.history[0] == pytest.approx(inner(a, start.apply(b), names), rel=1e-9)
    assert found.objective >= found.history[0]
    again = match("mlp", a, b, start=found.permutation)
    assert again.objective == pytest.approx(found.objective, rel=1e-12)
    for name, indices in found.permutation.indices.items():
        assert torch.equal(again.permutation.indices[name], indices)


@pytest.mark.parametrize("kind", ["mlp", "vgg", "resnet", "attention", "grouped"])
def test_forward_start_recovers_a_shuffled_copy(kind):
    """From the inputs on, every layer is recognized at once."""
    a = state(kind, 0)
    generator = torch.Generator().manual_seed(2)
    shuffled = Permutation.random(symmetry(kind), generator).apply(a)
    found = match(kind, a, shuffled, start="forward")
    recovered = found.permutation.apply(shuffled)
    assert all(torch.equal(recovered[name], value) for name, value in a.items())


@pytest.mark.parametrize("seed", [2, 7, 13])
def test_forward_start_ends_no_farther_than_the_network_is(seed):
    """A first layer that says nothing leads astray: then the identity is the start."""
    a = state("mlp", 10 * seed)
    first = {
        n: 0.3 * normal(*a[n].shape, seed=900 + seed) for n in ("1.weight", "1.bias")
    }
    b, names = {**a, **first}, [name for name in a if name != "5.bias"]
    found = match("mlp", a, b, start="forward")
    assert found.objective >= inner(a, b, names) * (1 - 1e-12)
    assert squared_distance(a, found.permutation.apply(b), names) <= (
        squared_distance(a, b, names) + 1e-12
    )


def apart(kind: str, a: State, b: State, starts: list[str]) -> list[Matching]:
    """One descent from each start, with the random numbers of one generator."""
    generator = torch.Generator().manual_seed(0)
    return [
        weight_matching(symmetry(kind), a, b, generator=generator, start=start)
        for start in starts
    ]


def test_restarts_return_the_best_of_the_descents():
    """Orders differ between descents; solves are those of all."""
    a, b = state("vgg", 3), state("vgg", 4)
    alone = apart("vgg", a, b, ["identity", "identity"])
    both = match("vgg", a, b, restarts=2)
    assert both.objective == max(found.objective for found in alone)
    assert both.solves == sum(found.solves for found in alone)


def test_the_default_is_the_better_of_two_descents():
    """Of those from the identity and forward; each is the better one somewhere."""
    better = set()
    for seed in (0, 6):
        a, b = state("resnet", seed), state("resnet", seed + 100)
        alone = apart("resnet", a, b, ["identity", "forward"])
        generator = torch.Generator().manual_seed(0)
        both = weight_matching(symmetry("resnet"), a, b, generator=generator)
        best = max(alone, key=lambda found: found.objective)
        assert both.objective == pytest.approx(best.objective, rel=1e-8)
        assert both.solves == sum(found.solves for found in alone)
        better |= {number for number, found in enumerate(alone) if found is best}
    assert better == {0, 1}


def test_a_forward_descent_no_better_than_the_other_is_not_taken():
    """From where nothing is to be gained nothing moves, equal units in other orders."""
    a = {name: torch.ones_like(tensor) for name, tensor in state("mlp", 0).items()}
    found = match("mlp", a, a, start="both")
    assert repr(found.permutation).endswith("0 of 8 units move")
    assert found.history == (found.objective,)


def test_costs_in_float32_give_an_objective_in_float64():
    """The permutation is as good, and its objective is exact."""
    a, b = state("resnet", 0), state("resnet", 1)
    fine, coarse = match("resnet", a, b), match("resnet", a, b, dtype=torch.float32)
    assert coarse.objective == pytest.approx(fine.objective, rel=1e-3)
    permuted = coarse.permutation.apply(b)
    sites = {s.name for g in symmetry("resnet").groups.values() for s in g.sites}
    names = [name for name in sites if "running" not in name]
    assert coarse.objective == pytest.approx(inner(a, permuted, names), rel=1e-12)


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"start": "backward"},
            "unknown start 'backward': choose 'both', 'identity' or",
        ),
        ({"restarts": 0}, "a number of descents, at least 1: got 0"),
        ({"dtype": torch.bfloat16}, "costs in torch.bfloat16 are too coarse"),
    ],
)
def test_weight_matching_refuses_options(options, message):
    """Each says what may be chosen."""
    a = state("mlp", 0)
    with pytest.raises(ValueError, match=message):
        match("mlp", a, a, **options)


def test_start_of_another_model_is_refused():
    """A permutation of other groups is no start."""
    other = Permutation.identity(symmetry("one"))
    a = state("mlp", 0)
    with pytest.raises(ValueError, match=r"exactly the groups of its symmetry"):
        match("mlp", a, a, start=other)


@pytest.mark.parametrize("buffers", [False, True])
def test_buffers_enter_the_objective_only_on_demand(buffers):
    """With BatchNorm: the best of all permutations with or without its statistics."""
    parameters = "features.0.weight features.0.bias features.1.weight features.1.bias"
    statistics = "features.1.running_mean features.1.running_var"
    rows = (parameters + " " + statistics).split()
    counted = [*(rows if buffers else parameters.split()), "classifier.weight"]
    for seed in range(10):
        a, b = state("norm", seed), state("norm", seed + 100)
        scores = {
            order: inner(a, one_layer(b, order, rows, ["classifier.weight"]), counted)
            for order in permutations(range(5))
        }
        found = match("norm", a, b, buffers=buffers)
        assert found.objective == pytest.approx(max(scores.values()), rel=1e-12)


class TwoNames(nn.Module):
    """A weight under two names, and a normalization under two names."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(3, 5), nn.Linear(3, 5)
        self.again.weight = self.first.weight
        self.norm = nn.BatchNorm1d(5)
        self.behind = nn.Sequential(self.norm, nn.ReLU())
        self.last = nn.Linear(5, 2)

    def forward(self, x):
        return self.last(self.behind(self.first(x)) + F.relu(self.again(x.flip(0))))


@pytest.mark.parametrize("buffers", [False, True])
def test_a_tensor_with_two_names_counts_once(buffers):
    """A tied weight, and statistics of a normalization that is registered twice."""
    rows = "first.weight first.bias again.bias norm.weight norm.bias".split()
    statistics = ["norm.running_mean", "norm.running_var"]
    counted = [*rows, *(statistics if buffers else []), "last.weight"]
    groups = discover(randomized(TwoNames()), torch.zeros(2, 3))
    assert "behind.0.running_mean" in {
        site.name for group in groups.groups.values() for site in group.sites
    }
    apart = 0
    for seed in range(10):
        a, b = (
            {
                name: tensor.double() if tensor.is_floating_point() else tensor
                for name, tensor in randomized(TwoNames(), s).state_dict().items()
            }
            for s in (seed, seed + 100)
        )
        moved = {
            order: one_layer(b, order, [*rows, *statistics], ["last.weight"])
            for order in permutations(range(5))
        }
        scores = {order: inner(a, moved[order], counted) for order in moved}
        found = weight_matching(
            groups, a, b, generator=torch.Generator().manual_seed(0), buffers=buffers
        )
        assert found.objective == pytest.approx(max(scores.values()), rel=1e-12)
        [indices] = found.permutation.indices.values()
        assert tuple(indices.tolist()) == max(scores, key=scores.__getitem__)
        twice = {
            order: score + inner(a, moved[order], ["first.weight"])
            for order, score in scores.items()
        }
        apart += max(twice, key=twice.__getitem__) != tuple(indices.tolist())
    assert apart > 0  # counted twice, another permutation would be the best


def test_running_means_alone_can_decide():
    """Units that differ in nothing else are told apart by buffers=True only."""
    a = {name: torch.ones_like(tensor) for name, tensor in state("norm", 0).items()}
    a["features.1.running_mean"] = torch.arange(5.0, dtype=torch.float64)
    b = {**a, "features.1.running_mean": a["features.1.running_mean"].flip(0)}
    blind, seeing = match("norm", a, b), match("norm", a, b, buffers=True)
    assert blind.permutation.indices["features.0"].tolist() == [0, 1, 2, 3, 4]
    assert seeing.permutation.indices["features.0"].tolist() == [4, 3, 2, 1, 0]


def test_biases_enter_unit_by_unit():
    """Units that differ in their biases only are matched by them."""
    a = {name: torch.ones_like(tensor) for name, tensor in state("one", 0).items()}
    a["1.bias"] = torch.arange(5.0, dtype=torch.float64)
    order = torch.tensor([3, 0, 4, 1, 2])
    b = {**a, "1.bias": a["1.bias"][order]}
    found = match("one", a, b).permutation
    assert torch.equal(found.apply(b)["1.bias"], a["1.bias"])
    assert found.indices["1"].tolist() == order.argsort().tolist()


@pytest.mark.parametrize("kind", ["mlp", "vgg", "resnet"])
@pytest.mark.parametrize("buffers", [False, True])
def test_weight_matching_never_grows_the_distance(kind, buffers):
    """||a - Pb||^2 = ||a||^2 + ||b||^2 - 2 objective, and the objective only rises."""
    for seed in range(3):
        a, b = state(kind, seed), state(kind, seed + 100)
        found = match(kind, a, b, buffers=buffers)
        names = {s.name for g in symmetry(kind).groups.values() for s in g.sites}
        if not buffers:
            names -= {name for name in names if "running" in name}
        moved = found.permutation.apply(b)
        before = squared_distance(a, b, names)
        distance = squared_distance(a, moved, names)
        squares = inner(a, a, names) + inner(b, b, names)
        assert distance == pytest.approx(squares - 2 * found.objective, rel=1e-10)
        assert found.objective == pytest.approx(inner(a, moved, names), rel=1e-10)
        assert distance < before
        assert np.all(np.diff(found.history) > 0)
        assert found.history[0] == pytest.approx(inner(a, b, names), rel=1e-10)
        assert found.history[-1] == found.objective


@pytest.mark.parametrize("seed", range(3))
def test_no_single_layer_could_be_matched_better(seed):
    """At the end, none of the 24 orders of either layer raises the objective."""
    a, b = state("mlp", seed), state("mlp", seed + 100)
    found = match("mlp", a, b)
    moved = found.permutation.apply(b)
    for name, following in (("1", "3"), ("3", "5")):
        sites = ((f"{name}.weight", f"{name}.bias"), (f"{following}.weight",))
        for order in permutations(range(4)):
            other = inner(a, one_layer(moved, order, *sites), list(a)[:-1])
            assert other <= found.objective + 1e-12


def test_a_layer_with_its_units_on_both_axes_never_grows_the_distance():
    """There the assignment is no optimum, and a step that loses is not taken."""

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.inner = nn.Linear(3, 5), nn.Linear(5, 5)
            self.last = nn.Linear(5, 2)

        def forward(self, x):
            x = F.relu(self.inner(F.relu(self.first(x))))
            return self.last(F.relu(self.inner(x)))

    groups = discover(randomized(Recurrent()), torch.zeros(2, 3))
    for seed in range(5):
        a, b = (randomized(Recurrent(), s).state_dict() for s in (seed, seed + 50))
        generator = torch.Generator().manual_seed(seed)
        found = weight_matching(groups, a, b, generator=generator)
        moved = found.permutation.apply(b)
        assert found.objective == pytest.approx(inner(a, moved, list(a)[:-1]), rel=1e-5)
        assert found.objective >= inner(a, b, list(a)[:-1]) - 1e-6


@pytest.mark.parametrize("kind", ["mlp", "vgg", "resnet"])
def test_weight_matching_recovers_a_shuffled_copy(kind):
    """Every tensor is equal to the last bit, buffers too."""
    a = network(kind).state_dict()
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        shuffled = Permutation.random(symmetry(kind), generator).apply(a)
        back = match(kind, a, shuffled).permutation.apply(shuffled)
        assert all(torch.equal(back[name], a[name]) for name in a)


def test_equal_networks_are_left_as_they_are():
    """Nothing to gain: the identity, one sweep, a history of one entry."""
    a = state("mlp", 0)
    found = match("mlp", a, a)
    assert [p.tolist() for p in found.permutation.indices.values()] == [
        [0, 1, 2, 3]
    ] * 2
    assert len(found.history) == 1 and found.solves == 2
    assert found.seconds > 0


def test_weight_matching_is_reproduced_by_its_generator():
    """The same seed gives the same history; the global generator is not used."""
    a, b = state("resnet", 0), state("resnet", 9)
    symmetry("resnet")  # building the network itself draws from the global generator
    before = torch.random.get_rng_state()
    runs = [match("resnet", a, b) for _ in range(2)]
    assert runs[0].history == runs[1].history
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("which", ["a", "b"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weight_matching_refuses_what_is_not_finite(which, value):
    """The error names the tensor and the network."""
    networks = {"a": state("one", 0), "b": state("one", 1)}
    networks[which]["3.weight"][1, 2] = value
    message = f"3.weight of network {which} has values that are not finite"
    with pytest.raises(ValueError, match=message):
        match("one", networks["a"], networks["b"])


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_matching_refuses_another_architecture(method):
    """The check of the symmetry is made for both networks."""
    a, b = state("one", 0), state("one", 1)
    wrong = {**a, "1.bias": torch.zeros(4)}
    for pair in ((wrong, b), (a, wrong)):
        with pytest.raises(ValueError, match=r"1.bias has shape \(4,\)"):
            if method == "weights":
                match("one", *pair)
            else:
                activation_matching(symmetry("one"), *pair, batches((4,)))


def batches(counts, shape=(3,)) -> list[tuple[Tensor, None]]:
    """Batches of random inputs of the given sizes, without targets."""
    return [(normal(n, *shape, seed=50 + i), None) for i, n in enumerate(counts)]


def hidden(a: State, x: Tensor) -> np.ndarray:
    """Activations of a network with one hidden layer, in numpy."""
    weight, bias = a["1.weight"].numpy(), a["1.bias"].numpy()
    return np.maximum(x.numpy() @ weight.T + bias, 0)


def alive(seed: int) -> dict[str, Tensor]:
    """A network all of whose five units vary on random inputs."""
    a = state("one", seed)
    a["1.bias"] = a["1.bias"].abs()
    return a


@pytest.mark.parametrize("seed", range(5))
def test_activation_matching_is_the_best_sum_of_correlations(seed):
    """np.corrcoef over all samples, and the best of all 120 permutations."""
    a, b, data = alive(seed), alive(seed + 100), batches((40, 40))
    units = [np.concatenate([hidden(s, x) for x, _ in data]) for s in (a, b)]
    correlation = np.corrcoef(*units, rowvar=False)[:5, 5:]
    scores = {
        order: sum(correlation[i, j] for i, j in enumerate(order))
        for order in permutations(range(5))
    }
    found = activation_matching(symmetry("one"), a, b, data)
    best = max(scores, key=scores.get)
    assert tuple(found.permutation.indices["1"].tolist()) == best
    assert found.objective == pytest.approx(scores[best], rel=1e-10)
    assert found.history[0] == pytest.approx(np.trace(correlation), rel=1e-9)
    assert found.history[1] == found.objective


def test_unequal_batches_count_alike():
    """Moments are averages of batch averages, not over all samples."""
    a, b, data = alive(0), alive(100), batches((60, 5))
    moments = []
    for x, _ in data:
        u, v = hidden(a, x), hidden(b, x)
        moments.append((u.mean(0), v.mean(0), (u**2).mean(0), (v**2).mean(0)))
    mean_u, mean_v, square_u, square_v = np.mean(np.array(moments), axis=0)
    product = np.mean([hidden(a, x).T @ hidden(b, x) / len(x) for x, _ in data], axis=0)
    correlation = (product - np.outer(mean_u, mean_v)) / np.sqrt(
        np.outer(square_u - mean_u**2, square_v - mean_v**2)
    )
    found = activation_matching(symmetry("one"), a, b, data)
    assert found.history[0] == pytest.approx(np.trace(correlation), rel=1e-9)
    units = [np.concatenate([hidden(s, x) for x, _ in data]) for s in (a, b)]
    pooled = np.corrcoef(*units, rowvar=False)[:5, 5:]
    assert abs(np.trace(pooled) - found.history[0]) > 1e-3  # would be noticed
    found = activation_matching(symmetry("one"), a, b, data, average="samples")
    assert found.history[0] == pytest.approx(np.trace(pooled), rel=1e-9)


def test_units_side_by_side_are_matched_by_their_own_positions():
    """Of a concatenation each group sees its part: the best of 3! and of 4!."""
    a, b, x = state("concatenated", 0), state("concatenated", 100), normal(80, 3)
    for network in (a, b):
        for name in ("left.bias", "right.bias"):
            network[name] = network[name].abs()
    found = activation_matching(symmetry("concatenated"), a, b, [(x, None)])
    for name in ("left", "right"):
        u, v = (
            F.relu(F.linear(x, s[f"{name}.weight"], s[f"{name}.bias"])).numpy()
            for s in (a, b)
        )
        size = u.shape[1]
        correlation = np.corrcoef(u, v, rowvar=False)[:size, size:]
        best = max(
            permutations(range(size)),
            key=lambda order, c=correlation: sum(c[i, j] for i, j in enumerate(order)),
        )
        assert tuple(found.permutation.indices[name].tolist()) == best


def test_groups_inside_groups_are_matched_by_correlation():
    """A convolution's groups by the sum over their channels, at their best."""
    a, b, x = state("grouped", 0), state("grouped", 100), normal(60, *IMAGE)
    for network in (a, b):
        for name in ("first.bias", "grouped.bias"):
            network[name] = network[name].abs() + 4  # no dead channel

    def channels(s: State) -> list[np.ndarray]:
        first = F.relu(F.conv2d(x, s["first.weight"], s["first.bias"], padding=1))
        grouped = F.conv2d(first, s["grouped.weight"], s["grouped.bias"], groups=3)
        return [
            v.movedim(1, -1).reshape(-1, 6).numpy() for v in (first, F.relu(grouped))
        ]

    before, after = (
        np.corrcoef(u, v, rowvar=False)[:6, 6:]
        for u, v in zip(channels(a), channels(b), strict=True)
    )
    scores = {
        (order, p, q): before[np.arange(6), blocks(order, p)].sum()
        + after[np.arange(6), blocks(order, q)].sum()
        for order, p, q in product(permutations(range(3)), PAIRS, PAIRS)
    }
    best = max(scores, key=scores.get)
    found = activation_matching(symmetry("grouped"), a, b, [(x, None)])
    permuted, by_hand = found.permutation.apply(b), grouped_by_hand(b, *best)
    assert all(torch.equal(permuted[name], by_hand[name]) for name in a)


def test_moments_in_float32_lose_precision():
    """Near a large mean; the default gathers them in float64."""
    a, b, data = alive(0), alive(100), batches((60,))
    for network in (a, b):
        network["1.bias"] = network["1.bias"] + 1e3
    exact = np.corrcoef(*(hidden(s, data[0][0]) for s in (a, b)), rowvar=False)[:5, 5:]
    fine = activation_matching(symmetry("one"), a, b, data)
    coarse = activation_matching(symmetry("one"), a, b, data, dtype=torch.float32)
    assert fine.history[0] == pytest.approx(np.trace(exact), rel=1e-6)
    assert abs(coarse.history[0] - np.trace(exact)) > 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_moments_of_other_dtypes_are_refused(dtype):
    """Rounding would make every unit constant, and the matching an arbitrary one."""
    a = state("one", 0)
    message = f"moments in {dtype} are too coarse: use float64 or float32"
    with pytest.raises(ValueError, match=message):
        activation_matching(symmetry("one"), a, a, batches((4,)), dtype=dtype)


def test_networks_in_half_precision_are_matched():
    """The moments are in float64 whatever the activations are in."""
    a = {name: tensor.half() for name, tensor in alive(0).items()}
    order = torch.tensor([4, 2, 0, 1, 3])
    b = one_layer(a, order.tolist(), *ONE)
    data = [(x.half(), None) for x, _ in batches((40,))]
    found = activation_matching(symmetry("one"), a, b, data)
    assert found.permutation.indices["1"].tolist() == order.argsort().tolist()


def test_unknown_average_is_refused():
    """It says what may be chosen."""
    a = state("one", 0)
    with pytest.raises(ValueError, match="'median': choose 'batches' or 'samples'"):
        activation_matching(symmetry("one"), a, a, batches((4,)), average="median")


def recorded(model: nn.Module, module: str, x: Tensor) -> np.ndarray:
    """Outputs of a module as (samples and pixels) x channels, by a hook."""
    seen = []
    hook = model.get_submodule(module).register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.detach())
    )
    model(x)
    hook.remove()
    return seen[0].movedim(1, -1).reshape(-1, seen[0].shape[1]).numpy()


def test_pixels_are_samples_of_a_convolution():
    """Correlations of a VGG's channels are over images and pixels."""
    x = normal(50, *IMAGE)
    models = [network("vgg", seed).double() for seed in (0, 100)]
    for model in models:
        for name, bias in model.named_parameters():
            if "bias" in name:
                bias.data.abs_().add_(1)  # no dead channel
    expected = 0.0
    for relu, size in (("features.2", 4), ("features.6", 5)):
        units = [recorded(model, relu, x) for model in models]
        expected += np.trace(np.corrcoef(*units, rowvar=False)[:size, size:])
    states = [model.state_dict() for model in models]
    found = activation_matching(symmetry("vgg"), *states, [(x, None)])
    assert found.history[0] == pytest.approx(expected, rel=1e-9)


def test_correlations_are_summed_over_the_places_of_a_group():
    """A residual stream is matched by its activations behind both nonlinearities."""
    a, b, x = state("residual", 1), state("residual", 101), normal(60, 3)
    for each in (a, b):
        each["first.bias"].abs_()
    places = []
    for each in (a, b):
        first = np.maximum(x.numpy() @ each["first.weight"].numpy().T, -np.inf)
        first = np.maximum(first + each["first.bias"].numpy(), 0)
        branch = first @ each["branch.weight"].numpy().T + each["branch.bias"].numpy()
        places.append((first, np.tanh(first + branch)))
    correlation = sum(
        np.corrcoef(u, v, rowvar=False)[:5, 5:] for u, v in zip(*places, strict=True)
    )
    scores = [
        sum(correlation[i, j] for i, j in enumerate(order))
        for order in permutations(range(5))
    ]
    found = activation_matching(symmetry("residual"), a, b, [(x, None)])
    assert found.objective == pytest.approx(max(scores), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_units_correlate_with_nothing(value):
    """A dead unit and one stuck at 3 are left over, and disturb no other."""
    a, data = alive(0), batches((40, 40))
    a["1.weight"][2], a["1.bias"][2] = 0.0, value
    order = torch.tensor([4, 2, 0, 1, 3])
    b = one_layer(a, order.tolist(), *ONE)
    found = activation_matching(symmetry("one"), a, b, data)
    assert found.permutation.indices["1"].tolist() == order.argsort().tolist()
    assert found.objective == pytest.approx(4.0, rel=1e-9)


def test_constant_units_of_the_first_network_are_reported():
    """A's dead unit 2 is marked, B's dead unit 4 is not; weights know of none."""
    a, b = alive(0), alive(100)
    for dead, unit in ((a, 2), (b, 4)):
        dead["1.weight"][unit], dead["1.bias"][unit] = 0.0, -1.0
    found = activation_matching(symmetry("one"), a, b, batches((40, 40)))
    assert {k: v.tolist() for k, v in found.constant.items()} == {
        "1": [False, False, True, False, False]
    }
    assert match("one", a, b).constant == {}


def test_a_unit_that_varies_somewhere_is_not_constant():
    """Dead behind the first nonlinearity, alive behind the second: not constant."""
    a = state("residual", 1)
    a["first.bias"].abs_()
    a["first.weight"][3], a["first.bias"][3] = 0.0, -1.0
    x = [(normal(40, 3), None)]
    found = activation_matching(symmetry("residual"), a, a, x)
    assert not found.constant["first"].any()
    a["branch.weight"][3] = 0.0
    found = activation_matching(symmetry("residual"), a, a, x)
    assert found.constant["first"].tolist() == [False, False, False, True, False]


def test_mask_constant_blanks_what_constant_units_take_part_in():
    """Rows, bias and the next layer's columns are zero; the rest is as it was."""
    a = alive(0)
    a["1.weight"][2], a["1.bias"][2] = 0.0, 3.0
    before = {name: tensor.clone() for name, tensor in a.items()}
    found = activation_matching(symmetry("one"), a, a, batches((40,)))
    masked = found.mask_constant(a)
    expected = {name: tensor.clone() for name, tensor in a.items()}
    expected["1.bias"][2] = 0.0
    expected["3.weight"][:, 2] = 0.0
    assert all(torch.equal(masked[name], expected[name]) for name in a)
    assert all(torch.equal(a[name], before[name]) for name in a)
    unmasked = match("one", a, a).mask_constant(a)
    assert all(torch.equal(unmasked[name], a[name]) for name in a)


@pytest.mark.parametrize("kind", ["mlp", "vgg", "resnet"])
def test_activation_matching_recovers_a_shuffled_copy(kind):
    """Every tensor is equal to the last bit."""
    a = network(kind).state_dict()
    for name in a:
        if name.endswith("bias"):
            a[name].abs_()
    data = [(x.float(), None) for x, _ in batches((30, 20), SHAPES[kind])]
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        shuffled = Permutation.random(symmetry(kind), generator).apply(a)
        found = activation_matching(symmetry(kind), a, shuffled, data)
        back = found.permutation.apply(shuffled)
        assert all(torch.equal(back[name], a[name]) for name in a)


def test_activations_are_those_before_a_change_in_place():
    """An operation in place behind the nonlinearity does not reach the correlations."""
    a, b, x = state("in-place", 0), state("in-place", 100), normal(60, 3)
    units = []
    for each in (a, b):
        each["first.bias"].abs_()
        weight, bias = each["first.weight"].numpy(), each["first.bias"].numpy()
        units.append(np.maximum(x.numpy() @ weight.T + bias, 0))
    correlation = np.corrcoef(*units, rowvar=False)[:5, 5:]
    found = activation_matching(symmetry("in-place"), a, b, [(x, None)])
    assert found.history[0] == pytest.approx(np.trace(correlation), rel=1e-9)


def test_activation_matching_needs_batches():
    """An empty loader is an error, not a permutation of nothing."""
    with pytest.raises(ValueError, match="no samples: give at least one pair"):
        activation_matching(symmetry("one"), state("one", 0), state("one", 1), [])


def test_activation_matching_refuses_units_without_activation():
    """The error names the group and the way out."""
    a = state("parameters", 0)
    message = "group 'table' are no axis of any activation: use weight_matching"
    with pytest.raises(ValueError, match=message):
        activation_matching(symmetry("parameters"), a, a, batches((4,)))


def test_activation_matching_refuses_a_diverged_network():
    """Activations that are not finite correlate with nothing."""
    a = state("one", 0)
    b = {**a, "1.weight": torch.full((5, 3), torch.nan, dtype=torch.float64)}
    with pytest.raises(ValueError, match="not finite: one of the networks has diverg"):
        activation_matching(symmetry("one"), a, b, batches((4,)))
