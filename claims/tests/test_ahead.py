"""What was measured ahead, anywhere, is what the tests find."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from claims import ahead
from claims.claim import places_of
from claims.measure import Bench
from fixtures import measurements, scales, store
from fixtures.display import Display
from lmc.tests.sessions import run_pytest

ROOT = Path(__file__).parents[2]
SCALE = scales.get("digits-epochs1")
PLACES = {(place.claim.id, place.name): place for place in places_of(SCALE)}

DISTANCE = PLACES["svd/distance-is-not-the-reason", "mlp"]
TAYLOR = PLACES["svd/taylor-fails", "mlp"]
INVARIANT = PLACES["invariants/group-laws", "random"]

FORBID = """
import claims.measure.architecture as architecture

honest = architecture.remember

def found(kind, spec, code, compute):
    def forbidden():
        raise AssertionError(f"{kind} is measured again")
    return honest(kind, spec, code, forbidden)

architecture.remember = found
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LMC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bench():
    return Bench(SCALE, 0, 4, "cpu")


def test_places_are_grouped_by_what_they_share():
    """In their order; invariants look at no networks."""
    plain = PLACES["renormalization/rescale-beats-repair", "plain-vgg weights"]
    found = ahead.groups([DISTANCE, INVARIANT, plain, TAYLOR])
    assert [str(group) for group in found] == ["mlp", "plain-vgg weights"]
    assert found[0].places == (DISTANCE, TAYLOR)


def test_a_task_has_all_that_it_needs(cache, tmp_path, monkeypatch):
    """It measures in a process that can't find or train any network."""
    group = ahead.Group("mlp", "", (DISTANCE, TAYLOR))
    task = ahead.task_of(group, bench(), 4)
    monkeypatch.setenv("LMC_CACHE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("LMC_TRAIN", "never")
    found = ahead.measure(task)
    assert found.errors == {}
    assert {row.kind for row in found.rows} >= {"matching", "evaluation"}
    assert [*store.artefacts(tmp_path / "elsewhere")] == []
    monkeypatch.setenv("LMC_CACHE", str(cache))
    assert all(measurements.opened().get(row.key) is None for row in found.rows)


def test_networks_that_others_were_made_from_come_too(cache):
    child = PLACES["same-basin/same-basin-nearer", "retrained-bn-vgg"]
    group = ahead.Group("retrained-bn-vgg", child.variant, (child,))
    task = ahead.task_of(group, bench(), 4)
    recipe = SCALE.recipe("retrained-bn-vgg")
    origins = {recipe.origin(seed) for seed in task.networks["retrained-bn-vgg"]}
    assert {*task.origins["bn-vgg"]} == origins


def test_what_is_measured_ahead_is_kept_and_shown(cache, monkeypatch):
    lines = []
    places = [DISTANCE, TAYLOR]
    pool = partial(ThreadPoolExecutor, 1)
    display = Display(lines.append, in_place=False, interval=0.0)
    # In this process it would be kept anyway: only what comes back counts.
    honest, given = measurements.Measurements.put, []
    with monkeypatch.context() as patched:
        patched.setattr(
            measurements.Measurements,
            "put",
            lambda self, row: (given.append(row), honest(self, row))[1],
        )
        assert ahead.measure_all(places, bench(), 4, pool, display=display) == []
    keys = [row.key for row in given]
    assert len(keys) == 2 * len({*keys})
    assert lines[0] == "[----------------] 0/2 claims, at work: mlp\n"
    assert lines[-1] == "measured what 2 claims look at\n"


def test_a_claim_that_fails_is_told_and_the_others_go_on(cache, monkeypatch):
    def fail(trial):
        raise ZeroDivisionError("no pairs")

    failing = replace(DISTANCE, claim=replace(DISTANCE.claim, function=fail))
    place = (failing.claim.id, failing.name)
    monkeypatch.setattr(ahead, "_places", lambda scale: {**PLACES, place: failing})
    pool = partial(ThreadPoolExecutor, 1)
    told = ahead.measure_all([failing, TAYLOR], bench(), 4, pool)
    assert told == ["svd/distance-is-not-the-reason mlp: ZeroDivisionError('no pairs')"]
    assert measurements.opened().held() != {}


def by_command(arguments, folder, environment):
    """Run ``python -m claims measure``, as `run_pytest` runs pytest."""
    command = [sys.executable, "-m", "claims", "measure", *arguments]
    given = {"cwd": folder, "env": environment}
    return subprocess.run(command, **given, capture_output=True, text=True, check=False)


def run(*arguments, folder, train="", by=run_pytest):
    """Run a session in a process of its own: exit status, and what it said."""
    options = ["--scale", str(SCALE.name), "--seeds", "4", "--first-seed", "0"]
    options += ["--report-dir", str(folder), "-p", "no:cacheprovider"]
    alone = {"PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": "", "LMC_TRAIN": train}
    environment = {**os.environ, "LMC_CACHE": str(folder / "cache"), **alone}
    environment |= {"PYTHONPATH": str(folder), "LMC_PACK": str(folder)}
    run = by([*arguments, *options], ROOT, environment)
    return run.returncode, run.stdout + run.stderr


def test_the_next_run_measures_nothing(tmp_path):
    """By the command, in a process of an executor; with the values of a run alone."""
    node = "claims/test_svd.py::test_distance_is_not_the_reason[mlp]"
    chosen = ("-k", "test_distance_is_not_the_reason and mlp and not deep")
    status, said = run(*chosen, "--train-workers", "1", folder=tmp_path, by=by_command)
    assert status == 0, said
    assert "measured what 1 claims look at" in said
    assert not (tmp_path / "results.jsonl").exists()
    (tmp_path / "forbid.py").write_text(FORBID)
    results = []
    for options in (["-p", "forbid"], []):
        if not options:
            (tmp_path / "cache" / "measurements.sqlite").unlink()
        status, said = run(node, *options, folder=tmp_path, train="never")
        assert status == 0, said
        [line] = (tmp_path / "results.jsonl").read_text().splitlines()
        results.append(json.loads(line))
    assert results[0]["pairs"] == results[1]["pairs"] != []


def test_what_has_no_networks_is_not_measured(tmp_path):
    node = "claims/test_svd.py::test_distance_is_not_the_reason[mlp]"
    status, said = run(node, "--measure-only", folder=tmp_path, train="never")
    assert status == 1
    assert (
        "not measured: svd/distance-is-not-the-reason mlp: mlp has 0 of 4 networks"
        in said
    )
    status, said = run(node, "--measure-only", "--train-only", folder=tmp_path)
    assert status == 4
    assert "--train-only and --measure-only: choose one" in said
