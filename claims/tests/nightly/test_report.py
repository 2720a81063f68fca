"""What a person sees: the report in words, the page, the feed and the badges."""

from dataclasses import replace
from xml.etree import ElementTree

import pandas

from claims.nightly import command as nights
from claims.nightly.night import news
from claims.nightly.process import key_of
from claims.nightly.simulation import night_of


def test_the_report_in_words(report):
    assert not report.red and report.is_red(night_of(9))
    assert report.paragraph.startswith(
        f"The night of {night_of(39)} at digits is green: everything still holds. "
        "Fresh networks were measured at 12 of 12 places. Places decided by all 40 "
        "nights: 1 for their claim, 0 against it, 0 of them new."
    )
    assert "holds 1 for and 0 against" in report.paragraph


def test_of_many_news_the_first_are_told_and_all_are_on_the_page(report):
    """Red ones all, and twelve of the others."""
    night = report.night
    rows = [
        {"night": night, **news("decided", ("a", f"place {k}"), "decided", red=k == 0)}
        for k in range(20)
    ]
    many = replace(report, news=rows)
    lines = many.lines()
    assert lines[0].startswith("RED: decided: a place 0") and len(lines) == 14
    assert lines[-1] == "7 more on the page"
    page = nights.pages(many)["index.html"]
    assert "<summary>7 more</summary>" in page
    assert all(f"a place {k}: decided</li>" in page for k in range(20))


def test_a_fault_on_the_tenth_night_is_red_on_the_tenth_night_by_name(report, places):
    red = [night for night in report.nights if report.is_red(night)]
    assert red == [night_of(9)]
    assert " ".join(key_of(places[1])) in nights.pages(report)["feed.xml"]


def test_the_page_shows_nights_places_and_escapes_what_it_is_given(report):
    files = nights.pages(report)
    page = files["index.html"]
    assert page.count('<li class="green"') == 39 and page.count('<li class="red"') == 1
    assert page.count('aria-label="e-values over nights"') == 12
    assert "the fixed networks: &lt;b&gt; is 2</dd>" in page
    assert "<b> is 2" not in page and "http://" not in page and "https://" not in page
    assert "prefers-color-scheme: dark" in page


def test_the_feed_is_atom_with_the_newest_night_first(report):
    atom = "{http://www.w3.org/2005/Atom}"
    root = ElementTree.fromstring(nights.pages(report)["feed.xml"])
    assert root.tag == f"{atom}feed"
    entries = root.findall(f"{atom}entry")
    titles = [entry.find(f"{atom}title").text for entry in entries]
    assert titles[0].startswith(f"{night_of(39)}: green")
    assert f"{night_of(9)}: red, 1 news" in titles
    for entry in [root, *entries]:
        assert all(
            entry.find(f"{atom}{name}") is not None for name in ("id", "updated")
        )


def test_badges_are_svg_that_say_it(report):
    files = nights.pages(report)
    for name, text in (
        ("supported.svg", "supported: 1 of 12"),
        ("last-night.svg", f"last night: green, {night_of(39)}"),
    ):
        root = ElementTree.fromstring(files[name])
        assert root.find("{http://www.w3.org/2000/svg}title").text == text


def test_pandas_reads_each_table_in_one_call(nights_of_faults):
    values = pandas.read_json(nights_of_faults.path("values"), lines=True)
    assert {"night", "block", "process", "values"} <= {*values.columns}
    assert len(values) == 39 * 12
