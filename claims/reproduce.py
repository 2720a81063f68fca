"""Training within a budget, deciding claims, and a folder with what came of it.

Each step that fails is told, and what is there by then is kept.  The same call goes on
where the last one ended.
"""

import json
import math
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from claims import planning
from claims.bench import code_digest
from claims.decisions import holm
from claims.planning import ROOT, Wanted
from claims.plugin import commit, merge_lines, read_lines, versions, write_lines
from fixtures import build, pack, progress, store
from fixtures.build import Job
from fixtures.demand import DemandError
from reports import page
from reports.results import read
from reports.terminal import count_line

OUT_OF_BUDGET = 3
"""Exit status where the budget ended before all was trained and decided."""

GRACE = 60.0
"""Seconds that pytest has to end after it was told to."""


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes
    ----------
    scale
        Name of the scale.
    tests
        Which tests, as pytest is told.
    seeds
        Most networks of each setting.
    device, workers
        Where, and how many processes share the work.
    budget
        Seconds, None for no limit.
    deciding
        Share of the budget that is left for deciding.
    pack_dtype
        What small networks are stored as.
    pack_limit, network_limit
        Most megabytes, of 10^6 bytes, of the folder's pack and of a network in it.
    """

    scale: str
    seeds: int
    tests: str = ""
    device: str = "cpu"
    workers: int = 1
    budget: float | None = None
    deciding: float = 0.3
    pack_dtype: str = "bfloat16"
    pack_limit: float = 16.0
    network_limit: float = 2.0


@dataclass
class Reproduction:
    """One call: it trains, packs, decides and reports into a folder.

    Attributes
    ----------
    plan
        What is asked for.
    folder
        Where results, report, log, provenance and small networks go.
    failures
        What went wrong, a line each.
    """

    plan: Plan
    folder: Path
    failures: list[str] = field(default_factory=list)

    def run(self) -> int:
        """Do all steps and return the exit status.

        0 if all was trained and decided; 1 if something failed; 2 if it can't be done
        as asked; 3 if the budget ended first.
        """
        self._started = time.time()
        self.folder.mkdir(parents=True, exist_ok=True)
        if wrong := self._other_scale():
            print(wrong, file=sys.stderr)
            return 2
        self._note_call()
        try:
            tests = planning.select(self.plan.tests, self.plan.scale, self.plan.seeds)
        except DemandError as error:
            self._log(str(error))
            return 2
        jobs: list[Job] = []
        with self._step("training"):
            jobs = planning.in_order(tests, self.plan.scale)
            self._train(jobs)
        with self._step("packing"):
            self._pack(jobs)
        with self._step("deciding"):
            self._decide(tests)
        with self._step("reporting"):
            self.report()
        return self._conclude(tests, jobs)

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

    def _other_scale(self) -> str | None:
        """Return what is wrong if the folder holds results of another scale."""
        calls = self._calls()
        if not calls or calls[0]["plan"]["scale"] == self.plan.scale:
            return None
        return (
            f"{self.folder} holds results of scale {calls[0]['plan']['scale']!r}, and "
            f"{self.plan.scale!r} is asked for: choose another --out for it"
        )

    def _calls(self) -> list[dict[str, Any]]:
        file = self.folder / "provenance.json"
        return json.loads(file.read_text())["calls"] if file.exists() else []

    def _note_call(self) -> None:
        """Write what is asked for, and by what code on which machine, to the folder."""
        started = datetime.fromtimestamp(self._started, UTC)
        name = platform.machine()
        if self.plan.device != "cpu":
            name = torch.cuda.get_device_name()
        call = {
            "started": started.isoformat(timespec="seconds"),
            "plan": asdict(self.plan),
            "device": name,
            "versions": versions(),
            "commit": commit(ROOT),
            "code": code_digest(),
        }
        text = json.dumps({"calls": [*self._calls(), call]}, indent=1) + "\n"
        unfinished = self.folder / f".provenance.{os.getpid()}.tmp"
        unfinished.write_text(text)
        unfinished.replace(self.folder / "provenance.json")
        self._log(f"{call['started']}: {self.plan} on {name}")

    def _train(self, jobs: Sequence[Job]) -> None:
        """Train what is missing within training's share of the budget."""
        deadline = None
        if self.plan.budget is not None:
            deadline = self._started + (1 - self.plan.deciding) * self.plan.budget
        errors = build.Building(
            jobs,
            self.plan.scale,
            self.plan.device,
            self.plan.workers,
            deadline,
            progress.stream_sink(sys.stderr),
        ).run()
        for error in errors:
            self._fail(error)
        self._log(build.table([], jobs))

    def _pack(self, jobs: Sequence[Job]) -> None:
        """Put the small trained networks into the folder's pack, as far as they fit."""
        with packing_into(self.folder / "pack") as place:
            used = sum(f.stat().st_size for f in place.rglob("*") if f.is_file())
            too_large = 0
            for job in jobs:
                if self._left() <= 0:
                    break
                here, there = (
                    of(job.recipe, job.seed).exists()
                    for of in (store.network, store.packed)
                )
                if not here or there:
                    continue
                size = expected_bytes(job, self.plan.pack_dtype)
                room = min(self.plan.network_limit, self.plan.pack_limit - used / 1e6)
                if size > 1e6 * room:
                    too_large += 1
                    continue
                with self._step(f"packing {job.recipe.name}, seed {job.seed},"):
                    network = pack.convert(
                        job.recipe, job.seed, self.plan.pack_dtype, self.plan.device
                    )
                    if used + network.size > 1e6 * self.plan.pack_limit:
                        too_large += 1  # by its meta
                        continue
                    pack.write([network])
                    used += network.size
        self._log(f"{place} has {used / 1e6:.2f} MB; {too_large} networks don't fit")

    def _decide(self, tests: Sequence[Wanted]) -> None:
        """Decide what can be decided, each test on as many networks as there are."""
        self._collect()  # of a call that was killed
        there = planning.networks_there(tests, self.plan.scale, self.plan.seeds)
        lacks: dict[str, list[str]] = {}
        sessions: dict[tuple[bool, int], list[str]] = {}
        before = self._decided()
        for test in tests:
            if count := test.possible(there):
                again = before.get(test.test) == count
                sessions.setdefault((again, -count), []).append(test.test)
            else:
                lacks.setdefault(test.lack(there), []).append(test.name)
        for lack, names in lacks.items():
            self._log(f"not decided ({len(names)} tests), {lack}: {', '.join(names)}")
        # What is new first; what was decided before once more, as code may have changed
        for (_, count), nodes in sorted(sessions.items()):
            if self._left() <= 0:
                self._log(f"not decided ({len(nodes)} tests), the budget ended")
                continue
            self._session(nodes, -count)

    def _session(self, nodes: Sequence[str], seeds: int) -> None:
        """Run pytest on some tests, which must find all their networks."""
        workers = min(self.plan.workers, len(nodes))
        env = {
            "OMP_NUM_THREADS": "1",
            **os.environ,
            "LMC_TRAIN": "never",
            "LMC_RECORDS": str(self._records),
            "PYTHONUNBUFFERED": "1",
        }
        with tempfile.TemporaryDirectory() as aside:
            command = [
                *(sys.executable, "-m", "pytest", "-p", "claims.recording"),
                *("-p", "no:cacheprovider", "--report-dir", aside),
                *("--scale", self.plan.scale, "--seeds", str(seeds)),
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
        elif status not in (0, 1):  # 1: refuted claims, and errors counted below
            self._fail(f"pytest ended with status {status} while it decided claims")

    @property
    def _records(self) -> Path:
        return self.folder / ".records.jsonl"

    @property
    def _results(self) -> Path:
        return self.folder / "results.jsonl"

    def _collect(self) -> None:
        """Merge what a session has appended into the results."""
        if not self._records.exists():
            return
        found = []
        for line in self._records.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError):  # the end of a session that was killed
                found.append(json.loads(line))
        if found:
            merge_lines(self._results, [record | {"p_holm": None} for record in found])
            records = read_lines(self._results)
            corrected = holm([record["p"] for record in records])
            for record, p in zip(records, corrected, strict=True):
                record["p_holm"] = p
            write_lines(self._results, records)
        self._records.unlink()

    def _decided(self) -> dict[str, int]:
        """Return from test to the number of networks that it was decided on."""
        return {
            record["nodeid"]: record.get("seeds", 0)
            for record in read_lines(self._results)
            if record["verdict"] != "error"
        }

    def report(self) -> None:
        """Write the page of all results of the folder."""
        self._collect()
        if self._results.exists():
            found = read(self._results)
            page.write(self.folder / "index.html", found, page.written(self._results))
            self._log(count_line(found))

    def _conclude(self, tests: Sequence[Wanted], jobs: Sequence[Job]) -> int:
        """Say how far it has come, and return the exit status."""
        there = planning.networks_there(tests, self.plan.scale, self.plan.seeds)
        decided = self._decided()
        undecided = [
            test
            for test in tests
            if any(test.wants.values())
            and decided.get(test.test) != test.possible(there)
        ]
        missing = sum(not job.done() for job in jobs)
        selected = {test.test for test in tests}
        for record in read_lines(self._results):
            if record["verdict"] == "error" and record["nodeid"] in selected:
                self._fail(f"{record['nodeid']}: {record['error'].splitlines()[0]}")
        self._log(
            f"{len(jobs) - missing} of {len(jobs)} networks are trained, "
            f"{len(selected & decided.keys())} of {len(tests)} tests decided; see "
            f"{self.folder}"
        )
        if self.failures:
            self._log("\n- ".join(["what failed:", *self.failures]))
            return 1
        if missing or undecided:
            self._log("the budget ended: the same command goes on")
            return OUT_OF_BUDGET
        return 0


