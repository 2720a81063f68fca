"""Claims with known answers, decided in a pytest of their own."""

import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

from claims.plugin import Collector, _results, merge_lines, read_lines

ROOT = Path(__file__).parents[2]

CONFTEST = 'pytest_plugins = ["reports.plugin", "fixtures.plugin", "claims.plugin"]\n'

TOYS = """
from functools import partial

from claims.claim import Claim
from claims.decisions import superiority


def toy(name, **more):
    return Claim(
        id=f"toy/{name}", sentence=f"{name} is above 0", source="nowhere",
        quantity="a number", rule=partial(superiority, margin=0.0),
        settings=("mlp",), **more,
    )


HOLDS, FAILS, DOUBT = toy("holds"), toy("fails"), toy("doubt")
WHY = {("digits", "mlp", ""): "it is negative: -2"}
DECLARED, WRONGLY = toy("declared", refuted=WHY), toy("wrongly", refuted=WHY)
UNSURE = toy("unsure", refuted=WHY)
BROKEN, BROKEN_DECLARED = toy("broken"), toy("broken-declared", refuted=WHY)
SILENT, FORGETS = toy("silent"), toy("forgets")
ELSEWHERE = toy("elsewhere", uses=lambda _: ("mlp", "a-setting-of-another-scale"))


@HOLDS.test
def test_holds(trial):
    trial.decide([1.0, 2.0, 1.5], names="abc", half=[0.5, 1.0, 0.75])


@FAILS.test
def test_fails(trial):
    trial.decide([-1.0, -2.0, -1.5], names="abc")


@DOUBT.test
def test_doubt(trial):
    trial.decide([-1.0, 2.0, -1.5], names="abc")


@DECLARED.test
def test_declared(trial):
    trial.decide([-1.0, -2.0, -1.5], names="abc")


@WRONGLY.test
def test_wrongly(trial):
    trial.decide([1.0, 2.0, 1.5], names="abc")


@UNSURE.test
def test_unsure(trial):
    trial.decide([-1.0, 2.0, -1.5], names="abc")


@BROKEN.test
def test_broken(trial):
    raise RuntimeError("the bench burnt down")


@BROKEN_DECLARED.test
def test_broken_declared(trial):
    raise RuntimeError("the bench burnt down")


@SILENT.test
def test_silent(trial):
    assert trial.setting == "mlp"


@FORGETS.test
def test_forgets(trial):
    trial.pairs("plain-vgg")


@ELSEWHERE.test
def test_elsewhere(trial):
    trial.decide([1.0, 2.0, 1.5], names="abc")
"""

VERDICTS_AND_OUTCOMES = {
    "toy/holds": ("supported", "passed"),
    "toy/fails": ("refuted", "failed"),
    "toy/doubt": ("inconclusive", "inconclusive"),
    "toy/declared": ("refuted", "xfailed"),
    "toy/wrongly": ("supported", "xpassed"),
    "toy/unsure": ("inconclusive", "inconclusive"),
    "toy/broken": ("error", "failed"),
    "toy/broken-declared": ("error", "failed"),
    "toy/silent": ("error", "failed"),
    "toy/forgets": ("error", "failed"),
}


def run_pytest(folder, *arguments, tests=TOYS):
    """Run pytest on toy claims in a folder of its own."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_toys.py").write_text(tests)
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "LMC_CACHE": str(folder / "cache"),
            "COLUMNS": "120",
        }
        | {"PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""},
        capture_output=True,
        text=True,
    )


def results(folder, name="results.jsonl"):
    lines = (folder / "reports" / "out" / name).read_text().splitlines()
    return {record["id"]: record for record in map(json.loads, lines)}


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """The toy claims after a run without workers: (process, results)."""
    folder = tmp_path_factory.mktemp("toys")
    return run_pytest(folder), results(folder)


def test_verdicts_and_outcomes(toys):
    """Each of the verdicts ends in the outcome that DESIGN gives it."""
    _, found = toys
    got = {key: (r["verdict"], r["outcome"]) for key, r in found.items()}
    assert got == VERDICTS_AND_OUTCOMES


def test_inconclusive_is_a_category_of_its_own(toys):
    """Inconclusive trials are counted neither as passed nor as skipped."""
    process, _ = toys
    summary = process.stdout.splitlines()[-1]
    assert process.returncode == 1
    for count in ("6 failed", "1 passed", "1 xfailed", "2 inconclusive"):
        assert count in summary
    assert "skipped" not in summary


def test_record_says_what_was_measured(toys):
    """A line holds every pair's values, the decision, and where it comes from."""
    _, found = toys
    record = found["toy/holds"]
    assert record["pairs"][1] == {"pair": "b", "half": 1.0, "decided": 2.0}
    assert record["estimate"] == 1.5
    assert record["decision"] == "mean difference > 0 points, one-sided, alpha 0.05"
    assert record["scale"] == "digits"
    assert record["versions"]["torch"]
    assert found["toy/declared"]["reason"] == "it is negative: -2"
    assert "burnt down" in found["toy/broken"]["error"]
    assert "never called trial.decide" in found["toy/silent"]["error"]


