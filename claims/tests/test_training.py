"""A session trains what its claims look at, and then runs those that have it all."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path

import pytest

from claims.claim import places_of
from claims.training import node_id, selected, wanted
from fixtures import scales
from lmc.tests.sessions import run_pytest

ROOT = Path(__file__).parents[2]
SCALE = "digits-epochs1"

CONFTEST = 'pytest_plugins = ["reports.plugin", "claims.plugin"]\n'

TOYS = """
from claims.claim import claim
from claims.evidence import superiority
from claims.papers import raised


def toy(settings, **more):
    return claim(
        source=raised("2402.05966v1", "nowhere"), quantity="a number",
        rule=superiority(margin=1.0), settings=settings, **more,
    )


@toy("mlp")
def test_measured(trial):
    \"""It is above 1.\"""
    trial.decide([pair.endpoints() for pair in trial.pairs()])


@toy("mlp", uses=lambda place: ("mlp", "plain-vgg"))
def test_wants_more(trial):
    \"""It is above 1.\"""
    trial.decide([1.0])


@toy("random")
def test_wants_none(trial):
    \"""It is above 1.\"""
    trial.decide([2, 3, 2.5, 2.2, 2.8])
"""


FULL = """
import errno
from fixtures import store

def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

store.write_through = full
"""


