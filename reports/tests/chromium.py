"""Chromium without a head, for tests of pages; they are skipped where it is missing."""

import shutil
from contextlib import contextmanager

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="needs playwright: pip install '.[browser]'"
)
NAMES = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium():
    """Start it, and end it at the end."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()
