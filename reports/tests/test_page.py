"""The report holds every result, asks for nothing outside, and escapes all of it."""

import re
from html.parser import HTMLParser
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest

from reports import page
from reports.catalogue import headlines
from reports.coverage import RECORDS
from reports.details import remark, seeds
from reports.page import claim_file, pages
from reports.results import read
from reports.scales import ORDER
from reports.tests.made_up import evidence, made, report, session

VOID = ("meta", "br", "input", "link", "img", "hr", "wbr")
OPTIONAL = ("td", "th", "tr", "dd", "dt", "li", "p")
"""Elements whose end HTML lets one leave out."""


class Page(HTMLParser):
    """Rows, ids, links and resources of a page, and its text."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.ids, self.links, self.resources = [], [], [], []
        self.buttons, self.open, self.text, self.tags = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        if tag == "tr" and "data-words" in found:
            self.rows.append(found)
        if "data-filter" in found or "data-sort" in found:
            self.buttons.append(found)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.links.append(found.get("href", ""))
        elif "src" in found or tag == "link":
            self.resources.append(found.get("src") or found["href"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_data(self, text):
        self.text += text

    def handle_endtag(self, tag):
        while self.open[-1] != tag and self.open[-1] in OPTIONAL:
            self.open.pop()
        assert self.open.pop() == tag, tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()


@pytest.fixture(scope="module")
def made_report():
    return report(session())


@pytest.fixture(scope="module")
def first(made_report):
    return made_report["index.html"]


def html(made_report):
    """The pages of a report, parsed."""
    found = {path: text for path, text in made_report.items() if ".html" in path}
    return {path: Page(text) for path, text in found.items()}


def test_every_claim_has_a_row_and_a_page_with_every_result(made_report, first):
    """Nothing measured is missing from the overview or from the evidence."""
    pages = html(made_report)
    ids = {result.id for result in session()}
    assert {row["id"] for row in pages["index.html"].rows} == ids
    for claim in ids:
        anchors = {page.place_anchor(r) for r in session() if r.id == claim}
        assert anchors <= {*pages[claim_file(claim)].ids}
    assert not any(parsed.open for parsed in pages.values())


def test_a_badly_nested_page_is_noticed():
    """The parser of these tests fails on a tag that is closed too early."""
    with pytest.raises(AssertionError):
        Page("<section><div></section></div>")


def test_the_report_needs_no_network(made_report):
    """Style and scripts lie beside; links outside go to arxiv.org alone."""
    for path, parsed in html(made_report).items():
        root = "../" * path.count("/")
        named = {f"{root}{name}" for name in ("report.css", "report.js", "search.js")}
        assert {*parsed.resources} == named | {"data:,"}
        outside = {link for link in parsed.links if "://" in link}
        assert all(link.startswith("https://arxiv.org/abs/") for link in outside)
    style = made_report["report.css"]
    assert "@import" not in style and "url(" not in style


def test_links_lead_somewhere(made_report):
    """Each ends at a page of the report, and at an element of it."""
    pages = html(made_report)
    seen = 0
    for path, parsed in pages.items():
        for link in parsed.links:
            if "://" in link:
                continue
            file, _, fragment = link.partition("#")
            target = PurePosixPath(path).parent.joinpath(file) if file else path
            parts = []
            for part in PurePosixPath(target).parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            found = pages["/".join(parts)]
            assert not fragment or unquote(fragment) in found.ids, link
            seen += 1
    assert seen > 100


def test_no_id_stands_twice(made_report):
    """A link to one would end at another."""
    for parsed in html(made_report).values():
        assert len({*parsed.ids}) == len(parsed.ids)


def test_links_of_every_scale_lead_somewhere():
    """Settings, variants and scales that could be taken for each other."""
    given = [made(), made(scale="mnist"), made(variant="weights mnist")]
    held = report([*session(), *given, made(variant="mnist")])
    test_links_lead_somewhere(held)
    test_no_id_stands_twice(held)


def test_rows_can_be_filtered_and_sorted(first):
    """Buttons name statuses, topics and columns that rows have."""
    parsed = Page(first)
    topics = {row["id"].partition("/")[0] for row in parsed.rows}
    assert topics == {"biases", "matching", "renormalization"}

    def named(kind):
        return {b["data-value"] for b in parsed.buttons if b.get("data-filter") == kind}

    assert named("topic") == topics
    assert named("verdict") == {r.status.key for r in session()}
    columns = [b["data-sort"] for b in parsed.buttons if "data-sort" in b]
    assert columns == ["claim", "digits", "in-paper", "share"]
    for key in named("verdict"):
        assert f'class="chip {key}"' in first or f'<b class="{key}">' in first


def test_same_results_same_bytes(made_report):
    """Nothing random or of this moment is in the report."""
    assert report(session()) == made_report


EVIL = "</script><script>alert('x')</script><b title=\"'&"


def test_text_of_results_is_escaped():
    """Of names, sentences, labels, columns, errors: nothing becomes an element."""
    given = "id sentence source quantity unit setting variant scale rule decision red"
    evil = made(
        **dict.fromkeys([*given.split(), "nodeid", "commit", "device"], EVIL),
        pairs=[{"pair": EVIL, EVIL: 1.0, "decided": EVIL}],
        curves={"x": [0, 1], "x_label": EVIL, "unit": EVIL,
                "lines": {EVIL: [[1.0, 2.0]]}},
        paper=[{"label": EVIL, "column": EVIL, "value": 1.0, "spread": None}],
        machine={"cpu": EVIL}, versions={EVIL: EVIL},
        fixtures=[{"name": EVIL, "key": EVIL, "seeds": [EVIL], "failed": [EVIL],
                   "digest": EVIL}],
    )  # fmt: skip
    order = made(id=f"order/{EVIL}", rule="trend", pairs=[{"pair": "0-1", EVIL: 1.0}],
                 curves={"names": [EVIL], "lines": {"": [[1.0]]}})  # fmt: skip
    broken = made(setting=EVIL, verdict="error", error=EVIL, red=EVIL)
    held = report([evil, order, broken, made(scale="mnist")])
    assert {path.count("/") for path in held} == {0, 1}
    for path, parsed in html(held).items():
        assert parsed.tags.count("script") == 2, path
        assert not any("alert" in resource for resource in parsed.resources)
    assert "&lt;/script&gt;" in held["index.html"] and "order.html" in held


def test_an_evil_name_that_is_not_escaped_is_noticed():
    """The parser above sees its element, or the end of one that isn't open."""
    assert "script" in Page(f"<p>{EVIL.partition('>')[2]}</b></p>").tags
    with pytest.raises(AssertionError):
        Page(f"<div><p>{EVIL}</b></p></div>")


