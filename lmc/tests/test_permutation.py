"""Permutations, against explicit indexing and orders worked out by hand."""

from functools import cache

import pytest
import torch
from torch import nn

from lmc import Permutation, Symmetry, discover
from lmc.models import MLP, VGG
from lmc.permutation import mask_site
from lmc.symmetry import Site
from lmc.tests.networks import normal, randomized

P, Q = torch.tensor([1, 2, 0]), torch.tensor([1, 0, 2])


@cache
def mlp() -> tuple[MLP, Symmetry]:
    """An MLP with two hidden layers of 3 and 4 units."""
    model = randomized(MLP((2, 3, 4, 2)))
    return model, discover(model, torch.zeros(2, 2))


def permutation(first=P, second=(3, 0, 2, 1)) -> Permutation:
    """One order for each of the two hidden layers."""
    return Permutation(mlp()[1], {"1": first, "3": torch.tensor(second)})


def test_apply_is_indexing_of_rows_and_of_the_next_layers_columns():
    """Rows of weight and bias by the own order, columns by the one before."""
    model, _ = mlp()
    old, p, q = model.state_dict(), P, torch.tensor([3, 0, 2, 1])
    new = permutation().apply(old)
    expected = {
        "1.weight": old["1.weight"][p],
        "1.bias": old["1.bias"][p],
        "3.weight": old["3.weight"][q][:, p],
        "3.bias": old["3.bias"][q],
        "5.weight": old["5.weight"][:, q],
        "5.bias": old["5.bias"],
    }
    assert list(new) == list(old)
    for name, tensor in expected.items():
        assert torch.equal(new[name], tensor), name


def test_apply_permutes_batch_norm_with_its_convolution():
    """Scale, shift and both running statistics move with the channels."""
    model = randomized(VGG((3,), 2, norm="bn"))
    p = Permutation(discover(model, torch.zeros(2, 1, 4, 4)), {"features.0": P})
    old = model.state_dict()
    new = p.apply(old)
    names = "weight bias running_mean running_var".split()
    for name in ["features.0.weight", "features.0.bias"] + [
        f"features.1.{name}" for name in names
    ]:
        assert torch.equal(new[name], old[name][P]), name
    assert torch.equal(new["classifier.weight"], old["classifier.weight"][:, P])


def test_apply_moves_the_pixels_of_a_flattened_channel_together():
    """A linear layer behind C x H x W has H x W columns for each channel."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 1), torch.nn.Flatten(), torch.nn.Linear(3 * 4, 2)
    ).eval()
    p = Permutation(discover(model, torch.zeros(2, 1, 2, 2)), {"0": P})
    old = model.state_dict()
    columns = [4 * channel + pixel for channel in P.tolist() for pixel in range(4)]
    assert torch.equal(p.apply(old)["2.weight"], old["2.weight"][:, columns])


def test_mask_site_blanks_all_pixels_of_a_channel():
    """Of 3 channels x 2 pixels, the second channel's columns become zero."""
    weight, channels = normal(2, 6), torch.tensor([False, True, False])
    masked = mask_site(weight, Site("w", (1,), torch.arange(6).view(3, 2)), channels)
    expected = weight.clone()
    expected[:, 2:4] = 0
    assert torch.equal(masked, expected) and weight[:, 2:4].all()


def test_apply_leaves_its_input_alone():
    """The result is a new dict, and the tensors given keep their values."""
    state = mlp()[0].state_dict()
    before = {name: tensor.clone() for name, tensor in state.items()}
    permuted = permutation().apply(state)
    assert permuted is not state and set(permuted) == set(state)
    assert all(torch.equal(state[name], before[name]) for name in before)


def test_permuted_network_computes_the_same():
    """Logits of the permuted network in float64 are those of the network."""
    model = mlp()[0]
    x, state = normal(5, 2), {k: v.double() for k, v in model.state_dict().items()}
    graph = mlp()[1].graph
    same = graph.run(permutation().apply(state), x)
    torch.testing.assert_close(same, graph.run(state, x), rtol=1e-13, atol=1e-13)


def test_identity_changes_nothing():
    """Every tensor is equal to what it was."""
    state = mlp()[0].state_dict()
    same = Permutation.identity(mlp()[1]).apply(state)
    assert all(torch.equal(same[name], state[name]) for name in state)


def test_invert_by_hand():
    """(1, 2, 0) is undone by (2, 0, 1), (3, 0, 2, 1) by (1, 3, 2, 0)."""
    inverse = permutation().invert()
    assert inverse.indices["1"].tolist() == [2, 0, 1]
    assert inverse.indices["3"].tolist() == [1, 3, 2, 0]


def test_invert_undoes_apply():
    """Permuting and permuting back gives every tensor as it was."""
    state, p = mlp()[0].state_dict(), permutation()
    back = p.invert().apply(p.apply(state))
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_compose_applies_the_first_first():
    """(1, 2, 0) then (1, 0, 2) is (2, 1, 0); the other order is (0, 2, 1)."""
    p, q = permutation(P), permutation(Q, second=(0, 1, 3, 2))
    assert p.compose(q).indices["1"].tolist() == [2, 1, 0]
    assert q.compose(p).indices["1"].tolist() == [0, 2, 1]
    state = mlp()[0].state_dict()
    once, twice = p.compose(q).apply(state), q.apply(p.apply(state))
    assert all(torch.equal(once[name], twice[name]) for name in state)


