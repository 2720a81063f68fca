"""Records are read whole or refused by name, and shown in few words."""

import json
from dataclasses import asdict

import pytest

from reports.results import (
    Result,
    append,
    best,
    corrected,
    counts,
    merge,
    newest,
    number,
    probability,
    read,
    write,
)
from reports.tests.made_up import FIRST, made, session

UNMET = {
    "verdict": "inconclusive",
    "decision": "premise not met: no gap (half) (mean > 2 points, alpha 0.005)",
}
FEW = {
    "verdict": "inconclusive",
    "decision": "mean > 2 points, alpha 0.005; 3 units, at least 5 are needed",
    "n": 3,
}


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
        (json.dumps(asdict(made()) | {"long": 1}), "line 2: 'long' must be true or "),
        (json.dumps(asdict(made()) | {"p": True}), "line 2: 'p' must be a number"),
        (
            json.dumps(asdict(made()) | {"leaning": "up"}),
            "line 2: 'leaning' is 'up'; give one of '', 'for', 'against'",
        ),
        (
            json.dumps(asdict(made()) | {"accepted": "error"}),
            "line 2: 'accepted' is 'error'; give one of '', 'supported', 'refuted', ",
        ),
        (
            json.dumps(asdict(made()) | {"measured_at": "2026-11-21T10:58:00"}),
            "line 2: 'measured_at' is '2026-11-21T10:58:00'; give a time with its ",
        ),
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
    ("changes", "status", "label"),
    [
        ({}, "supported", "supported"),
        ({"accepted": "supported"}, "supported", "supported"),
        ({"verdict": "refuted"}, "refuted", "refuted"),
        (
            {"verdict": "refuted", "accepted": "refuted"},
            "known",
            "refuted, as on record",
        ),
        (
            {"verdict": "refuted", "accepted": "inconclusive"},
            "refuted",
            "refuted, on record: inconclusive",
        ),
        (
            {"accepted": "refuted", "red": "the opposite"},
            "contradicts",
            "supported, contradicts the record",
        ),
        (
            {"verdict": "refuted", "accepted": "refuted", "red": "far away"},
            "contradicts",
            "refuted, contradicts the record",
        ),
        (
            {"verdict": "inconclusive", "leaning": "against"},
            "inconclusive",
            "inconclusive, leans against",
        ),
        ({"verdict": "error", "red": "it broke"}, "error", "error"),
        (FIRST, "waiting", "1 of 8 pairs, no verdict yet"),
        (FEW, "waiting", "3 of at least 5 pairs, no verdict yet"),
        (UNMET, "inconclusive", "premise not met"),
        (
            UNMET | {"accepted": "supported"},
            "inconclusive",
            "premise not met, on record: supported",
        ),
        # Few they are too, but more would change nothing.
        (
            FEW | {"decision": f"premise not met: no gap ({FEW['decision']})"},
            "inconclusive",
            "premise not met",
        ),
    ],
)
def test_a_verdict_is_told_beside_the_record(changes, status, label):
    """On record, contradicting it, or news: by words, not by colour alone."""
    result = made(**changes)
    assert (result.status.key, result.label) == (status, label)


def test_share_and_paper():
    """The share carries its interval; without the quantity in the paper, nothing."""
    result = made(share=1.42, share_low=1.08, share_high=1.76)
    assert result.of_effect == "1.42 [1.08, 1.76]"
    assert result.in_paper == "9.22 ± 4.16"
    assert made(effect_spread=None).in_paper == "9.22"
    assert made(effect=None, share=None).in_paper == made(share=None).of_effect == ""


def test_counts():
    """Sixty results of known states are counted by status."""
    found = counts(session())
    assert sum(found.values()) == 60
    assert (found["known"], found["refuted"], found["error"]) == (1, 1, 1)
    assert found["contradicts"] == 1
    assert not {"contradicts", "waiting"} & counts([made()]).keys()
    assert counts([made(**FIRST), made(**UNMET)]) == {
        "supported": 0, "known": 0, "refuted": 0, "inconclusive": 1, "waiting": 1,
        "error": 0,
    }  # fmt: skip


def test_holm_by_hand():
    """Smallest times three, next times two, never falling; each scale by itself."""
    held = [
        made(setting="mlp", p=0.04),
        made(setting="plain-vgg", p=0.01),
        made(setting="bn-vgg", p=0.03),
        made(setting="ln-vgg", p=None),
        made(scale="mnist", p=0.5),
    ]
    found = corrected(held)
    assert [found.get(r.place) for r in held] == [0.06, 0.03, 0.06, None, 0.5]


