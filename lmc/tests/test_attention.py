"""Heads, and what they share, in attention as models of today write it.

The truths are counted by hand: size and number of copies of each group.  Channels that
all heads of a block share, as the key of several queries, are a group beside the heads,
and act on the same positions as these do.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lmc.discovery import discover
from lmc.tests.networks import randomized

TOKENS = torch.zeros(2, 6, 5)


def heads(x: Tensor, count: int) -> Tensor:
    """Split channels: ``(samples, heads, tokens, channels in a head)``."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


class Attention(nn.Module):
    """Twelve channels, attention with three heads, and two logits."""

    def __init__(self, width: int = 12, keys: int = 12, queries: int = 3):
        super().__init__()
        self.queries = queries
        self.stream = nn.Linear(5, width)
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, keys)
        self.v = nn.Linear(width, keys)
        self.o = nn.Linear(width, width)
        self.head = nn.Linear(width, 2)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values."""
        return tuple(heads(layer(x), 3) for layer in (self.q, self.k, self.v))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention, and the heads side by side again."""
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stream(x)
        return self.head((x + self.o(self.attend(*self.projected(x)))).mean(1))


class Rotary(Attention):
    """The halves of a head's first channels are turned by an angle for each token."""

    def __init__(self, rotated: int):
        super().__init__()
        self.rotated = rotated
        angles = torch.outer(
            torch.arange(6.0), torch.tensor([1.0, 0.1])[: rotated // 2]
        )
        angles = torch.cat([angles, angles], 1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def turned(self, x: Tensor) -> Tensor:
        """Apply the rotation."""
        x, rest = x[..., : self.rotated], x[..., self.rotated :]
        half = self.rotated // 2
        rotated = torch.cat([-x[..., half:], x[..., :half]], -1)
        return torch.cat([x * self.cos + rotated * self.sin, rest], -1)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().projected(x)
        return self.turned(q), self.turned(k), v


class RotaryTables(Rotary):
    """The tables are in the state dict: their channels are shared by all heads."""

    def __init__(self):
        super().__init__(4)
        for name in ("cos", "sin"):
            table = getattr(self, name)
            delattr(self, name)
            self.register_buffer(name, table)


class PackedWithoutKeyBias(Attention):
    """One projection for all three, whose bias is put together with zeros."""

    def __init__(self):
        super().__init__()
        del self.q, self.k, self.v
        self.qkv = nn.Linear(12, 36, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(12))
        self.v_bias = nn.Parameter(torch.zeros(12))
        self.register_buffer("k_bias", torch.zeros(12), persistent=False)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bias = torch.cat((self.q_bias, self.k_bias, self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias).unflatten(-1, (3, 3, 4))
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)


class NormedQueries(Attention):
    """One norm for the queries of all heads, and one for the keys."""

    def __init__(self):
        super().__init__()
        self.q_norm, self.k_norm = nn.LayerNorm(4), nn.LayerNorm(4)

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = super().projected(x)
        return self.q_norm(q), self.k_norm(k), v


class Grouped(Attention):
    """Four heads of queries for fewer of keys and values."""

    def __init__(self, groups: int, how: str):
        super().__init__(16, 4 * groups)
        self.groups, self.how = groups, how

    def repeated(self, x: Tensor) -> Tensor:
        """Each key or value once for each head of queries."""
        if self.how == "repeat_interleave":
            return x.repeat_interleave(4 // self.groups, 1)
        samples, groups, tokens, width = x.shape
        x = x[:, :, None].expand(samples, groups, 4 // groups, tokens, width)
        return x.reshape(samples, 4, tokens, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stream(x)
        q = heads(self.q(x), 4)
        k, v = (heads(layer(x), self.groups) for layer in (self.k, self.v))
        if self.how == "enable_gqa":
            y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            y = y.transpose(1, 2).flatten(2)
        else:
            y = self.attend(q, self.repeated(k), self.repeated(v))
        return self.head((x + self.o(y)).mean(1))


class SplitAttention(nn.Module):
    """A softmax over two halves of the channels, as in ResNeSt."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.halves = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.squeeze, self.gate = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 8, 1)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.halves(self.first(x).relu()).relu().unflatten(1, (2, 4))
        pooled = x.sum(1).mean((2, 3), keepdim=True)
        weights = self.gate(self.squeeze(pooled).relu()).view(-1, 2, 4).softmax(1)
        return self.head((x * weights[..., None, None]).sum(1).mean((2, 3)))


GROUPED = {
    "stream": (16, 1),
    "q": (2, 1),
    "q#2": (2, 2),
    "v": (4, 2),
    "q#3": (4, 2),
}

CASES = {
    "rotary": (
        lambda: Rotary(4),
        {"stream": (12, 1), "q": (3, 1), "v": (4, 3)},
    ),
    "partly rotary": (  # the other two channels of a head are free
        lambda: Rotary(2),
        {"stream": (12, 1), "q": (3, 1), "q#2": (2, 3), "v": (4, 3)},
    ),
    "rotary tables": (  # two angles, each of two channels in all heads
        RotaryTables,
        {"stream": (12, 1), "q": (3, 1), "v": (4, 3), "q#2": (2, 1)},
    ),
    "zero biases of keys": (
        PackedWithoutKeyBias,
        {"stream": (12, 1), "q_bias": (3, 1), "q_bias#2": (4, 3), "v_bias": (4, 3)},
    ),
    "normed queries": (
        NormedQueries,
        {"stream": (12, 1), "q": (3, 1), "v": (4, 3), "q#2": (4, 1)},
    ),
    "one key for all queries": (
        lambda: Grouped(1, "expand"),
        {"stream": (16, 1), "q": (4, 1), "q#2": (4, 1), "v": (4, 1)},
    ),
    **{
        how: (lambda how=how: Grouped(2, how), GROUPED)
        for how in ("expand", "repeat_interleave", "enable_gqa")
    },
}


def may_be_free(symmetry):
    """Names of tensors that are pinned in some part, though they may be free there."""
    return {entry.name for entry in symmetry.pinned if "may be free" in entry.reason}


@pytest.mark.parametrize("name", CASES)
def test_heads_are_groups(name):
    """Heads, the free channels inside them, and those that all heads share."""
    make, groups = CASES[name]
    symmetry = discover(randomized(make()), TOKENS)
    assert {n: (g.size, g.copies) for n, g in symmetry.groups.items()} == groups
    assert may_be_free(symmetry) == set()
    assert symmetry.refused == ()
    assert symmetry.certificate.relative_difference <= 1e-9
    assert symmetry.certificate.vacuous == ()


def test_query_heads_and_channels_move_inside_the_block_of_their_key():
    """Both projections move with a block; inside two heads, and all heads' channels."""
    symmetry = discover(randomized(Grouped(2, "expand")), TOKENS)
    blocks, queries = symmetry.groups["q"], symmetry.groups["q#2"]
    assert queries.parent == "q"
    places = {(s.name, s.axes): s.positions.tolist() for s in blocks.sites}
    assert places["q.weight", (0,)] == [[*range(8)], [*range(8, 16)]]
    assert places["k.weight", (0,)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert places["o.weight", (1,)] == [[*range(8)], [*range(8, 16)]]
    inside = {(s.name, s.axes): s.positions.tolist() for s in queries.sites}
    assert ("k.weight", (0,)) not in inside
    channels = symmetry.groups["q#3"]
    assert channels.parent == "q"
    across = {(s.name, s.axes): s.positions.tolist() for s in channels.sites}
    assert across["k.weight", (0,)] == [[row] for row in range(8)]
    first = [[row, row + 4] for row in range(4)]  # of both queries
    assert across["q.weight", (0,)] == [*first, *([i + 8, j + 8] for i, j in first)]
    assert inside["q.weight", (0,)] == [[*range(i, i + 4)] for i in (0, 4, 8, 12)]


def test_halves_of_a_split_attention_are_a_group():
    """Halves of four channels, and the four outputs, which both halves have."""
    symmetry = discover(randomized(SplitAttention()), torch.zeros(2, 3, 6, 6))
    found = {n: (g.size, g.copies) for n, g in symmetry.groups.items()}
    assert found == {
        "squeeze": (6, 1),
        "first": (2, 1),
        "first#2": (4, 2),
        "halves": (4, 1),
    }
    names = {site.name for site in symmetry.groups["first"].sites}
    assert {"first.weight", "halves.weight", "gate.weight"} <= names
    assert may_be_free(symmetry) == set()
    channels = {site.name for site in symmetry.groups["halves"].sites}
    assert {"halves.weight", "gate.weight", "squeeze.weight", "head.weight"} <= channels
