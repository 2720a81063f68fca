"""Lines for the terminal, the plugin that prints them, and the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lmc.tests import sessions
from reports.__main__ import main
from reports.results import write
from reports.terminal import (
    HEAD,
    contradictions,
    count_line,
    decided,
    lines,
    news,
)
from reports.tests.made_up import FIRST, made, session

ROOT = Path(__file__).parents[2]

CONFTEST = """
import pytest

pytest_plugins = ["reports.plugin"]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    path = session.config.rootpath / "results.jsonl"
    if path.exists():
        session.config.hook.pytest_claims_results(
            config=session.config, path=path, kept=path
        )
"""


@pytest.mark.parametrize("width", [40, 80, 120, 200])
def test_only_the_paper_is_ever_cut(width):
    """Names, settings and measured values are whole, and lines fit the terminal."""
    rows = lines(session(), width)
    text = "\n".join(verdict + rest for _, verdict, rest in rows)
    for result in session():
        assert result.where in text
        assert result.claim in text
        assert result.error or result.measured.removesuffix(" points") in text
    assert max(map(len, text.split("\n"))) < max(width, 80)
    assert ("[0.04, 0.22]" in text) == (width >= 120)


def test_line_of_a_result():
    """At 80 columns claim and unit stand above; a wide terminal has room in line."""
    assert [verdict + rest for _, verdict, rest in lines([made()], 80)] == [
        "verdict    setting              measured         margin  paper      share",
        "renormalization/rescale-at-least-repair, in points",
        "supported  [plain-vgg weights]  +1.2 [0.4, 2.0]  >0.5    9.22±4.16  0.13",
    ]
    assert [verdict + rest for _, verdict, rest in lines([made()], 130)][-1] == (
        "supported  rescale-at-least-repair [plain-vgg weights]  "
        "+1.2 [0.4, 2.0] points  >0.5    9.22±4.16  0.13 [0.04, 0.22]"
    )


def test_without_room_the_share_goes_first():
    """Its interval, then it, then a part of the paper's value."""

    def last(setting):
        return lines([made(setting=setting)], 80)[-1][2]

    assert last("a" * 15).endswith("[0.4, 2.0]  >0.5    9.22±4.16  0.13")
    assert last("a" * 22).endswith("[0.4, 2.0]  >0.5    9.22±4.16")
    assert last("a" * 28).endswith("[0.4, 2.0]  >0.5    9.…")


def test_another_quantity_of_the_paper_is_not_shown():
    """Columns of its tables are no value of what was measured."""
    other = made(effect=None, effect_spread=None, share=None)
    assert other.paper and lines([other], 80)[-1][2].endswith("[0.4, 2.0]  >0.5")


def test_a_line_of_its_own_fits_80_columns():
    """As it comes: verdict, place, measured, margin, the paper's value."""
    colour, verdict, rest = decided(made())
    assert (colour, verdict.rstrip()) == ("green", "supported")
    assert HEAD == (
        "verdict      setting                     measured          margin paper"
    )
    assert verdict + rest == (
        "supported    [plain-vgg weights]         +1.2 [0.4, 2.0]   >0.5   9.22±4.16"
    )
    for result in session():
        assert len("".join(decided(result)[1:])) < 80
    assert "the loss is not" not in decided(session()[37])[2]  # cut to the line
    assert decided(session()[37])[2].startswith("[bn-vgg activations]  Diverged")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ">0.5"),
        ({"rule": "equivalence"}, "±0.5"),
        ({"rule": "exact", "margin": 1e-12}, "≤1e-12"),
        ({"rule": "non-inferiority", "margin": -1.0}, ">-1"),
        ({"margin": None}, ""),
    ],
)
def test_margins_say_on_which_side(changes, told):
    """What must be exceeded, or stayed within."""
    assert f"[0.4, 2.0]   {told}" in decided(made(**changes))[2].ljust(60)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "supported"),
        ({"verdict": "refuted"}, "REFUTED"),
        ({"verdict": "refuted", "accepted": "refuted"}, "refuted"),
        ({"verdict": "inconclusive"}, "inconclusive"),
        ({"verdict": "inconclusive", "leaning": "against"}, "leans against"),
        ({"verdict": "inconclusive", "red": "far away"}, "! inconclusive"),
        ({"verdict": "error", "error": "no", "red": "no"}, "ERROR"),
        (FIRST, "no verdict"),
    ],
)
def test_words_of_verdicts(changes, word):
    """What asks for attention is in upper case or has a mark."""
    assert lines([made(**changes)])[-1][1].strip() == word


def test_one_line_per_result():
    """Every result has one line with its verdict's word."""
    shorts = [v.strip() for colour, v, _ in lines(session(), 100) if colour]
    assert len(shorts) == 60
    assert shorts.count("refuted") == shorts.count("REFUTED") == 1
    assert shorts.count("! supported") == 1


