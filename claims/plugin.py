"""Pytest plugin: options, the ``trial`` of each claim, and results as they come."""

import json
import os
from collections.abc import Generator, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import WorkStealingScheduling

from claims import expected
from claims.claim import Place, places_of
from claims.collecting import NOT_RUN, Collector, carried, claim_record
from claims.evidence import contradiction
from claims.expected import Entry
from claims.provenance import machine, versions
from fixtures import scales
from fixtures.planning import Costs
from fixtures.store import TrainingForbiddenError
from reports.plugin import is_live
from reports.results import rule_of

# --report-dir, and who makes the page of the results; who trains before the tests.
pytest_plugins = ["reports.plugin", "claims.training", "claims.measuring"]

# The same examples every time by default, so that two runs give the same values; fewer
# for a short run, by --hypothesis-profile=short; new ones for a nightly run, by
# --hypothesis-profile=nightly.
# The same on a CI service, where hypothesis has defaults of its own and keeps nothing.
_usual = hypothesis.settings.get_profile("default")
hypothesis.settings.register_profile(
    "same", _usual, derandomize=True, database=None, max_examples=25
)
hypothesis.settings.register_profile(
    "short", hypothesis.settings.get_profile("same"), max_examples=5
)
hypothesis.settings.register_profile("nightly", _usual, max_examples=200)

_trial = pytest.StashKey[Any]()

MISSING = (pytest.skip.Exception, TrainingForbiddenError)
"""What a claim's test raises then, beforehand or where it meets a damaged one."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lmc claims")
    group.addoption(
        "--scale",
        metavar="NAME",
        default="digits",
        help="which recipes the settings have: digits (embedded data), mnist, cifar10, "
        "cifar100 or paper (for a GPU) (default: %(default)s)",
    )
    group.addoption(
        "--seeds",
        metavar="N",
        help="at most N networks of each setting, an even number: N/2 independent "
        "pairs (default: what each claim declares, mostly 16)",
    )
    group.addoption(
        "--first-seed",
        metavar="N",
        help="the first network's seed, an even number (default: where the scale's "
        "record begins; claims/expected/ledger.toml says which were looked at)",
    )
    group.addoption(
        "--long",
        action="store_true",
        help="also claims that take long: widths of four times, tuples of eight, and "
        "the family 'where the order flips'",
    )
    group.addoption(
        "--decide-at-least",
        metavar="N",
        type=int,
        default=0,
        help="fail unless so many empirical claims are supported or refuted: for short "
        "runs, which must not be green by deciding nothing",
    )
    group.addoption(
        "--device",
        metavar="DEVICE",
        default="cpu",
        help="where networks are trained and measured: cpu, or cuda (each worker of "
        "xdist takes one of the visible GPUs) (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "claim(claim): the test decides this claim on all its settings"
    )
    # They have been made anew; where warnings are errors this stays a warning.
    config.addinivalue_line("filterwarnings", "default::fixtures.store.DamagedWarning")
    if not config.getoption("--hypothesis-profile", None):
        hypothesis.settings.load_profile("same")
    option = config.option
    try:
        option.lmc_scale = scales.get(option.scale)
    except ValueError as error:
        raise pytest.UsageError(f"--scale: {error}") from None
    option.seeds = even("--seeds", option.seeds, 2, None)
    option.first_seed = even(
        "--first-seed", option.first_seed, 0, option.lmc_scale.first_seed
    )
    try:
        accepted(option.lmc_scale.name)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    if not is_worker(config):
        check_device(option.device)


def even(option: str, given: str | int | None, least: int, usual: Any) -> Any:
    """Return an option's even number, or what is usual where it is not given."""
    if given is None:
        return usual
    text = str(given)
    if not text.isdecimal() or int(text) < least or int(text) % 2:
        raise pytest.UsageError(
            f"{option} {text}: choose an even number from {least} on (two networks of "
            "consecutive seeds make an independent pair)"
        )
    return int(text)


def check_device(name: str) -> None:
    """Raise a usage error that names the choices unless the device is there.

    With a GPU this also numbers the visible ones in the environment, so that the
    workers, which inherit it, can each take one before they import torch.
    """
    if name == "cpu":
        return
    import torch

    count = torch.cuda.device_count()
    if name != "cuda" or count == 0:
        choices = ["cpu"] + (["cuda"] if count else [])
        raise pytest.UsageError(
            f"--device {name}: choose {' or '.join(choices)}"
            + ("" if count else " (torch sees no GPU here)")
        )
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count))))


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is one of xdist's workers."""
    return hasattr(config, "workerinput")


