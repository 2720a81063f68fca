"""Pytest plugin: after the claims, one line for each in the terminal, and the page.

The root conftest.py loads it. Whoever writes the results calls the hook
`pytest_claims_results`; this plugin knows nothing else of him.
"""

from pathlib import Path

import pytest

from reports.results import Result, read
from reports.terminal import contradictions, count_line, lines, news

_shown = pytest.StashKey[tuple[list[Result], Path]]()


class ClaimsHooks:
    """The hook between the plugin that runs claims and this one."""

    @pytest.hookspec
    def pytest_claims_results(self, config: pytest.Config, path: Path) -> None:
        """Called in pytest_sessionfinish, once the session's results lie at `path`.

        Not to be called by an xdist worker, nor when no claim ran.
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(ClaimsHooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("lmc claims").addoption(
        "--report-dir",
        metavar="DIR",
        default="reports/out",
        help="folder of results.jsonl and index.html, relative to the root folder "
        "(default: %(default)s)",
    )


def pytest_claims_results(config: pytest.Config, path: Path) -> None:
    if hasattr(config, "workerinput"):  # an xdist worker: the controller reports
        return
    if not (results := read(path)):
        return
    from reports import page  # jinja2 is not needed by sessions without claims

    at = path.with_name("index.html")
    page.write(at, results)
    config.stash[_shown] = (results, at)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if _shown not in config.stash:
        return
    results, at = config.stash[_shown]
    tr = terminalreporter
    tr.ensure_newline()
    tr.section("claims")
    for colour, verdict, rest in lines(results, config.get_terminal_writer().fullwidth):
        tr.write(verdict, **({colour: True} if colour else {"bold": True}))
        tr.write_line(rest)
    tr.write_line("")
    tr.write_line(count_line(results), bold=True)
    for text in contradictions(results):
        tr.write_line(text, red=True)
    for text in news(results):
        tr.write_line(text)
    tr.write_line(f"page: {at}")
