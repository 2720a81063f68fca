"""The networks of a night: measured again, trained again, and fresh ones.

Fresh ones are trained and measured by a session of ``pytest claims/``, as by hand.
"""

import hashlib
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import torch

from claims import again
from claims.claim import Place
from claims.expected.acceptance import RECORDS
from claims.measure import Bench
from claims.nightly.history import SEEDS, Block, History, Row
from claims.nightly.night import FRESH, news
from claims.nightly.process import Measured, key_of
from claims.plugin import lacking
from claims.training import node_id
from claims.trial import Trial
from fixtures import executors, retrain
from fixtures.folders import cache_folder
from fixtures.planning import Costs
from fixtures.scales import Scale
from reports import results
from reports.results import Result

ROOT = Path(__file__).parents[2]

STORED, RETRAINED = 4, 2
"""How many places of the history are measured again, and networks trained again."""

SHORT = 0.05
"""Share of the budget that training one network again may take."""

NETWORK, PLACE = 10.0, 10.0
"""Seconds for a network whose setting nobody has trained, and for a place that has no
record."""

EXAMPLES = 8.0
"""Times by which an invariant takes longer by night: 200 examples instead of 25."""

SESSION_DONE = (0, 1, 5)
"""Exit status of a session that went through: green, red, nothing to run."""


