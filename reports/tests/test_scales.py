"""Results of several scales: on the page, in the terminal, from the command line."""

import json
import re
from dataclasses import asdict

import pytest

from reports import __main__ as command
from reports.catalogue import headlines
from reports.page import claim_file
from reports.results import write
from reports.scales import by_claim, scales_of
from reports.terminal import lines, side_by_side
from reports.tests.made_up import FIRST, NO_PAPER, evidence, made, report

KNOWN = {"verdict": "refuted", "accepted": "refuted"}
RESULTS = [  # by hand: both scales, digits alone, mnist alone
    made(**KNOWN, estimate=-4.0, low=-6.0, high=-2.0),
    made(setting="mlp"),
    made(scale="mnist", estimate=3.5, low=2.5, high=4.5),
    made(scale="mnist", id="matching/another", verdict="inconclusive", **NO_PAPER),
]


def rows_of(made_report):
    """The matrix's heads, and of each row its attributes and its cells' words."""
    text = made_report["index.html"]
    text = text[text.index('<table class="matrix') :]
    head, body = text[: text.index("</table>")].split("<tbody>")

    def words(cell):
        return " ".join(re.sub(r"<[^>]*>", " ", cell).split())

    heads = [words(cell) for cell in re.findall(r"<th .*?</th>", head, re.DOTALL)]
    rows = []
    for attributes, row in re.findall(r"<tr ([^>]*)>(.*?)</tr>", body, re.DOTALL):
        cells = re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)
        facts = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        if "data-differs" in attributes:
            facts["data-differs"] = "yes"
        rows.append((facts, [words(cell) for cell in cells]))
    return heads, rows


def test_scales_are_ordered_by_size():
    """The papers' own scale stands last, beside their numbers; unknown ones after."""
    names = ("own", "paper", "another", "cifar10", "digits", "mnist", "digits")
    assert scales_of(made(scale=name) for name in names) == [
        *("digits", "mnist", "cifar10", "paper", "another", "own")
    ]


def test_rows_hold_what_was_measured_of_a_place():
    """A claim, setting and variant make a row, however many scales it has."""
    found = by_claim(RESULTS)
    assert [[row.newest.id for row in claim] for claim in found] == [
        ["matching/another"],
        ["renormalization/rescale-at-least-repair"] * 2,
    ]
    (other,), (both, alone) = found
    assert list(both.results) == ["digits", "mnist"] and both.differs
    assert list(alone.results) == ["digits"] and not alone.differs
    assert list(other.results) == ["mnist"]


def test_headlines_stand_first():
    """Before all topics, on the page and in the terminal."""
    headline = made(id=headlines()[0])
    found = by_claim([made(id="biases/one"), made(), headline])
    assert [claim[0].newest.id for claim in found] == [
        *(headlines()[0], "biases/one", "renormalization/rescale-at-least-repair")
    ]
    told = [verdict for _, verdict, _ in lines([made(id="biases/one"), headline], 150)]
    assert told[1] == "headline" and told[3] == "biases"


def test_an_error_is_no_other_verdict():
    """Only verdicts differ: a run that broke says nothing of the claim."""
    ((row,),) = by_claim([made(), made(scale="mnist", verdict="error", error="no")])
    assert not row.differs


def test_too_few_units_are_no_other_verdict():
    """Whatever one pair will be at eight, it differs from nothing yet."""
    first = made(**FIRST, scale="paper")
    ((row,),) = by_claim([made(), first])
    assert not row.differs
    ((row,),) = by_claim([made(), made(scale="mnist", verdict="refuted"), first])
    assert row.differs


