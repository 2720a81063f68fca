"""The papers' sentences beside what was measured of them."""

import pytest

from reports import coverage
from reports.__main__ import main
from reports.coverage import read_catalogue, read_newest, summary, table
from reports.results import Result, newest, write
from reports.tests.made_up import made

CATALOGUE = """
["topic/both"]
paper = "1234.5678"
source = "section 1"
kind = "E"
sentence = "One is above the other."
numbers = "1 against 2"
tests = ["topic/first", "topic/second"]

["topic/none"]
paper = "1234.5678"
source = "section 2"
kind = "I"
sentence = "Nothing changes."
numbers = ""
tests = []

["other/one"]
paper = "8765.4321"
source = "Table 3"
kind = "I/E"
sentence = "All is well."
numbers = ""
tests = ["other/one"]
"""

FIRST, SECOND = "claims/test_topic.py::test_first", "claims/test_topic.py::test_second"


def results():
    """Make four results of one claim at digits, one at mnist, one of another."""
    first = {"id": "topic/first", "nodeid": FIRST + "[mlp]"}
    return [
        made(**first, setting="mlp"),
        made(**first, setting="bn-vgg", variant="weights"),
        made(**first, setting="bn-vgg", variant="activations", verdict="inconclusive"),
        made(**first, setting="ln-vgg", verdict="refuted", expected="refuted"),
        made(**first, setting="mlp", scale="mnist", verdict="refuted"),
        made(id="topic/second", nodeid=SECOND, scale="mnist", verdict="error"),
    ]


@pytest.fixture
def given(tmp_path):
    """Return the command's arguments for the small catalogue and its results."""
    (tmp_path / "catalogue.toml").write_text(CATALOGUE)
    write(tmp_path / "latest.jsonl", results())
    return [
        *("coverage", str(tmp_path / "latest.jsonl")),
        *("--catalogue", str(tmp_path / "catalogue.toml")),
    ]


def test_table_by_hand(given, capsys):
    """Entry, test, and for each scale how many came out how; then the counts."""
    assert main(given) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    digits = "supported 2, refuted as declared 1, inconclusive 1"
    assert cells == [
        ["entry", "test", "digits", "mnist"],
        ["topic/both", FIRST, digits, "refuted 1"],
        ["topic/both", SECOND, "not measured", "errors 1"],
        ["topic/none", "no test"],
        ["other/one", "(other/one)", "not measured", "not measured"],
        [],
        ["3 entries: 2 with a test, 1 without"],
    ]


def test_columns_stand_in_line(given, capsys):
    """Every cell of the second column begins where its head does."""
    main(given)
    head, *rows = capsys.readouterr().out.splitlines()[:5]
    at = head.index("test")
    for row in rows:
        assert row[at - 2 : at] == "  " and row[at] != " "


@pytest.mark.parametrize(
    ("paper", "code", "counted"),
    [
        ("1234.5678", 1, "2 entries: 1 with a test, 1 without"),
        ("8765.4321", 0, "1 entry: 1 with a test, 0 without"),
    ],
)
def test_missing_lists_entries_without_a_test(given, capsys, paper, code, counted):
    """Exit code 1 where there are any, and nothing but them is listed."""
    assert main([*given, "--missing", "--paper", paper]) == code
    *listed, last = capsys.readouterr().out.splitlines()
    assert last == counted
    assert listed == (["topic/none  1234.5678  section 2", ""] if code else [])


def test_without_missing_the_exit_code_is_0(given):
    """An entry without a test is no error unless it was asked for."""
    assert main([*given, "--paper", "1234.5678"]) == 0


def test_only_the_paper_that_was_asked_for(given, capsys):
    """Entries of other papers are neither listed nor counted."""
    assert main([*given, "--paper", "8765.4321"]) == 0
    printed = capsys.readouterr().out
    assert "other/one" in printed and "topic/" not in printed
    assert "1 entry: 1 with a test" in printed


def test_an_unknown_paper_names_those_that_there_are(given, capsys):
    """A typing error in the paper's id is no empty table."""
    assert main([*given, "--paper", "1"]) == 2
    told = capsys.readouterr().err
    assert "no entry of paper '1'; the catalogue has '1234.5678', '8765.4321'" in told