def test_count_line():
    """The counts in one line; how many are on record or lean only where some do."""
    assert count_line([made(), made(verdict="inconclusive")]) == (
        "1 supported, 0 refuted, 1 inconclusive, 0 errors"
    )
    assert count_line([made(), made(**FIRST)]) == (
        "1 supported, 0 refuted, 0 inconclusive, 1 without a verdict yet, 0 errors"
    )
    assert count_line(session()) == (
        "56 supported, 2 refuted (1 as on record), 1 inconclusive (1 leaning), 1 error"
    )


def test_contradictions_are_told_each():
    """With the place and the reason; errors are not among them."""
    assert contradictions(session()) == [
        "1 contradicts the record:",
        "  matching/barrier-at-midpoint [plain-vgg weights]: supported, and refuted "
        "is on record: +1.2 against -6.1, z = 5.4",
    ]
    both = contradictions([made(red="one"), made(scale="mnist", red="two")])
    assert both[0] == "2 contradict the record:" and both[2].endswith(" at mnist: two")
    assert contradictions([made()]) == []


def test_news_is_told_each(tmp_path):
    """Another verdict, or leaning; not what contradicts or is on record nowhere."""
    (tmp_path / "digits.toml").write_text(
        '["a/b"]\nmlp = { verdict = "inconclusive", leaning = "for", estimate = 1, '
        "spread = 2, n = 8 }\n"
        '"plain-vgg" = { verdict = "inconclusive", estimate = 1, spread = 2, n = 8 }\n'
    )

    def told(verdict, setting="mlp", accepted="inconclusive", **more):
        result = made(id="a/b", setting=setting, variant="", verdict=verdict,
                      accepted=accepted, **more)  # fmt: skip
        return news([result], tmp_path)[1:]

    assert told("supported") == [
        "  a/b [mlp]: supported, on record: inconclusive, leans for"
    ]
    assert told("inconclusive", "plain-vgg", leaning="against") == [
        "  a/b [plain-vgg]: inconclusive, leans against, on record: inconclusive"
    ]
    assert told("inconclusive", leaning="for") == []
    assert told("supported", accepted="") == []
    assert told("refuted", accepted="supported", red="far away") == []
    # What is on record now is not what the result was held against.
    assert told("refuted", accepted="refuted") == []
    assert told("inconclusive", accepted="supported", leaning="for") == [
        "  a/b [mlp]: inconclusive, leans for, on record: supported"
    ]
    refuted = {"verdict": "refuted", "accepted": "inconclusive"}
    both = news([made(**refuted), made(scale="mnist", **refuted)], tmp_path)
    assert both[0] == "2 differ from the record:" and " at mnist: refuted, " in both[2]
    assert news([made(**refuted)], tmp_path)[0] == "1 differs from the record:"


def run_pytest(folder):
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_one.py").write_text("def test_one():\n    assert True\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    return sessions.run_pytest(["-p", "no:cacheprovider"], folder, environment)


def test_plugin_prints_and_renders(tmp_path):
    """After a session with claims: lines, counts, and the page where they lead."""
    write(tmp_path / "results.jsonl", session())
    printed = run_pytest(tmp_path).stdout
    page = tmp_path / "index.html"
    assert "\n".join([count_line(session()), *contradictions(session())]) in printed
    assert "\n".join(news(session())) in printed and news(session())
    assert f"report: {page}" in printed
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_plugin_is_silent_without_claims(tmp_path):
    """A session without claims prints nothing of them and writes no page."""
    printed = run_pytest(tmp_path).stdout
    assert "1 passed" in printed and "claims" not in printed
    assert not (tmp_path / "index.html").exists()


def test_show(tmp_path, capsys):
    """`python -m reports show` prints the same lines and counts."""
    write(tmp_path / "results.jsonl", session())
    assert main(["show", str(tmp_path / "results.jsonl")]) == 0
    printed = capsys.readouterr().out
    assert "\n".join([count_line(session()), *contradictions(session())]) in printed


def test_page(tmp_path, capsys):
    """`python -m reports page` writes the page and says where."""
    write(tmp_path / "results.jsonl", session())
    out = tmp_path / "claims"
    assert main(["page", str(tmp_path / "results.jsonl"), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'index.html'}\n"
    assert (out / "index.html").exists()


@pytest.mark.parametrize("command", ["show", "page"])
def test_missing_results_are_a_usage_error(tmp_path, capsys, command):
    """Exit code 2, and what to run."""
    try:
        code = main([command, str(tmp_path / "none.jsonl")])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert "run `pytest claims/`" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    """As ``| head``: what nobody reads is not written, and nothing is said of it."""
    write(tmp_path / "results.jsonl", [made()])
    reader, writer = os.pipe()
    os.close(reader)
    told = subprocess.run(
        [sys.executable, "-m", "reports", "show", str(tmp_path / "results.jsonl")],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    assert (told.returncode, told.stderr) == (0, "")
