"""Claims with known answers, decided in a pytest of their own."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import filelock
import pytest

from claims import expected, plugin
from claims.collecting import Collector
from claims.expected import Entry
from claims.plugin import why_red
from fixtures import scales
from lmc.tests import sessions
from reports.results import read

ROOT = Path(__file__).parents[2]

CONFTEST = 'pytest_plugins = ["reports.plugin", "claims.plugin"]\n'

TOYS = """
from claims.claim import claim
from claims.evidence import exact, superiority
from claims.papers import raised

UP, DOWN, DOUBT = [2, 3, 2.5, 2.2, 2.8], [-2, -3, -2.5, -2.2, -2.8], [-1, 2, -1.5, 1, 0]


def toy(**more):
    given = {
        "source": raised("2402.05966v1", "nowhere"), "quantity": "a number",
        "rule": superiority(margin=1.0), "settings": "random",
    }
    return claim(**given | more)


@toy()
def test_holds(trial):
    \"""It is above 1.\"""
    trial.decide(UP, names="abcde", half=[0.5, 1.0, 0.75, 1, 1])


@toy()
def test_fails(trial):
    \"""It is above 1.\"""
    trial.decide(DOWN, names="abcde")


@toy()
def test_doubt(trial):
    \"""It is above 1.\"""
    trial.decide(DOUBT, names="abcde")


@toy()
def test_few(trial):
    \"""It is above 1.\"""
    trial.decide(UP[:4], names="abcd")


@toy()
def test_broken(trial):
    \"""It is above 1.\"""
    raise RuntimeError("the bench burnt down")


@toy()
def test_breaks_late(trial):
    \"""It is above 1.\"""
    trial.decide(UP, names="abcde")
    raise RuntimeError("after the decision")


@toy()
def test_twice(trial):
    \"""It is above 1.\"""
    trial.decide(DOWN, names="abcde")
    trial.decide(UP, names="abcde")


@toy()
def test_silent(trial):
    \"""It is above 1.\"""
    assert trial.setting == "random"


@toy()
def test_forgets(trial):
    \"""It is above 1.\"""
    trial.pairs("plain-vgg")


@toy(kind="invariant", rule=exact(tolerance=0.0), settings="random")
def test_invariant(trial):
    \"""It is exact.\"""
    trial.examine(lambda: None, [0.5])


@toy(settings="ln-vgg-mnist")
def test_elsewhere(trial):
    \"""It is above 1.\"""
    trial.decide(UP, names="abcde")


@toy(long=True)
def test_long(trial):
    \"""It is above 1.\"""
    trial.decide(UP, names="abcde")
"""

VERDICTS = {
    "toys/holds": "supported",
    "toys/fails": "refuted",
    "toys/doubt": "inconclusive",
    "toys/few": "inconclusive",
    "toys/broken": "error",
    "toys/breaks-late": "error",
    "toys/twice": "error",
    "toys/silent": "error",
    "toys/forgets": "error",
    "toys/invariant": "refuted",
}


