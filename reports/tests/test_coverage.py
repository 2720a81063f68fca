"""The papers' sentences beside what was measured of them."""

import pytest

from reports import coverage
from reports.__main__ import main
from reports.catalogue import read_papers
from reports.coverage import read_newest, summary, table
from reports.results import Result, newest, write
from reports.tests.made_up import made

FIRST_PAPER = """
title = "One"

[tables.1]
caption = "..."
rows = []

[entries."topic/both"]
where = "section 1"
kind = "E"
sentence = "One is above the other."
quote = "above the other"
numbers = "1 against 2"
tests = ["topic/first", "topic/second"]
reason = ""

[entries."topic/none"]
where = "section 2"
kind = "I"
sentence = "Nothing changes."
quote = ""
numbers = ""
tests = []
reason = "no such data"
"""

SECOND_PAPER = """
[entries."other/one"]
where = "Table 3"
kind = "I/E"
sentence = "All is well."
quote = ""
numbers = ""
tests = ["other/one"]
reason = ""
"""

FIRST, SECOND = "claims/test_topic.py::test_first", "claims/test_topic.py::test_second"


def results():
    """Make four results of one claim at digits, one at mnist, one of another."""
    first = {"id": "topic/first", "nodeid": FIRST + "[mlp]"}
    return [
        made(**first, setting="mlp"),
        made(**first, setting="bn-vgg", variant="weights"),
        made(**first, setting="bn-vgg", variant="activations", verdict="inconclusive"),
        made(**first, setting="ln-vgg", verdict="refuted", accepted="refuted"),
        made(**first, setting="mlp", scale="mnist", verdict="refuted"),
        made(id="topic/second", nodeid=SECOND, scale="mnist", verdict="error"),
    ]


def entries_of(*folder):
    """Return the entries of all papers of a folder."""
    return [entry for paper in read_papers(*folder) for entry in paper.entries]


@pytest.fixture
def papers(tmp_path):
    """Return a folder of two papers."""
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "1234.5678v1.toml").write_text(FIRST_PAPER)
    (folder / "8765.4321.toml").write_text(SECOND_PAPER)
    return folder


@pytest.fixture
def given(papers, tmp_path):
    """Return the command's arguments for the small catalogue and its results."""
    write(tmp_path / "latest.jsonl", results())
    return ["coverage", str(tmp_path / "latest.jsonl"), "--catalogue", str(papers)]


def test_table_by_hand(given, capsys):
    """Entry, test, and for each scale how many came out how; then the counts."""
    assert main(given) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    digits = "supported 2, refuted as on record 1, inconclusive 1"
    assert cells == [
        ["entry", "test", "digits", "mnist"],
        ["topic/both", FIRST, digits, "refuted 1"],
        ["topic/both", SECOND, "not measured", "errors 1"],
        ["topic/none", "no test: no such data"],
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
        ("1234.5678v1", 1, "2 entries: 1 with a test, 1 without"),
        ("8765.4321", 0, "1 entry: 1 with a test, 0 without"),
    ],
)
def test_missing_lists_entries_without_a_test(given, capsys, paper, code, counted):
    """Exit code 1 where there are any, and nothing but them is listed."""
    assert main([*given, "--missing", "--paper", paper]) == code
    *listed, last = capsys.readouterr().out.splitlines()
    assert last == counted
    line = "topic/none  1234.5678v1  section 2  no such data"
    assert listed == ([line, ""] if code else [])


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
    assert "no entry of paper '1'; the catalogue has '1234.5678v1', '8765.4321'" in told


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


def test_test_of_a_claim_is_that_of_its_newest_result(papers):
    """A test that was renamed is shown by its name of today."""
    today = {"nodeid": "new.py::test[x]", "measured_at": "2026-11-21T00:00:00+00:00"}
    found = [
        made(id="topic/first", setting="mlp", **today),
        made(id="topic/first", nodeid="old.py::test[x]"),
    ]
    text = table(entries_of(papers), found)
    assert "new.py::test  " in text and "old.py" not in text