def test_the_commit_is_that_at_the_start(tmp_path, monkeypatch):
    """One that is made while tests run is not of the code that runs."""
    heads = iter(["", "first", "", "second"])
    monkeypatch.setattr("claims.plugin._output", lambda *_: next(heads))
    result = {"id": "a/b", "setting": "mlp", "variant": "", "scale": "digits"}
    result |= {"p": 0.5, "measured_at": "2026-01-01T00:00:00+00:00"}
    config = SimpleNamespace(
        stash={_results: [result]},
        rootpath=tmp_path,
        getoption=lambda _: "out",
        hook=SimpleNamespace(pytest_claims_results=lambda **_: None),
    )
    Collector(config).pytest_sessionfinish()
    [written] = read_lines(tmp_path / "out" / "results.jsonl")
    assert written["commit"] == "first"


def test_claims_declare_what_their_tests_look_at(toys):
    """Without a setting that is declared they are left out; any other is an error."""
    process, found = toys
    assert "1 deselected" in process.stdout and "toy/elsewhere" not in found
    error = found["toy/forgets"]["error"]
    assert "toy/forgets looks at setting 'plain-vgg', which it does not de" in error


def test_holm_is_over_the_session(toys):
    """The smallest p of six decided claims is multiplied by six."""
    _, found = toys
    decided = [r for r in found.values() if r["p"] is not None]
    smallest = min(decided, key=lambda r: r["p"])
    assert len(decided) == 6
    assert smallest["p_holm"] == pytest.approx(6 * smallest["p"])


def test_terminal_shows_one_line_per_claim(toys):
    """The refuted claim's line has verdict and measured value."""
    process, _ = toys
    lines = [line for line in process.stdout.splitlines() if "REFUTED" in line]
    assert any("-1.5" in line for line in lines)


def test_workers_change_nothing(toys, tmp_path):
    """Two workers give the same records as none, but for seconds and time."""
    run_pytest(tmp_path, "-n", "2")
    ours, theirs = toys[1], results(tmp_path)
    assert theirs.keys() == ours.keys()
    for name, record in ours.items():
        times = {key: theirs[name][key] for key in ("seconds", "measured_at")}
        assert theirs[name] == record | times


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
    run_pytest(tmp_path, "-k", "holds", tests=TOYS.replace("1.0, 2.0, 1.5", "3, 4, 5"))
    both = results(tmp_path, "latest.jsonl")
    assert results(tmp_path).keys() == {"toy/holds"}
    assert both.keys() == first.keys() == {"toy/holds", "toy/fails"}
    assert (first["toy/holds"]["estimate"], both["toy/holds"]["estimate"]) == (1.5, 4)
    assert both["toy/fails"] == first["toy/fails"]


def test_what_cannot_be_merged_is_said_and_kept(tmp_path):
    """A latest.jsonl that is none is left as it is; the run's own report goes on."""
    latest = tmp_path / "reports" / "out" / "latest.jsonl"
    latest.parent.mkdir(parents=True)
    latest.write_text("no JSON\n")
    run = run_pytest(tmp_path, "-k", "holds")
    assert f"results not merged into the latest: {latest}, line 1" in run.stdout
    assert latest.read_text() == "no JSON\n"
    assert results(tmp_path)["toy/holds"]["verdict"] == "supported"
    assert "index.html" in run.stdout


def record(day=1, **changes):
    """Make the least that a record needs to be merged."""
    place = {"id": "toy/a", "setting": "mlp", "variant": "", "scale": "digits"}
    return place | {"measured_at": f"2026-11-{day:02}T10:00:00+00:00"} | changes


def test_newest_of_each_place_is_kept(tmp_path):
    """Another place stands beside, a later time replaces, an earlier one does not."""
    path = tmp_path / "out" / "latest.jsonl"
    merge_lines(path, [record(2)])
    elsewhere = [
        record(1, id="toy/b"),
        record(1, scale="mnist"),
        record(1, setting="vgg"),
        record(1, variant="weights"),
    ]
    merge_lines(path, elsewhere)
    assert len(read_lines(path)) == 5
    merge_lines(path, [record(1, n=1)])
    assert record(2) in read_lines(path)
    merge_lines(path, [record(3, n=3)])
    assert record(3, n=3) in read_lines(path) and record(2) not in read_lines(path)
    merge_lines(path, [record(3, n=4)])  # within a second the later session is newer
    assert record(3, n=4) in read_lines(path)
    assert all(other in read_lines(path) for other in elsewhere)
    assert len(read_lines(path)) == 5


