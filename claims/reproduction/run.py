"""Training and measuring at once, within a budget."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import torch

from claims.reproduction import asked, record
from claims.reproduction.schedule import FEWEST, Schedule, fitting
from fixtures import store, training, ways
from fixtures.executors import open_executor
from fixtures.folders import cache_folder
from fixtures.recipe import Recipe
from fixtures.scales import Scale
from fixtures.ways import Rates, Way
from reports import results
from reports.results import Result

ROOT = Path(__file__).parents[2]

MEASURED_OF_BUDGET, MOST_SECONDS = 0.01, 6.0
"""Part of the budget for which each way to train is measured, and the most of it."""

TICK = 0.5
"""Seconds between two looks at what has been trained."""

STARTED = 20.0
"""Seconds that a session of pytest takes before it measures anything on a GPU."""

ROOMY = 8
"""CPUs from which both halves of what is asked are measured at once, each by three."""


class NothingMeasuredError(RuntimeError):
    """Nothing has come of it that a record could be made of."""


@dataclass(frozen=True)
class Options:
    """What is reproduced, where, and for how long.

    Attributes
    ----------
    scale, setting, device
        Whose networks, and where they are trained and measured.
    first_seed, networks
        Of the first one, even; how many there are at most, even.
    budget, reserve
        Seconds of all; of them, what measuring a pair takes.
    out
        Folder of what is brought home.
    commit
        Of the code, where the folder is no checkout that knows it.
    """

    scale: Scale
    setting: str
    device: str
    first_seed: int
    networks: int
    budget: float
    reserve: float
    out: Path
    commit: str = ""

    @property
    def recipe(self) -> Recipe:
        """Of the networks that are trained."""
        return self.scale.recipe(self.setting)

    @property
    def folder(self) -> Path:
        """Where sessions leave their results and what they said."""
        name = f"{self.scale.name}-{self.setting}-from{self.first_seed}"
        return cache_folder() / "reproduction" / name


def reproduce(options: Options) -> list[Path]:
    """Train, measure and write what comes of it; return the files.

    Raises
    ------
    NothingMeasuredError
        The budget ended before two networks were there, or no session that measures
        came to a result.
    """
    began = time.monotonic()
    deadline = began + options.budget
    rates = measured_rates(options)
    print("\n".join(table(options)), flush=True)
    data = training.dataset_of(options.recipe)
    steps = ways.steps_of(options.recipe, len(data.train_labels))
    there = whole(options, options.networks)
    plan = fitting(
        rates,
        steps,
        deadline - time.monotonic(),
        options.reserve,
        max(FEWEST, options.networks - there),
    )
    networks = min(there + plan.networks, options.networks)
    plan = replace(plan, networks=networks)
    print(
        f"{plan.networks} networks ({there} are there) by {plan.way}, "
        f"{plan.seconds:.0f} s of {options.budget:.0f} s",
        flush=True,
    )
    with trained(options, plan, deadline - options.reserve) as process:
        files = measured(options, plan, rates, process, deadline)
    seeds, _ = store.candidates(options.recipe, options.first_seed, 2)
    files += record.pack_parts(options.out, options.recipe, seeds, options.device)
    if not [*_results(options)]:
        raise NothingMeasuredError(
            f"no session has measured anything: {options.folder} has what they said, "
            f"and {options.out} two networks, which can be measured elsewhere"
        )
    return files


def measured_rates(options: Options) -> Rates:
    """Measure the ways to train, or find what was measured on this machine before."""
    about = [options.device, training.gpu(options.device), torch.__version__]
    name = f"ways-{options.recipe.key[:16]}.json"
    file = cache_folder() / "reproduction" / name
    kept = json.loads(file.read_text()) if file.exists() else {}
    if kept.get("about") == about:
        return {Way(backend, several): rate for backend, several, rate in kept["rates"]}
    at_once = ways.default_at_once(options.device)
    with open_executor(ways.executor(options.device), max(at_once)) as pool:
        seconds = min(MEASURED_OF_BUDGET * options.budget, MOST_SECONDS)
        given = options.recipe, options.device, seconds, pool, at_once
        found = ways.rates(*given)
    kept = [[way.backend, way.at_once, rate] for way, rate in found.items()]
    results.write_text(file, json.dumps({"about": about, "rates": kept}))
    return found


def table(options: Options) -> list[str]:
    """Return a line for each way to train."""
    return ways.table(measured_rates(options), ways.operations(options.recipe))


def whole(options: Options, networks: int) -> int:
    """Return how many of the first networks are there, as whole pairs."""
    seeds, _ = store.candidates(options.recipe, options.first_seed, networks)
    there = takewhile(lambda seed: store.find(options.recipe, seed), seeds)
    return len([*there]) // 2 * 2


@contextmanager
def trained(
    options: Options, plan: Schedule, until: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Train beside what is done meanwhile, but not beyond a time; it is waited for.

    What is not done then goes on from its last checkpoint another time.
    """
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "fixtures", "build", options.setting),
            *("--scale", options.scale.name, "--device", options.device),
            *("--first-seed", str(options.first_seed)),
            *("--seeds", str(plan.networks)),
            *("--workers", str(plan.way.at_once), "--backend", plan.way.backend),
            *("--executor", ways.executor(options.device)),
        ],
        cwd=ROOT,
    )
    timer = threading.Timer(max(0.0, until - time.monotonic()), process.terminate)
    timer.start()
    try:
        yield process
    finally:
        timer.cancel()
        _end(process)


