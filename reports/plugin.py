"""Pytest plugin: a line for each claim as it is decided, the counts, and the report.

The root conftest.py loads it. Whoever runs the claims calls its hooks; this plugin
knows nothing else of him.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reports.catalogue import headlines
from reports.live import Live, Progress
from reports.results import Result, read
from reports.terminal import contradictions, count_line, lines, news

_shown = pytest.StashKey[tuple[list[Result], Path]]()
_live = pytest.StashKey[Live]()


class ClaimsHooks:
    """The hooks between the plugin that runs claims and this one."""

    @pytest.hookspec
    def pytest_claims_decided(self, config: pytest.Config, result: Result) -> None:
        """Called where reports come together, for each result when it is there."""

    @pytest.hookspec
    def pytest_claims_results(
        self, config: pytest.Config, path: Path, kept: Path
    ) -> None:
        """Called in pytest_sessionfinish, once the session's results lie at `path`.

        Not to be called by an xdist worker, nor when no claim ran. `kept` has the best
        results of all sessions: the report is made of them.
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(ClaimsHooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("lmc claims").addoption(
        "--report-dir",
        metavar="DIR",
        default="reports/out",
        help="folder of results.jsonl and the report, index.html, relative to the root "
        "folder (default: %(default)s)",
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if hasattr(config, "workerinput"):  # an xdist worker: the controller reports
        return
    if is_live(config):
        config.pluginmanager.register(Telling(config))


def is_live(config: pytest.Config) -> bool:
    """Whether verdict lines stand for pytest's letters: where nothing else is asked."""
    there = config.pluginmanager.has_plugin("terminalreporter")
    return there and config.option.verbose == 0


class Telling:
    """Writes verdict lines as results come, and what they leave to be done."""

    def __init__(self, config: pytest.Config) -> None:
        self._reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._writer = config.get_terminal_writer()
        width = min(self._writer.fullwidth, 100)
        self._live = Live(self._reporter, width, self._reporter.isatty)
        config.stash[_live] = self._live
        self._progress = Progress(_costs(config))
        self._begun = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:
            self._progress.begin(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._progress.begin(ids)

    def pytest_runtest_logstart(self) -> None:
        if not self._begun:
            self._begun = True
            self._progress.start()

    @pytest.hookimpl(tryfirst=True)  # before its line is written
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or (report.when == "setup" and not report.passed):
            self._progress.over(report.nodeid)

    def pytest_claims_decided(self, result: Result) -> None:
        self._reporter.showfspath = False  # a claim's line says which it is
        if self._writer.width_of_current_line and not self._live.open:
            self._reporter.write_line("")  # after letters of other tests
        self._live.tell(result)
        self._live.show(self._progress.line())

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        self._live.close()


def _costs(config: pytest.Config) -> dict[str, float]:
    """Return the seconds that tests took, as the results of earlier sessions say."""
    latest = config.rootpath / config.getoption("report_dir") / "latest.jsonl"
    try:
        held = read(latest) if latest.is_file() else []
    except ValueError:  # whoever merges results into it says so
        return {}
    scale = config.getoption("scale", None)
    return {r.nodeid: r.seconds for r in held if r.seconds and r.scale == scale}


def pytest_claims_results(config: pytest.Config, path: Path, kept: Path) -> None:
    if hasattr(config, "workerinput"):
        return
    if not (results := read(path)):
        return
    from reports import page  # jinja2 is not needed by sessions without claims

    config.stash[_shown] = (results, page.write(path.parent, read(kept)))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if _shown not in config.stash:
        return
    results, at = config.stash[_shown]
    told = config.stash[_live].told if _live in config.stash else set()
    tr = terminalreporter
    tr.ensure_newline()
    tr.section("claims")
    # The chief findings once more; others where nobody has seen them yet.
    again = [r for r in results if r.id in headlines() or r.place not in told]
    width = config.get_terminal_writer().fullwidth
    for colour, verdict, rest in lines(again, width) if again else []:
        tr.write(verdict, **({colour: True} if colour else {"bold": True}))
        tr.write_line(rest)
    tr.write_line("")
    tr.write_line(count_line(results), bold=True)
    for text in contradictions(results):
        tr.write_line(text, red=True)
    for text in news(results):
        tr.write_line(text)
    tr.write_line(f"report: {at}")