class Laboratory:
    """Networks of a scale on this machine; a source of nights.

    Parameters
    ----------
    history, scale
        Of the nights.
    places
        All places of the scale, invariants too.
    budget
        Seconds of a night.
    device
        Where networks are trained and measured.
    """

    def __init__(
        self,
        history: History,
        scale: Scale,
        places: Sequence[Place],
        budget: float,
        device: str = "cpu",
    ):
        self._history, self._scale, self._device = history, scale, device
        self._budget = budget
        self._places = places
        self._costs = Costs()
        self.workers = executors.default_workers("local", device)
        here = {"python": platform.python_version(), **again.where()}
        self.stratum: Row = {"stratum": _digest(here), **here}
        self.again = {"fixed": 0, "stored": 0, "retrained": 0}
        # Its name alone is not the place of its networks.
        self.machine = f"{platform.node()} {_digest(str(cache_folder()))}"

    def same(self, night: str, processes: Mapping[str, Place]) -> Iterator[Row]:
        """Measure the fixed networks, and some of the history's, and train some again.

        What was measured by this very code is remembered, and not measured again.  The
        fixed networks are measured in full, whatever the budget: a fault in the code is
        told on its first night.
        """
        if self._device == "cpu":
            torch.set_num_threads(1)
        yield from self._fixed()
        yield from self._stored(night, processes)
        yield from self._retrained(night)

    def _fixed(self) -> Iterator[Row]:
        """Measure the networks that ship with the repository."""
        bench = again.fixed()
        for name in again.names():
            self.again["fixed"] += 1
            claim, _, place = name.partition(" ")
            try:
                told = again.compared({name: again.measure(name, bench)})
            except Exception as error:  # code that breaks is what a night is for
                told = [f"{name}: {type(error).__name__}: {error}"]
            if told:
                text = "; ".join(line.removeprefix(f"{name}: ") for line in told)
                yield news("same", (claim, place), f"the fixed networks: {text}", True)

    def _stored(self, night: str, processes: Mapping[str, Place]) -> Iterator[Row]:
        """Measure some of the history's networks of this stratum once more."""
        own = self.stratum["stratum"]
        blocks = {
            row["first_seed"]
            for row in self._history.rows("blocks")
            if row["stratum"] == own
        }
        rows = [
            row
            for row in self._history.rows("values")
            if row["block"] in blocks and row["process"] in processes
        ]
        for row in random.Random(night).sample(rows, min(len(rows), 10 * STORED)):
            place = processes[row["process"]]
            bench = Bench(self._scale, row["block"], SEEDS, self._device)
            if lacking(place.demand(SEEDS), bench):
                continue
            name = " ".join(key_of(place))
            try:
                trial = Trial(place, bench, SEEDS)
                place.claim.function(trial)
                values = [unit["decided"] for unit in trial.record["pairs"]]
                told = again.differences(
                    name, {"value": values}, {"value": row["values"]}, here=True
                )
            except Exception as error:
                told = [f"{name}: {type(error).__name__}: {error}"]
            if told:
                text = told[0].removeprefix(f"{name}: ")
                which = f"the networks of the night of {row['night']}: {text}"
                yield news("same", key_of(place), which, True)
            self.again["stored"] += 1
            if self.again["stored"] == STORED:
                return

    def _retrained(self, night: str) -> Iterator[Row]:
        """Train some networks again from their recipes."""
        limit = SHORT * self._budget
        quick = [
            recipe
            for recipe in dict.fromkeys(self._scale.recipes.values())
            if (self._costs.expected(recipe) or limit + 1) <= limit
        ]
        draw = int(_digest(night), 16)
        for found in retrain.comparisons(quick, RETRAINED, draw):
            self.again["retrained"] += 1
            if found.outcome is retrain.Outcome.DIFFERENT:
                where = found.artefact.folder
                key = where.parent.name.rpartition("-")[0], where.name
                yield news("retrained", key, found.reason, True)

    def cost(self, place: Place) -> float:
        """Return the seconds of a place on record, for the units of a block."""
        result = self._record.get((*key_of(place),))
        if result is None or not result.seconds:
            return PLACE
        if place.claim.kind == "invariant":
            return EXAMPLES * result.seconds
        return result.seconds * place.count(SEEDS) / place.count()

    def network(self, setting: str) -> float:
        """Return the mean seconds of a setting's networks in the cache or pack."""
        return self._costs.expected(self._scale.recipe(setting)) or NETWORK

    @cached_property
    def _record(self) -> dict[tuple[str, str], Result]:
        path = RECORDS / f"{self._scale.name}.jsonl"
        kept = results.read(path) if path.exists() else []
        return {(result.id, result.where): result for result in kept}

    def fresh(
        self, block: Block, places: Sequence[Place], seconds: float
    ) -> Iterator[Measured | Row]:
        """Run a session of the claims at some places and invariants."""
        invariants = self._invariants(block.night, (1 - FRESH) * seconds * self.workers)
        if not places and not invariants:
            return
        with tempfile.TemporaryDirectory() as folder:
            yield from self._session(
                block, [*places, *invariants], seconds, Path(folder)
            )

    def _invariants(self, night: str, seconds: float) -> list[Place]:
        """Draw invariants, others each night, that take so long."""
        drawn = [place for place in self._places if place.claim.kind == "invariant"]
        random.Random(night).shuffle(drawn)
        chosen = []
        for place in drawn:
            if (cost := self.cost(place)) <= seconds:
                seconds -= cost
                chosen.append(place)
        return chosen

    def _session(
        self, block: Block, places: Sequence[Place], seconds: float, folder: Path
    ) -> Iterator[Measured | Row]:
        options = {
            "--scale": self._scale.name,
            "--first-seed": block.first_seed,
            "--seeds": SEEDS,
            "--train-budget": max(seconds / 60, 0.01),
            "--device": self._device,
            "--hypothesis-profile": "nightly",
            "--report-dir": folder,
            "--numprocesses": self.workers,
        }
        run = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "--long"),
                *(f"{name}={value}" for name, value in options.items()),
                *map(node_id, places),
            ],
            cwd=ROOT,
            # Failing examples are kept with the history, and tried first.
            env={
                "OMP_NUM_THREADS": "1",
                **os.environ,
                "HYPOTHESIS_STORAGE_DIRECTORY": str(
                    self._history.folder.resolve() / "hypothesis"
                ),
            },
            capture_output=True,
            text=True,
        )
        if run.returncode not in SESSION_DONE:
            text = f"the session of claims ended with exit status {run.returncode}: "
            text += " / ".join((run.stdout + run.stderr).splitlines()[-5:])
            yield news("error", ("", ""), text, True)
        path = folder / "results.jsonl"
        for result in results.read(path) if path.exists() else []:
            yield from taken(result)


def taken(result: Result) -> Iterator[Measured | Row]:
    """Give what a night takes of a session's result.

    Not whether it contradicts the record: that is said at a rate of runs, not of years.
    """
    key = result.id, result.where
    if result.verdict == "error":
        yield news("error", key, result.red or result.error, True)
    elif result.kind == "invariant":
        if result.verdict != "supported":
            yield news("invariant", key, result.red or result.decision, True)
    else:
        values = [float(unit["decided"]) for unit in result.pairs]
        unmet = result.decision.startswith("premise not met")
        yield Measured(key, values, unmet)


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]