def test_newest_wins_in_any_order():
    """By time, not by place in the file; without a time by the order alone."""
    old, new = (
        made(verdict="refuted", measured_at="2026-11-21T12:00:00+02:00"),
        made(measured_at="2026-11-21T11:00:00+00:00"),
    )
    assert newest([old, new]) == newest([new, old]) == [new]
    assert newest([new, made(verdict="error")]) == [new]
    assert newest([made(verdict="error"), made()]) == [made()]
    beside = [made(), made(scale="mnist"), made(setting="mlp"), made(variant="")]
    assert newest(beside) == beside


def test_newest_over_several_files(tmp_path):
    """A later record is found in whichever file it lies."""
    old = made(verdict="refuted", measured_at="2026-11-20T00:00:00+00:00")
    new = made(measured_at="2026-11-21T00:00:00+00:00")
    write(tmp_path / "a.jsonl", [new, made(scale="mnist")])
    write(tmp_path / "b.jsonl", [old])
    found = read_newest([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert found == [new, made(scale="mnist")]


def test_test_of_a_claim_is_that_of_its_newest_result(tmp_path):
    """A test that was renamed is shown by its name of today."""
    (tmp_path / "c.toml").write_text(CATALOGUE)
    today = {"nodeid": "new.py::test[x]", "measured_at": "2026-11-21T00:00:00+00:00"}
    found = [
        made(id="topic/first", setting="mlp", **today),
        made(id="topic/first", nodeid="old.py::test[x]"),
    ]
    text = table(read_catalogue(tmp_path / "c.toml"), found)
    assert "new.py::test  " in text and "old.py" not in text


@pytest.mark.parametrize("time", ["yesterday", "2026-11-21T00:00:00", "2026-11-21"])
def test_what_is_no_time_is_refused(time):
    """A time that cannot be compared is named when the record is read."""
    record = vars(made()) | {"measured_at": time}
    with pytest.raises(ValueError, match=f"'measured_at' is '{time}'; give a time"):
        Result.from_json(record)


def test_records_without_a_time_are_read():
    """Files from before times were noted still load."""
    record = dict(vars(made()))
    del record["measured_at"]
    assert Result.from_json(record).measured_at == ""


def test_summary_counts_by_status():
    """What was declared reads differently; nothing is not measured."""
    assert summary([]) == "not measured"
    found = [made(), made(), made(verdict="refuted"), made(expected="refuted")]
    assert summary(found) == (
        "supported 2, refuted 1, supported though declared refuted 1"
    )


def test_the_checkouts_own_files_are_read(tmp_path, monkeypatch, capsys):
    """Records under version control, then the latest; without any it says so."""
    (tmp_path / "c.toml").write_text(CATALOGUE)
    monkeypatch.setattr(coverage, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(coverage, "LATEST", tmp_path / "latest.jsonl")
    command = ["coverage", "--catalogue", str(tmp_path / "c.toml")]
    assert main(command) == 0
    assert "no results yet: run `pytest claims/`" in capsys.readouterr().out
    write(tmp_path / "records" / "gpu.jsonl", [made(id="other/one", scale="paper")])
    write(tmp_path / "latest.jsonl", [made(id="other/one")])
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "digits" in printed and "paper" in printed and "no results" not in printed


ENTRY = CATALOGUE.partition('["topic/none"]')[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "c.toml is no TOML: "),
        (ENTRY + ENTRY, "c.toml is no TOML: .*twice"),
        ('paper = "1234.5678"', "c.toml, 'paper': expected a table, got '1234.5678'"),
        ("[a]", "c.toml, 'a': missing 'paper', 'source', 'kind', 'sentence', "),
        (ENTRY + "margin = 3", "c.toml, 'topic/both': unknown 'margin'; an entry has"),
        (ENTRY.replace('"E"', '"X"'), "'topic/both': 'kind' is 'X'; give one of 'I'"),
        (ENTRY.replace('"section 1"', "1"), "'source' must be a string, got 1"),
        (ENTRY.replace("first", "second"), "'tests' names a claim twice"),
        (ENTRY.replace('["topic/first"', "[1"), "'tests' must be a list of ids"),
    ],
)
def test_an_unreadable_catalogue_says_what_is_wrong(tmp_path, capsys, text, message):
    """Exit code 2, and the file, the entry and the offence are named."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_catalogue(path)
    assert main(["coverage", "--catalogue", str(path)]) == 2
    assert "python -m reports coverage: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["catalogue.toml", "latest.jsonl"])
def test_missing_files_are_an_input_error(given, tmp_path, capsys, name):
    """Exit code 2, and the file that is not there."""
    (tmp_path / name).unlink()
    assert main(given) == 2
    assert str(tmp_path / name) in capsys.readouterr().err
