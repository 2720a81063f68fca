"""The report in a browser: what a person does with it, on the record of digits."""

import re
from collections import Counter

import pytest

from reports import page
from reports.coverage import RECORDS
from reports.results import read
from reports.tests.chromium import chromium
from reports.tests.made_up import at_scales, made

SCALES = ("mnist", "cifar10", "paper")
LONG = "renormalization/rescale-lifts-midpoint"
PAGES = (
    "index.html",
    "claims/renormalization.rescale-beats-repair.html",
    "claims/renormalization.rescale-lifts-midpoint.html",
    "papers/2402.05966v1.html",
    "glossary.html",
    "order.html",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report of every claim at four scales, with a map of where the order flips."""
    results, seen = [], Counter()
    for result in read(RECORDS / "digits.jsonl"):
        seen[result.id] += 1
        if (
            seen[result.id] <= 2
            or result.id == "renormalization/rescale-lifts-midpoint"
        ):
            results.append(result)
    pairs = [{"pair": f"{2 * k}-{2 * k + 1}", "7": -4.0 + k, "13": 3.0 + k}
             for k in range(5)]  # fmt: skip
    curves = {"names": ["7", "13"], "x": [7, 13], "x_label": "convolutions",
              "lines": {"": [[p["7"], p["13"]] for p in pairs]}}  # fmt: skip
    order = made(id="order/depth", rule="trend", pairs=pairs, curves=curves)
    at = tmp_path_factory.mktemp("report")
    page.write(at, [*at_scales(results, SCALES), order])
    return at


@pytest.fixture(scope="module")
def browser():
    """Chromium without a head."""
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser, folder):
    """Open a page of the report; whatever it complains of is a failure."""
    opened, wrong = [], []

    def visit(path="index.html", width=1280, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        opened.append(context)
        seen = context.new_page()
        seen.on("pageerror", lambda error: wrong.append(str(error)))
        seen.on("console", lambda told: told.type == "error" and wrong.append(told))
        seen.goto(f"file://{folder}/{path}")
        return seen

    visit.wrong = wrong
    yield visit
    for context in opened:
        context.close()
    assert not wrong


def shown(seen):
    """Ids of the matrix's rows that are seen, from above."""
    return seen.evaluate(
        "[...document.querySelectorAll('.matrix tbody tr:not([hidden])')]"
        ".map(row => row.id)"
    )


def search(seen, text):
    seen.fill("#search", text)
    return shown(seen)


def test_the_first_view_answers(visit, folder):
    """Does RESCALE beat REPAIR: verdict, our number, the paper's, without a click."""
    seen = visit()
    row = seen.locator(".headlines tbody").first
    assert "RESCALE is better than REPAIR" in row.inner_text()
    assert "-10 [-20, -1]" in row.inner_text() and "9.22 ± 4.16" in row.inner_text()
    first = ("index.html", "report.css", "report.js", "search.js")
    assert sum((folder / name).stat().st_size for name in first) < 300_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rescale >= repair", "renormalization/rescale-at-least-repair"),
        ("rescale repair", "renormalization/rescale-beats-repair"),
        ("rescal repiar", "renormalization/rescale-beats-repair"),  # slips
        ("RESCALE beats REPAIR", "renormalization/rescale-beats-repair"),
        ("reshift", "renormalization/reshift"),
        ("merging/preserve-first", "merging/preserve-first"),
        ("dead units", "activations/dead-units"),
    ],
)
def test_search_finds_what_is_meant(visit, text, expected):
    """The claim stands first, or among its like."""
    found = search(visit(), text)
    assert any(name.startswith(expected) for name in found[:3]), found[:5]


def test_search_for_a_table(visit):
    """Table 1 is neither Table 10 nor section 4.1; what has none of it is hidden."""
    seen = visit()
    found = search(seen, "table 1")
    assert "renormalization/rescale-beats-repair" in found and len(found) < 40
    words = seen.evaluate(
        "[...document.querySelectorAll('.matrix tbody tr:not([hidden])')]"
        ".map(row => row.dataset.words)"
    )
    assert all(re.search(r"Tables? (?:\d+, )*1\b", text) for text in words)
    assert search(seen, "qqqq") == []
    assert seen.locator("#none").is_visible()


def test_what_has_only_some_words_is_offered(visit):
    """And said to be that."""
    seen = visit()
    assert "renormalization/reshift-ruins" in search(seen, "reshift zebra")
    assert "none with all words" in seen.inner_text("#shown")


def test_sort_filter_and_search_are_in_the_address(visit):
    """Another window opened at the address shows the same."""
    seen = visit()
    seen.click(".tile.refuted, .tile.known")
    seen.click("[data-value=renormalization]")
    seen.click("[data-value=digits]")
    search(seen, "rescale")
    seen.click("[data-sort=share]")
    address = seen.url.partition("#")[2]
    for part in ("verdict=", "topic=renormalization", "scale=digits", "sort=share"):
        assert part in address
    again = visit(f"index.html#{address}")
    assert shown(again) == shown(seen) and 0 < len(shown(seen)) < 30
    assert again.input_value("#search") == "rescale"
    again.click("#clear")
    assert len(shown(again)) > 150 and "=" not in again.url


