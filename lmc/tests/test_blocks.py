"""What is known of a tensor's axes, on small blocks by hand."""

import numpy as np
import pytest
import torch

from lmc.axes import Axes, Block, constant, fresh
from lmc.units import Units

TABLE = np.arange(6).reshape(2, 3)


def test_new_axes_tell_places_apart_but_for_even_ones():
    """Two units, spread over an axis of three in front."""
    block = Block((1,), np.array([7, 8]), np.array([0, 0]))
    rigid, even = (block.spread((0, 1), (3, 2), even) for even in ((), (0,)))
    for spread in (rigid, even):
        assert spread.dims == (0, 1) and spread.units.tolist() == [[7, 8]] * 3
    assert rigid.places.tolist() == [[0, 0], [1, 1], [2, 2]] and not rigid.repeats
    assert even.places.tolist() == [[0, 0]] * 3 and even.repeats
    assert (rigid.even, even.even) == (set(), {0})


def test_spread_places_stay_apart():
    """Places of the block's own, and a new axis: all pairs differ."""
    block = Block((0,), np.array([7, 7]), np.array([0, 1]))
    places = block.spread((0, 1), {0: 2, 1: 3}).places
    assert len(np.unique(places)) == 6


@pytest.mark.parametrize(
    ("dims", "shape", "rows"),
    [
        ([4], [2], [[0, 1, 2], [3, 4, 5]]),
        ([6], [3], [[0, 3], [1, 4], [2, 5]]),
        ([4, 6], [2, 3], [[0], [1], [2], [3], [4], [5]]),
    ],
)
def test_rows_are_at_the_positions_of_some_axes(dims, shape, rows):
    found = Block((4, 6), TABLE, 10 + TABLE).rows(dims)
    assert found[0] == shape and found[1].tolist() == rows
    assert (found[2] == 10 + found[1]).all()


def test_a_tidy_block_varies_along_all_its_axes():
    """Each unit in all columns, told apart by the same places."""
    block = Block((0, 1), TABLE[:, :1] + 0 * TABLE, 0 * TABLE + [4, 5, 6])
    tidy = block.tidy()
    assert tidy.dims == (0,) and tidy.units.tolist() == [0, 3]
    assert tidy.places.tolist() == [0, 0]
    whole = Block((0, 1), TABLE, 0 * TABLE).tidy()
    assert whole.dims == (0, 1) and (whole.units == TABLE).all()


def test_computed_axes_have_blocks_over_some_axis():
    """One unit that is left without an axis is not among them."""
    single = Block((), np.array(3), np.array(0))
    kept = Block((0,), np.array([1, 2]), np.array([0, 0]))
    assert Axes.made((2,), [single, kept]).blocks == (kept,)


def test_letters_take_the_place_of_axes():
    """In their order; a size of 1 and an even axis fit whatever they meet."""
    block = Block((0, 2), TABLE, 0 * TABLE)
    axes = Axes((2, 1, 3, 4), (block,), frozenset({3}))
    (lettered,), sizes = axes.lettered([5, 1, 2, 3])
    assert lettered.dims == (2, 5) and (lettered.units == TABLE.T).all()
    assert sizes == {5: 2, 2: 3}


def test_new_units_are_on_axes_with_more_than_one_position():
    units = Units()
    axes = fresh(units, (2, 1, 3), "a reason", parameter="weight")
    assert [(b.dims, b.units.tolist()) for b in axes.blocks] == [
        ((0,), [0, 1]),
        ((2,), [2, 3, 4]),
    ]
    assert axes.view == ("weight", (0, 1, 2)) and units.reason(4) == "a reason"
    assert fresh(units, (2,)).view is None


def test_a_constant_is_even_where_its_values_are_equal():
    assert constant(torch.tensor([[1.0, 2.0], [1.0, 2.0]])).even == {0}
    assert constant(torch.zeros(1, 2, 3)).even == {1, 2}
