"""The page holds every result and asks for nothing outside."""

import re
from html.parser import HTMLParser

import pytest

from reports.page import remark, render, units, write
from reports.tests.made_up import made, session


class Page(HTMLParser):
    """Rows, sections, links and resources of a page."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.sections, self.links, self.resources = [], [], [], []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "tr" and "data-verdict" in found:
            self.rows.append(found)
        if tag == "section" and "/" in found.get("id", ""):
            self.sections.append(found["id"])
        if tag == "a":
            self.links.append(found.get("href", ""))
        elif "src" in found or tag == "link":
            self.resources.append((tag, found))
        if tag not in ("meta", "br", "input", "link", "img", "hr", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if self.open and self.open[-1] == tag:
            self.open.pop()


@pytest.fixture(scope="module")
def text():
    return render(session())


def test_every_result_has_a_row_and_every_claim_a_section(text):
    """Nothing measured is missing from the table or from the evidence."""
    page = Page(text)
    assert len(page.rows) == 60
    assert sorted(page.sections) == sorted({result.id for result in session()})
    assert not page.open


def test_a_badly_nested_page_is_noticed():
    """The parser of these tests fails on a tag that is closed too early."""
    with pytest.raises(AssertionError):
        Page("<section><div></section></div>")


def test_page_needs_no_network(text):
    """No scripts, images or styles from elsewhere; links go to arxiv.org."""
    page = Page(text)
    assert not page.resources
    outside = {link for link in page.links if link.startswith("http")}
    assert outside and all(li.startswith("https://arxiv.org/abs/") for li in outside)
    assert "@import" not in text and not re.search(r"url\(['\"]?http", text)


def test_links_inside_the_page_lead_somewhere(text):
    """Each row's link ends at a section or a setting of it."""
    inside = {link[1:] for link in Page(text).links if link.startswith("#")}
    ids = set(re.findall(r'id="([^"]+)"', text))
    assert inside and inside <= ids


def test_rows_can_be_filtered(text):
    """The filters' buttons name statuses and topics that rows have."""
    rows = Page(text).rows
    assert {row["data-verdict"] for row in rows} >= {"known", "refuted", "error"}
    assert {row["data-topic"] for row in rows} == {
        "biases",
        "matching",
        "renormalization",
    }
    assert all(row["data-text"] == row["data-text"].lower() for row in rows)


def test_same_results_same_bytes(text):
    """Nothing random or of this moment is in the page."""
    assert render(session()) == text


def test_text_of_results_is_escaped():
    """A sentence cannot bring a script in, nor a label break out of a plot."""
    evil = "<script>alert('x')</script>"
    given = ("sentence", "source", "quantity", "setting", "red", "nodeid", "commit")
    text = render([made(
        **dict.fromkeys(given, evil),
        paper=[{"label": evil, "column": evil, "value": 1.0, "spread": None}],
        machine={"cpu": evil}, versions={evil: evil},
        fixtures=[{"name": evil, "key": evil, "seeds": [evil], "failed": [evil],
                   "digest": evil}],
    ), made(verdict="error", error=evil)])  # fmt: skip
    assert evil not in text
    assert "&lt;script&gt;" in text


def test_refutations_are_told_apart_by_words(text):
    """On record, news, or contradicting it: in words, not in colour alone."""
    assert "refuted, as on record" in text
    assert "refuted, on record: inconclusive" in text
    assert "supported, contradicts the record" in text


def test_contradictions_stand_first(text):
    """Before any verdict is listed, with a link and the reason."""
    head = text[: text.index("<main>")]
    assert "1 contradicts the record:" in head
    assert "+1.2 against -6.1, z = 5.4" in head
    assert 'href="#matching/barrier-at-midpoint/plain-vgg/weights"' in head
    assert "the record:" not in render([made()])