def session(cache, folder, *arguments, train="", conftest=CONFTEST):
    """Run pytest on toy claims, and return its exit status and what it said."""
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_toys.py").write_text(TOYS)
    environment = {"PYTHONPATH": str(ROOT), "LMC_CACHE": str(cache)}
    alone = {"PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": "", "LMC_TRAIN": train}
    options = ["--scale", SCALE, "--seeds", "4", "--first-seed", "0"]
    options += ["-p", "no:cacheprovider", "--train-workers", "1"]
    run = run_pytest(
        [*options, *arguments], folder, {**os.environ, **environment, **alone}
    )
    return run.returncode, run.stdout + run.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A session that only trains, into a cache: cache, exit status, what it said."""
    folder = tmp_path_factory.mktemp("trained")
    run = session(folder / "cache", folder, "--train-only", "-k", "measured")
    assert not (folder / "reports").exists()
    return folder / "cache", *run


def test_training_may_be_all(trained):
    """With its table, and no test is run."""
    cache, status, said = trained
    assert status == 0
    assert "[----------------] 0/4 networks, at work: mlp\n" in said
    assert re.search(r"^trained 4 networks in \d+ s, workers \d+% busy$", said, re.M)
    assert re.search(r"^mlp +4 of 4 +0 ", said, re.M)
    networks = sorted(file.parent.name for file in cache.rglob("model.safetensors"))
    assert networks == [f"seed-{seed}" for seed in range(4)]
    assert "passed" not in said and "supported" not in said


def test_two_sessions_at_once_train_each_network_once(tmp_path):
    """On one empty cache; both decide their claims, by the same networks."""
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor() as pool:
        each = partial(session, tmp_path / "cache")
        found = [*pool.map(each, folders, repeat("-k"), repeat("measured"))]
    assert [status for status, _ in found] == [0, 0], found
    counts = re.findall(
        r"^trained (\d+) networks", "\n".join(s for _, s in found), re.M
    )
    assert sum(map(int, counts)) == 4
    pairs = [
        json.loads((folder / "reports" / "out" / "results.jsonl").read_text())["pairs"]
        for folder in folders
    ]
    assert pairs[0] == pairs[1] != []


def test_claims_whose_networks_are_missing_are_not_run(trained, tmp_path):
    """The others are; results are those of claims that were run."""
    status, said = session(trained[0], tmp_path, "-rs", train="never")
    assert status == 0, said
    assert "not run (1): plain-vgg has 0 of 4 networks" in said
    counts = "1 supported", "1 inconclusive", "1 not run"
    assert all(count in said.splitlines()[-1] for count in counts)
    lines = (tmp_path / "reports" / "out" / "results.jsonl").read_text().splitlines()
    found = {record["id"]: record for record in map(json.loads, lines)}
    assert found.keys() == {"toys/measured", "toys/wants-none"}
    assert found["toys/measured"]["fixtures"][0]["seeds"] == [0, 1, 2, 3]


def test_a_session_that_runs_nothing_fails(trained, tmp_path):
    status, said = session(
        trained[0], tmp_path, "-v", "-k", "wants_more", train="never"
    )
    assert status == 1
    assert "test_wants_more[mlp] NOT RUN" in said
    assert "nothing was run" in said
    assert not (tmp_path / "reports").exists()


def test_a_budget_leaves_claims_for_the_next_session(tmp_path):
    """And says so; those that want nothing are run."""
    least = ("--train-budget", "1e-9")
    status, said = session(tmp_path / "cache", tmp_path, *least)
    assert status == 0
    assert "the budget ended: 8 networks are missing, the same command goes on" in said
    assert "not run (1): mlp has 0 of 4 networks, plain-vgg has 0 of 4" in said
    assert "not run (1): mlp has 0 of 4 networks\n" in said
    assert all(n in said.splitlines()[-1] for n in ("1 supported", "2 not run"))
    status, said = session(tmp_path / "cache", tmp_path, *least, "--train-only")
    assert status == 3
    assert not (tmp_path / "cache").exists()


def test_looking_trains_nothing(tmp_path):
    status, said = session(tmp_path / "cache", tmp_path, "--collect-only")
    assert status == 0 and "3 tests collected" in said
    assert not (tmp_path / "cache").exists()


def test_a_full_disk_ends_the_session(tmp_path):
    """With one error, before any test, and nothing half-written."""
    cache, conftest = tmp_path / "cache", CONFTEST + FULL
    status, said = session(cache, tmp_path, "-k", "measured", conftest=conftest)
    assert status == 1
    assert f"the cache {cache} can't be written to (No space left on device): " in said
    assert "free space there, or set LMC_CACHE to another folder" in said
    assert "Traceback" not in said and "inconclusive" not in said
    assert [f for f in cache.rglob("*") if f.is_file() and f.suffix != ".lock"] == []


def test_an_interruption_says_how_to_go_on(tmp_path):
    """And is one for pytest."""
    conftest = CONFTEST + (
        "from fixtures.build import Building\n"
        "def interrupted(building):\n    raise KeyboardInterrupt\n"
        "Building.run = interrupted\n"
    )
    status, said = session(tmp_path / "cache", tmp_path, conftest=conftest)
    assert status == pytest.ExitCode.INTERRUPTED
    assert "training was interrupted: the same command goes on\n" in said
    assert "supported" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train-budget", "0"], "--train-budget 0.0: choose a number above 0"),
        (["--train-workers", "0"], "--train-workers 0: choose a number above 0"),
        (["--executor", "slurm"], "argument --executor: invalid choice: 'slurm'"),
    ],
)
def test_options_that_make_no_sense_are_refused(tmp_path, arguments, message):
    status, said = session(tmp_path / "cache", tmp_path, *arguments)
    assert status == 4
    assert message in said


def test_training_only_and_never_is_refused(tmp_path):
    status, said = session(tmp_path / "cache", tmp_path, "--train-only", train="never")
    assert status == 4
    assert "--train-only: LMC_TRAIN=never forbids it: unset it" in said


def test_what_is_wanted_of_several_claims_is_counted():
    """The most of each setting, and by how many tests; in the order of the scale."""
    scale = scales.get("digits")
    places = [
        place
        for place in places_of(scale)
        if place.claim.id == "same-basin/same-basin-nearer"
        or place.name == "minimal-mlp"
    ]
    found = wanted(places, scale, 100, 4)
    assert [want.recipe.name for want in found] == sorted(
        (want.recipe.name for want in found), key=[*scale.recipes].index
    )
    by_name = {want.recipe.name: want for want in found}
    assert by_name["retrained-bn-vgg"].count == by_name["bn-vgg"].count == 4
    assert by_name["bn-vgg"].tests == 1
    assert {want.first_seed for want in found} == {100}


@pytest.fixture(scope="module")
def collected():
    """The ids that pytest gives to all tests of claims."""
    options = ["--collect-only", "-q", "--long", "-p", "no:cacheprovider"]
    alone = {"PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""}
    run = run_pytest(["claims/", *options], ROOT, {**os.environ, **alone})
    assert run.returncode == 0, run.stdout + run.stderr
    return [line for line in run.stdout.splitlines() if "::" in line]


def test_places_are_found_by_the_ids_of_their_tests(collected):
    """All of them, as with xdist the controller knows nothing else of the tests."""
    scale = scales.get("digits")
    places = [place for place in places_of(scale) if place.uses and place.count()]
    assert {node_id(place) for place in places} <= {*collected}
    assert len(selected(collected, scale)) >= len(places)
    assert selected(collected[:0], scale) == []


def test_with_xdist_the_controller_trains_once(tmp_path):
    """Before any test; the workers find all networks."""
    node = "claims/test_svd.py::test_distance_is_not_the_reason[mlp]"
    options = ["--scale", SCALE, "--seeds", "4", "--first-seed", "0", "-n", "2"]
    output = ["--report-dir", str(tmp_path), "-p", "no:cacheprovider"]
    environment = {"LMC_CACHE": str(tmp_path / "cache"), "LMC_PACK": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", node, *options, *output],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count("trained 4 networks in ") == 1
    assert run.stdout.index("trained 4") < run.stdout.index("1 inconclusive")
