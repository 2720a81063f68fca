"""Results of several scales: on the page, in the terminal, from the command line."""

import json
import re
from dataclasses import asdict
from html.parser import HTMLParser

import pytest

from reports import __main__ as command
from reports.page import render
from reports.results import write
from reports.scales import HEADLINES, by_claim, scales_of
from reports.terminal import lines, side_by_side
from reports.tests.made_up import NO_PAPER, made

KNOWN = {"verdict": "refuted", "accepted": "refuted"}
RESULTS = [  # by hand: both scales, digits alone, mnist alone
    made(**KNOWN, estimate=-4.0, low=-6.0, high=-2.0),
    made(setting="mlp"),
    made(scale="mnist", estimate=3.5, low=2.5, high=4.5),
    made(scale="mnist", id="matching/another", verdict="inconclusive", **NO_PAPER),
]


class Table(HTMLParser):
    """The verdict table: its heads, and of each row the attributes and cells' text."""

    def __init__(self, text):
        super().__init__()
        self.heads, self.rows, self.facts, self.cell = [], [], [], None
        text = text[text.index('<table class="verdicts') :]
        self.feed(text[: text.index("</table>")])

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "tr" and "data-verdict" in found:
            self.rows.append([])
            self.facts.append(found)
        if tag in ("th", "td"):
            self.cell = ""

    def handle_data(self, text):
        if self.cell is not None:
            self.cell += text

    def handle_endtag(self, tag):
        if tag in ("th", "td"):
            (self.rows[-1] if self.rows else self.heads).append(self.cell)
            self.cell = None


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
    headline = made(id=HEADLINES[0])
    found = by_claim([made(id="biases/one"), made(), headline])
    assert [claim[0].newest.id for claim in found] == [
        *(HEADLINES[0], "biases/one", "renormalization/rescale-at-least-repair")
    ]
    told = [verdict for _, verdict, _ in lines([made(id="biases/one"), headline], 150)]
    assert told[1] == "headline" and told[3] == "biases"


def test_an_error_is_no_other_verdict():
    """Only verdicts differ: a run that broke says nothing of the claim."""
    ((row,),) = by_claim([made(), made(scale="mnist", verdict="error", error="no")])
    assert not row.differs


def test_two_scales_in_one_row():
    """Scales beside each other, the paper last; where nothing was measured, nothing."""
    table = Table(render(RESULTS))
    assert table.heads == ["Claim", "Setting", "digits", "mnist", "In the paper"]
    other, both, alone = table.rows
    assert both[1] == "plain-vgg weights"
    assert "refuted, as on record" in both[2] and "-4.0 [-6.0, -2.0] points" in both[2]
    assert "supported" in both[3] and "+3.5 [2.5, 4.5] points" in both[3]
    assert "n 8, p 0.003 (0.006)" in both[3]
    assert "9.22 ± 4.16 0.13 [0.04, 0.22] of the paper's effect" in both[4]
    assert "and 2 other numbers" in both[4]
    assert alone[1].split() == ["mlp", "weights"]
    assert "+1.2 [0.4, 2.0] points" in alone[2] and alone[3] == ""
    assert other[2] == "" and "inconclusive" in other[3] and other[4] == ""


def test_one_scale_looks_as_ever():
    """The columns of a session; no scale is named beside what is of it."""
    text = render([result for result in RESULTS if result.scale == "digits"])
    table = Table(text)
    assert table.heads == [
        *("Claim", "Setting", "Verdict", "Measured [interval]", "n", "p (Holm)"),
        "In the paper",
    ]
    assert table.rows[0][2].split(maxsplit=1)[1] == "refuted, as on record"
    assert 'class="scale"' not in text and 'data-filter="scale"' not in text
    assert 'id="renormalization/rescale-at-least-repair/mlp/weights"' in text