def test_files_of_claims_stay_apart_and_inside():
    """Whatever an id holds: no two have one file, none lies elsewhere."""
    assert claim_file("matching/a-b") == "claims/matching.a-b.html"
    ids = ["../../x", "..", "a/b", "a/B c", "a/B-c", "a.b", "a/b?", "ä/b", "é/b"]
    files = [claim_file(claim) for claim in ids if claim != "a.b"]
    assert len({*files}) == len(files)
    assert all(re.fullmatch(r"claims/[A-Za-z0-9.-]+\.html", file) for file in files)
    assert not any(file.startswith("claims/.") for file in files)


def test_refutations_are_told_apart_by_words(made_report):
    """On record, news, or contradicting it: in words, not in colour alone."""
    text = "".join(made_report.values())
    assert "refuted, as on record" in text
    assert "refuted, on record: inconclusive" in text
    assert "supported, contradicts the record" in text


def test_contradictions_and_errors_stand_first(first):
    """Before any claim is listed, with a link and the reason."""
    head = first[: first.index("<h2")]
    assert "1 contradicts the record:" in head
    assert "+1.2 against -6.1, z = 5.4" in head
    link = "claims/matching.barrier-at-midpoint.html#plain-vgg/weights@digits"
    assert f'href="{link}"' in head
    assert "1 ended in an error:" in head and "seed 7, step 312" in head
    assert "the record:" not in report([made()])["index.html"]


