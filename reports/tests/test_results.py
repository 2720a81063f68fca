"""Records are read whole or refused by name, and shown in few words."""

import json
from dataclasses import asdict

import pytest

from reports.results import Result, counts, number, probability, read, write
from reports.tests.made_up import made, session


def test_what_is_written_is_read(tmp_path):
    """All kinds of results survive a round trip through the file."""
    path = tmp_path / "results.jsonl"
    write(path, session())
    assert read(path) == session()
    assert [file.name for file in tmp_path.iterdir()] == ["results.jsonl"]


def test_not_finite_numbers_become_null(tmp_path):
    """NaN is no JSON: it is written as null, which every reader understands."""
    path = tmp_path / "results.jsonl"
    write(path, [made(estimate=float("nan"))])
    assert "NaN" not in path.read_text()
    assert read(path)[0].estimate is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: "),
        ("[1]", r"line 2: expected a JSON object, got '\[1\]'"),
        ('{"id": "a/b"}', "line 2: missing 'setting', 'variant'"),
        (json.dumps(asdict(made()) | {"n": "eight"}), "line 2: 'n' must be an integer"),
        (json.dumps(asdict(made()) | {"pairs": 3}), "line 2: 'pairs' must be a list"),
        (
            json.dumps(asdict(made()) | {"verdict": "fine"}),
            "line 2: 'verdict' is 'fine'; give one of 'supported'",
        ),
    ],
)
def test_malformed_lines_are_named(tmp_path, line, message):
    """The error says which line of which file, and what is wrong with it."""
    path = tmp_path / "results.jsonl"
    path.write_text(json.dumps(asdict(made())) + "\n" + line + "\n")
    with pytest.raises(ValueError, match="results.jsonl, " + message):
        read(path)


def test_missing_file_says_what_to_run(tmp_path):
    """Without results there is something to run."""
    with pytest.raises(FileNotFoundError, match="run `pytest claims/` to write them"):
        read(tmp_path / "results.jsonl")


def test_unknown_keys_are_left_out():
    """A newer writer's fields do not stop an older reader."""
    assert Result.from_json(asdict(made()) | {"colour": "blue"}) == made()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"estimate": 1.234, "low": 0.41, "high": 2.04}, "+1.2 [0.4, 2.0] points"),
        ({"estimate": -12.0, "low": -15.2, "high": -8.6}, "-12.0 [-15.2, -8.6] points"),
        ({"estimate": 0.9266, "low": 0.92, "high": 0.93, "unit": ""}, "0.927 "),
        ({"estimate": 2.3e-15, "low": None, "high": None, "unit": ""}, "2.3e-15"),
        ({"estimate": None}, "not measured"),
    ],
)
def test_measured(changes, expected):
    """Sign for differences, decimals by the width of the interval, unit behind."""
    assert made(**changes).measured.startswith(expected)


@pytest.mark.parametrize(
    ("verdict", "expected", "status"),
    [
        ("supported", "supported", "supported"),
        ("refuted", "supported", "refuted"),
        ("refuted", "refuted", "declared"),
        ("supported", "refuted", "undeclared"),
        ("inconclusive", "refuted", "inconclusive"),
        ("error", "refuted", "error"),
    ],
)
def test_status_tells_declared_from_unexpected(verdict, expected, status):
    """A refutation that was declared reads differently from one that was not."""
    assert made(verdict=verdict, expected=expected).status.key == status


def test_counts():
    """Sixty results of known states are counted by status."""
    found = counts(session())
    assert sum(found.values()) == 60
    assert (found["declared"], found["refuted"], found["error"]) == (1, 1, 1)
    assert found["undeclared"] == 1
    assert "undeclared" not in counts([made()])


def test_numbers():
    """Decimals asked for, no minus before zero, powers of ten where needed."""
    assert [number(v, 1) for v in (80.04, -0.04, 1e7)] == ["80.0", "0.0", "1e+07"]
    assert [probability(p) for p in (0.0004, 0.0123, 0.5)] == [
        "<0.001",
        "0.012",
        "0.50",
    ]