def test_a_single_pair_is_told_apart():
    """In words, cells, tiles and evidence, where it has neither interval nor spread."""
    undecided = made(setting="mlp", verdict="inconclusive")
    held = report([made(), made(**FIRST, scale="paper"), undecided])
    first = held["index.html"]
    assert (
        "Of 3 empirical results 1 are supported, 0 refuted and 1 inconclusive. 1 has "
        "no verdict yet: scale paper has 1 of 8 pairs so far." in first
    )
    _, [(_, cells)] = rows_of(held)
    assert cells[2] == "1 of 8 pairs, no verdict yet +1.2"
    tile = r'<button[^>]*data-value="waiting"[^>]*><b>1</b>no verdict yet'
    assert re.search(tile, first)
    shown = held[claim_file(made().id)]
    one = shown[shown.index('id="plain-vgg/weights@paper"') :]
    one = one[: one.index("</details>\n<details class=")]
    assert "Spread" not in one and "±" not in one and "(1.2, n = 1)" in one
    assert "so far 1 is" in one and "Premise not met" not in one
    assert shown.count("Spread") == 2


def test_one_pair_has_curves_without_a_deviation():
    """Neither a band nor a table of them."""
    curves = {"names": ["7", "13"], "lines": {"": [[1.0, 2.0]]}}
    shown = evidence([made(**FIRST | {"curves": curves})])
    assert "<td>2" in shown and "±" not in shown


def test_a_premise_that_is_not_met_is_said():
    """At one place, at several alike, and among others by their counts."""
    unmet = made(verdict="inconclusive", decision="premise not met: no gap (mean > 2)")
    other = made(**vars(unmet) | {"setting": "mlp"})
    [(_, cells)] = rows_of(report([unmet]))[1]
    assert cells[1].startswith("premise not met ")
    [(_, cells)] = rows_of(report([unmet, other]))[1]
    assert cells[1].startswith("premise not met \N{MULTIPLICATION SIGN}2 ")
    plain = made(setting="mlp", verdict="inconclusive")
    [(_, cells)] = rows_of(report([unmet, plain]))[1]
    assert cells[1].startswith(
        "inconclusive \N{MULTIPLICATION SIGN}2 premise not met: 1 "
    )
    [(_, cells)] = rows_of(report([unmet, made(setting="mlp")]))[1]
    assert cells[1].startswith("1 1 premise not met: 1 ")
    assert evidence([unmet]).count('inconclusive">premise not met</span>') == 2


def test_a_claim_has_a_row_and_each_scale_a_column():
    """Words, counts, ranges; where nothing was measured, nothing; the paper last."""
    heads, ((_, other), (_, claim)) = rows_of(report(RESULTS))
    assert heads == [
        *("Claim", "Scale digits", "Scale mnist", "In the paper"),
        "Share of its effect",
    ]
    assert claim[1] == "1 1 -4.00 to 1.20"  # of the symbols that its style gives
    assert claim[2] == "supported +3.5 [2.5, 4.5]"
    assert claim[3:] == [
        "9.22 ± 4.16",
        "0.13 scale digits 0.13 [0.04, 0.22] scale mnist",
    ]
    assert other[1] == "" and other[2] == "inconclusive +1.2 [0.4, 2.0]"
    assert other[3:] == ["", ""]


def test_several_places_of_one_verdict_are_counted():
    """The word once, with the number of places."""
    _, [(_, cells)] = rows_of(report([made(), made(setting="mlp")]))
    assert cells[1] == "supported \N{MULTIPLICATION SIGN}2 1.20"


def test_the_scale_paper_is_not_the_papers_number():
    """Heads of both, in every table that has both."""
    held = report([made(scale="paper"), made()])
    for path in ("index.html", "papers/1234.56789v1.html", claim_file(made().id)):
        heads = re.findall(r"<th [^>]*>(?:<button[^>]*>)?([^<]*)<", held[path])
        assert "In the paper" in heads and "Paper" not in heads, path
        assert not re.search(r'"scale">paper<|<th scope="col">paper<', held[path])
        assert ">scale paper</span>" in held[path] and "cale digits<" in held[path]


def test_one_scale_names_none():
    """No filter by scale, and no scale beside what is of it on the first page."""
    first = report([result for result in RESULTS if result.scale == "digits"])
    assert 'class="scale"' not in first["index.html"]
    assert 'data-filter="scale"' not in first["index.html"]
    assert 'class="scale"' in evidence(RESULTS)


