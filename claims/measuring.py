"""Pytest plugin: ``--measure-only``, which measures ahead of the tests and runs none.

``python -m claims measure`` is short for it.
"""

from collections.abc import Sequence

import pytest

from claims.claim import Place
from claims.plugin import is_worker, lacking
from claims.training import display_of, opener
from fixtures.executors import ExecutorError
from fixtures.measurements import MeasurementsError
from fixtures.pool import TaskError


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("lmc claims").addoption(
        "--measure-only",
        action="store_true",
        help="train what the selected claims look at, measure it on the executor that "
        "trains, and run no test: the next run finds what was measured; exit 1 when a "
        "claim's test ends with an error",
    )


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    if is_worker(config) or option.collectonly or not option.measure_only:
        return
    if option.train_only:
        raise pytest.UsageError("--train-only and --measure-only: choose one")
    option.dist = "no"  # xdist has nothing to do
    config.pluginmanager.register(Measuring(config))


class Measuring:
    """Measures once in a session, after training, and ends it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._failed = config, False

    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Measure what the selected claims look at."""
        option = self._config.option
        if session.testsfailed and not option.continue_on_collection_errors:
            return None
        claims = [item for item in session.items if item.get_closest_marker("claim")]
        self._measure(session, [item.callspec.params["trial"] for item in claims])
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _measure(self, session: pytest.Session, places: Sequence[Place]) -> None:
        # Here, as no other session should wait until they are imported.
        from claims import ahead
        from claims.measure import Bench

        option, display = self._config.option, display_of(self._config)
        seeds = option.seeds or option.lmc_scale.networks
        bench = Bench(option.lmc_scale, option.first_seed, seeds, option.device)
        there = []
        for place in places:
            if told := lacking(place.demand(option.seeds), bench):
                display.tell(f"not measured: {place.claim.id} {place.name}: {told}")
            else:
                there.append(place)
        try:
            errors = ahead.measure_all(
                there,
                bench,
                option.seeds,
                opener(option, ahead.PACKAGES),
                option.train_workers,
                display,
            )
        except (TaskError, MeasurementsError, ExecutorError) as error:
            session.shouldfail = str(error)
            raise session.Failed(str(error)) from error
        for line in errors:
            display.tell(line)
        self._failed = bool(errors) or not there
