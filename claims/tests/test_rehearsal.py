"""All of `python -m claims reproduce`, from the files that go to another machine."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from claims.reproduction import asked
from docs.tests.documents import copy_of_the_checkout
from fixtures import scales
from reports.results import read

SCALE = "paper-rehearsal"
COMMAND = [
    *(sys.executable, "-m", "claims", "reproduce", "--scale", SCALE),
    *("--device", "cpu", "--networks", "2", "--out", "out", "--commit", "abc"),
    *("--budget", "3000", "--reserve", "2000"),  # a slow machine's; it ends when done
]


@pytest.fixture
def bare(tmp_path):
    """A folder with the files that are tracked and nothing else, without the pack."""
    return copy_of_the_checkout(tmp_path / "bare")


@contextmanager
def started(folder, log):
    """Begin the command; all that it has begun ends with the block."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
    process = subprocess.Popen(
        COMMAND,
        cwd=folder,
        env={
            **{name: os.environ[name] for name in kept if name in os.environ},
            "LMC_CACHE": str(folder.parent / "cache"),
            "OMP_NUM_THREADS": "1",
        },
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


FIRST_RESULT = "reproduction/*/*/results.jsonl"
"""What is in the cache when it is killed, with both networks."""


def test_killed_and_begun_again_it_brings_a_record_home(bare):
    cache, said = bare.parent / "cache", bare.parent / "said"
    with said.open("wb") as log:
        with started(bare, log) as process:
            while not [*cache.glob(FIRST_RESULT)]:
                assert process.poll() is None, said.read_text()
                time.sleep(0.1)
        metas = [*cache.glob("plain-vgg-*/seed-*/meta.json")]
        kept = {file: file.read_text() for file in metas}
        assert len(kept) == 2
        with started(bare, log) as process:
            assert process.wait() == 0, said.read_text()
    assert {file: file.read_text() for file in kept} == kept  # not trained anew
    assert len([*cache.glob("plain-vgg-*/seed-*/meta.json")]) == 6  # checkpoints, too

    results = read(bare / "out" / f"{SCALE}.jsonl")
    places = asked.places(scales.get(SCALE), "plain-vgg")
    assert {(r.id, r.where) for r in results} == {(p.claim.id, p.name) for p in places}
    assert {(r.n, r.verdict, r.commit) for r in results} == {(1, "inconclusive", "abc")}
    assert all("2 of the 16 networks that decide" in r.decision for r in results)
    [first] = [r for r in results if r.id == asked.CLAIMS[0] and r.variant == "weights"]
    assert {"rescale", "repair", "uncorrected_repair"} <= first.pairs[0].keys()
    assert first.fixtures[0]["training"]["way"].startswith("loop")

    training = json.loads((bare / "out" / f"{SCALE}-training.json").read_text())
    assert training["ways"][0]["times_the_plain_loop"] == 1
    whole = [n for n in training["networks"] if n["name"] == "plain-vgg"]
    assert [network["seed"] for network in whole] == [100, 101]
    assert (bare / "out" / "networks.tar.00").stat().st_size > 0