def test_counts_have_the_class_of_their_status():
    """By which the page filters, and which has the symbol and its word."""
    made_report = report(RESULTS)
    pills = '<b class="supported">1</b><b class="known">1</b>'
    assert made_report["index.html"].count(pills) == 1
    assert (
        '.pills .known::before { content: "⊘"; content: "⊘" / "refuted, as on '
        in (made_report["report.css"])
    )
    _, ((other, _), (claim, _)) = rows_of(made_report)
    assert "data-differs" in claim and "data-differs" not in other
    assert claim["data-words"].count("RESCALE minus REPAIR") == 1


def test_evidence_of_each_scale_is_a_fold():
    """With its scale beside its place; a known refutation at its scale only."""
    folds = re.findall(
        r'<details class="place.*?</summary>', evidence(RESULTS), flags=re.DOTALL
    )
    assert len(folds) == 4
    labels = [re.findall(r'class="scale">scale (\w+)<', fold) for fold in folds]
    assert labels == [["mnist"], ["digits"], ["mnist"], ["digits"]]
    assert ["as on record" in fold for fold in folds] == [False, True, False, False]


def test_runs_are_told_by_scale():
    """Results, times and commit of each."""
    text = report([
        made(measured_at="2026-11-20T23:30:00+00:00"),
        made(setting="mlp", measured_at="2026-11-21T01:10:00+00:00"),
        made(scale="mnist", measured_at="2026-11-21T14:10:00+02:00", commit="ab" * 20),
    ])["index.html"]  # fmt: skip
    told = text[text.index('id="runs"') :]
    first, second = re.findall(r"<summary>.*?</details>", told, re.DOTALL)
    assert "2026-11-20 23:30 to 2026-11-21 01:10 UTC" in first
    assert "2026-11-21 12:10 to 12:10 UTC" in second
    assert "digits" in first and "0f0f0f0f0f" in first and "<dd>2</dd>" in first
    assert "mnist" in second and "ababababab" in second and "<dd>1</dd>" in second


OLD, NEW = "2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00"


def test_the_newer_of_two_counts():
    """By its time, in whichever order they are given, and for its own scale only."""
    old = made(verdict="refuted", measured_at=OLD)
    new = made(sentence="As it reads today.", measured_at=NEW)
    beside = made(scale="mnist", verdict="inconclusive", measured_at=OLD)
    for given in ([old, new, beside], [beside, new, old]):
        made_report = report(given)
        [(_, cells)] = rows_of(made_report)[1]
        assert cells[1].startswith("supported") and cells[2].startswith("inconcl")
        assert "As it reads today.</h1>" in made_report[claim_file(new.id)]
        (line,) = (line for line in side_by_side(given, 120) if "[plain-vgg" in line)
        assert "✗" not in line and line.count("✓") == line.count("?") == 1


def test_lines_have_a_column_per_scale():
    """Worked out by hand: symbols, values, empty places, the paper's number last."""
    assert side_by_side(RESULTS, 100) == [
        "✓ supported   ⊘ refuted, as on record   ? inconclusive",
        "",
        "setting              digits               mnist              in the paper",
        "matching/another, in points",
        "[plain-vgg weights]                       ? +1.2 [0.4, 2.0]",
        "renormalization/rescale-at-least-repair, in points",
        "[plain-vgg weights]  ⊘ -4.0 [-6.0, -2.0]  ✓ +3.5 [2.5, 4.5]  9.22±4.16",
        "[mlp weights]        ✓ +1.2 [0.4, 2.0]                       9.22±4.16",
    ]


@pytest.mark.parametrize("width", [40, 80, 100, 140, 200])
def test_lines_fit_the_terminal(width):
    """Four scales at every width; without room the estimates stand alone."""
    scales = ("digits", "mnist", "cifar10", "paper")
    found = side_by_side([made(scale=scale) for scale in scales], width)
    assert max(map(len, found)) < max(width, 80)
    (row,) = (line for line in found if "[plain-vgg" in line)
    assert row.count("✓ +1.2") == 4
    assert row.count("[0.4, 2.0]") == (4 if width >= 140 else 0)
    told = [line for line in found if line.startswith("without intervals")]
    assert bool(told) == (width < 140)
    if told:
        enough = int(told[0].split()[-2])
        assert "[0.4, 2.0]" in "".join(
            side_by_side([made(scale=scale) for scale in scales], enough)
        )
        assert "[0.4, 2.0]" not in "".join(
            side_by_side([made(scale=scale) for scale in scales], enough - 1)
        )