def test_records_from_before_times_were_noted_are_older(tmp_path):
    """A record without a time gives way to any with one."""
    path = tmp_path / "latest.jsonl"
    old = record()
    del old["measured_at"]
    path.write_text(json.dumps(old) + "\n")
    merge_lines(path, [record(1)])
    assert read_lines(path) == [record(1)]


def test_sessions_that_end_at_once_lose_nothing(tmp_path):
    """Eight sessions merge eight claims each: all 64 are there."""
    path = tmp_path / "latest.jsonl"
    threads = [
        threading.Thread(
            target=merge_lines,
            args=(path, [record(id=f"toy/{k}-{n}") for n in range(8)]),
        )
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_lines(path)) == 64


def test_merging_waits_for_the_lock(tmp_path):
    """While another session holds the lock, the file stays as it is."""
    path = tmp_path / "latest.jsonl"
    merging = threading.Thread(target=merge_lines, args=(path, [record()]))
    with filelock.FileLock(tmp_path / ".latest.jsonl.lock"):
        merging.start()
        merging.join(timeout=0.3)
        assert merging.is_alive() and not path.exists()
    merging.join()
    assert read_lines(path) == [record()]


def test_a_merge_that_fails_leaves_the_old_file(tmp_path):
    """What cannot be written as JSON replaces nothing and leaves no draft."""
    path = tmp_path / "latest.jsonl"
    merge_lines(path, [record()])
    with pytest.raises(TypeError):
        merge_lines(path, [record(id="toy/z", pairs=object())])
    assert read_lines(path) == [record()]
    assert not list(tmp_path.glob("*.tmp")) + list(tmp_path.glob(".*.tmp"))


@pytest.mark.parametrize("line", ["{", "[1]", '{"id": "toy/a"}', "3"])
def test_a_malformed_line_is_named(tmp_path, line):
    """The error names file and line, and says what to do."""
    path = tmp_path / "latest.jsonl"
    path.write_text(json.dumps(record()) + "\n" + line + "\n")
    with pytest.raises(ValueError, match=r"latest\.jsonl, line 2 is no result .* mend"):
        merge_lines(path, [record()])


def test_nothing_is_written_without_claims(tmp_path):
    """A session of other tests leaves the last results alone."""
    run = run_pytest(tmp_path, tests="def test_other():\n    assert True\n")
    assert run.returncode == 0
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scale", "atoms"], "unknown scale 'atoms': choose digits, mnist"),
        (["--seeds", "5"], "--seeds 5: choose an even number from 4 on"),
        (["--seeds", "2"], "--seeds 2: choose an even number from 4 on"),
        (["--seeds", "many"], "--seeds many: choose an even number from 4 on"),
        (["--device", "tpu"], "--device tpu: choose cpu"),
    ],
)
def test_usage_errors_name_the_choices(tmp_path, arguments, message):
    """A scale, seed count or device that is not there is a usage error."""
    run = run_pytest(tmp_path, *arguments)
    assert run.returncode == 4
    assert message in run.stderr


def test_number_of_networks_by_scale(tmp_path):
    """Without `--seeds` there are as many as the scale has."""
    count = "def test_it(pytestconfig):\n    assert pytestconfig.option.seeds == {}\n"
    for scale, seeds in (("digits", 16), ("cifar10", 12)):
        run = run_pytest(tmp_path, "--scale", scale, tests=count.format(seeds))
        assert run.returncode == 0, run.stdout
    run = run_pytest(tmp_path, "--seeds", "4", tests=count.format(4))
    assert run.returncode == 0, run.stdout


def test_help_explains_the_options(tmp_path):
    """`pytest --help` says what seeds, scale and device are."""
    told = " ".join(run_pytest(tmp_path, "--help").stdout.split())
    assert "N seeds give N/2 independent pairs" in told
    assert "--scale" in told and "--device" in told


UNDECIDED = """
from functools import partial

from claims.claim import Claim
from claims.decisions import superiority

NEAR = Claim(
    id="toy/near", sentence="near", source="nowhere", quantity="a number",
    rule=partial(superiority, margin=0.0), settings=("mlp",),
    variants=("weights", "activations"),
    undecided={("digits", "mlp", "weights"): "too few pairs"},
)


@NEAR.test
def test_near(trial):
    trial.decide([-1.0, -2.0, -1.5], names="abc")
"""


def test_undecided_places_are_left_out_only_if_told(tmp_path):
    """A refutation there fails a full run as any other; a short one may skip it."""
    full = run_pytest(tmp_path, tests=UNDECIDED)
    assert "2 failed" in full.stdout
    short = run_pytest(tmp_path, "--without-undecided", tests=UNDECIDED)
    assert "1 failed, 1 deselected" in short.stdout
    assert "test_near[mlp-activations]" in short.stdout
