"""The whole command on digits, with networks of one epoch; its steps when they fail."""

import json
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from claims import planning, reproduce
from claims.__main__ import main
from claims.planning import Wanted
from claims.plugin import machine
from claims.reproduce import Plan, Reproduction, run_until
from fixtures import scales, store, training
from fixtures.training import DivergedError
from reports import results

SCALE = "digits-epochs1"
TEST = "claims/test_matching.py::test_plain_nets_stay_broken[plain-vgg-weights]"
COMMAND = [
    *("reproduce", "--scale", "digits", "--epochs", "1", "--workers", "1"),
    *("--for", TEST),
    *("--first-seed", "0"),  # of networks that nothing is concluded from
]
RECIPE = scales.get(SCALE).recipe("plain-vgg")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A command that has trained and decided all: exit status, folder, cache."""
    folder = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(folder / "cache"))
        patch.setenv("LMC_PACK", str(folder / "no-pack"))
        status = main([*COMMAND, "--seeds", "10", "--out", str(folder / "out")])
    return status, folder / "out", folder / "cache"


@pytest.fixture
def selected(monkeypatch):
    """What the command would select, without a session of pytest to find it out."""

    def select(arguments, scale, counts):
        assert arguments == TEST
        return [Wanted(TEST, [{"plain-vgg": n} for n in counts])]

    monkeypatch.setattr(planning, "select", select)


@pytest.fixture
def again(smoke, selected, tmp_path, monkeypatch):
    """A copy of that folder and cache, to go on with."""
    shutil.copytree(smoke[1], tmp_path / "out")
    shutil.copytree(smoke[2], tmp_path / "cache")
    monkeypatch.setenv("LMC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMC_PACK", str(tmp_path / "no-pack"))
    return tmp_path / "out"


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """An empty cache; returns where the folder will be."""
    monkeypatch.setenv("LMC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LMC_PACK", str(tmp_path / "no-pack"))
    return tmp_path / "out"


def records(out):
    return results.read(out / "results.jsonl")


def calls(out):
    return json.loads((out / "provenance.json").read_text())["calls"]


def test_the_claim_is_decided_on_five_pairs(smoke):
    status, out, _ = smoke
    assert status == 0
    [record] = records(out)
    assert record.nodeid == TEST
    assert record.verdict in ("supported", "refuted", "inconclusive")
    assert [pair["pair"] for pair in record.pairs] == [
        f"{n}-{n + 1}" for n in range(0, 10, 2)
    ]
    assert (record.n, record.first_seed) == (5, 0)


def test_nobody_takes_the_results_for_those_of_the_scale(smoke):
    _, out, _ = smoke
    [record] = records(out)
    assert record.scale == SCALE
    [fixture] = record.fixtures
    assert fixture["key"] == RECIPE.key
    assert fixture["key"] != scales.get("digits").recipe("plain-vgg").key
    assert fixture["seeds"] == [*range(10)]


def test_the_folder_says_where_all_comes_from(smoke):
    _, out, _ = smoke
    [call] = calls(out)
    assert call["plan"]["scale"] == SCALE and call["plan"]["seeds"] == 10
    assert torch.__version__.startswith(call["versions"]["torch"].partition("+")[0])
    assert "commit" in call
    assert call["machine"] == machine()
    assert "plain-nets-stay-broken" in (out / "index.html").read_text()


def test_the_log_has_what_was_trained_and_what_pytest_said(smoke):
    _, out, _ = smoke
    log = (out / "log.txt").read_text()
    assert [
        line.split()[:4] for line in log.splitlines() if line.startswith("plain-vgg ")
    ] == [["plain-vgg", "10", "of", "10"]]
    assert "1 item" in log or "collected 1 item" in log
    assert "10 of 10 networks are trained, 1 of 1 tests decided" in log
    assert not (out / ".session").exists()


def test_the_same_command_goes_on_and_trains_nothing_twice(again, monkeypatch):
    def train(*_, **__):
        raise AssertionError("it trains")

    monkeypatch.setattr(training, "train", train)
    first = records(again)[0]
    assert main([*COMMAND, "--seeds", "10", "--out", str(again)]) == 0
    [record] = records(again)
    assert record.pairs == first.pairs
    assert record.when > first.when
    assert len(calls(again)) == 2


def test_a_seed_that_fails_is_told_and_replaced(again, monkeypatch):
    """Seed 10 diverges: the sixth pair is of the next two."""
    honest = training.train

    def train(recipe, seeds, **others):
        if 10 in seeds:
            raise DivergedError(recipe, 10, 17)
        return honest(recipe, seeds, **others)

    monkeypatch.setattr(training, "train", train)
    assert main([*COMMAND, "--seeds", "12", "--out", str(again)]) == 0
    [record] = records(again)
    assert record.n == 6 and record.pairs[-1]["pair"] == "11-12"
    log = (again / "log.txt").read_text()
    assert "seed 10 diverged at step 17" in log
    assert "12 of 12 networks are trained, 1 of 1 tests decided" in log


def test_a_budget_of_nothing_leaves_all_for_the_next_call(empty, selected):
    """Nothing is trained or decided; the next call does both."""
    command = [*COMMAND, "--seeds", "10", "--out", str(empty)]
    assert main([*command, "--budget", "0"]) == 3
    assert {file.name for file in empty.iterdir()} == {"log.txt", "provenance.json"}
    log = (empty / "log.txt").read_text()
    assert "not decided (1 tests), missing networks: plain-vgg has 0 of 10: " in log
    assert log.endswith("the budget ended: the same command goes on\n")
    assert not store.recipe_folder(RECIPE).exists()


def test_no_time_is_left_to_decide(again):
    """All is trained, but the budget is spent: results stay as they were."""
    before = (again / "results.jsonl").read_bytes()
    command = [*COMMAND, "--seeds", "10", "--out", str(again), "--budget", "0"]
    assert main(command) == 0  # all of it was decided before
    assert (again / "results.jsonl").read_bytes() == before
    assert "not decided (1 tests), the budget ended" in (again / "log.txt").read_text()


def test_deciding_trains_nothing(empty):
    """A test that lacks networks is an error that says so, and trains none."""
    session = Reproduction(Plan(SCALE, 0, seeds=10), empty)
    session._started = time.time()
    empty.mkdir()
    session._session([TEST], 10)
    [record] = records(empty)
    assert record.verdict == "error"
    assert "plain-vgg (key " in record.error
    assert "no whole network in the cache" in record.error
    assert "LMC_TRAIN=never forbids to train one here" in record.error
    assert not any(store.network(RECIPE, seed).exists() for seed in range(10))


def test_a_contradiction_is_told_and_fails(again):
    """Though all is trained and decided, and pytest itself is not asked any more."""
    [record] = records(again)
    red = "Supported: +5 points; accepted as refuted: -5 points."
    results.write(again / "results.jsonl", [replace(record, red=red)])
    command = [*COMMAND, "--seeds", "10", "--out", str(again), "--budget", "0"]
    assert main(command) == 1
    log = (again / "log.txt").read_text()
    assert (
        "1 contradicts the record:\n"
        f"  matching/plain-nets-stay-broken [plain-vgg weights]: {red}\n"
    ) in log
    assert "what failed" not in log


@pytest.mark.filterwarnings("ignore:.* is unfinished")
def test_results_of_a_killed_session_are_kept(again):
    """What it has appended is merged by the next call, but for a broken last line."""
    [record] = records(again)
    later = replace(
        record,
        commit="that of the call that was killed",
        setting="plain-resnet",
        measured_at="2030-01-01T00:00:00+00:00",
    )
    appended = again / ".session" / "results.jsonl"
    results.append(appended, later)
    with appended.open("a") as file:
        file.write('{"id": "matching/pl')
    Reproduction(Plan(SCALE, 0, seeds=10), again).report()
    assert records(again) == [later, record]
    assert "plain-resnet" in (again / "index.html").read_text()


def test_another_scale_is_refused_its_folder(again, capsys):
    command = ["reproduce", "--scale", "mnist", "--out", str(again)]
    assert main(command) == 2
    assert capsys.readouterr().err == (
        f"{again} holds results of scale 'digits-epochs1', and 'mnist' is asked for: "
        "choose another --out for it\n"
    )
    assert main([*COMMAND[:-1], "2", "--out", str(again)]) == 2
    assert "holds results of first_seed 0, and 2 is asked" in capsys.readouterr().err


def test_a_selection_of_nothing_is_told(empty):
    nothing = "claims/test_same_networks.py -k no_such"
    assert main(["reproduce", "--for", nothing, "--out", str(empty)]) == 2
    assert f"is selected by '{nothing}'" in (empty / "log.txt").read_text()


def test_a_step_that_fails_does_not_stop_the_others(empty):
    empty.mkdir()
    session = Reproduction(Plan(SCALE, 0, seeds=10), empty)
    with session._step("training"):
        raise OSError("the disk is full")
    assert session.failures == ["training failed: OSError: the disk is full"]
    assert "Traceback" in (empty / "log.txt").read_text()


@pytest.mark.parametrize("ours", [signal.default_int_handler, signal.SIG_IGN])
def test_a_command_is_interrupted_at_its_end(ours):
    """It may still say something, even if we run in the background and ignore it."""
    script = (
        "import time\n"
        "print('on', flush=True)\n"
        "try:\n    time.sleep(600)\n"
        "except KeyboardInterrupt:\n    print('stopped'); raise SystemExit(7)\n"
    )
    lines = []
    before = signal.signal(signal.SIGINT, ours)
    try:
        status = run_until([sys.executable, "-c", script], {}, 3.0, lines.append)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (status, lines) == (7, ["on", "stopped"])


def test_a_command_that_does_not_end_is_killed(monkeypatch):
    monkeypatch.setattr(reproduce, "GRACE", 0.5)
    script = "trap '' INT; echo on; while :; do sleep 0.1; done"
    lines = []
    assert run_until(["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, 0.5, lines.append)
    assert lines == ["on"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--seeds", "11"], "'11' is not an even number from 10 on: a verdict needs"),
        (["--seeds", "8"], "'8' is not an even number from 10 on: a verdict needs"),
        (["--first-seed", "7"], "'7' is not an even number from 0 on: two networks of"),
        (["--first-seed", "-1"], "'-1' is not an even number from 0 on: two networks"),
        (["--budget", "-1"], "'-1' is not a number from 0 on"),
        (["--deciding", "1"], "'1' is no share from 0 to below 1"),
        (["--epochs", "0"], "'0' is not a number from 1 on"),
        (["--device", "tpu"], "there is no device 'tpu' here: choose cpu"),
    ],
)
def test_options_that_make_no_sense_are_refused(option, message, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["reproduce", "--out", str(tmp_path / "out"), *option])
    assert message in capsys.readouterr().err
    assert not Path(tmp_path / "out").exists()
