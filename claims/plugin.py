"""Pytest plugin: options, the ``trial`` of each claim, and ``results.jsonl``."""

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
import hypothesis
import pytest

from claims.claim import Place, Trial
from claims.decisions import holm

# The same examples every time by default, so that two runs give the same values; new
# ones for a nightly run, by --hypothesis-profile=nightly.
hypothesis.settings.register_profile(
    "same", derandomize=True, database=None, max_examples=25
)
hypothesis.settings.register_profile("nightly", derandomize=False, max_examples=200)

_record = pytest.StashKey[dict[str, Any]]()
_results = pytest.StashKey[list[dict[str, Any]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("lmc claims")
    group.addoption(
        "--scale",
        metavar="NAME",
        default="digits",
        help="which recipes the settings have: digits (embedded data), mnist, cifar10 "
        "or paper (for a GPU) (default: %(default)s)",
    )
    group.addoption(
        "--without-undecided",
        action="store_true",
        help="leave out places where the claim is declared undecided: for short runs, "
        "whose few pairs may fall on either side of a margin by chance",
    )
    group.addoption(
        "--seeds",
        metavar="N",
        help="networks of each setting, an even number: N seeds give N/2 independent "
        "pairs (default: 16, at scale cifar10 12)",
    )
    group.addoption(
        "--device",
        metavar="DEVICE",
        default="cpu",
        help="where networks are trained and measured: cpu, or cuda (each worker "
        "takes one of the visible GPUs) (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "claim(claim): the test decides this claim on all its settings"
    )
    config.stash[_results] = []
    if not config.getoption("--hypothesis-profile", None):
        hypothesis.settings.load_profile("same")
    usual = networks_of_scale(config.getoption("scale"))
    config.option.seeds = checked_seeds(config.getoption("seeds") or usual)
    if not is_worker(config):
        check_device(config.getoption("device"))


def checked_seeds(given: str | int) -> int:
    """Return the number of networks of each setting, if pairs can be made of it."""
    text = str(given)
    if not text.isdecimal() or int(text) < 4 or int(text) % 2:
        raise pytest.UsageError(
            f"--seeds {text}: choose an even number from 4 on (two networks make an "
            "independent pair, and a decision needs two pairs)"
        )
    return int(text)


def networks_of_scale(name: str) -> int:
    """Return how many networks each setting of a scale has.

    A usage error names the choices if there is no such scale.
    """
    from fixtures import scales  # imports torch: only once pytest has started

    try:
        return scales.networks(name)
    except ValueError as error:
        raise pytest.UsageError(f"--scale: {error}") from None


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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("claim")
    if marker is not None:
        from fixtures import scales  # imports torch

        scale = metafunc.config.getoption("scale")
        parameters = marker.args[0].parameters(scale, scales.settings(scale))
        metafunc.parametrize("trial", parameters, indirect=True)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out claims asserted on no setting of the scale, undecided ones if told."""
    without_undecided = config.getoption("without_undecided")

    def is_left_out(item: pytest.Item) -> bool:
        if not item.get_closest_marker("claim"):
            return False
        place = item.callspec.params["trial"]
        if not isinstance(place, Place):
            return True
        return without_undecided and bool(place.undecided)

    left_out = [item for item in items if is_left_out(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Any:
    """Trained networks, and what claims measure on them."""
    import torch

    from claims.bench import Bench

    device = pytestconfig.getoption("device")
    if device == "cpu":
        torch.set_num_threads(1)  # values must not depend on the number of cores
    return Bench(pytestconfig.getoption("scale"), pytestconfig.option.seeds, device)


@pytest.fixture
def trial(request: pytest.FixtureRequest, bench: Any) -> Trial:
    """The claim on one setting, to be decided by the test."""
    trial = Trial(request.param, bench)
    request.node.stash[_record] = trial.record
    return trial


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the result of a claim to its report, which xdist brings home."""
    report = yield
    place = getattr(item, "callspec", None) and item.callspec.params.get("trial")
    if not isinstance(place, Place) or report.when == "teardown":
        return report
    if report.when == "setup" and report.passed:
        return report
    record = item.stash.get(_record, None) or place.record()
    if "verdict" not in record:
        if report.passed:  # a claim's test that decides nothing must not be green
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} never called trial.decide"
        told = call.excinfo.exconly() if call.excinfo else str(report.longrepr)
        record |= {"verdict": "error", "error": told, "rule": "", "decision": ""}
        record |= {"seconds": round(call.duration, 3)}
    record["outcome"] = outcome(report, record["verdict"])
    record["nodeid"] = item.nodeid
    record["device"] = item.config.getoption("device")
    report.user_properties.append(("claim", json.dumps(record)))
    return report


def outcome(report: pytest.TestReport, verdict: str) -> str:
    """Return the name of a report's outcome, with those that pytest folds away."""
    if verdict == "inconclusive":
        return verdict
    if hasattr(report, "wasxfail"):
        return "xfailed"
    if report.failed and verdict == "supported":
        return "xpassed"  # strict: declared refuted, and yet it holds
    return report.outcome


def claim_record(report: pytest.TestReport) -> dict[str, Any] | None:
    """Return the result that a report carries, None if it is no claim's."""
    for name, value in getattr(report, "user_properties", ()):
        if name == "claim":
            return json.loads(value)
    return None


def pytest_report_teststatus(
    report: pytest.TestReport, config: pytest.Config
) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
    """Give inconclusive trials a category of their own: never passed or skipped."""
    record = claim_record(report)
    if record is not None and record["verdict"] == "inconclusive":
        return "inconclusive", "?", ("INCONCLUSIVE", {"yellow": True})
    return None


class Collector:
    """Gathers the results of a session where its reports come together."""

    def __init__(self, config: pytest.Config):
        self._config = config
        # Before the tests: a commit that is made while they run is not what runs.
        self._about = about(config.rootpath)
        self._not_merged = ""  # why latest.jsonl lacks this session's results

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        record = claim_record(report)
        if record is not None:
            ended = datetime.fromtimestamp(report.stop, UTC)
            record["measured_at"] = ended.isoformat(timespec="seconds")
            self._config.stash[_results].append(record)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        results = self._config.stash[_results]
        if not results:
            return
        results.sort(key=lambda r: (r["id"], r["setting"], r["variant"]))
        corrected = holm([record["p"] for record in results])
        for record, p in zip(results, corrected, strict=True):
            record |= {"p_holm": p, **self._about}
        folder = self._config.rootpath / self._config.getoption("report_dir")
        path = folder / "results.jsonl"
        write_lines(path, results)
        try:
            merge_lines(folder / "latest.jsonl", results)
        except (OSError, ValueError) as error:  # the session's own report goes on
            self._not_merged = str(error)
        self._config.hook.pytest_claims_results(config=self._config, path=path)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        if self._not_merged:
            terminalreporter.write_line(
                f"results not merged into the latest: {self._not_merged}", red=True
            )


def pytest_sessionstart(session: pytest.Session) -> None:
    if not is_worker(session.config):
        session.config.pluginmanager.register(Collector(session.config))


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records as JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def merge_lines(path: Path, records: list[dict[str, Any]]) -> None:
    """Merge records into a file that keeps the newest of each place.

    A place is a claim's id, setting, variant and scale; what was measured elsewhere
    stays, so that a session of a few claims, or at another scale, loses nothing.
    ``p_holm`` remains that of the record's own session.

    Parameters
    ----------
    path
        File of JSON lines; made if there is none.  Its lock lies beside it, as
        several sessions may end at once.
    records
        Results with the time of their measurement, ``measured_at``.

    Raises
    ------
    ValueError
        The file is not one of results: it is left as it is.
    TimeoutError
        Another process has kept the lock for a minute.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=60):
        kept = {_place(record): record for record in read_lines(path)}
        for record in records:
            old = kept.get(_place(record), {}).get("measured_at", "")
            # All are in UTC and in one format, so their order as text is that in time.
            if record["measured_at"] >= old:
                kept[_place(record)] = record
        write_lines(path, [kept[place] for place in sorted(kept)])


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read records from JSON lines; none where there is no file."""
    records = []
    lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
    for count, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            _place(record)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}, line {count} is no result ({error!r}): mend the line, or "
                "move the file away and a new one is begun"
            ) from None
        records.append(record)
    return records


def _place(record: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(record[key]) for key in ("id", "setting", "variant", "scale"))


def about(folder: Path) -> dict[str, Any]:
    """Return of what code, with what versions, a session's results are."""
    return {"versions": versions(), "commit": commit(folder)}


def versions() -> dict[str, str]:
    """Return the versions that values may depend on."""
    packages = ("torch", "torchvision", "numpy", "scipy", "scikit-learn")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}


def commit(folder: Path) -> str:
    """Return the commit of the code that ran, "" if there is none or it was changed."""
    try:
        run = ["git", "-C", str(folder)]
        changed = _output(*run, "status", "--porcelain")
        head = _output(*run, "rev-parse", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return "" if changed.strip() else head.strip()


def _output(*command: str) -> str:
    return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL)
