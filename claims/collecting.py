"""Writing down results where the reports of a session come together."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import filelock
import pytest

from claims.claim import places_of
from claims.provenance import commit
from fixtures import scales
from reports.results import Result, append, merge, read

NOT_RUN = "not run"
"""How a claim is counted whose networks are not all there."""


def carried(report: pytest.TestReport, name: str) -> str | None:
    """Return what a report carries under a name, None if nothing."""
    return dict(getattr(report, "user_properties", ())).get(name)


def claim_record(report: pytest.TestReport) -> dict[str, Any] | None:
    """Return the result that a report carries, None if it is no claim's."""
    record = carried(report, "claim")
    return None if record is None else json.loads(record)


class Collector:
    """Writes the results of a session where its reports come together."""

    def __init__(self, config: pytest.Config):
        self._config = config
        # Before the tests: a commit that is made while they run is not what runs.
        self._commit = commit(config.rootpath)
        self._folder = config.rootpath / config.getoption("report_dir")
        self._path = self._folder / "results.jsonl"
        self._begun, self._decided = False, 0
        self._ran, self._not_run = False, Counter[str]()  # by what is missing
        self._told: list[str] = []  # what went wrong outside the claims
        self._lock = filelock.FileLock(self._folder / ".lock")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if any(item.get_closest_marker("claim") for item in session.items):
            self._take_folder()

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        if any(node.startswith("claims/test_") for node in ids):
            self._take_folder()

    def _take_folder(self) -> None:
        """Keep other sessions from the folder: results of both would be one file."""
        option = self._config.option
        if option.collectonly or option.train_only or self._lock.is_locked:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise pytest.UsageError(
                f"another session writes its results to {self._folder}: wait for its "
                "end, or choose another --report-dir"
            ) from None

    def pytest_unconfigure(self) -> None:
        if self._lock.is_locked:
            Path(self._lock.lock_file).unlink(missing_ok=True)
            self._lock.release()
            for folder in (self._folder, self._folder.parent):
                with suppress(OSError):  # it holds something
                    folder.rmdir()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reason = carried(report, NOT_RUN)
        self._ran |= report.when == "call" and reason is None
        if reason is not None:
            self._not_run[reason] += 1
        record = claim_record(report)
        if record is None:
            return
        if not self._begun:  # a session without claims leaves the last results
            self._folder.mkdir(parents=True, exist_ok=True)
            self._merge()  # a run that was killed has not done it
            self._path.unlink(missing_ok=True)
            self._begun = True
        ended = datetime.fromtimestamp(report.stop, UTC)
        record |= {"measured_at": ended.isoformat(timespec="seconds")}
        result = Result.from_json(record | {"commit": self._commit})
        append(self._path, result)
        self._config.hook.pytest_claims_decided(config=self._config, result=result)
        decided = record["verdict"] in ("supported", "refuted")
        self._decided += decided and record["kind"] == "empirical"

    def _merge(self) -> Path:
        """Merge the results on file into those of all sessions; return where these are.

        Where that fails, the session's own are all that there is.
        """
        latest = self._folder / "latest.jsonl"
        if self._path.exists():
            try:
                merge(latest, read(self._path), self._gone)
            except (OSError, ValueError) as error:  # the session's own report goes on
                self._told += [f"results not merged into the latest: {error}"]
                return self._path
        return latest

    def _gone(self, result: Result) -> bool:
        """Whether a result's test was deleted: its file, or its place in the suite."""
        file = self._config.rootpath / result.nodeid.partition("::")[0]
        if not file.is_file():
            return True
        if file.parent != Path(__file__).parent:
            return False
        return (result.id, result.where) not in asked(result.scale)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        least = self._config.getoption("decide_at_least")
        if self._decided < least and session.exitstatus in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self._told += [
                f"{self._decided} claims were decided, at least {least} must be"
            ]
        if self._not_run and not self._ran and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            self._told += ["nothing was run"]
        if not self._begun:
            return
        kept = self._merge()
        self._config.hook.pytest_claims_results(
            config=self._config, path=self._path, kept=kept
        )

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        for reason, count in self._not_run.most_common():
            terminalreporter.write_line(f"not run ({count}): {reason}", yellow=True)
        for line in self._told:
            terminalreporter.write_line(line, red=True)


@cache
def asked(scale: str) -> set[tuple[str, str]]:
    """Return claim and place of all that is asked at a scale: nothing if it is gone."""
    try:
        places = places_of(scales.get(scale))
    except ValueError:
        return set()
    return {(place.claim.id, place.name) for place in places}