def test_random_is_reproduced_by_its_generator():
    """The same seed gives the same permutation, another seed another one."""
    symmetry = mlp()[1]

    def draw(seed):
        p = Permutation.random(symmetry, torch.Generator().manual_seed(seed))
        return {name: order.tolist() for name, order in p.indices.items()}

    assert draw(3) == draw(3)
    assert len({str(draw(seed)) for seed in range(20)}) > 10


def test_random_does_not_touch_the_global_generator():
    """Training elsewhere draws the same numbers, with or without a permutation."""
    before = torch.random.get_rng_state()
    Permutation.random(mlp()[1], torch.Generator().manual_seed(0))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_cyclic_is_one_random_cycle_through_all_units():
    """Each unit comes back after as many steps as there are units, and not before.

    Of the 6 cycles of 4 units, many seeds draw more than one: not always the same.
    """
    drawn = set()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        order = Permutation.cyclic(mlp()[1], generator).indices["3"].tolist()
        path = [0]
        while len(path) < 4:
            path.append(order[path[-1]])
        assert sorted(path) == [0, 1, 2, 3] and order[path[-1]] == 0
        drawn.add(tuple(order))
    assert len(drawn) > 3


@pytest.mark.parametrize(
    "wrong",
    [
        torch.tensor([0, 1, 1]),
        torch.tensor([1, 2, 3]),
        torch.tensor([0, 1]),
        torch.tensor([[0, 1, 2]]),
        torch.tensor([0.0, 1.0, 2.0]),
    ],
    ids=["twice", "shifted", "short", "two-dimensional", "float"],
)
def test_indices_that_are_no_permutation_are_refused(wrong):
    """The error names the group and its range."""
    message = r"indices of group '1' are no permutation of 0\.\.2"
    with pytest.raises(ValueError, match=message):
        permutation(wrong)


def test_groups_must_be_those_of_the_symmetry():
    """The error lists missing and unknown groups."""
    with pytest.raises(ValueError, match=r"missing \['3'\], unknown \['2'\]"):
        Permutation(mlp()[1], {"1": P, "2": P})


@pytest.mark.parametrize("sizes", [(2, 3, 5, 2), (2, 3, 2)])
def test_compose_of_different_models_is_refused(sizes):
    """Permutations of two architectures have no product."""
    other = Permutation.identity(discover(MLP(sizes).eval(), torch.zeros(2, sizes[0])))
    for first, second in ((permutation(), other), (other, permutation())):
        with pytest.raises(ValueError, match="different groups"):
            first.compose(second)


def test_apply_to_another_architecture_is_refused():
    """Missing and unknown tensors and other shapes are named with what to do."""
    state = mlp()[0].state_dict()
    fewer = {name: state[name] for name in state if name != "3.bias"}
    with pytest.raises(ValueError, match=r"missing \['3.bias'\].*model.state_dict\(\)"):
        permutation().apply(fewer)
    with pytest.raises(ValueError, match=r"unknown \['extra'\]"):
        permutation().apply({**state, "extra": P})
    with pytest.raises(ValueError, match=r"1.bias has shape \(4,\), .* \(3,\): both"):
        permutation().apply({**state, "1.bias": torch.zeros(4)})


@cache
def grouped() -> Symmetry:
    """A convolution of two groups, with three channels in each, in and out."""
    model = nn.Sequential(
        nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 1, groups=2), nn.ReLU()
    )
    return discover(
        nn.Sequential(model, nn.Conv2d(6, 2, 1)).eval(), torch.zeros(2, 1, 2, 2)
    )


def inside(symmetry) -> list[str]:
    """Names of the groups inside another one."""
    return [name for name, group in symmetry.groups.items() if group.parent]


def test_units_inside_blocks_move_with_them_first():
    """Blocks change places, then the first block's units are rotated."""
    symmetry = grouped()
    (outer,) = set(symmetry.groups) - set(inside(symmetry))
    still = Permutation.identity(symmetry).indices
    one = inside(symmetry)[0]
    permutation = Permutation(
        symmetry,
        {
            **still,
            outer: torch.tensor([1, 0]),
            one: torch.tensor([[1, 2, 0], [0, 1, 2]]),
        },
    )
    site = symmetry.groups[one].sites[0]
    state = {name: normal(*shape) for name, shape in symmetry.shapes.items()}
    order = [4, 5, 3, 0, 1, 2]
    assert permutation.moved()[one].tolist() == order
    assert site.axes == (0,)
    assert torch.equal(permutation.apply(state)[site.name], state[site.name][order])
    again = Permutation.from_moved(symmetry, permutation.moved())
    assert all(torch.equal(again.indices[n], p) for n, p in permutation.indices.items())


def test_invert_and_compose_with_groups_inside_groups():
    """By what they do to a state dict."""
    symmetry = grouped()
    state = {name: normal(*shape) for name, shape in symmetry.shapes.items()}
    generator = torch.Generator().manual_seed(3)
    first, then = (Permutation.random(symmetry, generator) for _ in range(2))
    back = first.invert().apply(first.apply(state))
    both = first.compose(then).apply(state)
    in_turn = then.apply(first.apply(state))
    for name, value in state.items():
        assert torch.equal(back[name], value)
        assert torch.equal(both[name], in_turn[name])


def test_units_that_leave_their_block_are_refused():
    """They must stay with the block that holds them."""
    symmetry = grouped()
    moved = Permutation.identity(symmetry).moved()
    one = inside(symmetry)[0]
    moved[one] = torch.tensor([3, 1, 2, 0, 4, 5])
    with pytest.raises(ValueError, match="do not move with those of"):
        Permutation.from_moved(symmetry, moved)