def test_results_are_appended_as_they_come(tmp_path):
    """A session that is killed keeps each result that was appended."""
    path = tmp_path / "new" / "results.jsonl"
    for count, result in enumerate(session()[:3], 1):
        append(path, result)
        assert read(path) == session()[:count]


@pytest.mark.parametrize("cut", [1, 40, 2000])
def test_an_unfinished_last_line_is_left_out(tmp_path, cut):
    """With a warning; and the next one that is appended is not spoiled by it."""
    path = tmp_path / "results.jsonl"
    append(path, made(sentence="An ä in two bytes."))
    line = path.read_bytes()
    path.write_bytes(line + line[:cut])
    with pytest.warns(UserWarning, match="line 2 is unfinished, as a killed session"):
        assert len(read(path)) == 1
    append(path, made(setting="mlp"))
    assert [result.setting for result in read(path)] == ["plain-vgg", "mlp"]


def test_an_unfinished_line_amid_others_is_an_error(tmp_path):
    """No killed session leaves that."""
    path = tmp_path / "results.jsonl"
    path.write_text('{"id": \n' + json.dumps(asdict(made())) + "\n")
    with pytest.raises(ValueError, match=r"results.jsonl, line 1: "):
        read(path)


OLD, NEW = "2026-11-20T00:00:00+00:00", "2026-11-21T01:00:00+02:00"


def test_newest_of_each_place():
    """By time, also across offsets; of equal times the later one given."""
    old, new = made(measured_at=OLD), made(measured_at=NEW, n=9)
    again = made(measured_at=NEW, n=10)
    assert newest([new, old]) == [new]
    assert newest([old, new, again, made(scale="mnist")])[0] == again


def test_merging_keeps_what_was_measured_elsewhere(tmp_path):
    """The better of a place, and all other places; nothing but a lock lies beside."""
    path = tmp_path / "out" / "latest.jsonl"
    merge(path, [made(measured_at=NEW), made(setting="mlp", measured_at=OLD)])
    merge(path, [made(measured_at=OLD, n=7), made(scale="mnist", measured_at=OLD)])
    found = {result.place[1:]: result.n for result in read(path)}
    assert found == {
        ("mlp", "weights", "digits"): 8,
        ("plain-vgg", "weights", "digits"): 8,
        ("plain-vgg", "weights", "mnist"): 8,
    }
    assert {file.name for file in path.parent.iterdir()} <= {
        *("latest.jsonl", ".latest.jsonl.lock")
    }


def test_what_is_better_stays(tmp_path):
    """Fewer units and errors displace nothing; more units, and the newer, do."""
    old, new = {"measured_at": OLD}, {"measured_at": NEW}
    full, few = made(**old, n=8), made(**new, n=4)
    error = made(**new, verdict="error", error="no", n=None)
    assert best([full, few]) == best([few, full]) == [full]
    assert best([full, error]) == best([error, full]) == [full]
    assert best([error, few]) == [few]
    again = made(**new, n=8, verdict="refuted")
    assert best([full, again]) == [again]
    # Another margin makes it another question: whatever it was before is no answer.
    other = made(**new, n=4, margin=1.0)
    assert best([full, other]) == [other]
    assert best([full, made(scale="mnist", n=4)])[0] == full


def test_results_of_deleted_tests_go(tmp_path):
    """Those on file; not what has just been measured."""
    path = tmp_path / "latest.jsonl"
    merge(path, [made(), made(setting="mlp"), made(id="a/gone")])
    merge(path, [made(setting="bn-vgg")], lambda r: r.id == "a/gone")
    assert {r.setting for r in read(path)} == {"plain-vgg", "mlp", "bn-vgg"}
    assert not [r for r in read(path) if r.id == "a/gone"]


def test_what_is_no_file_of_results_is_not_merged_into(tmp_path):
    """It is left as it is, and the error says what to do."""
    path = tmp_path / "latest.jsonl"
    path.write_text("{}\n")
    with pytest.raises(ValueError, match=r"missing 'id'.*or move the file away and a"):
        merge(path, [made()])
    assert path.read_text() == "{}\n"


def test_numbers():
    """Decimals asked for, no minus before zero, powers of ten where needed."""
    assert [number(v, 1) for v in (80.04, -0.04, 1e7)] == ["80.0", "0.0", "1e+07"]
    assert [probability(p) for p in (0.0004, 0.0123, 0.5)] == [
        "<0.001",
        "0.012",
        "0.50",
    ]
