"""Matching of groups that cross: heads, and the channels that all of them share.

Of grouped queries and of normed ones all permutations are tried, made by hand.
"""

from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc import (
    Matching,
    Permutation,
    Symmetry,
    UnseenWarning,
    activation_matching,
    discover,
    match_iteratively,
    weight_matching,
)
from lmc.graph import State
from lmc.matching.costs import Costs
from lmc.matching.plain import plain_weight_matching
from lmc.tests.networks import normal, precise


class Grouped(nn.Module):
    """Two keys and values for two queries each, of two channels."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(3, 8), nn.Linear(3, 4), nn.Linear(3, 4)
        self.o = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, 2)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.o(y.transpose(1, 2).flatten(2))


class Normed(nn.Module):
    """Three heads of two channels, with one norm for the queries of all heads."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(3, 6), nn.Linear(3, 6), nn.Linear(3, 6)
        self.norm, self.o = nn.LayerNorm(2), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (3, 2)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = F.scaled_dot_product_attention(self.norm(q), k, v)
        return self.o(y.transpose(1, 2).flatten(2))


Choice = tuple[tuple[tuple[int, ...], ...], ...]
"""Of each group its orders, one for each block."""

PAIR, TRIPLE = [*permutations(range(2))], [*permutations(range(3))]
PAIRS = [*product(PAIR, repeat=2)]


def grouped_by_hand(b: State, choice: Choice) -> dict[str, Tensor]:
    """Permute keys, and inside each the queries, the keys' channels and the values'."""
    (keys,), queries, channels, values = choice
    narrow = np.arange(4).reshape(2, 2)
    wide = np.arange(8).reshape(2, 2, 2)
    k, v, q, o = [], [], [], []
    for block, key in enumerate(keys):
        k.append(narrow[key][[*channels[block]]])
        v.append(narrow[key][[*values[block]]])
        heads = wide[key][[*queries[block]]]
        q.append(heads[:, [*channels[block]]])
        o.append(heads[:, [*values[block]]])
    rows = {"q": q, "k": k, "v": v}
    return rearranged(b, {name: np.ravel(found) for name, found in rows.items()}, o)


def normed_by_hand(b: State, choice: Choice) -> dict[str, Tensor]:
    """Permute heads, the values inside each, and the channels of all queries."""
    (heads,), values, (channels,) = choice
    grid = np.arange(6).reshape(3, 2)
    q = grid[[*heads]][:, [*channels]].ravel()
    v = [grid[head][[*own]] for head, own in zip(heads, values, strict=True)]
    permuted = rearranged(b, {"q": q, "k": q, "v": np.ravel(v)}, v)
    for name in ("norm.weight", "norm.bias"):
        permuted[name] = b[name][[*channels]]
    return permuted


def rearranged(b: State, rows: dict[str, np.ndarray], columns) -> dict[str, Tensor]:
    """Rows of the projections, and columns of the last."""
    permuted = {**b, "o.weight": b["o.weight"][:, np.ravel(columns)]}
    for name, order in rows.items():
        for kind in ("weight", "bias"):
            permuted[f"{name}.{kind}"] = b[f"{name}.{kind}"][order]
    return permuted


MODELS = {
    "grouped": (
        Grouped,
        grouped_by_hand,
        [((keys,), *inside) for keys in PAIR for inside in product(PAIRS, repeat=3)],
    ),
    "normed": (
        Normed,
        normed_by_hand,
        [
            ((heads,), values, (channels,))
            for heads in TRIPLE
            for values in product(PAIR, repeat=3)
            for channels in PAIR
        ],
    ),
}


@cache
def symmetry(kind: str) -> Symmetry:
    """Groups of a model, certified."""
    make, *_ = MODELS[kind]
    return discover(precise(make()), normal(2, 4, 3))


def prepared(kind: str, seed: int):
    """The symmetry, two networks, and what permutes by hand in every way."""
    make, by_hand, every = MODELS[kind]
    a, b = (precise(make(), s).state_dict() for s in (seed, seed + 100))
    return symmetry(kind), a, b, by_hand, every


def inner(a: State, b: State) -> float:
    """Inner product over all that is permuted, in numpy."""
    names = a.keys() - {"o.bias"}
    return sum(float(np.vdot(a[name].numpy(), b[name].numpy())) for name in names)


def generator(seed: int) -> torch.Generator:
    """Of the order in which groups are matched."""
    return torch.Generator().manual_seed(seed)


def changes(one: Choice, other: Choice) -> int:
    """In how many blocks of how many groups two permutations differ."""
    pairs = zip(one, other, strict=True)
    return sum(a != b for mine, its in pairs for a, b in zip(mine, its, strict=True))


