"""Pruning, against explicit matrices, loops and sorting by hand."""

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import lmc
from lmc import default_layers, renormalize, reset, statistics
from lmc.features import diagonal_fisher
from lmc.graph import Graph, trace
from lmc.models import MLP, VGG
from lmc.pruning import (
    WoodFisher,
    fisher_scores,
    magnitude_scores,
    prune,
    wood_fisher,
)
from lmc.tests.networks import normal, randomized

MAKE = {
    "mlp": lambda: MLP((3, 4, 3)),
    "vgg": lambda: VGG((4, "M", 5), 3),
    "bn": lambda: VGG((4, "M", 5), 3, norm="bn"),
}
SHAPES = {"mlp": (3,), "vgg": (1, 6, 6), "bn": (1, 6, 6)}
WEIGHTS = {
    "mlp": ["1.weight", "3.weight"],
    "vgg": ["features.0.weight", "features.4.weight", "classifier.weight"],
}
WEIGHTS["bn"] = WEIGHTS["vgg"]


@cache
def graph(kind: str) -> Graph:
    """The graph of a small network."""
    return trace(MAKE[kind]().eval(), torch.zeros(2, *SHAPES[kind]))


def network(kind: str, seed: int = 0) -> nn.Module:
    """A small float64 network with random values in every tensor."""
    return randomized(MAKE[kind](), seed).double()


def batches(kind: str, *counts: int) -> list[tuple[Tensor, Tensor]]:
    """Random inputs with labels, in batches of the given sizes."""
    total = sum(counts)
    x, y = normal(total, *SHAPES[kind], seed=7), torch.arange(total) * 5 % 3
    return list(zip(x.split(counts), y.split(counts), strict=True))


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 0.77, 0.95, 1])
def test_global_pruning_removes_the_smallest_of_all(sparsity):
    """Exactly so many zeros, and every removed weight below every kept one."""
    state = network("vgg").state_dict()
    pruned = prune(graph("vgg"), state, sparsity, magnitude_scores(graph("vgg"), state))
    before = torch.cat([state[name].flatten() for name in WEIGHTS["vgg"]])
    after = torch.cat([pruned[name].flatten() for name in WEIGHTS["vgg"]])
    assert int((after == 0).sum()) == round(sparsity * len(before))
    order = sorted(range(len(before)), key=lambda i: abs(float(before[i])))
    gone = order[: round(sparsity * len(before))]
    expected = before.clone()
    expected[gone] = 0
    assert torch.equal(after, expected)
    for name in set(state) - set(WEIGHTS["vgg"]):
        assert torch.equal(pruned[name], state[name])


@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_layerwise_pruning_counts_in_each_layer(sparsity):
    """Each tensor loses its own share, its smallest."""
    state = network("vgg").state_dict()
    scores = magnitude_scores(graph("vgg"), state)
    pruned = prune(graph("vgg"), state, sparsity, scores, scope="layerwise")
    for name in WEIGHTS["vgg"]:
        size = state[name].numel()
        ordered = np.sort(np.abs(state[name].numpy()).ravel())
        kept = np.sort(np.abs(pruned[name].numpy()).ravel())
        count = round(sparsity * size)
        np.testing.assert_array_equal(kept, [*[0.0] * count, *ordered[count:]])


def test_ties_go_in_order():
    """Of equal scores the first goes, so that counts are exact."""
    own = trace(MLP((3, 2, 1), bias=False).eval(), torch.zeros(2, 3))
    state = {"1.weight": torch.ones(2, 3), "3.weight": -torch.ones(1, 2)}
    pruned = prune(own, state, 0.5, magnitude_scores(own, state))
    assert pruned["1.weight"].tolist() == [[0, 0, 0], [0, 1, 1]]
    assert pruned["3.weight"].tolist() == [[-1, -1]]
    pruned = prune(own, state, 0.5, magnitude_scores(own, state), scope="layerwise")
    assert pruned["1.weight"].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert pruned["3.weight"].tolist() == [[0, -1]]


def test_zeros_go_before_worthless_weights():
    """Where the Fisher information is zero, weights that are zero count as removed."""
    own = trace(MLP((4, 1), bias=False).eval(), torch.zeros(2, 4))
    state = {"1.weight": torch.tensor([[3.0, 0.0, 2.0, 0.0]])}
    scores = fisher_scores(own, state, {"1.weight": torch.tensor([[0.0, 1, 1, 1]])})
    pruned = prune(own, state, 0.5, scores)
    assert pruned["1.weight"].tolist() == [[3, 0, 2, 0]]