def run_pytest(folder, *arguments, tests=TOYS, conftest=CONFTEST):
    """Run pytest on toy claims in a folder of its own."""
    (folder / "conftest.py").write_text(conftest)
    (folder / "test_toys.py").write_text(tests)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LMC_CACHE": str(folder / "cache"),
        "COLUMNS": "120",
    }
    alone = {"PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""}
    options = ["-p", "no:cacheprovider", *arguments]
    return sessions.run_pytest(options, folder, environment | alone)


def results(folder, name="results.jsonl"):
    lines = (folder / "reports" / "out" / name).read_text().splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """The toy claims after a run without workers: (process, results)."""
    folder = tmp_path_factory.mktemp("toys")
    return run_pytest(folder), results(folder)


def test_verdicts(toys):
    """What is wrong with a test is an error, whatever it has decided before."""
    _, found = toys
    assert {key: record["verdict"] for key, record in found.items()} == VERDICTS


def test_what_makes_a_run_red(toys):
    """Errors and broken invariants; a refutation where there is no record is news."""
    process, found = toys
    red = {key for key, record in found.items() if record["red"]}
    recorded = bool(expected.load("digits"))
    makes_red = {"error", "refuted"} if recorded else {"error"}
    assert red == {key for key, v in VERDICTS.items() if v in makes_red} | {
        "toys/invariant"
    }
    assert process.returncode == 1
    summary = process.stdout.splitlines()[-1]
    assert f"{len(red)} failed" in summary
    for count in ("1 supported", "2 inconclusive"):
        assert count in summary
    assert "skipped" not in summary and "2 deselected" in summary


def test_without_anything_red_the_run_is_green(tmp_path):
    """Inconclusive claims fail nothing."""
    run = run_pytest(tmp_path, "-k", "holds or doubt")
    assert run.returncode == 0, run.stdout
    assert "1 supported, 1 inconclusive" in run.stdout.splitlines()[-1]


def test_record_says_what_was_measured(toys):
    """A line holds every pair's values, the decision, and where it comes from."""
    _, found = toys
    record = found["toys/holds"]
    assert record["pairs"][1] == {"pair": "b", "half": 1.0, "decided": 3}
    assert record["estimate"] == 2.5 and record["margin"] == 1.0
    assert (record["scale"], record["first_seed"]) == ("digits", 100)
    assert record["versions"]["torch"] and record["machine"]["cpu_capability"]
    assert "burnt down" in found["toys/broken"]["error"]
    assert "after the decision" in found["toys/breaks-late"]["error"]
    assert "decided twice" in found["toys/twice"]["error"]
    assert "never called trial.decide" in found["toys/silent"]["error"]
    assert "looks at setting 'plain-vgg'" in found["toys/forgets"]["error"]


@pytest.mark.parametrize(("least", "status"), [(1, 0), (2, 1)])
def test_a_run_that_decides_too_little_can_be_red(tmp_path, least, status):
    """CI must not be green because nothing was decided."""
    run = run_pytest(tmp_path, "-k", "holds or doubt", f"--decide-at-least={least}")
    assert run.returncode == status
    assert ("1 claims were decided, at least 2 must be" in run.stdout) == bool(status)


def test_long_claims_are_asked_if_told(tmp_path):
    run = run_pytest(tmp_path, "--long", "-k", "long or elsewhere")
    assert set(results(tmp_path)) == {"toys/long"} and run.returncode == 0


def test_what_is_on_record_decides_what_is_red(monkeypatch):
    """The same refutation is news, red, expected, or a contradiction."""
    place = SimpleNamespace(
        scale=SimpleNamespace(name="digits", whole="digits"),
        claim=SimpleNamespace(kind="empirical"),
    )
    record = {
        "verdict": "refuted",
        "estimate": -3.0,
        "spread": 1.0,
        "n": 8,
        "grain": 0.3,
        "rule": "superiority",
        "unit": "points",
        "leaning": "",
    }
    entry = {"estimate": -3.2, "spread": 1.0, "n": 8, "grain": 0.3}
    monkeypatch.setattr(plugin, "accepted", lambda _: {})
    assert why_red(place, record, None) == ""
    monkeypatch.setattr(plugin, "accepted", lambda _: {("another", "mlp"): None})
    assert "Refuted, with nothing accepted yet" in why_red(place, record, None)
    assert why_red(place, record, Entry(verdict="refuted", **entry)) == ""
    assert why_red(place, record, Entry(verdict="supported", **entry))


def test_a_killed_run_keeps_its_results(tmp_path):
    """They lie in results.jsonl, and go into latest.jsonl before the next run's."""
    run_pytest(tmp_path, "-k", "holds")
    out = tmp_path / "reports" / "out"
    (out / "latest.jsonl").unlink()  # as if the run had been killed before its end
    run_pytest(tmp_path, "-k", "doubt")
    assert results(tmp_path).keys() == {"toys/doubt"}
    assert results(tmp_path, "latest.jsonl").keys() == {"toys/holds", "toys/doubt"}


def test_two_sessions_do_not_write_into_one_folder(tmp_path):
    """The second one is refused before anything is trained or run."""
    folder = tmp_path / "reports" / "out"
    folder.mkdir(parents=True)
    with filelock.FileLock(folder / ".lock"):
        ended = run_pytest(tmp_path)
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    said = ended.stdout + ended.stderr
    assert f"another session writes its results to {folder}: wait" in said
    assert not (folder / "results.jsonl").exists()
    assert run_pytest(tmp_path).returncode == pytest.ExitCode.TESTS_FAILED
    assert (folder / "results.jsonl").exists()


def test_a_claim_without_a_margin_is_found_at_collection(tmp_path):
    """Not in the middle of a run, where it would end a worker."""
    tests = (
        TOYS
        + """

@claim(source=raised("2402.05966v1", "nowhere"), quantity="a ratio",
       rule=superiority(), settings="mlp", unit="")
def test_no_margin(trial):
    \"""It is above.\"""
    trial.decide(UP, names="abcde")
"""
    )
    run = run_pytest(tmp_path, "-k", "holds", tests=tests)
    assert run.returncode == 2
    assert "toys/no-margin has no margin on 'mlp'" in run.stdout


def test_arrays_in_curves_are_written_as_lists(tmp_path):
    tests = TOYS.replace(
        "half=[0.5, 1.0, 0.75, 1, 1])",
        'curves={"x": np.arange(2), "lines": {"": np.ones((5, 2))}})',
    )
    run = run_pytest(tmp_path, "-k", "holds", tests="import numpy as np\n" + tests)
    assert run.returncode == 0, run.stdout
    assert results(tmp_path)["toys/holds"]["curves"]["x"] == [0, 1]


def test_the_commit_is_that_at_the_start(toys, tmp_path, monkeypatch):
    """One that is made while tests run is not of the code that runs."""
    heads = iter(["", "first", "", "second"])
    monkeypatch.setattr("claims.provenance._output", lambda *_: next(heads))
    config = SimpleNamespace(
        rootpath=tmp_path,
        getoption=lambda name, *_: {"report_dir": "out"}.get(name, 0),
        hook=SimpleNamespace(
            pytest_claims_decided=lambda **_: None,
            pytest_claims_results=lambda **_: None,
        ),
    )
    collector = Collector(config)
    text = json.dumps(toys[1]["toys/holds"])
    report = SimpleNamespace(when="call", user_properties=[("claim", text)], stop=1e9)
    collector.pytest_runtest_logreport(report)
    [written] = read(tmp_path / "out" / "results.jsonl")
    assert written.commit == "first"  # and there before the session ends
    collector.pytest_sessionfinish(SimpleNamespace())
    assert read(tmp_path / "out" / "latest.jsonl") == [written]


def test_terminal_shows_one_line_per_claim(toys):
    """The refuted claim's line has the measured value."""
    process, _ = toys
    assert any(
        "-2.5" in line and "ails" in line for line in process.stdout.splitlines()
    )


def test_workers_change_nothing(toys, tmp_path):
    """Two workers give the same records as none, but for seconds and time."""
    run_pytest(tmp_path, "-n", "2")
    ours, theirs = toys[1], results(tmp_path)
    assert theirs.keys() == ours.keys()
    for name, record in ours.items():
        times = {key: theirs[name][key] for key in ("seconds", "measured_at")}
        assert theirs[name] == record | times


def test_each_worker_is_given_neighbours():
    """Of two workers each has half of the tests at first, unless --dist says more."""
    options = {"tx": ["2*popen"], "dist": "load"}
    config = SimpleNamespace(getoption=options.get, getvalue=options.get)
    scheduler = plugin.pytest_xdist_make_scheduler(config, None)
    given = {"gw0": [], "gw1": []}
    for name in given:
        worker = Mock(shutting_down=False, send_runtest_some=given[name].extend)
        scheduler.add_node(worker)
        scheduler.add_node_collection(worker, [f"test_{n}" for n in range(8)])
    scheduler.schedule()
    assert given == {"gw0": [0, 1, 2, 3], "gw1": [4, 5, 6, 7]}
    options["dist"] = "loadfile"
    assert plugin.pytest_xdist_make_scheduler(config, None) is None


def test_records_say_when_they_were_measured(toys):
    """In UTC, to the second, within the run: whoever compares them compares text."""
    _, found = toys
    for record in found.values():
        when = datetime.fromisoformat(record["measured_at"])
        assert when.utcoffset() == timedelta(0) and when.microsecond == 0
        assert datetime.now(UTC) - timedelta(hours=1) < when <= datetime.now(UTC)


def test_a_part_of_the_claims_loses_nothing(tmp_path):
    """results.jsonl is of the last run alone, latest.jsonl of all runs."""
    run_pytest(tmp_path, "-k", "holds or fails")
    first = results(tmp_path, "latest.jsonl")
    assert first == results(tmp_path)
    other = TOYS.replace("2, 3, 2.5", "4, 5, 4.5")
    run_pytest(tmp_path, "-k", "holds", tests=other)
    both = results(tmp_path, "latest.jsonl")
    assert results(tmp_path).keys() == {"toys/holds"}
    assert both.keys() == first.keys() == {"toys/holds", "toys/fails"}
    assert first["toys/holds"]["estimate"] < both["toys/holds"]["estimate"]
    assert both["toys/fails"] == first["toys/fails"]


def test_what_a_network_takes_includes_its_parent(monkeypatch):
    """What isn't known of one is not known of both."""
    digits = scales.get("digits")
    child = digits.recipe("debiased-vgg")
    known = {child.name: 2.0, child.parent.name: 5.0}
    costs = SimpleNamespace(expected=lambda recipe: known.get(recipe.name))
    monkeypatch.setattr(plugin, "_costs", costs)
    assert child.parent.parent is None
    assert plugin.training_seconds(digits, "debiased-vgg") == 7.0
    assert plugin.training_seconds(digits, child.parent.name) == 5.0
    del known[child.parent.name]
    assert plugin.training_seconds(digits, "debiased-vgg") is None


def test_fewer_pairs_and_errors_displace_nothing(tmp_path):
    """The report is that of the better run; a test that goes takes its result along."""
    run_pytest(tmp_path, "-k", "holds or fails or doubt")
    first = results(tmp_path, "latest.jsonl")
    worse = (
        TOYS.replace('UP, names="abcde", half=[0.5, 1.0, 0.75, 1, 1]', "UP[:2]")
        .replace("trial.decide(DOWN", "trial.decide(DOWN / 0")
        .replace("test_doubt", "test_other")
    )
    run = run_pytest(tmp_path, "-k", "holds or fails or other", tests=worse)
    now, latest = results(tmp_path), results(tmp_path, "latest.jsonl")
    assert (now["toys/holds"]["n"], now["toys/fails"]["verdict"]) == (2, "error")
    assert latest["toys/holds"] == first["toys/holds"]
    assert latest["toys/fails"] == first["toys/fails"]
    (tmp_path / "test_toys.py").unlink()
    kept = read(tmp_path / "reports/out/latest.jsonl")
    assert all(Collector._gone(collector_of(tmp_path), result) for result in kept)
    page = (tmp_path / "reports/out/index.html").read_text()
    assert "2 inconclusive" in run.stdout and page.count("<tr id=") == 4


def test_results_of_claims_that_are_gone_are_known(tmp_path):
    """In the suite's own files by what is asked there; in others by the file."""
    collector = collector_of(ROOT)
    [held] = [
        result
        for result in read(ROOT / "reports/records/digits.jsonl")
        if result.id == "minimal/sparsity"
    ]
    assert not collector._gone(held)
    assert collector._gone(replace(held, id="minimal/another"))
    assert collector._gone(replace(held, setting="mlp"))
    assert collector._gone(replace(held, scale="atoms"))
    assert collector._gone(replace(held, nodeid="claims/test_none.py::test_it"))


def collector_of(folder):
    """A collector of a session whose root is there."""
    config = SimpleNamespace(rootpath=folder, getoption=lambda name: "out")
    return Collector(config)


def test_what_cannot_be_merged_is_said_and_kept(tmp_path):
    """A latest.jsonl that is none is left as it is; the run's own report goes on."""
    latest = tmp_path / "reports" / "out" / "latest.jsonl"
    latest.parent.mkdir(parents=True)
    latest.write_text("no JSON\nno JSON\n")
    run = run_pytest(tmp_path, "-k", "holds")
    assert "results not merged into the latest" in run.stdout
    assert latest.read_text() == "no JSON\nno JSON\n"
    assert results(tmp_path)["toys/holds"]["verdict"] == "supported"
    assert "index.html" in run.stdout


def test_nothing_is_written_without_claims(tmp_path):
    """A session of other tests leaves the last results alone."""
    run = run_pytest(tmp_path, tests="def test_other():\n    assert True\n")
    assert run.returncode == 0
    assert not (tmp_path / "reports").exists()


def test_the_plugin_works_alone(tmp_path):
    """Without the one that makes the page results lie where they always do."""
    alone = 'pytest_plugins = ["claims.plugin"]\n'
    run = run_pytest(tmp_path, "-k", "holds", conftest=alone)
    assert run.returncode == 0, run.stdout + run.stderr
    assert results(tmp_path)["toys/holds"]["verdict"] == "supported"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "atoms"], "--scale: unknown scale 'atoms': choose digits, mnist"),
        (["--seeds", "5"], "--seeds 5: choose an even number from 2 on"),
        (["--seeds", "many"], "--seeds many: choose an even number from 2 on"),
        (["--first-seed", "7"], "--first-seed 7: choose an even number from 0 on"),
        (["--device", "tpu"], "--device tpu: choose cpu"),
    ],
)
def test_usage_errors_name_the_choices(tmp_path, arguments, message):
    """A scale, seed count or device that is not there is a usage error."""
    run = run_pytest(tmp_path, *arguments)
    assert run.returncode == 4
    assert message in run.stderr


def test_help_explains_the_options(tmp_path):
    """`pytest --help` says what seeds, scale and device are."""
    told = " ".join(run_pytest(tmp_path, "--help").stdout.split())
    assert "N/2 independent pairs" in told
    assert "--scale" in told and "--device" in told and "--long" in told


def test_what_is_accepted_is_of_places_that_exist():
    """A claim that goes leaves no verdict on record."""
    from claims.claim import places_of

    for name in scales.SCALES:
        there = {(p.claim.id, p.name) for p in places_of(scales.get(name))}
        assert set(expected.load(name)) <= there
