"""The algebra of axes, against index arithmetic in numpy and cases by hand."""

import numpy as np
import pytest

from lmc.axes import Axis, Factor, axis, pin, reshape, resolve, size_of, split, unify


def sizes(factors: Axis) -> list[int]:
    """Sizes of an axis's factors after all unifications."""
    return [factor.size for factor in resolve(factors)]


def reasons(factors: Axis) -> list[str | None]:
    """Reasons of an axis's factors after all unifications."""
    return [factor.reason for factor in resolve(factors)]


def moved(factors: Axis, factor: Factor, order: list[int]) -> list[int]:
    """Where the positions of an axis go when one of its factors is permuted."""
    factors = resolve(factors)
    grid = np.arange(size_of(factors)).reshape([f.size for f in factors])
    return np.take(grid, order, axis=factors.index(factor)).ravel().tolist()


def test_axis_of_one_position_has_no_factors():
    """Nothing can be permuted on an axis of size 1."""
    assert axis(1) == () and size_of(axis(1)) == 1
    assert sizes(axis(3)) == [3]


def test_unify_makes_two_factors_one():
    """Two axes of one factor each are the same factor afterwards."""
    a, b = axis(5), axis(5)
    unify(a, b, "test")
    assert resolve(a) == resolve(b) and sizes(a) == [5]


@pytest.mark.parametrize("product_first", [True, False])
def test_unify_turns_a_factor_into_the_product(product_first):
    """A flattened axis unified with a weight's axis makes the weight's a product."""
    product, single = (Factor(4), Factor(3), Factor(2)), axis(24)
    unify(*((product, single) if product_first else (single, product)), "test")
    assert resolve(single) == resolve(product) and sizes(single) == [4, 3, 2]


def test_unify_refines_products_that_interleave():
    """6 x 4 and 2 x 12 have the common refinement 2 x 3 x 4."""
    a, b = (Factor(6), Factor(4)), (Factor(2), Factor(12))
    unify(a, b, "test")
    assert resolve(a) == resolve(b) and sizes(a) == [2, 3, 4]


def test_unified_factors_move_both_axes_alike():
    """Permuting any common factor is one index map on both axes."""
    a, b = (Factor(6), Factor(4)), (Factor(2), Factor(12))
    unify(a, b, "test")
    for factor in resolve(a):
        order = np.random.default_rng(0).permutation(factor.size).tolist()
        assert moved(a, factor, order) == moved(b, factor, order)


@pytest.mark.parametrize(
    ("left", "right"), [((6, 4), (4, 6)), ((3, 8), (8, 3)), ((2, 3, 4), (2, 4, 3))]
)
def test_misaligned_products_are_pinned(left, right):
    """6 x 4 and 4 x 6 share no factor: what is left of both is pinned."""
    a, b = tuple(map(Factor, left)), tuple(map(Factor, right))
    unify(a, b, "sum of two")
    aligned = 1 if left[0] == right[0] else 0
    for factors in (a, b):
        expected = [None] * aligned + ["factors do not align: sum of two"] * (
            len(resolve(factors)) - aligned
        )
        assert reasons(factors) == expected


def test_unify_of_a_product_with_itself_swapped_terminates():
    """(a, b) unified with (b, a) leaves three equal factors of 2 for 2 x 4."""
    a, b = Factor(2), Factor(4)
    unify((a, b), (b, a), "test")
    assert resolve((a, b)) == resolve((b, a))
    assert sizes((a, b)) == [2, 2, 2] and len(set(resolve((a, b)))) == 1


def test_unify_refuses_axes_of_different_sizes():
    """The error names both sizes and the operation."""
    with pytest.raises(ValueError, match="axes of 6 and 4: bias of conv"):
        unify(axis(6), axis(4), "bias of conv")


def test_pin_reaches_what_was_unified_before_and_after():
    """A pin on one axis holds for every axis tied to it, earlier or later."""
    a, b, c = axis(6), axis(6), (Factor(2), Factor(3))
    unify(a, b, "test")
    pin([a], "logits")
    unify(b, c, "test")
    assert reasons(a) == reasons(b) == reasons(c) == ["logits", "logits"]


def test_the_first_reason_is_kept():
    """A factor pinned twice says why it was pinned first, also through a tie."""
    a, b = axis(3), axis(3, "second")
    pin([a], "first")
    pin([a], "later")
    assert reasons(a) == ["first"]
    unify(a, b, "test")
    pin([a], "much later")
    assert reasons(a) == reasons(b) and reasons(a)[0] in {"first", "second"}


def test_split_keeps_the_reason_and_binds_the_factor():
    """A factor of 12 split by 3 is 3 x 4; the parts of a pinned one are pinned."""
    free, pinned = Factor(12), Factor(12, "input")
    assert split(free, 3) == resolve((free,)) and sizes((free,)) == [3, 4]
    split(pinned, 3)
    assert reasons((pinned,)) == ["input", "input"] and reasons((free,)) == [None] * 2


def test_flatten_keeps_channels_and_pixels_as_factors():
    """N x C x H x W flattened to N x CHW: one axis with the factors C, H, W."""
    n, c, h, w = axis(2), axis(8), axis(3), axis(5)
    first, second = reshape([n, c, h, w], [2, 120], "flatten")
    assert first == n and second == (*c, *h, *w)


def test_reshape_splits_a_factor_row_major():
    """12 as 3 x 4: permuting either part is numpy's permutation of rows or columns."""
    twelve = axis(12)
    rows, columns = reshape([twelve], [3, 4], "view")
    assert resolve(twelve) == (*rows, *columns)
    assert moved(twelve, rows[0], [2, 0, 1]) == [8, 9, 10, 11, *range(8)]
    assert moved(twelve, columns[0], [1, 0, 2, 3])[:6] == [1, 0, 2, 3, 5, 4]


def test_reshape_ignores_and_makes_axes_of_one():
    """Squeezed and unsqueezed axes of size 1 change nothing else."""
    c = axis(4)
    assert reshape([axis(1), c, axis(1)], [4], "squeeze") == [c]
    assert reshape([c], [1, 4, 1], "unsqueeze") == [(), c, ()]


def test_reshape_sees_earlier_unifications():
    """An axis that became a product can be taken apart along that product."""
    flat, c, p = axis(12), axis(4), axis(3)
    unify(flat, (*c, *p), "test")
    assert reshape([flat], [4, 3], "view") == [resolve(c), resolve(p)]


def test_reshape_that_does_not_align_pins_everything():
    """6 x 4 read as 4 x 6 mixes units: arguments and result are pinned with why."""
    six, four = axis(6), axis(4)
    result = reshape([six, four], [4, 6], "view of x")
    why = ["axes do not align: view of x"]
    assert [sizes(factors) for factors in result] == [[4], [6]]
    for factors in (six, four, *result):
        assert set(reasons(factors)) == set(why)