def test_what_is_on_record_stands_beside_what_was_measured(tmp_path):
    """From the file of the scale, at the place alone, escaped."""
    (tmp_path / "digits.toml").write_text(
        '["renormalization/rescale-at-least-repair"]\n"plain-vgg weights" = { '
        'verdict = "inconclusive", leaning = "for", estimate = 14.0, spread = 2.31, '
        "n = 8, first_seed = 100, "
        'rule = "superiority", why = "Thirteen layers <b> at last." }\n'
    )
    given = [made(first_seed=200), made(setting="mlp"), made(scale="mnist")]
    text = " ".join(re.sub(r"</?d[ltd][^>]*>", " ", evidence(given, tmp_path)).split())
    assert "On record inconclusive, leans for (14 ± 2.31, n = 8), seeds from 1" in text
    assert "Measured here supported (1.2 ± 0.65, n = 8), seeds from 200" in text
    assert text.count("Thirteen layers &lt;b&gt; at last.") == 1
    assert text.count("On record nothing of this place") == 2


@pytest.mark.parametrize(
    "text", ["=", '["a/b"]\n"mlp" = 3', '["a/b"]\nmlp = { n = 3 }']
)
def test_a_malformed_record_is_named(tmp_path, text):
    """With what to do."""
    (tmp_path / "digits.toml").write_text(text)
    with pytest.raises(ValueError, match=r"digits\.toml is not what .*: restore"):
        report([made()], tmp_path)


def test_numbers_of_a_result():
    """Interval's level, all kinds of p, the paper's effect and the share of it."""
    text = evidence([
        made(verdict="inconclusive", leaning="for", needed=14, p_page=0.0123)
    ])  # fmt: skip
    shown = dict(re.findall(r"<div><dt>([^<]*)</dt><dd>([^<]*)</dd></div>", text))
    assert shown == {
        "p, sign flips": "0.004",
        "p, Page": "0.012",
        "p, Holm": "0.003",
        "p, against it": "1.00",
        "Spread": "0.65",
        "Detectable effect": "0.9",
    }
    assert "its 99% interval" in text and "<td>0.003</td>" in text
    assert "About 14 pairs would decide it if the estimate is right: 6 more" in text
    assert '<span class="num">0.13 [0.04, 0.22]</span> of the paper' in text
    assert "inconclusive, leans for" in text


def test_what_was_measured_is_told(made_report, first):
    """When and where, with which seeds; not when a file was written."""
    assert "2026-11-20 21:00 to 21:00 UTC" in first
    assert "cpu, Some CPU @ 2.1 GHz, x86_64" in first
    fixture = {"name": "mlp", "key": "a" * 64, "seeds": [100, 102], "failed": [101]}
    made_here = report([made(fixtures=[fixture | {"digest": "b" * 64}])])
    told = made_here[claim_file(made().id)]
    assert "failed to train and replaced: 101" in told
    assert f"digest of the networks {'b' * 16}" in told and "seeds 100, 102" in told
    assert "<dt>Networks that failed to train</dt><dd>1</dd>" in made_here["index.html"]
    assert "first seed 100" in told


def test_what_all_places_share_is_told_once():
    """Machine, versions and commit; where places differ, at each."""
    one = evidence([made(), made(setting="mlp")])
    assert one.count("torch 2.12.1") == 1 and "All of it was measured on" in one
    two = evidence([made(), made(setting="mlp", commit="ab" * 20)])
    assert two.count("torch 2.12.1") == 2 and "commit abababababab" in two


@pytest.mark.parametrize(
    ("p", "p_flip", "n", "told"),
    [
        (1e-9, 2.0**-8, 8, ""),  # no rarer flip of eight signs
        (1e-9, 2 / 256, 8, ""),
        (1e-9, 0.04, 8, "p for the claim is 0.040 where the t-test has <0.001"),
        (0.004, 0.06, 8, "p for the claim is 0.060 where the t-test has 0.004"),
        (0.06, 0.9, 8, ""),  # the t-test's is not small
        (0.2, 0.004, 8, ""),
        (1 - 1e-9, 1.0, 8, ""),
        (1 - 1e-9, 0.95, 8, "p against it is 0.054 where the t-test has <0.001"),
        (1e-9, 1 / 20_001, 40, ""),  # no rarer one of so many random flips
        (1e-9, 4 / 20_001, 40, "p for the claim is <0.001 where the t-test has <0.001"),
        (0.003, None, 8, ""),
    ],
)
def test_disagreeing_tests_are_remarked_on(p, p_flip, n, told):
    """Either direction, and by more than the number of units explains."""
    found = remark(made(p=p, p_against=1 - p, p_flip=p_flip, n=n))
    assert bool(found) == bool(told) and told in found
    assert remark(made(p=None, p_against=None, p_flip=None)) == ""


