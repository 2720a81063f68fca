"""Positions that units have: sorted, chosen, and what a router sends to experts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc import activation_matching
from lmc.benchmarks.survey import recovered
from lmc.discovery import discover
from lmc.tests.networks import randomized

TOKENS = torch.arange(30.0).reshape(6, 5).sin()


@torch.library.custom_op("lmc_tests::grouped_mm", mutates_args=())
def grouped_product(rows: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    """Multiply each run of rows by its matrix, in any dtype (PyTorch's has one)."""
    runs = rows.tensor_split(ends[:-1].long())
    pairs = zip(runs, matrices, strict=True)
    return torch.cat([run @ matrix for run, matrix in pairs])


@grouped_product.register_fake
def _(rows: Tensor, matrices: Tensor, ends: Tensor) -> Tensor:
    return rows.new_empty(rows.shape[0], matrices.shape[2])


class Experts(nn.Module):
    """A stream of four; each token is sent to two experts with eight hidden units."""

    def __init__(self, experts=4):
        super().__init__()
        self.embed = nn.Linear(5, 4)
        self.router = nn.Linear(4, experts, bias=False)
        self.up = nn.Parameter(torch.zeros(experts, 4, 8))
        self.down = nn.Parameter(torch.zeros(experts, 8, 4))
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``(N, 5)`` to logits ``(N, 2)``."""
        x = self.embed(x)
        scores = self.router(x).softmax(-1)
        weights, chosen = scores.topk(2, -1)
        return self.last(x + self.mixed(x, scores, weights, chosen))

    def mixed(self, x, scores, weights, chosen):
        """Run every expert on every token; those not chosen have the share 0."""
        shares = self.shares(scores, weights, chosen)
        hidden = torch.einsum("ti,eih->teh", x, self.up).relu()
        return torch.einsum("te,teh,eho->to", shares, hidden, self.down)


class OneHot(Experts):
    """The mask is made without a gradient, as in Hugging Face's models."""

    def shares(self, scores, weights, chosen):
        with torch.no_grad():
            mask = F.one_hot(chosen, len(self.up))
        return (mask * weights[..., None]).sum(1)


class Scattered(Experts):
    def shares(self, scores, weights, chosen):
        return torch.zeros_like(scores).scatter_(1, chosen, weights)


class Gathered(Experts):
    """The scores are looked up again, as where a bias decided on the choice."""

    def shares(self, scores, weights, chosen):
        found = scores.gather(1, chosen)
        return torch.zeros_like(scores).scatter(1, chosen, found)


class One(Experts):
    def shares(self, scores, weights, chosen):
        return F.one_hot(scores.argmax(-1), len(self.up)) * scores


class Largest(Experts):
    """The position of a maximum, kept as an axis of size 1."""

    def shares(self, scores, weights, chosen):
        most, at = scores.max(1, keepdim=True)
        return torch.zeros_like(scores).scatter_add(1, at, most)


class Scaled(Experts):
    """A number for each expert, read from a table."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Embedding(4, 1)

    def shares(self, scores, weights, chosen):
        scaled = weights * self.scale(chosen).squeeze(-1)
        return torch.zeros_like(scores).scatter(1, chosen, scaled)


class Joined(Experts):
    """Two choices of one expert each, joined to one of two."""

    def shares(self, scores, weights, chosen):
        best, first = scores.topk(1, -1)
        rest = scores.masked_fill(scores >= best, 0.0)
        both = torch.cat([first, rest.topk(1, -1).indices], -1)
        return torch.zeros_like(scores).scatter(1, both, weights)


class Sorted(Experts):
    """Tokens are sorted by expert; each expert takes its run of rows."""

    def ordered(self, chosen):
        """Experts in their order, the order, and its inverse."""
        experts, order = chosen.reshape(-1).sort()
        back = torch.empty_like(order)
        back[order] = torch.arange(order.shape[0])
        return experts, order, back

    def mixed(self, x, scores, weights, chosen):
        experts, order, back = self.ordered(chosen)
        count = torch.histc(experts.float(), len(self.up), 0, len(self.up) - 1)
        ends = count.cumsum(0, dtype=torch.int32)
        hidden = grouped_product(x[order // 2], self.up, ends)
        hidden = self.biased(hidden, experts).relu()
        rows = grouped_product(hidden, self.down, ends)
        rows = rows * weights.reshape(-1)[order][:, None]
        return rows[back].reshape(-1, 2, 4).sum(1)

    def biased(self, hidden, experts):
        """Add what each expert adds."""
        return hidden


class SortedTwice(Sorted):
    """The inverse of an order is the order that sorts it."""

    def ordered(self, chosen):
        experts, order = chosen.reshape(-1).sort()
        return experts, order, order.argsort()


class Biased(Sorted):
    """Each expert's hidden units have biases of their own."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(4, 8))

    def biased(self, hidden, experts):
        return hidden + self.bias[experts]


def sizes(symmetry):
    """Sizes and numbers of copies of all groups, in order."""
    return sorted((g.size, g.copies) for g in symmetry.groups.values())


FORMS = [OneHot, Scattered, Gathered, One, Largest, Scaled, Joined]
SORTED = [Sorted, SortedTwice, Biased]


@pytest.mark.parametrize("make", FORMS + SORTED, ids=lambda make: make.__name__)
def test_experts_are_units_that_hold_their_hidden_units(make):
    """The stream, the experts with the router's rows, and units inside each."""
    model = randomized(make())
    symmetry = discover(model, TOKENS)
    assert symmetry.refused == ()
    assert not any("may be free" in entry.reason for entry in symmetry.pinned)
    assert sizes(symmetry) == [(4, 1), (4, 1), (8, 4)]
    (inner,) = (g for g in symmetry.groups.values() if g.copies == 4)
    experts = symmetry.groups[inner.parent]
    assert {s.name for s in experts.sites} >= {"router.weight", "up", "down"}
    assert {(s.name, s.axes) for s in inner.sites} >= {
        ("up", (0, 2)),
        ("down", (0, 1)),
    }
    assert symmetry.certificate.relative_difference <= 1e-9
    assert recovered(symmetry, model.state_dict())[0]


@pytest.mark.parametrize("experts", [5, 8])
def test_rows_need_not_divide_among_the_experts(experts):
    """Twelve rows among five or eight experts."""
    model = randomized(Sorted(experts))
    symmetry = discover(model, TOKENS)
    assert symmetry.refused == ()
    assert sizes(symmetry) == sorted([(4, 1), (experts, 1), (8, experts)])
    assert symmetry.certificate.relative_difference <= 1e-9


def test_rows_of_a_batch_are_no_activations():
    """Where an expert's rows are depends on the data; its tokens say nothing here."""
    model = randomized(Sorted())
    symmetry = discover(model, TOKENS, certify=False)
    (inner,) = (g for g in symmetry.groups.values() if g.copies == 4)
    assert inner.activations == ()
    state = model.state_dict()
    with pytest.raises(ValueError, match="no axis of any activation"):
        activation_matching(symmetry, state, state, [(TOKENS, None)])


class Selected(Experts):
    """The matrices of those chosen are read from a table, for each token anew."""

    def mixed(self, x, scores, weights, chosen):
        hidden = torch.einsum("ti,tkih->tkh", x, self.up[chosen]).relu()
        rows = torch.einsum("tkh,tkho->tko", hidden, self.down[chosen])
        return (rows * weights[..., None]).sum(1)


def test_matrices_that_are_read_by_position_have_one_permutation():
    """Experts are found; that each has units of its own is said to be lacking."""
    model = randomized(Selected())
    symmetry = discover(model, TOKENS)
    assert sizes(symmetry) == [(4, 1), (4, 1), (8, 1)]
    assert len(symmetry.refused) == 2
    why = "no rule for other permutations in each of what is chosen by aten.index"
    assert all(entry.startswith(why) for entry in symmetry.refused)
    assert recovered(symmetry, model.state_dict())[0]


class Numbered(Experts):
    """A sum of the experts' numbers tells them apart."""

    def mixed(self, x, scores, weights, chosen):
        return x * chosen.sum(-1, keepdim=True)


class Read(Experts):
    """The first token's first expert, as a number."""

    def mixed(self, x, scores, weights, chosen):
        return x * chosen[0, 0].item()


class Nonzero(Experts):
    """Whether it is expert 0 does as well, though its dtype alone is changed."""

    def mixed(self, x, scores, weights, chosen):
        return torch.where(chosen.bool().any(-1, keepdim=True), x, -x)


class Returned(Scattered):
    """The choice is an output."""

    def forward(self, x):
        x = self.embed(x)
        scores = self.router(x).softmax(-1)
        weights, chosen = scores.topk(2, -1)
        return self.mixed(x, scores, weights, chosen), chosen


class Capped(Experts):
    """A table has one more row than there are experts."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)

    def mixed(self, x, scores, weights, chosen):
        return (self.table(chosen) * weights[..., None]).sum(1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Numbered, "may be free: its positions are values of aten.sum"),
        (Read, "may be free: read by aten.item"),
        (Nonzero, "may be free: its positions are values of aten.to"),
        (Returned, "position in the model's output"),
        (Capped, "may be free: its positions are values of aten.embedding"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_experts_whose_numbers_count_are_pinned(make, reason):
    """The router's rows stay in their order, with the reason."""
    symmetry = discover(randomized(make()), TOKENS)
    (entry,) = (
        entry
        for entry in symmetry.pinned
        if (entry.name, entry.axis) == ("router.weight", 0)
    )
    assert entry.reason.startswith(reason)
    assert sizes(symmetry)[0] == (4, 1)


class Unsorted(Sorted):
    """Runs of rows that are in no order of experts: runs belong to the matrices."""

    def mixed(self, x, scores, weights, chosen):
        ends = 3 * torch.arange(1, 5)
        rows = x.repeat_interleave(2, 0)
        hidden = grouped_product(rows, self.up, ends).relu()
        return grouped_product(hidden, self.down, ends).reshape(-1, 2, 4).sum(1)


def test_runs_of_unsorted_rows_pin_their_matrices():
    """The first rows meet the first matrix; inside of each, units are free.

    So are the rows of the router, which nothing asks here.
    """
    symmetry = discover(randomized(Unsorted()), TOKENS)
    assert sizes(symmetry) == [(4, 1), (4, 1), *[(8, 1)] * 4]
    assert symmetry.certificate.relative_difference <= 1e-9


class Fixed(Sorted):
    """The number of tokens is a constant of the model's graph."""

    def ordered(self, chosen):
        assert len(chosen) == 6
        return super().ordered(chosen)


class Counted(Sorted):
    """Twice as many bins as experts."""

    def mixed(self, x, scores, weights, chosen):
        count = torch.histc(chosen.float(), 2 * len(self.up), 0, 2 * len(self.up))
        return x * count.sum()


class FewerIndices(Experts):
    """Looks one expert up for the first half of the tokens."""

    def mixed(self, x, scores, weights, chosen):
        half = len(x) // 2
        return x * scores.gather(1, chosen[:half]).sum()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Fixed, "12 rows, whatever the number of samples, in aten.sort"),
        (Counted, "no rule for bins that are no positions in aten.histc"),
        (FewerIndices, "no rule for fewer indices than positions in aten.gather"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_uses_that_no_rule_covers_are_refused(make, why):
    """With what is missing; what is found besides is certified."""
    symmetry = discover(randomized(make()), TOKENS)
    assert any(entry.startswith(why) for entry in symmetry.refused)
    found = {(s.name, s.axes) for g in symmetry.groups.values() for s in g.sites}
    assert ("router.weight", (0,)) not in found
    assert ("embed.weight", (0,)) in found


class Looked(nn.Module):
    """Positions that are no units': of a token in a list, of a word in a table."""

    def __init__(self):
        super().__init__()
        self.words, self.first = nn.Embedding(7, 3), nn.Linear(3, 6)
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        at = x.argsort(1)
        y = self.first(self.words(at)).relu()
        y = y.gather(1, at[..., None].expand(-1, -1, 6))
        return self.last(y.index_select(1, torch.tensor([2, 0])).mean(1))


def test_positions_that_are_no_units_pin_nothing_else():
    """The hidden units and the table's columns are free, its rows are words."""
    symmetry = discover(randomized(Looked()), torch.rand(2, 7))
    assert sizes(symmetry) == [(3, 1), (6, 1)]
    assert symmetry.refused == ()