def parameter(place: Place) -> str:
    """Return what pytest calls a place, in brackets after the test's name."""
    return place.name.replace(" ", "-")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("claim")
    if marker is not None:
        places = marker.args[0].places(metafunc.config.option.lmc_scale)
        for place in places:  # a claim without a margin is found here, not in its test
            place.record()
        parameters = [pytest.param(p, id=parameter(p)) for p in places]
        metafunc.parametrize("trial", parameters, indirect=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Any
) -> WorkStealingScheduling | None:
    """Give each worker a run of neighbours, and idle ones what others still have.

    Neighbours look at the same networks, so one finds what another has measured; and
    no worker is left with all that takes long.  Where ``--dist`` says no more than -n.
    """
    if config.getoption("dist") == "load":
        return WorkStealingScheduling(config, log)
    return None


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out claims that the scale can't ask, and long ones unless told.

    And those about tuples that the networks asked for do not make.
    """

    def is_left_out(place: Any) -> bool:
        if not isinstance(place, Place):
            return True
        if place.claim.long and not config.option.long:
            return True
        return bool(place.uses) and place.count(config.option.seeds) == 0

    left_out = [
        item
        for item in items
        if item.get_closest_marker("claim")
        and is_left_out(item.callspec.params["trial"])
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Any:
    """Trained networks, and what claims measure on them."""
    import torch

    from claims.measure import Bench

    option = pytestconfig.option
    if option.device == "cpu":
        torch.set_num_threads(1)  # values must not depend on the number of cores
    seeds = option.seeds or option.lmc_scale.networks
    return Bench(option.lmc_scale, option.first_seed, seeds, option.device)


@pytest.fixture
def trial(request: pytest.FixtureRequest, bench: Any) -> Any:
    """The claim on one setting, to be decided by the test."""
    from claims.trial import Trial

    seeds = request.config.option.seeds
    if told := lacking(request.param.demand(seeds), bench):
        pytest.skip(told)
    trial = Trial(request.param, bench, seeds)
    request.node.stash[_trial] = trial
    return trial


def lacking(demand: Mapping[str, int], bench: Any) -> str:
    """Say which settings have fewer networks than a claim looks at, "" if none has."""
    there = {name: bench.setting(name).there(count) for name, count in demand.items()}
    return ", ".join(
        f"{name} has {there[name]} of {count} networks"
        for name, count in demand.items()
        if there[name] < count
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the result of a claim to its report, which xdist brings home.

    The test fails where its result makes the run red: not by a refutation that is on
    record, but by what contradicts the record, an error, or a broken invariant.  Where
    networks are missing the claim is not run, and there is no result.
    """
    report = yield
    place = getattr(item, "callspec", None) and item.callspec.params.get("trial")
    if not isinstance(place, Place) or report.when == "teardown":
        return report
    if call.excinfo and call.excinfo.errisinstance(MISSING):
        reason = str(call.excinfo.value)
        report.outcome, report.longrepr = "skipped", (str(item.path), 0, reason)
        report.user_properties.append((NOT_RUN, reason))
        return report
    if report.when == "setup" and report.passed:
        return report
    trial = item.stash.get(_trial, None)
    record = trial.record if trial is not None else place.record()
    error = ""
    if not report.passed:
        error = call.excinfo.exconly() if call.excinfo else str(report.longrepr)
    elif "verdict" not in record:
        # A claim's test that decides nothing must not be green.
        error = f"{item.nodeid} never called trial.decide"
        report.longrepr = error
    record.setdefault("error", "")
    record.setdefault("seconds", round(call.duration, 3))
    on_record = accepted(place.scale.name).get((place.claim.id, place.name))
    if error:  # whatever was decided before
        red = error.splitlines()[0]
        record |= place.record() | {"verdict": "error", "error": error, "red": red}
    else:
        if on_record and on_record.rule != rule_of(record["decision"]):
            on_record = None  # another rule, or margin: nothing is accepted of it
        record["red"] = why_red(place, record, on_record)
    record["accepted"] = on_record.verdict if on_record else ""
    for fixture in record["fixtures"]:
        fixture["seconds"] = training_seconds(place.scale, fixture["name"])
    if record["red"]:
        report.outcome = "failed"
        report.longrepr = report.longrepr or f"{place.claim.id}: {record['red']}"
    option = item.config.option
    record |= {
        "nodeid": item.nodeid,
        "device": option.device,
        "first_seed": option.first_seed,
        "machine": machine(option.device),
        "versions": versions(),
    }
    report.user_properties.append(("claim", json.dumps(record)))
    return report


def why_red(place: Place, record: dict[str, Any], on_record: Entry | None) -> str:
    """Return why a decided record makes the run red, "" if it does not.

    Where nothing is on record of the whole scale, a refutation is what one wanted to
    know; only where there is a record a new claim must not be refuted unnoticed.
    """
    if not accepted(place.scale.name) and place.claim.kind != "invariant":
        return ""
    places = number_of_places(place.scale.whole)
    return contradiction(on_record, SimpleNamespace(**record), places=places)


@cache
def number_of_places(scale: str) -> int:
    """Return how many places of a scale could contradict the record.

    All of it, whatever was selected: so that ``-k`` changes no answer.
    """
    places = places_of(scales.get(scale))
    return sum(place.claim.kind == "empirical" for place in places)


@cache
def accepted(scale: str) -> dict[tuple[str, str], Entry]:
    """Return what is on record at a scale, by claim and place."""
    return expected.load(scale)


_costs = Costs()


def training_seconds(scale: scales.Scale, setting: str) -> float | None:
    """Return what a network of a setting takes with its parents; None if not known.

    By what those in the store took: the report says what more of them would.
    """
    recipe, seconds = scale.recipe(setting), 0.0
    while recipe is not None:
        known = _costs.expected(recipe)
        if known is None:
            return None
        recipe, seconds = recipe.parent, seconds + known
    return round(seconds, 3)


def pytest_report_teststatus(
    report: pytest.TestReport, config: pytest.Config
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Count claims by their verdicts; what makes the run red stays a failure."""
    if carried(report, NOT_RUN) is not None:
        return NOT_RUN, "n", (NOT_RUN.upper(), {"yellow": True})
    record = claim_record(report)
    if record is None:
        return None
    live = is_live(config)  # then its line says more than a letter
    if record["red"]:
        return "failed", "" if live else "F", ("FAILED", {"red": True})
    letter, colour = {
        "supported": (".", "green"),
        "refuted": ("r", "cyan"),
        "inconclusive": ("?", "yellow"),
    }[record["verdict"]]
    word = record["verdict"].upper()
    return record["verdict"], "" if live else letter, (word, {colour: True})


def pytest_sessionstart(session: pytest.Session) -> None:
    if not is_worker(session.config):
        session.config.pluginmanager.register(Collector(session.config))
