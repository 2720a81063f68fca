"""Pytest plugin: appends each result to a file as soon as it is there.

For ``-p claims.recording``: a session that is killed has lost no result but the
current test's.
"""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest


class Recorder:
    """Writes the results of a session's claims as JSON lines.

    Parameters
    ----------
    file
        To which they are appended.
    seeds
        Networks of each setting, noted with each result.
    about
        Versions and commit, noted too.
    """

    def __init__(self, file: Path, seeds: int, about: dict[str, Any]) -> None:
        self._file, self._noted = file, {"seeds": seeds, **about}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Append the result that a report carries."""
        from claims.plugin import claim_record  # once pytest has loaded that plugin

        record = claim_record(report)
        if record is None:
            return
        ended = datetime.fromtimestamp(report.stop, UTC)
        record["measured_at"] = ended.isoformat(timespec="seconds")
        record |= self._noted
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin in the process in which the reports of all workers come together."""
    config = session.config
    if not hasattr(config, "workerinput"):
        from claims.plugin import about

        file = Path(os.environ["LMC_RECORDS"])
        recorder = Recorder(file, config.option.seeds, about(config.rootpath))
        config.pluginmanager.register(recorder)