def measured(
    options: Options,
    plan: Schedule,
    rates: Rates,
    process: subprocess.Popen[bytes],
    deadline: float,
) -> list[Path]:
    """Measure pairs as they come, and the rest of what is asked when all is trained.

    The record is written anew each time; return its files.
    """
    places = asked.places(options.scale, options.setting)
    later = [place for place in places if place.claim.id in asked.LATER]
    first = asked.halves([place for place in places if place not in later])
    done, files = 0, []
    while True:
        over = process.poll() is not None
        there = whole(options, plan.networks)
        if there > done:
            sessions(options, there, first, deadline)
            files = write_record(options, there, rates, plan.way)
            done = there
        elif over:
            break
        else:
            time.sleep(TICK)
    if not done:
        raise NothingMeasuredError(
            f"training ended with status {process.returncode} before two networks of "
            f"{options.setting} were there: the same command goes on from the last "
            f"checkpoints in {cache_folder()}"
        )
    if later and deadline - time.monotonic() > STARTED:
        found = asked.halves(later)
        rest = {f"{half}-later": nodes for half, nodes in found.items()}
        sessions(options, done, rest, deadline)
        files = write_record(options, done, rates, plan.way)
    return files


def sessions(
    options: Options, networks: int, nodes: dict[str, list[str]], deadline: float
) -> None:
    """Run the sessions of pytest that measure so many networks, one for each half."""
    if (os.cpu_count() or 1) >= ROOMY:
        spread = ["-n", "3", "--dist", "loadfile", "--train-workers", "3"]
        _at_once(options, networks, nodes, spread, deadline)
        return
    for half, own in nodes.items():
        _at_once(options, networks, {half: own}, ["-p", "no:xdist"], deadline)


def _at_once(
    options: Options,
    networks: int,
    nodes: dict[str, list[str]],
    spread: list[str],
    deadline: float,
) -> None:
    """Run a session for each half, and say how it ended: by the deadline at last."""
    with ExitStack() as running:
        begun = {}
        for half, own in nodes.items():
            folder = options.folder / half
            folder.mkdir(parents=True, exist_ok=True)
            log = folder / f"{networks}.log"
            command = [
                *(sys.executable, "-m", "pytest", "-q", *spread, *own),
                *("-p", "no:cacheprovider", "--scale", options.scale.name),
                *("--device", options.device, "--seeds", str(networks)),
                *("--first-seed", str(options.first_seed)),
                *("--report-dir", str(folder)),
            ]
            with log.open("wb") as said:
                process = subprocess.Popen(
                    command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT
                )
            running.callback(_end, process)
            begun[log] = process
        for log, process in begun.items():
            try:
                status = process.wait(max(0.0, deadline - time.monotonic()))
                how = f"status {status}"
            except subprocess.TimeoutExpired:
                how = "the budget ended"
            half = log.parent.name
            print(
                f"measured {networks} networks, {half}: {how}, {_last_line(log)}",
                flush=True,
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()  # of one that has ended, nothing
    process.wait()


def _last_line(file: Path) -> str:
    return next(reversed(file.read_text(errors="replace").splitlines()), "")


def write_record(options: Options, networks: int, rates: Rates, way: Way) -> list[Path]:
    """Write what has been measured into the folder of what is brought home."""
    found = results.newest(_results(options))
    places = asked.places(options.scale, options.setting)
    names = sorted({name for place in places for name in place.uses})
    recipes = [*dict.fromkeys(map(options.scale.recipe, names))]
    seeds, _ = store.candidates(options.recipe, options.first_seed, networks)
    told = record.written(found, recipes, rates, way, options.commit)
    return record.write(options.out, options.scale.name, told, recipes, seeds, rates)


def _results(options: Options) -> Iterator[Result]:
    """Give what sessions have written, also those that the budget has ended."""
    for file in sorted(options.folder.glob("*/*.jsonl")):
        yield from results.read(file)
