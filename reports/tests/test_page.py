"""The page holds every result and asks for nothing outside."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from reports.page import render, write
from reports.tests.made_up import made, session

WHEN = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)


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
    return render(session(), WHEN)


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
    assert {row["data-verdict"] for row in rows} >= {"declared", "refuted", "error"}
    assert {row["data-topic"] for row in rows} == {
        "biases",
        "matching",
        "renormalization",
    }
    assert all(row["data-text"] == row["data-text"].lower() for row in rows)


def test_same_results_same_bytes(text):
    """Nothing random or of this moment is in the page."""
    assert render(session(), WHEN) == text


def test_text_of_results_is_escaped():
    """A sentence cannot bring a script in, nor a label break out of a plot."""
    evil = "<script>alert('x')</script>"
    text = render([made(sentence=evil, reason=evil, setting=evil, paper=[
        {"label": evil, "value": 1.0, "spread": None}
    ])])  # fmt: skip
    assert evil not in text
    assert "&lt;script&gt;" in text


def test_refutations_are_told_apart_by_words(text):
    """Declared and unexpected refutations differ in words, not in colour alone."""
    assert "refuted, as declared" in text
    assert "too coarse: the last two" in text  # the declared one's reason


def test_error_is_shown(text):
    """The text of an error stands where the measurement would."""
    assert "the loss is not finite" in text


def test_invariant_has_no_p():
    """What was not decided by a test shows no p-value."""
    exact = made(kind="invariant", rule="exact", p=None, p_holm=None)
    assert "- (-)" not in render([exact])


def test_plots_are_svg_with_a_title(text):
    """Each drawing can be read out."""
    assert text.count("<svg") >= 60
    assert text.count("<svg") == text.count("</svg>")
    assert len(re.findall(r"<svg[^>]*>\s*<title", text)) >= 60


def test_page_is_written_whole(tmp_path):
    """No draft stays beside the page."""
    write(tmp_path / "index.html", [made()], WHEN)
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]
    assert "2026-11-20 21:00 UTC" in (tmp_path / "index.html").read_text()