def test_errors_are_told_with_their_scale():
    """Below the row, shortened to the terminal."""
    broken = made(scale="mnist", verdict="error", error="Diverged:\n" + "no " * 99)
    found = side_by_side([made(), broken], 100)
    row, told = found[-2:]
    assert "✓ +1.2 [0.4, 2.0]  ! error" in row
    assert told.startswith("  mnist: Diverged: no no") and len(told) < 100


def test_show_of_several_files(tmp_path, capsys, monkeypatch):
    """A column per scale, and the counts of each."""
    monkeypatch.setenv("COLUMNS", "120")
    write(tmp_path / "digits.jsonl", RESULTS[:2])
    write(tmp_path / "mnist.jsonl", RESULTS[2:])
    files = [str(tmp_path / "digits.jsonl"), str(tmp_path / "mnist.jsonl")]
    assert command.main(["show", *files]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("\n".join(side_by_side(RESULTS, 120)))
    assert "digits: 1 supported, 1 refuted (1 as on record), 0 inc" in printed
    assert "mnist: 1 supported, 0 refuted, 1 inconclusive, 0 errors" in printed
    assert command.main(["show", files[1]]) == 0
    assert capsys.readouterr().out.startswith("verdict ")  # one scale: as ever


def test_page_of_several_files(tmp_path, capsys, monkeypatch):
    """It does not lie beside one of them, unless --out says so."""
    monkeypatch.chdir(tmp_path)
    write("kept/digits.jsonl", RESULTS[:2])
    write("kept/mnist.jsonl", RESULTS[2:])
    files = ["kept/digits.jsonl", "kept/mnist.jsonl"]
    assert command.main(["page", *files]) == 0
    assert capsys.readouterr().out == "reports/out/scales/index.html\n"
    made_here = (tmp_path / "reports/out/scales/index.html").read_text()
    assert made_here.count("<tr id=") == 2
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == [
        *("digits.jsonl", "mnist.jsonl")
    ]
    assert command.main(["page", *files, "--out", "kept/all"]) == 0
    assert (tmp_path / "kept" / "all" / "index.html").read_text() == made_here


def test_help_names_the_line_for_the_records(capsys):
    """Who asks for help finds how to lay the records side by side."""
    for given, line in (
        (["--help"], "python -m reports page reports/records/*.jsonl"),
        (["page", "--help"], "python -m reports page reports/records/*.jsonl"),
        (["show", "--help"], "python -m reports show reports/records/*.jsonl"),
    ):
        with pytest.raises(SystemExit):
            command.main(given)
        assert line in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["page", "show"])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "b.jsonl: run `pytest claims/` to write them, or name a results.jsonl"),
        ("{}\n", "b.jsonl, line 1: missing 'id', 'setting'"),
        (
            json.dumps(asdict(made()) | {"scale": ""}),
            "b.jsonl, line 1: 'scale' is empty: give the scale's name, as 'digits'",
        ),
    ],
)
def test_one_bad_file_of_several_is_named(tmp_path, capsys, name, text, message):
    """Exit code 2, nothing written, and the file with what is wrong in it."""
    write(tmp_path / "a.jsonl", [made()])
    if text is not None:
        (tmp_path / "b.jsonl").write_text(text)
    files = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert command.main([name, *files]) == 2
    printed = capsys.readouterr()
    assert f"python -m reports {name}: " in printed.err and message in printed.err
    assert not printed.out and not list(tmp_path.glob("*.html"))


def test_results_are_not_written_over(tmp_path, capsys):
    """`--out *.jsonl` names the first of the results: that is refused."""
    write(tmp_path / "a.jsonl", [made()])
    write(tmp_path / "b.jsonl", [made(scale="mnist")])
    before = (tmp_path / "a.jsonl").read_text()
    files = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    assert command.main(["page", "--out", *files]) == 2
    assert "a.jsonl: give a folder for the report" in capsys.readouterr().err
    assert (tmp_path / "a.jsonl").read_text() == before
