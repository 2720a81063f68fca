"""Pytest plugin: trains what the selected claims look at, before any test is run.

With xdist in the controller, as soon as the first worker has collected.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from claims.claim import Place, places_of
from claims.plugin import is_worker, parameter
from fixtures import executors, store
from fixtures.backends import BACKENDS, DEFAULT_BACKEND
from fixtures.build import Building, Outcome
from fixtures.display import SILENT, Display
from fixtures.planning import Want, table
from fixtures.pool import TaskError
from fixtures.scales import Scale


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lmc claims")
    group.addoption(
        "--train-only",
        action="store_true",
        help="train what the selected claims look at, and run no test: exit 0 when all "
        "is there, 1 when more than half of a setting's seeds have failed, 3 when the "
        "budget ended first",
    )
    group.addoption(
        "--train-budget",
        metavar="MINUTES",
        type=float,
        help="start no network whose time, by those of its setting, would exceed it; "
        "claims whose networks are not there are not run (default: none)",
    )
    group.addoption(
        "--train-workers",
        metavar="N",
        type=int,
        help="how many networks are trained at once, on one thread each (default: one "
        "for each CPU, one on a GPU; needed where there is a Ray cluster)",
    )
    group.addoption(
        "--train-backend",
        choices=tuple(BACKENDS),
        default=DEFAULT_BACKEND,
        help="how a network's steps are run: graphs replays CUDA graphs (default: "
        "%(default)s)",
    )
    group.addoption(
        "--executor",
        choices=executors.NAMES,
        default="local",
        help="where networks are trained: in processes of this machine; in threads, "
        "whose networks share a GPU; or on a Ray cluster, that of RAY_ADDRESS or one "
        "that is started here (default: %(default)s)",
    )
    group.addoption(
        "--gpus-per-network",
        metavar="F",
        type=float,
        default=0.0,
        help="share of a GPU that a network takes, by which Ray places it (default: "
        "none)",
    )


def pytest_configure(config: pytest.Config) -> None:
    option = config.option
    if is_worker(config) or option.collectonly:
        return
    for name in ("train_budget", "train_workers"):
        given = getattr(option, name)
        if given is not None and not given > 0:
            raise pytest.UsageError(
                f"--{name.replace('_', '-')} {given}: choose a number above 0"
            )
    try:
        forbidden = store.training_forbidden()
        executors.check(option.executor, option.device)
        option.train_workers = option.train_workers or executors.default_workers(
            option.executor, option.device
        )
    except (ValueError, executors.ExecutorError) as error:
        raise pytest.UsageError(str(error)) from None
    if option.train_only:
        if forbidden:
            raise pytest.UsageError(
                "--train-only: LMC_TRAIN=never forbids it: unset it"
            )
        option.dist = "no"  # xdist has nothing to do
    if not forbidden:
        config.pluginmanager.register(Training(config))


class Training:
    """Trains once in a session, and ends it where nothing else was asked for."""

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._option = config, config.option
        self._outcome: Outcome | None = None

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Train what was collected in this process."""
        if self._config.pluginmanager.has_plugin("dsession"):
            return None
        if session.testsfailed and not self._option.continue_on_collection_errors:
            return None
        claims = [item for item in session.items if item.get_closest_marker("claim")]
        self._train([item.callspec.params["trial"] for item in claims])
        return True if self._option.train_only else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Train what the first worker has collected, before anything is scheduled."""
        if self._outcome is None:
            self._train(selected(ids, self._option.lmc_scale))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let training alone be the session's outcome where it was all."""
        ok = session.exitstatus == pytest.ExitCode.OK
        if self._option.train_only and ok and self._outcome:
            session.exitstatus = self._outcome.status

    def _train(self, places: Sequence[Place]) -> None:
        option = self._option
        deadline = None
        if option.train_budget is not None:
            deadline = time.monotonic() + 60 * option.train_budget
        wants = wanted(places, option.lmc_scale, option.first_seed, option.seeds)
        building = Building(
            wants,
            opener(option),
            option.train_workers,
            device=option.device,
            backend=option.train_backend,
            deadline=deadline,
            display=display_of(self._config),
        )
        try:
            self._outcome = building.run()
        except KeyboardInterrupt:
            self._tell("training was interrupted: the same command goes on")
            raise
        except (TaskError, store.CacheError, executors.ExecutorError) as error:
            self._session.shouldfail = str(error)
            raise self._session.Failed(str(error)) from error
        for line in self._outcome.lines():
            self._tell(line)
        if option.train_only:
            self._tell(table(wants))

    def _tell(self, text: str) -> None:
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(text)


def opener(
    option: Any, packages: Sequence[ModuleType] = ()
) -> Callable[[], AbstractContextManager[Executor]]:
    """Return what opens the executor that pytest's options name."""
    return partial(
        executors.open_executor,
        option.executor,
        option.train_workers,
        option.gpus_per_network,
        packages,
    )


def display_of(config: pytest.Config) -> Display:
    """Return a display where pytest writes."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return SILENT
    writer = config.get_terminal_writer()
    return Display(partial(writer.write, flush=True), reporter.isatty)


def wanted(
    places: Iterable[Place], scale: Scale, first_seed: int, seeds: int | None
) -> list[Want]:
    """Return what places want together, in the order of the scale.

    Parameters
    ----------
    places, scale
        Where claims are asked.
    first_seed, seeds
        Of each setting's networks: the first seed, and how many there may be; None for
        as many as each claim looks at by itself.
    """
    tests: Counter[str] = Counter()
    most: dict[str, int] = {}
    for place in places:
        for name, count in place.demand(seeds).items():
            tests[name] += 1
            most[name] = max(count, most.get(name, 0))
    return [
        Want(recipe, first_seed, most[name], tests[name])
        for name, recipe in scale.recipes.items()
        if most.get(name)
    ]


def selected(ids: Sequence[str], scale: Scale) -> list[Place]:
    """Return the places whose tests have these node ids; other tests have none."""
    if not any(node.startswith("claims/test_") for node in ids):
        return []  # without importing all claims
    wanted = {*ids}
    return [place for place in places_of(scale) if node_id(place) in wanted]


def node_id(place: Place) -> str:
    """Return what pytest calls a place's test.

    Examples
    --------
    >>> from fixtures import scales
    >>> places = places_of(scales.get("digits"))
    >>> id = "renormalization/rescale-beats-repair"
    >>> node_id(next(place for place in places if place.claim.id == id))
    'claims/test_renormalization.py::test_rescale_beats_repair[plain-vgg-weights]'
    """
    function = place.claim.function
    file = f"{function.__module__.replace('.', '/')}.py"
    return f"{file}::{function.__name__}[{parameter(place)}]"