def test_what_is_on_record_is_told_with_its_reason(tmp_path):
    """From the file of the scale, at the place alone, escaped."""
    (tmp_path / "digits.toml").write_text(
        '["renormalization/rescale-at-least-repair"]\n"plain-vgg weights" = { '
        'verdict = "inconclusive", leaning = "for", estimate = 14.0, spread = 2.31, '
        "n = 8, "
        'rule = "superiority", why = "Thirteen layers <b> at last." }\n'
    )
    given = [made(), made(setting="mlp"), made(scale="mnist")]
    text = render(given, tmp_path)
    told = "inconclusive, leans for (14 ± 2.31, n = 8); why: Thirteen layers &lt;b&gt; "
    assert text.count("On record:") == text.count(told) == 1
    assert "On record:" not in render(given, tmp_path / "none")


@pytest.mark.parametrize(
    "text", ["=", '["a/b"]\n"mlp" = 3', '["a/b"]\nmlp = { n = 3 }']
)
def test_a_malformed_record_is_named(tmp_path, text):
    """With what to do."""
    (tmp_path / "digits.toml").write_text(text)
    with pytest.raises(ValueError, match=r"digits\.toml is not what .*: restore"):
        render([made()], tmp_path)


def test_numbers_of_a_result():
    """Interval's level, all kinds of p, the paper's effect and the share of it."""
    text = render([
        made(verdict="inconclusive", leaning="for", needed=14, p_page=0.0123)
    ])  # fmt: skip
    shown = dict(re.findall(r"<div><dt>([^<]*)</dt><dd>([^<]*)</dd></div>", text))
    assert shown["Interval"] == "99%" and "its 99% interval" in text
    assert (shown["p"], shown["p, sign flips"]) == ("0.003", "0.004")
    assert (shown["p, Page"], shown["p, Holm"]) == ("0.012", "0.003")
    assert (shown["p, against it"], shown["Spread"]) == ("1.00", "0.65")
    assert shown["Detectable effect"] == "0.9"
    assert "About 14 pairs would decide it if the estimate is right." in text
    assert 'measured here: <span class="num">0.13 [0.04, 0.22]</span> of the ' in text
    assert "inconclusive, leans for" in text


def test_what_was_measured_is_told(text):
    """When and where, with which seeds; not when the file was written."""
    assert "2026-11-20 21:00 to 21:00 UTC" in text
    assert "cpu, Some CPU @ 2.1 GHz, x86_64" in text
    fixture = {"name": "mlp", "key": "a" * 64, "seeds": [100, 102], "failed": [101]}
    told = render([made(fixtures=[fixture | {"digest": "b" * 64}])])
    assert "failed to train and replaced: 101" in told
    assert "<dt>Networks that failed to train</dt><dd>1</dd>" in told
    assert f'digest of the networks <abbr title="{"b" * 64}">' in told
    assert "first seed 100" in told


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


def test_units_have_a_name():
    """By what the values belong to."""
    names = ("100-101", "seed 100", "100..103", "plain-vgg-wd3", "7", "")
    assert [units(made(pairs=[{"pair": name}])) for name in names] == [
        *("pairs", "networks", "tuples", "units", "units", "units")
    ]
    assert units(made(pairs=[])) == "units"


def test_other_numbers_of_the_paper_do_not_stand_for_the_measured_one():
    """They are counted and told apart by their column."""
    text = render([made(effect=None, effect_spread=None, share=None, paper=[
        {"label": "VGG16", "column": "midpoint", "value": 14.22, "spread": 2.27}
    ])])  # fmt: skip
    row = text[text.index("<tr role") :]
    row = re.findall(r'data-label="paper">.*?</td>', row)[0]
    assert "1 other number<" in row and 'title="14.22 ± 2.27 midpoint: VGG16"' in row


def test_error_is_shown(text):
    """The text of an error stands where the measurement would."""
    assert "the loss is not finite" in text


def test_invariant_has_no_p():
    """What was not decided by a test shows no p-value."""
    exact = made(kind="invariant", rule="exact", p=None)
    assert "- (-)" not in render([exact])


def test_plots_are_svg_with_a_title(text):
    """Each drawing can be read out."""
    assert text.count("<svg") >= 60
    assert text.count("<svg") == text.count("</svg>")
    assert len(re.findall(r"<svg[^>]*>\s*<title", text)) >= 60


def test_page_is_written_whole(tmp_path):
    """No draft stays beside the page."""
    write(tmp_path / "index.html", [made()])
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]
    assert "</html>" in (tmp_path / "index.html").read_text()
