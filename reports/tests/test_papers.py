"""A paper's findings: their order, how each came out, and the sentence on top."""

from dataclasses import replace

import pytest

from reports.__main__ import main
from reports.catalogue import headlines, papers_named, read_papers
from reports.coverage import table
from reports.papers import findings, in_words, section, text
from reports.results import write
from reports.tests.made_up import CATALOGUE, FIRST, made, report

[PAPER] = read_papers(CATALOGUE)


def results():
    """RESCALE holds at digits, not at mnist; RESHIFT nowhere; nets are broken."""
    one = "renormalization/rescale-at-least-repair"
    return [
        made(id=one),
        made(id=one, scale="mnist", verdict="inconclusive"),
        made(id="renormalization/reshift-ruins", verdict="refuted"),
        made(id="matching/plain-nets-stay-broken"),
        made(id="matching/barrier-at-midpoint", scale="mnist"),
        made(id="biases/removing-biases", verdict="error", error="no"),
    ]


def test_chief_findings_first_then_the_papers_order():
    """Sections by their numbers, not by letters; then appendices; what it raises."""
    found = [finding.entry.id for finding in findings(PAPER, [])]
    assert found == [
        "matching/broken",  # the chief one, though it stands in section 9
        "renormalization/no-data",  # 3
        "renormalization/never",  # 3.2
        "renormalization/ruins",  # 4.1
        "renormalization/repair",  # F.1
        "biases/raised",
    ]
    assert section("section 10.2") > section("section 9.10")


def test_outcomes():
    """Over all places of all claims that decide a finding; errors are none."""
    found = {f.entry.id: f.outcome for f in findings(PAPER, results())}
    assert found == {
        "matching/broken": "supported",
        "renormalization/no-data": "unasked",
        "renormalization/never": "unmeasured",
        "renormalization/ruins": "refuted",
        "renormalization/repair": "supported",
        "biases/raised": "unmeasured",
    }


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        (["supported", "refuted", "inconclusive"], "mixed"),
        (["supported", "inconclusive", "error"], "supported"),
        (["refuted", "inconclusive"], "refuted"),
        (["inconclusive"], "undecided"),
        (["error"], "unmeasured"),
    ],
)
def test_what_is_inconclusive_decides_nothing(verdicts, outcome):
    """Neither for a finding nor against it; nor does a single pair."""
    claim = "renormalization/reshift-ruins"
    held = [made(id=claim, setting=v, verdict=v) for v in verdicts]
    first = made(**FIRST, id=claim, scale="paper")
    for given in (held, [*held, first] if outcome != "unmeasured" else held):
        [found] = [f for f in findings(PAPER, given) if claim in f.entry.tests]
        assert found.outcome == outcome


def test_a_finding_of_one_scale_is_decided_there_alone():
    """Elsewhere the same claims are about other data."""
    [entry] = [e for e in PAPER.entries if e.id == "renormalization/repair"]
    small = replace(entry, scale="mnist")
    one = replace(PAPER, entries=(small,), chief=())
    [finding] = findings(one, results())
    assert [r.scale for r in finding.results] == ["mnist"]
    assert finding.outcome == "undecided"
    [line] = table([small], results()).split("\n")[1:]
    assert line.split("  ")[-1] == "inconclusive 1" and "supported" not in line


def test_one_sentence():
    """How many came out how, at places of all scales, and why some can't be asked."""
    assert in_words(findings(PAPER, results())) == (
        "Of 6 findings 2 are supported at every place that is decided; 1 is refuted at "
        "every place that is decided; 2 are not measured yet; 1 can't be asked: no "
        "scale trains on CIFAR-100."
    )
    other = made(id="renormalization/rescale-at-least-repair", setting="mlp",
                 verdict="refuted")  # fmt: skip
    assert "; 1 is supported at some places, refuted at others; " in in_words(
        findings(PAPER, [*results(), other])
    )
    assert "5 are not decided at any place" in in_words(
        findings(PAPER, [made(**FIRST, id=t) for e in PAPER.entries for t in e.tests])
    )