@contextmanager
def packing_into(folder: Path) -> Iterator[Path]:
    """Let the pack be in a folder for a while; yields it."""
    before = os.environ.get("LMC_PACK")
    os.environ["LMC_PACK"] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["LMC_PACK"]
        else:
            os.environ["LMC_PACK"] = before


def expected_bytes(job: Job, dtype: str) -> int:
    """Return how many bytes a network's values have in a dtype."""
    state = job.recipe.build_model().state_dict()
    return sum(
        value.numel()
        * (pack.DTYPES[dtype] if value.is_floating_point() else value.dtype).itemsize
        for value in state.values()
    )


def run_until(
    command: Sequence[str],
    env: dict[str, str],
    seconds: float,
    log: Callable[[str], None],
) -> int:
    """Run a command, interrupted after some seconds, and return its exit status.

    Parameters
    ----------
    command, env
        What is run, in the checkout, and its environment.
    seconds
        After these it is interrupted, as by Ctrl-C, and `GRACE` later killed with
        all that it has started; infinity for no limit.
    log
        Takes the lines that it prints.
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

    def send(number: int, to: Callable[[int, int], None]) -> None:
        with suppress(ProcessLookupError):
            to(process.pid, number)

    timers = []
    if seconds < math.inf:
        timers = [
            threading.Timer(seconds, send, [signal.SIGINT, os.kill]),
            threading.Timer(seconds + GRACE, send, [signal.SIGKILL, os.killpg]),
        ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            log(line.rstrip("\n"))
        return process.wait()
    except BaseException:
        send(signal.SIGINT, os.kill)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
        send(signal.SIGKILL, os.killpg)
        raise
    finally:
        for timer in timers:
            timer.cancel()