def test_filters_know_each_scales_verdict():
    """A row holds its verdicts and scales in one order, as the script pairs them."""
    other, both, alone = Table(render(RESULTS)).facts
    assert both["data-verdict"].split() == ["known", "supported"]
    assert both["data-scale"].split() == ["digits", "mnist"]
    assert "data-differs" in both
    assert alone["data-verdict"] == "supported" and "data-differs" not in alone
    assert other["data-scale"] == "mnist"
    told = both["data-text"].count("rescale minus repair")
    assert told == 1  # and not once per scale


def test_tiles_count_results_by_scale():
    """The number of all scales, and below it that of each."""
    text = render(RESULTS)
    tile = text[text.index('data-value="supported"') :]
    tile = re.sub(r"<[^>]*>", " ", tile[: tile.index("</button>")]).split()
    assert tile[-5:] == ["supported", "digits", "1", "mnist", "1"]
    assert tile[-7].endswith("2")


def test_evidence_of_each_scale_is_labelled():
    """An article per scale with its plots; a known refutation at its scale only."""
    text = render(RESULTS)
    articles = re.findall(r"<article.*?</article>", text, flags=re.DOTALL)
    assert len(articles) == 4
    labels = ["mnist", "digits", "mnist", "digits"]
    for article, scale in zip(articles, labels, strict=True):
        assert set(re.findall(r'class="scale">(\w+)<', article)) == {scale}
        assert article.count(f'class="scale">{scale}<') == 3  # head and two plots
        assert "Curves, " in article and f", {scale}</title>" in article
    assert ["as on record" in article for article in articles] == [0, 1, 0, 0]


def test_links_of_every_scale_lead_somewhere():
    """No id twice, not even those inside the plots; each link inside has its end."""
    text = render([*RESULTS, made(variant="weights mnist"), made(variant="mnist")])
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert links <= set(ids)
    assert "renormalization/rescale-at-least-repair/plain-vgg/weights@mnist" in links


def test_head_tells_what_scales_share_once():
    """Machine and versions of all; results, times and commit of each."""
    text = render([
        made(measured_at="2026-11-20T23:30:00+00:00"),
        made(setting="mlp", measured_at="2026-11-21T01:10:00+00:00"),
        made(scale="mnist", measured_at="2026-11-21T14:10:00+02:00", commit="ab" * 20),
    ])  # fmt: skip
    header = text[text.index("<header>") : text.index("</header>")]
    assert header.count("torch 2.12.1") == header.count("<dd>cpu, Some CPU") == 1
    assert "2026-11-20 23:30 to 2026-11-21 01:10 UTC" in header
    assert "2026-11-21 12:10 to 12:10 UTC" in header
    first, second = re.findall(r"<tr.*</tr>", header[header.index("<tbody") :])
    assert ">digits</th>" in first and "0f0f0f0f0f" in first and ">2</td>" in first
    assert ">mnist</th>" in second and "ababababab" in second and ">1</td>" in second


OLD, NEW = "2026-11-20T00:00:00+00:00", "2026-11-21T00:00:00+00:00"


def test_the_newer_of_two_counts():
    """By its time, in whichever order they are given, and for its own scale only."""
    old = made(verdict="refuted", measured_at=OLD)
    new = made(sentence="As it reads today.", measured_at=NEW)
    beside = made(scale="mnist", verdict="inconclusive", measured_at=OLD)
    for given in ([old, new, beside], [beside, new, old]):
        text = render(given)
        (facts,) = Table(text).facts
        assert facts["data-verdict"] == "supported inconclusive"
        assert "As it reads today.</h3>" in text
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
    assert capsys.readouterr().out == "reports/out/scales.html\n"
    made_here = (tmp_path / "reports" / "out" / "scales.html").read_text()
    assert len(Table(made_here).rows) == 3
    assert sorted(file.name for file in (tmp_path / "kept").iterdir()) == [
        *("digits.jsonl", "mnist.jsonl")
    ]
    assert command.main(["page", *files, "--out", "kept/all.html"]) == 0
    assert (tmp_path / "kept" / "all.html").read_text() == made_here


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
    assert "give the page a name that ends in .html" in capsys.readouterr().err
    assert (tmp_path / "a.jsonl").read_text() == before