def test_tied_weights_are_pruned_under_all_names():
    """A tensor with two names is one tensor, counted once."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
            self.second.weight = self.first.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(x)))

    model = randomized(Tied())
    own, state = trace(model, torch.zeros(2, 3)), model.state_dict()
    scores = magnitude_scores(own, state)
    assert len(scores) == 1
    pruned = prune(own, state, 4 / 9, scores)
    assert int((pruned["first.weight"] == 0).sum()) == 4
    assert torch.equal(pruned["first.weight"], pruned["second.weight"])


def test_chosen_layers_only():
    """Layers without scores keep their weights."""
    state = network("vgg").state_dict()
    scores = magnitude_scores(graph("vgg"), state, ["features.4"])
    pruned = prune(graph("vgg"), state, 0.5, scores)
    changed = [name for name in state if not torch.equal(state[name], pruned[name])]
    assert changed == ["features.4.weight"]


def test_fisher_scores_from_gradients_of_samples():
    """w^2 / 2 times the mean of squared gradients, each sample by backward."""
    model, data = network("mlp"), batches("mlp", 6)
    state = model.state_dict()
    fisher = diagonal_fisher(graph("mlp"), state, data)
    scores = fisher_scores(graph("mlp"), state, fisher)
    assert list(scores) == WEIGHTS["mlp"]
    gradients = explicit_gradients(model, data, 1)
    for name, score in scores.items():
        expected = state[name].square() * gradients[name].square().mean(0) / 2
        torch.testing.assert_close(score, expected)


def explicit_gradients(
    model: nn.Module, data: list[tuple[Tensor, Tensor]], size: int
) -> dict[str, Tensor]:
    """Gradients of mean cross-entropy of consecutive samples, by backward."""
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    rows: dict[str, list[Tensor]] = {}
    for start in range(0, len(x) - size + 1, size):
        model.zero_grad()
        loss = F.nll_loss(
            model(x[start : start + size]).log_softmax(1), y[start : start + size]
        )
        loss.backward()
        for name, value in model.named_parameters():
            rows.setdefault(name, []).append(value.grad.clone())
    return {name: torch.stack(gradients) for name, gradients in rows.items()}


def explicit_inverse(gradients: Tensor, damping: float) -> Tensor:
    """The inverse of lambda I + 1/N sum g g^T, formed and inverted."""
    flat = gradients.flatten(1)
    fisher = damping * torch.eye(flat.shape[1], dtype=torch.float64)
    for g in flat:
        fisher += torch.outer(g, g) / len(flat)
    return torch.linalg.inv(fisher)


def recursive_inverse(gradients: Tensor, damping: float) -> Tensor:
    """The same by the paper's recursion, one gradient at a time."""
    flat = gradients.flatten(1)
    inverse = torch.eye(flat.shape[1], dtype=torch.float64) / damping
    for g in flat:
        step = inverse @ g
        inverse = inverse - torch.outer(step, step) / (len(flat) + g @ step)
    return inverse


def found_for(block: int | None, damping: float = 1e-3) -> WoodFisher:
    """WoodFisher of the small MLP from 9 mini-batches of 2."""
    return wood_fisher(
        graph("mlp"),
        network("mlp").state_dict(),
        batches("mlp", 5, 1, 7, 6),
        subsample=9,
        mini_batch=2,
        damping=damping,
        block=block,
    )