def test_a_value_has_its_quantity_beside_it():
    """Of a claim of absence it is the other way round than its sentence sounds."""
    quantity = "unmatched: bare midpoint minus REPAIR, test accuracy"
    held = report([made(id=headlines()[0], quantity=quantity), made(quantity=quantity)])
    told = f"Measured: {quantity}, in points</small>"
    assert held["index.html"].count(told) == 3  # a chief finding, and each row
    assert held["papers/1234.56789v1.html"].count(told) == 1


def test_other_numbers_of_the_paper_do_not_stand_for_the_measured_one():
    """They are drawn in the evidence, by their column, and nowhere else."""
    made_here = report([made(effect=None, effect_spread=None, share=None, paper=[
        {"label": "VGG16", "column": "midpoint", "value": 14.22, "spread": 2.27}
    ])])  # fmt: skip
    assert "14.22" not in made_here["index.html"]
    assert "midpoint: VGG16" in made_here[claim_file(made().id)]


def test_what_tiles_count_is_what_the_outcome_says():
    """Invariants are among the supported, and the sentence says so."""
    exact = {"kind": "invariant", "rule": "exact"}
    held = [made(), made(setting="mlp", **exact), made(setting="bn-vgg", **exact)]
    first = report(held)["index.html"]
    assert "All 2 invariants hold up to rounding; in all 3 results are " in first
    assert "<b>3</b>supported</button>" in first
    broken = made(setting="ln-vgg", verdict="refuted", **exact)
    told = "1 of 3 invariants are broken; in all 3 results are supported."
    assert told in report([*held, broken])["index.html"]
    assert "up to rounding. " in report(held[1:])["index.html"]


def test_the_glossary_explains_what_the_pages_say(made_report):
    """Every scale, both kinds of statistics, and what a barrier rises above."""
    told = re.findall(
        r'<dt id="([\w-]+)">.*?</dt><dd>(.*?)</dd>', made_report["glossary.html"]
    )
    told = dict(told)
    assert all(scale in told["scale"] for scale in ORDER)
    assert "minutes" not in told["scale"]
    assert "Uncorrected" in told["corrected"]
    assert "line between the ends" in told["barrier"] and "mean" not in told["barrier"]
    assert {"premise", "waiting"} <= told.keys()


def test_the_first_sentence_promises_what_is_there(first):
    """Not every finding has a test, and records are no single run."""
    [lead] = re.findall(r'<p class="lead">(.*?)</p>', first)
    assert "Each claim" not in lead and "a run" not in lead
    assert "can't be tested" in lead and "only questions" in lead


def test_error_is_shown(made_report):
    """The text of an error stands where the measurement would."""
    text = made_report["claims/matching.plain-nets-stay-broken.html"]
    assert "<pre>Diverged: recipe bn-vgg, seed 7" in text


def test_plots_can_be_read_out(made_report):
    """Each drawing has a text, or stands beside its numbers."""
    drawn = re.findall(r"<svg[^>]*>", evidence(session()))
    assert len(drawn) >= 120
    for svg in drawn:
        assert ('role="img"' in svg and "aria-label=" in svg) or "aria-hidden" in svg


def test_sizes():
    """Of the record of digits: the first view, and the whole by number of places."""
    results = read(RECORDS / "digits.jsonl")
    size = {path: len(text.encode()) for path, text in pages(results).items()}
    first = ("index.html", "report.css", "report.js", "search.js")
    assert sum(size[path] for path in first) < 300_000
    assert sum(size.values()) < 7_000 * len(results)


def test_the_report_is_written_whole(tmp_path):
    """No draft stays; pages of claims that are gone go, a stranger's file doesn't."""
    first = page.write(tmp_path, [made(), made(id="a/b")])
    assert first == tmp_path / "index.html" and (tmp_path / "claims/a.b.html").exists()
    (tmp_path / "notes.txt").write_text("mine")
    page.write(tmp_path, [made()])
    assert not (tmp_path / "claims/a.b.html").exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not [file for file in tmp_path.rglob(".*")]
    assert "</html>" in first.read_text()


def test_seeds_in_short():
    """Runs of them, and what is no number."""
    assert seeds([]) == "" and seeds([7, "x", 8, 9]) == "7, x, 8-9"
