"""Lines for the terminal, the plugin that prints them, and the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.__main__ import main
from reports.results import write
from reports.terminal import count_line, lines
from reports.tests.made_up import made, session

ROOT = Path(__file__).parents[2]

CONFTEST = """
from pathlib import Path

import pytest

pytest_plugins = ["reports.plugin"]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    path = Path("results.jsonl")
    if path.exists():
        session.config.hook.pytest_claims_results(config=session.config, path=path)
"""


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_only_the_paper_is_ever_cut(width):
    """Names, settings and measured values are whole, and lines fit the terminal."""
    rows = lines(session(), width)
    text = "\n".join(verdict + rest for _, verdict, rest in rows)
    for result in session():
        assert result.where in text
        assert result.claim in text
        assert result.error or result.measured in text
    assert max(map(len, text.split("\n"))) <= max(width, 80)


def test_a_long_name_gets_a_line_of_its_own():
    """At 80 columns settings stand below their claim."""
    long = made(id="topic/" + "a-very-long-name-of-a-claim" * 2)
    text = [verdict + rest for _, verdict, rest in lines([long], 80)]
    assert any(line.startswith(long.id) for line in text)


def test_one_line_per_result():
    """Every result has one line with its verdict's word."""
    shorts = [v.strip() for colour, v, _ in lines(session(), 100) if colour]
    assert len(shorts) == 60
    assert shorts.count("as declared") == 1 and shorts.count("REFUTED") == 1


def test_count_line():
    """The counts in one line, the undeclared only where there is one."""
    assert count_line([made(), made(verdict="inconclusive")]) == (
        "1 supported, 0 refuted as declared, 0 refuted, 1 inconclusive, 0 errors"
    )
    assert "1 supported though declared refuted" in count_line(session())


def run_pytest(folder):
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_one.py").write_text("def test_one():\n    assert True\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )


def test_plugin_prints_and_renders(tmp_path):
    """After a session with claims: lines, counts, and the page where they lead."""
    write(tmp_path / "results.jsonl", session())
    printed = run_pytest(tmp_path).stdout
    page = tmp_path / "reports" / "out" / "index.html"
    assert count_line(session()) in printed
    assert f"page: {page}" in printed
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_plugin_is_silent_without_claims(tmp_path):
    """A session without claims prints nothing of them and writes no page."""
    printed = run_pytest(tmp_path).stdout
    assert "1 passed" in printed and "claims" not in printed
    assert not (tmp_path / "reports").exists()


def test_show(tmp_path, capsys):
    """`python -m reports show` prints the same lines and counts."""
    write(tmp_path / "results.jsonl", session())
    assert main(["show", str(tmp_path / "results.jsonl")]) == 0
    assert count_line(session()) in capsys.readouterr().out


def test_page(tmp_path, capsys):
    """`python -m reports page` writes the page and says where."""
    write(tmp_path / "results.jsonl", session())
    out = tmp_path / "page.html"
    assert main(["page", str(tmp_path / "results.jsonl"), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out and out.exists()


@pytest.mark.parametrize("command", ["show", "page"])
def test_missing_results_are_a_usage_error(tmp_path, capsys, command):
    """Exit code 2, and what to run."""
    try:
        code = main([command, str(tmp_path / "none.jsonl")])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert "run `pytest claims/`" in capsys.readouterr().err