@pytest.mark.parametrize("damping", [1e-5, 1e-2, 10.0])
@pytest.mark.parametrize("inverse_of", [explicit_inverse, recursive_inverse])
def test_wood_fisher_scores_from_explicit_inverses(inverse_of, damping):
    """w^2 / (2 [F^-1]_qq), whatever the sizes of the batches that came."""
    model, scores = network("mlp"), found_for(None, damping).scores()
    gradients = explicit_gradients(model, batches("mlp", 19), 2)
    for name in WEIGHTS["mlp"]:
        weight = model.state_dict()[name]
        inverse = inverse_of(gradients[name], damping)
        expected = weight.flatten() ** 2 / (2 * inverse.diagonal())
        torch.testing.assert_close(scores[name].flatten(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("block", [1, 5, 12])
def test_wood_fisher_blocks(block):
    """Blocks of consecutive weights are inverted by themselves, the last is shorter."""
    model, scores = network("mlp"), found_for(block).scores()
    gradients = explicit_gradients(model, batches("mlp", 19), 2)
    for name in WEIGHTS["mlp"]:
        weight = model.state_dict()[name].flatten()
        rows = gradients[name].flatten(1)
        for start in range(0, len(weight), block):
            part = slice(start, start + block)
            inverse = explicit_inverse(rows[:, part], 1e-3)
            expected = weight[part] ** 2 / (2 * inverse.diagonal())
            torch.testing.assert_close(scores[name].flatten()[part], expected)


@pytest.mark.parametrize("block", [None, 5])
def test_wood_fisher_update_is_the_sum_of_single_updates(block):
    """- w_q F^-1 e_q / [F^-1]_qq, added over the removed weights, by a loop."""
    model, found = network("mlp"), found_for(block)
    state = model.state_dict()
    pruned = prune(graph("mlp"), state, 0.4, found.scores(), update=found.update)
    masked = prune(graph("mlp"), state, 0.4, found.scores())
    gradients = explicit_gradients(model, batches("mlp", 19), 2)
    for name in WEIGHTS["mlp"]:
        weight, removed = state[name].flatten(), masked[name].flatten() == 0
        expected = weight.clone()
        size = block or len(weight)
        for start in range(0, len(weight), size):
            part = slice(start, start + size)
            inverse = explicit_inverse(gradients[name].flatten(1)[:, part], 1e-3)
            for q in range(len(inverse)):
                if removed[start + q]:
                    pull = weight[start + q] / inverse[q, q]
                    expected[part] -= pull * inverse[:, q]
        expected[removed] = 0
        torch.testing.assert_close(pruned[name].flatten(), expected)
        assert not torch.equal(pruned[name], masked[name])
    assert sum(int((pruned[n] == 0).sum()) for n in WEIGHTS["mlp"]) == round(0.4 * 24)


def test_update_of_one_weight_is_the_best_one():
    """Of all changes that remove it none has a smaller quadratic form."""
    found = found_for(None)
    gradients = explicit_gradients(network("mlp"), batches("mlp", 19), 2)["1.weight"]
    weight = network("mlp").state_dict()["1.weight"]
    removed = torch.zeros_like(weight, dtype=torch.bool)
    removed[2, 1] = True
    change = found.update({"1.weight": removed})["1.weight"].flatten()
    fisher = torch.linalg.inv(explicit_inverse(gradients, 1e-3))
    q, w = 7, weight[2, 1]
    others = [i for i in range(12) if i != q]
    # Minimize d^T F d / 2 over the others with d_q = -w.
    best = torch.linalg.solve(fisher[others][:, others], w * fisher[others, q])
    torch.testing.assert_close(change[others], best)
    torch.testing.assert_close(change[q], -w)
    score = found.scores()["1.weight"][2, 1]
    torch.testing.assert_close(score, change @ fisher @ change / 2)


def test_wood_fisher_of_convolutions_with_batch_norm():
    """Convolutions are flattened filter by filter, BatchNorm is in evaluation mode."""
    model, data = network("bn"), batches("bn", 6)
    found = wood_fisher(
        graph("bn"), model.state_dict(), data, subsample=3, mini_batch=2, damping=0.1
    )
    gradients = explicit_gradients(model, data, 2)
    for name, score in found.scores().items():
        inverse = explicit_inverse(gradients[name], 0.1)
        weight = model.state_dict()[name]
        expected = weight.flatten() ** 2 / (2 * inverse.diagonal())
        torch.testing.assert_close(score.flatten(), expected)


def test_only_the_subsample_is_used():
    """Data beyond the last mini-batch change nothing and are not asked for."""

    def endless():
        yield from batches("mlp", 5, 1, 7, 6)
        raise AssertionError("one batch too many")

    state = network("mlp").state_dict()
    one = wood_fisher(graph("mlp"), state, endless(), subsample=9, mini_batch=2)
    other = wood_fisher(
        graph("mlp"), state, batches("mlp", 19), subsample=9, mini_batch=2
    )
    for name, score in one.scores().items():
        torch.testing.assert_close(score, other.scores()[name])


@pytest.mark.parametrize("kind", ["vgg", "bn"])
def test_renormalization_restores_the_dense_statistics(kind):
    """REPAIR or RESET with the dense network's statistics leaves the zeros alone."""
    dense, data = network(kind).state_dict(), batches(kind, 64)
    scores = magnitude_scores(graph(kind), dense)
    pruned = prune(graph(kind), dense, 0.5, scores, scope="layerwise")
    goal = statistics(graph(kind), dense, data)
    before = statistics(graph(kind), pruned, data)
    repaired = renormalize("repair", graph(kind), pruned, goal, data).fuse(pruned)
    after = statistics(graph(kind), repaired, data)
    for layer in default_layers(graph(kind)):
        assert bool((before[layer].std < 0.95 * goal[layer].std).any())
        torch.testing.assert_close(after[layer].mean, goal[layer].mean)
        torch.testing.assert_close(after[layer].std, goal[layer].std, rtol=1e-3, atol=0)
    if kind == "bn":
        repaired = reset(graph(kind), pruned, data)
        seen = statistics(graph(kind), repaired, data, ["features.0"])["features.0"]
        mean = repaired["features.1.running_mean"]
        torch.testing.assert_close(mean, seen.mean)
    for name in WEIGHTS[kind]:
        assert torch.equal(repaired[name] == 0, pruned[name] == 0)


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, float("nan")])
def test_sparsity_bounds(sparsity):
    """A percentage in place of a share is refused."""
    state = network("mlp").state_dict()
    with pytest.raises(ValueError, match="sparsity is a share of weights from 0 to 1"):
        prune(graph("mlp"), state, sparsity, magnitude_scores(graph("mlp"), state))


