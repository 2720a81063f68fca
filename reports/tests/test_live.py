"""Verdict lines as they come, and how long the rest takes."""

import os
from pathlib import Path

from lmc.tests.sessions import run_pytest
from reports.live import Live, Progress
from reports.results import write
from reports.tests.made_up import made, session

ROOT = Path(__file__).parents[2]


class Screen:
    """What is written, with a carriage return's effect."""

    def __init__(self):
        self.text, self.markup = "", []

    def write(self, content, **markup):
        self.text += content
        self.markup += markup

    def write_line(self, line):
        self.text += f"{line}\n"

    @property
    def lines(self):
        return [line.rpartition("\r")[2] for line in self.text.split("\n")]


def test_a_claim_stands_above_its_places():
    """Once, until another comes between."""
    screen = Screen()
    live = Live(screen, 80, in_place=False)
    for result in (made(), made(setting="mlp"), made(id="a/b"), made(variant="")):
        live.tell(result)
        live.show("1 of 4 tests")
    told = [line.partition(" ")[0] for line in screen.lines]
    head = "renormalization/rescale-at-least-repair,"
    assert told == [
        *(
            "verdict",
            head,
            "supported",
            "supported",
            "a/b,",
            "supported",
            head,
            "supported",
            "",
        )
    ]
    assert len(live.told) == 4 and "of 4 tests" not in screen.text


def test_the_last_line_is_written_over():
    """On a terminal how far it is stands below, and goes."""
    screen = Screen()
    live = Live(screen, 80, in_place=True)
    live.tell(made())
    live.show("1 of 2 tests, about 3 min left")
    assert screen.lines[-1].startswith("1 of 2 tests, about 3 min left")
    live.tell(made(setting="mlp"))
    live.close()
    assert screen.lines[-1] == "" and screen.text.count("1 of 2 tests") == 1
    live.show("2 of 2 tests")
    live.close()
    assert screen.lines[-1] == "\x1b[K" and "[mlp weights]" in screen.lines[-2]


def test_every_line_fits():
    """In 80 columns, whatever comes."""
    screen = Screen()
    live = Live(screen, 80, in_place=False)
    for result in session():
        live.tell(result)
    assert max(map(len, screen.lines)) < 80


def test_time_left_by_what_tests_took():
    """Known ones by their seconds, others by the mean, over two workers."""
    progress = Progress({"a": 100.0, "b": 300.0}, clock=lambda: 0.0)
    progress.begin(["a", "b", "c"])
    progress.begin(["a", "b", "c"])  # the second worker has the same tests
    assert progress.line() == "0 of 3 tests, about 5 min left"  # (100+300+200) / 2
    progress.over("b")
    progress.over("of another file")
    assert progress.line() == "1 of 3 tests, about 2 min left"  # 300 / 2


def test_pace_corrects_what_is_expected():
    """Ten of twenty equal tests took 50 s where 100 were expected: 50 s are left."""
    now = [0.0]
    tests = [f"t{k}" for k in range(20)]
    progress = Progress(dict.fromkeys(tests, 10.0), clock=lambda: now[0])
    progress.begin(tests)
    now[0] = 1000.0  # training
    progress.start()
    now[0] = 1050.0
    for test in tests[:10]:
        progress.over(test)
    assert progress.line() == "10 of 20 tests, about 50 s left"


def test_nothing_is_promised_where_nothing_is_known():
    """A first run says how many, until some are over."""
    progress = Progress({}, clock=lambda: 0.0)
    progress.begin(["a", "b"])
    assert progress.line() == "0 of 2 tests"
    progress.over("a")
    progress.over("b")
    assert progress.line() == "2 of 2 tests"


CONFTEST = """
import pytest
from reports.tests.made_up import made

pytest_plugins = ["reports.plugin"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report):
    if report.when == "call":
        config.hook.pytest_claims_decided(config=config, result=made(
            id="a/b", setting=report.nodeid.rpartition("_")[2]))


def pytest_report_teststatus(report):
    return "supported", "", "SUPPORTED"


def pytest_configure(config):
    globals()["config"] = config
"""


def test_lines_come_with_the_tests(tmp_path):
    """In a pytest of its own: each below its claim, with nothing between."""
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
    write(tmp_path / "reports/out/latest.jsonl", [made()])

    def run(*more):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
        options = ["-p", "no:cacheprovider", *more]
        return run_pytest(options, tmp_path, environment).stdout

    told = run()
    at = told.index("a/b, in points\nsupported    [one weights]")
    assert "[two weights]" in told[at:] and told.count("a/b, in points") == 1
    assert "a/b" not in run("-q") and "a/b" not in run("-v")
