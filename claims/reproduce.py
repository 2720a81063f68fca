"""Training within a budget, deciding claims, and a folder with what came of it.

Each step that fails is told, and what is there by then is kept.  The same call goes on
where the last one ended.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from claims import planning
from claims.planning import Wanted
from claims.plugin import commit, machine, versions
from fixtures import build, progress, scales
from fixtures.build import Job
from fixtures.demand import DemandError
from reports import page, results
from reports.results import Result
from reports.terminal import contradictions, count_line, news

OUT_OF_BUDGET = 3
"""Exit status where the budget ended before all was trained and decided."""

ROOT = Path(__file__).parents[1]

GRACE = 60.0
"""Seconds that pytest has to end after it was told to."""


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes
    ----------
    scale, tests
        Name of the scale, and which tests, as pytest is told.
    first_seed, seeds
        Of each setting the first network's seed, and the most networks, None for what
        each claim declares.
    device, workers
        Where, and how many processes share the work.
    budget, deciding
        Seconds, None for no limit, and the share of them that is left for deciding.
    """

    scale: str
    first_seed: int
    seeds: int | None = None
    tests: str = ""
    device: str = "cpu"
    workers: int = 1
    budget: float | None = None
    deciding: float = 0.3


@dataclass
class Reproduction:
    """One call: it trains, decides and reports into a folder.

    `failures` are what went wrong, a line each.
    """

    plan: Plan
    folder: Path
    failures: list[str] = field(default_factory=list)

    def run(self) -> int:
        """Do all steps and return the exit status.

        0 if all was trained and decided; 1 if something failed or contradicts the
        record; 2 if it can't be done as asked; 3 if the budget ended first.
        """
        self._started = time.time()
        self._scale = scales.get(self.plan.scale)
        self._levels = planning.levels(self._scale, self.plan.seeds)
        self.folder.mkdir(parents=True, exist_ok=True)
        if wrong := self._other():
            print(wrong, file=sys.stderr)
            return 2
        self._note_call()
        try:
            tests = planning.select(self.plan.tests, self._scale, self._levels)
        except DemandError as error:
            self._log(str(error))
            return 2
        with self._step("training"):
            self._train(tests)
        with self._step("deciding"):
            self._decide(tests)
        with self._step("reporting"):
            self.report()
        return self._conclude(tests)

    def _log(self, text: str) -> None:
        """Print text, and append it to the log."""
        print(text, flush=True)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        """Note what goes wrong in a step, so that the next one is done all the same."""
        try:
            yield
        except KeyboardInterrupt:
            self._fail(f"{name} was interrupted")
            self.report()
            raise
        except Exception as error:
            self._fail(f"{name} failed: {type(error).__name__}: {error}")
            self._log(traceback.format_exc())

    def _fail(self, what: str) -> None:
        self.failures.append(what)
        self._log(what)

    def _left(self) -> float:
        """Return how many seconds of the budget are left."""
        if self.plan.budget is None:
            return math.inf
        return self._started + self.plan.budget - time.time()

    def _other(self) -> str | None:
        """Return what is wrong if the folder holds results of other networks."""
        for what in ("scale", "first_seed"):
            for call in self._calls()[:1]:
                if (there := call["plan"][what]) != (asked := getattr(self.plan, what)):
                    return (
                        f"{self.folder} holds results of {what} {there!r}, and "
                        f"{asked!r} is asked for: choose another --out for it"
                    )
        return None

    def _calls(self) -> list[dict[str, Any]]:
        file = self.folder / "provenance.json"
        return json.loads(file.read_text())["calls"] if file.exists() else []

    def _note_call(self) -> None:
        """Write what is asked for, and by what code on which machine, to the folder."""
        on = dict(machine())
        if self.plan.device != "cpu":
            on["gpu"] = torch.cuda.get_device_name()
        call = {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "plan": asdict(self.plan),
            "machine": on,
            "versions": versions(),
            "commit": commit(ROOT),
        }
        text = json.dumps({"calls": [*self._calls(), call]}, indent=1) + "\n"
        results.write_text(self.folder / "provenance.json", text)
        self._log(f"{call['started']}: {self.plan} on {on}")

    def _train(self, tests: Sequence[Wanted]) -> None:
        """Train what is missing within training's share of the budget."""
        deadline = None
        if self.plan.budget is not None:
            deadline = self._started + (1 - self.plan.deciding) * self.plan.budget
        failed = build.Building(
            self._jobs(tests),
            self.plan.scale,
            self.plan.device,
            self.plan.workers,
            deadline,
            progress.stream_sink(sys.stderr),
            plan_again=lambda: self._jobs(tests),
        ).run()
        for line in failed:  # other seeds stand for them, unless they are too many
            self._log(line)
        wants = planning.together(tests, self._scale, self.plan.first_seed)
        for line in build.hopeless(wants):
            self._fail(line)
        self._log(build.table(wants))

    def _jobs(self, tests: Sequence[Wanted]) -> list[Job]:
        return planning.in_order(tests, self._scale, self.plan.first_seed)

    def _decide(self, tests: Sequence[Wanted]) -> None:
        """Decide what can be decided, each test on as many networks as there are."""
        self._collect()  # of a call that was killed
        there = self._there(tests)
        lacks: dict[str, list[str]] = {}
        sessions: dict[tuple[bool, int], list[str]] = {}
        before = self._decided()
        for test in tests:
            level = test.possible(there)
            if level is None:
                lacks.setdefault(test.lack(there), []).append(test.test)
            else:
                again = before.get(test.test) == most(test.wants[level])
                sessions.setdefault((again, -level), []).append(test.test)
        for lack, names in lacks.items():
            self._log(f"not decided ({len(names)} tests), {lack}: {', '.join(names)}")
        # What is new first; what was decided before once more, as code may have changed
        for (_, level), nodes in sorted(sessions.items()):
            if self._left() <= 0:
                self._log(f"not decided ({len(nodes)} tests), the budget ended")
                continue
            self._session(nodes, self._levels[-level])

    def _there(self, tests: Sequence[Wanted]) -> dict[str, int]:
        return planning.networks_there(tests, self._scale, self.plan.first_seed)

    def _session(self, nodes: Sequence[str], seeds: int | None) -> None:
        """Run pytest on some tests, which must find all their networks."""
        workers = min(self.plan.workers, len(nodes))
        env = {
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "LMC_TRAIN": "never",
            "PYTHONUNBUFFERED": "1",
        }
        command = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--long"),
            *("--report-dir", str(self._session_folder.absolute())),
            *("--scale", self.plan.scale, "--first-seed", str(self.plan.first_seed)),
            *(() if seeds is None else ("--seeds", str(seeds))),
            *("--device", self.plan.device),
            *(("-n", str(workers)) if workers > 1 else ()),
            *nodes,
        ]
        try:
            status = run_until(command, env, self._left(), self._log)
        finally:
            self._collect()
        if self._left() <= 0:
            self._log("deciding stopped, as the budget ended")
        elif status not in (0, 1):  # 1: contradictions and errors, told at the end
            self._fail(f"pytest ended with status {status} while it decided claims")

    @property
    def _session_folder(self) -> Path:
        return self.folder / ".session"

    @property
    def _results(self) -> Path:
        return self.folder / "results.jsonl"

    def _collect(self) -> None:
        """Merge what a session has appended into the results."""
        appended = self._session_folder / "results.jsonl"
        if appended.exists():
            results.merge(self._results, results.read(appended))
            shutil.rmtree(self._session_folder)

    def _found(self) -> list[Result]:
        return results.read(self._results) if self._results.exists() else []

    def _decided(self) -> dict[str, int]:
        """Return from test to the number of networks that it was decided on."""
        return {
            result.nodeid: max((len(f["seeds"]) for f in result.fixtures), default=0)
            for result in self._found()
            if result.verdict != "error"
        }

    def report(self) -> None:
        """Write the page of all results of the folder."""
        self._collect()
        if found := self._found():
            page.write(self.folder / "index.html", found)
            for line in (count_line(found), *news(found)):
                self._log(line)

    def _conclude(self, tests: Sequence[Wanted]) -> int:
        """Say how far it has come, and return the exit status."""
        there, decided = self._there(tests), self._decided()
        undecided = [
            test
            for test in tests
            if (level := test.possible(there)) is None
            or decided.get(test.test) != most(test.wants[level])
        ]
        jobs = self._jobs(tests)
        missing = sum(not job.done() for job in jobs)
        selected = {test.test for test in tests}
        found = [result for result in self._found() if result.nodeid in selected]
        for result in found:
            if result.verdict == "error":
                self._fail(f"{result.nodeid}: {result.error.splitlines()[0]}")
        self._log(
            f"{len(jobs) - missing} of {len(jobs)} networks are trained, "
            f"{len(selected & decided.keys())} of {len(tests)} tests decided; see "
            f"{self.folder}"
        )
        contradicting = contradictions(found)
        for line in contradicting:
            self._log(line)
        if self.failures:
            self._log("\n- ".join(["what failed:", *self.failures]))
        if self.failures or contradicting:
            return 1
        if missing or undecided:
            self._log("the budget ended: the same command goes on")
            return OUT_OF_BUDGET
        return 0


def most(wanted: Mapping[str, int]) -> int:
    """Return the most networks of one setting that a test wants."""
    return max(wanted.values(), default=0)


def run_until(
    command: Sequence[str],
    env: dict[str, str],
    seconds: float,
    log: Callable[[str], None],
) -> int:
    """Run a command in the checkout and return its exit status; `log` gets its lines.

    After some seconds it is interrupted, as by Ctrl-C, and `GRACE` later killed with
    all that it has started.
    """
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C comes to us, and we pass it on
        # What a shell starts in the background ignores it, and so would the command.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )

    def end() -> None:
        with suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.kill(process.pid, signal.SIGINT)
            process.wait(GRACE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), end)
    timer.daemon = True
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            log(line.rstrip("\n"))
        return process.wait()
    except BaseException:
        end()
        raise
    finally:
        timer.cancel()
