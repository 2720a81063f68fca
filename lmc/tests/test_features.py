"""Quantities of networks, by hand."""

import pytest
import torch

from lmc.features import l2_distance


def test_distance_by_hand():
    """3-4-12 in two tensors is a distance of 13."""
    a = {"w": torch.tensor([[1.0, 2.0]]), "b": torch.tensor([5.0])}
    b = {"w": torch.tensor([[4.0, 6.0]]), "b": torch.tensor([-7.0])}
    assert l2_distance(a, b) == 13.0


def test_integer_tensors_do_not_count():
    """BatchNorm's count of batches is no coordinate of a network."""
    a = {"w": torch.zeros(1), "n": torch.tensor(3)}
    b = {"w": torch.tensor([2.0]), "n": torch.tensor(100)}
    assert l2_distance(a, b) == 2.0


def test_named_tensors_only():
    """With names, nothing else counts."""
    a = {"w": torch.zeros(1), "running_mean": torch.zeros(1)}
    b = {"w": torch.tensor([2.0]), "running_mean": torch.tensor([9.0])}
    assert l2_distance(a, b, names=["w"]) == 2.0


def test_distance_is_summed_in_float64():
    """A float32 difference of 1e-8 beside 1.0 is not rounded away."""
    a = {"w": torch.tensor([1e-8, 1.0], dtype=torch.float32)}
    b = {"w": torch.tensor([0.0, 1.0 + 2**-23], dtype=torch.float32)}
    exact = (float(a["w"][0]) ** 2 + 2.0**-46) ** 0.5
    assert l2_distance(a, b) == pytest.approx(exact, rel=1e-14)


def test_missing_tensor_is_refused():
    """A tensor in one network only is named, whichever network lacks it."""
    full, empty = {"w": torch.zeros(1)}, {}
    for pair in ((full, empty), (empty, full)):
        with pytest.raises(ValueError, match="'w' is missing from one of the networks"):
            l2_distance(*pair)


def test_other_shape_is_refused():
    """Broadcasting two shapes would give a distance of nothing."""
    message = r"w has shape \(2,\) in one network and \(1,\) in the other"
    with pytest.raises(ValueError, match=message):
        l2_distance({"w": torch.zeros(2)}, {"w": torch.zeros(1)})