@pytest.mark.parametrize("time", ["yesterday", "2026-11-21T00:00:00", "2026-11-21"])
def test_what_is_no_time_is_refused(time):
    """A time that cannot be compared is named when the record is read."""
    record = vars(made()) | {"measured_at": time}
    with pytest.raises(ValueError, match=f"'measured_at' is '{time}'; give a time"):
        Result.from_json(record)


def test_summary_counts_by_status():
    """What is on record as refuted reads differently; nothing is not measured."""
    assert summary([]) == "not measured"
    known = made(verdict="refuted", accepted="refuted")
    found = [made(), made(), made(verdict="refuted"), known]
    assert summary(found) == "supported 2, refuted as on record 1, refuted 1"


def test_the_checkouts_own_files_are_read(papers, tmp_path, monkeypatch, capsys):
    """Records under version control, then the latest; without any it says so."""
    monkeypatch.setattr(coverage, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(coverage, "LATEST", tmp_path / "latest.jsonl")
    command = ["coverage", "--catalogue", str(papers)]
    assert main(command) == 0
    assert "no results yet: run `pytest claims/`" in capsys.readouterr().out
    write(tmp_path / "records" / "gpu.jsonl", [made(id="other/one", scale="paper")])
    write(tmp_path / "latest.jsonl", [made(id="other/one")])
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "digits" in printed and "paper" in printed and "no results" not in printed


ENTRY = FIRST_PAPER.partition('[entries."topic/none"]')[0]
WITHOUT = SECOND_PAPER.replace('["other/one"]', "[]").replace('"other/one"', '"a/b"')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "p.toml is no TOML: "),
        (ENTRY + ENTRY, "p.toml is no TOML: .*twice"),
        ('entries.a = "b"', "p.toml, 'a': expected a table, got 'b'"),
        ("[entries.a]", "p.toml, 'a': missing 'where', 'kind', 'sentence', 'quote', "),
        (ENTRY + "margin = 3", "p.toml, 'topic/both': unknown 'margin'; an entry has"),
        (ENTRY.replace('"E"', '"X"'), "'topic/both': 'kind' is 'X'; give one of 'I'"),
        (ENTRY.replace('["topic/first", ', '"'), "p.toml is no TOML: "),
        (ENTRY.replace('"topic/first", ', "3, "), "'tests' must be a list of ids of"),
        (ENTRY.replace("first", "second"), "'tests' names a claim twice: 'topic/sec"),
        (ENTRY.replace('"1 against 2"', "2"), "'numbers' must be a string, got 2"),
        (WITHOUT, "'a/b': 'tests' and 'reason' are both empty; give either"),
        (
            ENTRY.replace('reason = ""', 'reason = "none"'),
            "'tests' and 'reason' are both given; drop the reason",
        ),
    ],
)
def test_an_unreadable_catalogue_says_what_is_wrong(tmp_path, capsys, text, message):
    """Exit code 2, and the file, the entry and the offence are named."""
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        entries_of(tmp_path)
    assert main(["coverage", "--catalogue", str(tmp_path)]) == 2
    assert "python -m reports coverage: " in capsys.readouterr().err


def test_an_entry_of_two_papers_is_refused(papers):
    """Ids are unique over all papers."""
    (papers / "9.toml").write_text(SECOND_PAPER)
    with pytest.raises(ValueError, match=r"'other/one': stands in 8765.4321.toml too"):
        entries_of(papers)


def test_a_folder_without_papers_is_an_input_error(tmp_path, capsys):
    """Exit code 2, and the folder and the way out are named."""
    assert main(["coverage", "--catalogue", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"no papers (*.toml) in {tmp_path}" in told and "--catalogue" in told


def test_missing_results_are_an_input_error(given, tmp_path, capsys):
    """Exit code 2, and the file that is not there."""
    (tmp_path / "latest.jsonl").unlink()
    assert main(given) == 2
    assert str(tmp_path / "latest.jsonl") in capsys.readouterr().err


def test_the_checkouts_papers_are_well_formed():
    """What the repository has can be read."""
    assert len(entries_of()) > 100
