"""What is measured of two ways, and that they must agree."""

import pytest
import torch

from lmc.benchmarks.comparing import Comparison, compare, megabytes


def test_ratios_are_baseline_over_ours():
    """Twice the time is a ratio of two."""
    found = Comparison("a / b", (2.0, 4.0, 9.0), (1.0, 2.0, 3.0), "all")
    assert found.ratios == [2.0, 2.0, 3.0]
    assert "2.00 [2.00..3.00]" in found.line()


def test_different_results_are_an_error():
    """A ratio of two different things is none."""

    def same(one, other):
        assert one == other
        return "equal"

    with pytest.raises(AssertionError):
        compare("a / b", lambda: 1, lambda: 2, same, 1)
    assert compare("a / b", lambda: 1, lambda: 1, same, 2).same == "equal"


def test_memory_is_what_is_there_at_once():
    """Not what was there before, nor twice what has two views; bytes by hand."""
    held = torch.ones(1000)

    def one_by_one():
        for _ in range(3):
            made = held.detach().double().view(10, 100)
            assert made.shape == (10, 100)
            del made

    def together():
        return [held.double() for _ in range(3)]

    assert megabytes(one_by_one) == (0.008, None)
    most, made = megabytes(together)
    assert most == 0.024 and len(made) == 3
    found = compare("a / b", together, one_by_one, lambda *_: "", 2, "memory")
    assert found.unit == "MB" and found.ratios == pytest.approx([3.0, 3.0])
