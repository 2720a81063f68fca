"""Properties of discovery and matching over a grammar of architectures."""

from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

import lmc
from lmc.matching import match_iteratively, straight_through
from lmc.testing import (
    KINDS,
    Attending,
    Concatenated,
    Excited,
    Halved,
    Residual,
    another,
    discover,
    images,
    networks,
    randomize,
)

seeds = st.integers(0, 2**32 - 1)
# Exporting a model takes a tenth of a second: few examples, the same in every run.
examples = settings(
    deadline=None,
    max_examples=12,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


def generator(seed: int) -> torch.Generator:
    """A source of random numbers."""
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
@examples
@given(st.data(), seeds)
def test_permutations_keep_the_function_and_are_recovered(kind, data, seed):
    """The module itself, with permuted tensors, in float64; all operations known.

    Weight matching finds the shuffled copy, forward or by several descents.
    """
    model = data.draw(networks(kinds=["plain", kind]))
    symmetry, state = discover(model), model.state_dict()
    assert symmetry.refused == ()
    shuffled = lmc.Permutation.random(symmetry, generator(seed)).apply(state)
    x = images(seed)
    after = functional_call(model, shuffled, x)
    torch.testing.assert_close(after, model(x), rtol=1e-8, atol=1e-9)

    found = lmc.weight_matching(
        symmetry, state, shuffled, generator=generator(seed), start="forward"
    )
    back = found.permutation.apply(shuffled)
    names = [name for name in state if not name.endswith("num_batches_tracked")]
    assert all(torch.equal(back[name], state[name]) for name in names)


@examples
@given(networks(), seeds)
def test_every_matcher_returns_permutations_that_keep_the_function(model, seed):
    """B permuted computes what B computes, whoever found the permutation."""
    symmetry, a, b = discover(model), model.state_dict(), another(model, seed)
    assume(symmetry.groups)
    x = images(seed)
    batches = [(x, torch.arange(len(x)) % 3)]

    found = [
        lmc.weight_matching(symmetry, a, b, generator=generator(seed)).permutation,
        match_iteratively(symmetry, [a, b], generator=generator(seed)).permutations[1],
        straight_through(
            symmetry, a, b, batches, generator=generator(seed), epochs=1
        ).permutation,
    ]
    if all(g.activations or g.parent is None for g in symmetry.groups.values()):
        try:
            found.append(lmc.activation_matching(symmetry, a, b, batches).permutation)
        except ValueError as error:
            assert "no axis of any activation" in str(error)
    before = functional_call(model, b, x)
    for permutation in found:
        after = functional_call(model, permutation.apply(b), x)
        torch.testing.assert_close(after, before, rtol=1e-8, atol=1e-9)


@examples
@given(networks(), seeds)
def test_weight_matching_never_grows_the_distance(model, seed):
    """Distance over parameters, and the objective's steps."""
    symmetry, a, b = discover(model), model.state_dict(), another(model, seed)
    found = lmc.weight_matching(
        symmetry, a, b, generator=generator(seed), start="identity"
    )
    names = symmetry.graph.parameters
    after = lmc.l2_distance(a, found.permutation.apply(b), names)
    before = lmc.l2_distance(a, b, names)
    assert after <= before * (1 + 1e-12)
    # |a - b|^2 = |a|^2 + |b|^2 - 2 <a, b>: the gain of the objective, twice.
    gained = found.objective - found.history[0]
    assert before**2 - after**2 == pytest.approx(2 * gained, rel=1e-6, abs=1e-6)


class Head(nn.Module):
    """Pooling and logits behind some layers."""

    def __init__(self, channels: int, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.last = nn.Linear(channels, 3)

    def forward(self, x):
        return self.last(self.layers(x).mean((2, 3)))


class Gated(nn.Module):
    """A gated linear unit over channels."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 8, 1)

    def forward(self, x):
        return F.glu(self.layer(x), 1)


RELU = nn.ReLU()
# Groups by hand, as (copies, size): what may be exchanged, and inside how many blocks.
BY_HAND = {
    "plain": (Head(5, nn.Conv2d(2, 5, 3), RELU), [(1, 5)]),
    "residual": (
        Head(4, nn.Conv2d(2, 4, 1), Residual(nn.Conv2d(4, 4, 1), nn.Identity())),
        [(1, 4)],
    ),
    "bottleneck": (
        Head(
            4,
            nn.Conv2d(2, 4, 1),
            Residual(
                nn.Sequential(nn.Conv2d(4, 3, 1), RELU, nn.Conv2d(3, 4, 1)),
                nn.Identity(),
            ),
        ),
        [(1, 4), (1, 3)],
    ),
    "concatenation": (
        Head(7, Concatenated(nn.Conv2d(2, 4, 1), nn.Conv2d(2, 3, 1))),
        [(1, 4), (1, 3)],
    ),
    "dense": (
        Head(7, nn.Conv2d(2, 4, 1), Concatenated(nn.Identity(), nn.Conv2d(4, 3, 1))),
        [(1, 4), (1, 3)],
    ),
    # Two groups of three inputs and two outputs each: 2! (3!)^2 (2!)^2 permutations.
    "grouped": (
        Head(4, nn.Conv2d(2, 6, 1), RELU, nn.Conv2d(6, 4, 1, groups=2)),
        [(1, 2), (2, 3), (2, 2)],
    ),
    # One input in each of four groups: the groups are the channels.
    "depthwise": (
        Head(4, nn.Conv2d(2, 4, 1), RELU, nn.Conv2d(4, 4, 1, groups=4)),
        [(1, 4)],
    ),
    "multiplied": (
        Head(8, nn.Conv2d(2, 4, 1), RELU, nn.Conv2d(4, 8, 1, groups=4)),
        [(1, 4), (4, 2)],
    ),
    "transposed": (
        Head(4, nn.Conv2d(2, 6, 1), nn.ConvTranspose2d(6, 4, 1, groups=2)),
        [(1, 2), (2, 3), (2, 2)],
    ),
    "excitation": (
        Head(4, nn.Conv2d(2, 4, 1), Excited(4, 3)),
        [(1, 4), (1, 3)],
    ),
    # Six channels in two GroupNorm groups of three.
    "group norm": (
        Head(6, nn.Conv2d(2, 6, 1), nn.GroupNorm(2, 6)),
        [(1, 2), (2, 3)],
    ),
    "layer norm": (
        Head(6, nn.Conv2d(2, 6, 1), nn.GroupNorm(1, 6)),
        [(1, 6)],
    ),
    # Of six channels three pass and three go through a layer, which has three outputs.
    "halves": (
        Head(6, nn.Conv2d(2, 6, 1), Halved(6)),
        [(1, 3), (1, 3), (1, 3)],
    ),
    # Again: of the shuffled six (p0 q0 p1 | q1 p2 q2), with p passed and q made.
    "halves twice": (
        Head(6, nn.Conv2d(2, 6, 1), Halved(6), Halved(6)),
        [(1, 3), (1, 2), (1, 2), (1, 3)],
    ),
    # Stream of 6; two heads; inside each, 3 query-key pairs and 3 values.
    "attention": (
        Head(6, nn.Conv2d(2, 6, 1), Attending(6, 2)),
        [(1, 6), (1, 2), (2, 3), (2, 3)],
    ),
    # One head is no block.
    "one head": (
        Head(4, nn.Conv2d(2, 4, 1), Attending(4, 1)),
        [(1, 4), (1, 4), (1, 4)],
    ),
    # Heads of one channel have nothing inside.
    "thin heads": (
        Head(4, nn.Conv2d(2, 4, 1), Attending(4, 4)),
        [(1, 4), (1, 4)],
    ),
    "gated": (Head(4, Gated()), [(1, 4)]),
    "shuffled": (
        Head(6, nn.Conv2d(2, 6, 1), nn.ChannelShuffle(2), nn.Conv2d(6, 6, 1)),
        [(1, 6), (1, 6)],
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_groups_are_as_many_as_by_hand(name):
    """No group too few: what is free is found."""
    model, expected = BY_HAND[name]
    randomize(model, 0)
    model.double().eval()
    symmetry = discover(model)
    found = [(group.copies, group.size) for group in symmetry.groups.values()]
    assert Counter(found) == Counter(expected)
    assert symmetry.refused == ()
