"""The page of nights in a browser, wide and narrow, light and dark."""

import pytest

from claims.nightly import command as nights
from reports.tests.chromium import chromium


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(params=[1280, 400])
def seen(browser, report, tmp_path, request):
    path = tmp_path / "index.html"
    path.write_text(nights.pages(report)["index.html"])
    found = browser.new_page(viewport={"width": request.param, "height": 900})
    found.goto(path.as_uri())
    yield found
    found.close()


def overflow(seen):
    """Pixels by which the page is wider than its window."""
    return seen.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


def test_nobody_scrolls_sideways(seen):
    assert overflow(seen) == 0
    seen.evaluate("document.querySelector('h1').style.width = '2000px'")
    assert overflow(seen) > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(seen, scheme):
    """Contrast, names, and what the keyboard reaches."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    seen.emulate_media(color_scheme=scheme)
    assert axe.run(seen).response["violations"] == []
    seen.evaluate("document.body.style.color = 'var(--line)'")
    assert "color-contrast" in {v["id"] for v in axe.run(seen).response["violations"]}