def test_scores_refusals():
    """Scores that do not fit are refused with a way out."""
    own, state = graph("mlp"), network("mlp").state_dict()
    good = magnitude_scores(own, state)
    for scores, message in (
        ({}, "no scores: nothing to prune; see magnitude_scores"),
        (
            {"1.bias": state["1.bias"]},
            "'1.bias' is no weight .* score only 1.weight, 3",
        ),
        ({"1.weight": torch.ones(4)}, r"scores of 1.weight have shape \(4,\), the wei"),
        ({"1.weight": good["1.weight"] / 0}, "scores of 1.weight are not finite: has"),
    ):
        with pytest.raises(ValueError, match=message):
            prune(own, state, 0.5, scores)
    with pytest.raises(
        ValueError, match="unknown scope 'local': choose 'global' or 'l"
    ):
        prune(own, state, 0.5, good, scope="local")
    with pytest.raises(ValueError, match="no convolution or linear layer '2': choose"):
        magnitude_scores(own, state, ["2"])
    with pytest.raises(ValueError, match=r"no Fisher information of \['1.weight'"):
        fisher_scores(own, state, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subsample": 0}, "subsample must be at least 1, got 0"),
        ({"mini_batch": 0}, "mini_batch must be at least 1, got 0"),
        ({"block": 0}, "block must be at least 1, got 0"),
        ({"damping": 0.0}, "damping must be above 0, got 0.0: fewer gradients"),
        ({"layers": ["x"]}, "no convolution or linear layer 'x': choose from 1, 3"),
        ({"subsample": 10}, "hold 9 mini-batches of 2 samples, not 10: give more"),
        ({"batches": []}, "hold 0 mini-batches of 2 samples, not 9: give more samples"),
        (
            {"batches": [(torch.zeros(2, 3).double(), None)]},
            "WoodFisher needs labels: give pairs",
        ),
    ],
)
def test_wood_fisher_refusals(options, message):
    """Each says what is wrong and what to do."""
    options = {"subsample": 9, "mini_batch": 2, **options}
    data = options.pop("batches", batches("mlp", 5, 1, 7, 6))
    with pytest.raises(ValueError, match=message):
        wood_fisher(graph("mlp"), network("mlp").state_dict(), data, **options)


def test_pruning_and_retraining_come_with_the_library():
    """As the README says: no import of their own is needed."""
    assert {"pruning", "retraining"} <= {*lmc.__all__}
    assert lmc.pruning.prune is prune