@pytest.mark.parametrize("kind", MODELS)
def test_permutations_are_those_by_hand(kind):
    """Of each group as many as there are, and no other."""
    groups, a, _, by_hand, every = prepared(kind, 0)
    orders = [group.size for g in groups.groups.values() for group in [g] * g.copies]
    assert sorted(orders) == sorted(len(block) for group in every[0] for block in group)
    for seed in range(20):
        found = Permutation.random(groups, generator(seed)).apply(a)
        same = [
            choice
            for choice in every
            if all(torch.equal(found[n], v) for n, v in by_hand(a, choice).items())
        ]
        assert len(same) == 1


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_crossing_permutations_compose(kind, seed):
    """One after the other, and there and back."""
    groups, a, *_ = prepared(kind, seed)
    first, then = (Permutation.random(groups, generator(s)) for s in (seed, seed + 9))
    twice, at_once = then.apply(first.apply(a)), first.compose(then).apply(a)
    assert all(torch.equal(twice[name], at_once[name]) for name in a)
    back = first.invert().apply(first.apply(a))
    assert all(torch.equal(back[name], a[name]) for name in a)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("start", ["identity", "forward"])
def test_a_shuffled_copy_is_recovered(kind, start):
    """Exactly, whichever permutation was planted."""
    groups, a, _, by_hand, every = prepared(kind, 0)
    for choice in every[:: len(every) // 12]:
        shuffled = by_hand(a, choice)
        found = weight_matching(
            groups, a, shuffled, generator=generator(1), start=start
        )
        back = found.permutation.apply(shuffled)
        assert all(torch.equal(back[name], a[name]) for name in a)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_no_block_of_crossing_groups_could_be_matched_better(kind, seed):
    """Given all others; the objective is the inner product of that permutation."""
    groups, a, b, by_hand, every = prepared(kind, seed)
    found = weight_matching(groups, a, b, generator=generator(seed))
    permuted = found.permutation.apply(b)
    assert found.objective == pytest.approx(inner(a, permuted), rel=1e-12)
    (here,) = (
        choice
        for choice in every
        if all(torch.equal(permuted[n], v) for n, v in by_hand(b, choice).items())
    )
    for choice in every:
        if changes(here, choice) == 1:
            assert inner(a, by_hand(b, choice)) <= found.objective * (1 + 1e-12)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_all_is_reached_near_a_shuffled_copy(kind, seed):
    """Weights that are a permuted copy and noise."""
    groups, a, _, by_hand, every = prepared(kind, seed)
    near = {
        name: value + 0.1 * normal(*value.shape, seed=seed)
        for name, value in by_hand(a, every[len(every) * 2 // 3]).items()
    }
    best = max(inner(a, by_hand(near, choice)) for choice in every)
    found = weight_matching(groups, a, near, generator=generator(seed))
    assert found.objective == pytest.approx(best, rel=1e-12)


def test_the_plain_algorithm_knows_groups_that_cross():
    """Where none is inside another, as with one key for all queries."""

    class OneKey(Grouped):
        def __init__(self):
            super().__init__()
            self.k, self.v = nn.Linear(3, 2), nn.Linear(3, 2)

    a, b = (precise(OneKey(), seed).state_dict() for seed in (0, 1))
    groups = discover(precise(OneKey()), normal(2, 4, 3))
    assert sorted(group.size for group in groups.groups.values()) == [2, 2, 4]
    plain = plain_weight_matching(groups, a, b, generator=generator(0))
    found = weight_matching(groups, a, b, generator=generator(0), start="identity")
    assert found.objective == pytest.approx(plain.objective, rel=1e-9)
    for network in (plain, found):
        permuted = network.permutation.apply(b)
        assert network.objective == pytest.approx(inner(a, permuted), rel=1e-12)


def test_crossing_networks_are_matched_jointly():
    """Three shuffled copies of one network come together."""
    groups, a, _, by_hand, every = prepared("grouped", 0)
    copies = [a, by_hand(a, every[77]), by_hand(a, every[101])]
    found = match_iteratively(groups, copies, generator=generator(0))
    first, *others = found.apply(copies)
    assert all(torch.equal(first[n], other[n]) for other in others for n in first)


def test_what_has_not_changed_is_not_solved_again(monkeypatch):
    """The same steps as where all is solved in every sweep, by fewer solves."""
    problems = [prepared("normed", seed)[:3] for seed in range(3)]

    def matched() -> list[Matching]:
        return [
            weight_matching(*each, generator=generator(0), start="identity")
            for each in problems
        ]

    skipping, count = matched(), Costs.count
    monkeypatch.setattr(Costs, "count", lambda *given: count(*given) or True)
    solving = matched()
    for found, again in zip(skipping, solving, strict=True):
        assert found.history == again.history
        for name, indices in again.permutation.indices.items():
            assert torch.equal(found.permutation.indices[name], indices)
    assert sum(m.solves for m in skipping) < sum(m.solves for m in solving)


@pytest.mark.parametrize("name", ["grouped", "normed"])
def test_activations_leave_what_they_do_not_show_in_its_order(name):
    """A shuffled copy comes back but for the group that crosses others, and says so."""
    groups, a, _, by_hand, every = prepared(name, 0)
    shuffled, batches = by_hand(a, every[-1]), [(normal(64, 4, 3), None)]
    with pytest.warns(UnseenWarning, match=r"'q#2' are no axis of any activation"):
        found = activation_matching(groups, a, shuffled, batches)
    hidden = found.permutation.indices["q#2"]
    assert torch.equal(hidden, torch.arange(2).expand_as(hidden))
    back = found.permutation.apply(shuffled)
    for values in ("v.weight", "v.bias"):  # where what is hidden plays no part
        assert torch.equal(back[values], a[values])
        assert not torch.equal(shuffled[values], a[values])
