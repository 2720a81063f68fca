"""The benchmarks run at small sizes, and compare what is the same."""

import json

import pytest

from lmc.benchmarks.library import Comparison, compare, main


def test_all_comparisons_run_and_are_written(tmp_path, capsys):
    """Eight lines, each with two times and a ratio, and the same as JSON."""
    path = tmp_path / "bench.json"
    main(["--quick", "--repeats", "2", "--json", str(path)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9
    written = json.loads(path.read_text())
    assert [len(entry["ours"]) for entry in written] == [2] * 8


def test_ratios_are_baseline_over_ours():
    """Twice the time is a ratio of two."""
    found = Comparison("a / b", (2.0, 4.0, 9.0), (1.0, 2.0, 3.0), "all")
    assert found.ratios == [2.0, 2.0, 3.0]
    assert "2.0 [2.0..3.0]" in found.line()


def test_different_results_are_an_error():
    """A ratio of two different things is none."""

    def same(one, other):
        assert one == other
        return "equal"

    with pytest.raises(AssertionError):
        compare("a / b", lambda: 1, lambda: 2, same, 1)
    assert compare("a / b", lambda: 1, lambda: 1, same, 2).same == "equal"