def test_filters_by_hand(visit):
    """One result of a row must have both, the verdict and the scale."""
    seen = visit("index.html#verdict=known&scale=mnist")
    told = seen.evaluate(
        "[...document.querySelectorAll('.matrix tbody tr')]"
        ".map(row => [row.hidden, row.cells[2].querySelector('.known') !== null])"
    )
    assert {hidden for hidden, _ in told} == {True, False}
    assert all(hidden != known for hidden, known in told)


def test_every_column_sorts_both_ways(visit):
    """By text or number; what has none stays below; a third click ends it."""
    seen = visit()
    usual = shown(seen)
    for name in ("claim", "digits", "paper", "in-paper", "share"):
        button = seen.locator(f"[data-sort={name}]")
        at = seen.evaluate(
            "name => [...document.querySelectorAll('[data-sort]')]"
            ".findIndex(b => b.dataset.sort === name)",
            name,
        )
        orders = []
        for _ in range(2):
            button.click()
            keys = seen.evaluate(
                "at => [...document.querySelectorAll('.matrix tbody tr')]"
                ".map(r => r.cells[at]).map(c => c.dataset.key ?? c.textContent)",
                at,
            )
            if name == "claim":
                orders.append([key.lower() for key in keys])
                assert orders[-1] in (sorted(orders[-1]), sorted(orders[-1])[::-1])
            else:
                known = [float(key) for key in keys if key not in ("", "-")]
                assert keys[len(known) :] == [k for k in keys if k in ("", "-")]
                orders.append(known)
                assert known in (sorted(known), sorted(known, reverse=True))
        assert orders[0] != orders[1]
        button.click()
        assert shown(seen) == usual


def test_a_deep_link_shows_the_sentence(visit):
    """Of a row, and of a place far down a claim's page, whose fold opens."""
    seen = visit("index.html#svd/taylor-fails")
    assert seen.locator("[id='svd/taylor-fails'] a").is_visible()
    box = seen.locator("[id='svd/taylor-fails']").bounding_box()
    assert 0 <= box["y"] < 900
    seen = visit("claims/renormalization.rescale-lifts-midpoint.html")
    ids = seen.evaluate("[...document.querySelectorAll('.place')].map(p => p.id)")
    place = ids[-1]
    seen = visit(f"claims/renormalization.rescale-lifts-midpoint.html#{place}")
    fold = seen.locator(f"[id='{place}']")
    assert fold.get_attribute("open") is not None
    assert 0 <= fold.bounding_box()["y"] < 900
    assert 0 <= seen.locator("h1").bounding_box()["y"] < 200  # it stays above


def test_a_pairs_name_gives_its_command(visit):
    """That of the pair, in the line below the table."""
    file = "claims/renormalization.rescale-beats-repair.html"
    seen = visit(f"{file}#plain-vgg/weights@digits")
    place = seen.locator(".place[open]")
    place.locator("summary:has-text('Values per pair')").click()
    place.locator(".data th button:has-text('104-105')").click()
    told = place.locator(".more .command").inner_text()
    assert told.endswith("--scale digits --first-seed 104 --seeds 2")


def test_three_tabs_reach_the_search(visit):
    """A slash does as well, and Escape empties it."""
    seen = visit()
    for _ in range(3):
        seen.keyboard.press("Tab")
        if seen.evaluate("document.activeElement.id") == "search":
            break
    assert seen.evaluate("document.activeElement.id") == "search"
    seen.keyboard.type("reshift")
    assert len(shown(seen)) < 20
    seen.keyboard.press("Escape")
    assert len(shown(seen)) > 150
    seen.evaluate("document.activeElement.blur()")
    seen.keyboard.press("/")
    assert seen.evaluate("document.activeElement.id") == "search"
    assert seen.input_value("#search") == ""


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_scrolls_sideways(visit, path, width):
    """On a phone and on a desk, with all folds open."""
    seen = visit(path, width)
    seen.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert seen.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, path, scheme):
    """Contrast, names, roles, order."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    seen = visit(path, scheme=scheme)
    seen.evaluate("document.querySelectorAll('.place').forEach(d => d.open = false)")
    assert not visit.wrong
    found = axe.run(seen).response["violations"]
    visit.wrong.clear()  # axe itself asks for files that a page may not read
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert not serious, [
        (v["id"], [node["html"][:200] for node in v["nodes"]][:3]) for v in serious
    ]


def test_axe_sees_what_is_serious(visit):
    """The check above fails on a button without a name."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    seen = visit("glossary.html")
    seen.evaluate(
        "document.querySelector('main').append(document.createElement('button'))"
    )
    assert "button-name" in {v["id"] for v in axe.run(seen).response["violations"]}
    visit.wrong.clear()


def test_dark_and_print(visit):
    """Dark ground where it is asked for; on paper white, with the summary first."""
    ground = "getComputedStyle(document.body).backgroundColor"
    assert visit(scheme="dark").evaluate(ground) == "rgb(20, 23, 29)"
    seen = visit("claims/renormalization.rescale-beats-repair.html")
    seen.emulate_media(media="print")
    assert seen.evaluate(ground) == "rgb(255, 255, 255)"
    assert seen.locator(".forest").is_visible()
    seen.evaluate("document.querySelector('.place').open = false")
    assert not seen.locator(".place").first.is_visible()  # evidence as asked