def test_whose_words_a_quote_is(tmp_path):
    """Where a summary was read alone, its words are not shown as the paper's."""
    [entry] = [e for e in PAPER.entries if e.id == "renormalization/repair"]
    assert entry.quoted == "the paper"
    file = tmp_path / "1234.56789.toml"
    file.write_text(
        'quoted = "a summary"\n' + (CATALOGUE / "1234.56789v1.toml").read_text()
    )
    [other] = read_papers(tmp_path)
    assert {e.quoted for e in other.entries} == {"a summary"}
    assert f'a summary: "{entry.quote}"' in " ".join(text(other, results()).split())
    assert {e.says for e in other.entries} == {"A summary says", "Finding"}
    file.write_text(file.read_text().replace('"a summary"', "1"))
    with pytest.raises(ValueError, match="'quoted' must be a string, got 1"):
        read_papers(tmp_path)


def test_text_of_a_paper():
    """By hand: sentence, where, quote, and of each claim the paper's value."""
    told = text(PAPER, results(), 80).split("\n")
    assert told[0] == "arXiv:1234.56789v1  Made up" and max(map(len, told)) <= 80
    at = told.index("RESCALE is at least as good as REPAIR.")
    assert told[at : at + 8] == [
        "RESCALE is at least as good as REPAIR.",
        "  appendix F.1, Table 4",
        '  "RESCALE is never worse"',
        "  renormalization/rescale-at-least-repair",
        "    scale digits: supported 1",
        "      ✓ plain-vgg weights: +1.2 [0.4, 2.0] points, in the paper 9.22 ± 4.16",
        "        (0.13 [0.04, 0.22] of it)",
        "    scale mnist: inconclusive 1",
    ]
    assert "  can't be asked: no scale trains on CIFAR-100" in told
    # Which findings are chief is our choice: where they stand the entry says.
    assert told[told.index("Plain nets stay broken.") + 1] == "  section 9"
    assert "  not measured yet" in told


def test_the_page_says_the_same():
    """Sentence, order, quotes and outcomes."""
    page = report(results())["papers/1234.56789v1.html"]
    found = findings(PAPER, results())
    assert in_words(found).replace("'", "&#39;") in page
    assert "abstract" not in page
    places = [page.index(f'id="{finding.entry.id}"') for finding in found]
    assert places == sorted(places)
    assert "<blockquote>RESCALE is never worse</blockquote>" in page
    assert "<b>Can&#39;t be asked</b>: no scale trains on CIFAR-100" in page
    assert '<article class="finding box refuted" id="renormalization/ruins">' in page


def test_command(tmp_path, capsys):
    """All versions of a paper; an unknown one names those that there are."""
    write(tmp_path / "a.jsonl", results())
    given = [str(tmp_path / "a.jsonl"), "--catalogue", str(CATALOGUE)]
    assert main(["paper", "1234.56789", *given]) == 0
    printed = capsys.readouterr().out
    assert printed == text(PAPER, results(), 80) + "\n"
    assert main(["paper", "9", *given]) == 2
    assert "no entry of paper '9'; the catalogue has '1234." in capsys.readouterr().err


def test_headlines_are_the_chief_findings():
    """Of the checkout: each finding's chief claim, those of the main paper first."""
    main_paper = read_papers()[0]
    assert (
        main_paper.id == "2402.05966v1"
        and len(papers_named([main_paper], "2402.05966")) == 1
    )
    assert headlines()[0] == "renormalization/rescale-beats-repair"
    tests = {test for p in read_papers() for e in p.entries for test in e.tests}
    assert {*headlines()} <= tests and len({*headlines()}) == len(headlines()) > 10


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('chief = ["a/b"]', r"'chief' must be a list of ids of its entries, got"),
        ("chief = 3", r"'chief' must be a list of ids of its entries, got 3"),
        ("title = 3", r"p\.toml: 'title' must be a string, got 3"),
    ],
)
def test_a_malformed_paper_says_what_is_wrong(tmp_path, line, message):
    """The file, the key and what to give."""
    (tmp_path / "p.toml").write_text(line)
    with pytest.raises(ValueError, match=message):
        read_papers(tmp_path)
