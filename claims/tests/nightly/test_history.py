"""The history: tables that only grow, and seeds that are given once."""

import subprocess
import sys
from pathlib import Path

import pytest

from claims.expected import acceptance
from claims.nightly.history import (
    FIRST_SEED,
    STRIDE,
    History,
    Reader,
    TornLineWarning,
)
from fixtures import scales

ROOT = Path(__file__).parents[3]


def test_a_torn_last_line_is_left_out_then_cut_off_and_both_say_so(history):
    history.append("news", [{"night": "a"}, {"night": "b"}])
    with history.path("news").open("a") as file:
        file.write('{"night":"c')
    with pytest.warns(TornLineWarning, match=r"news.jsonl: the last line .* left out"):
        assert history.rows("news") == [{"night": "a"}, {"night": "b"}]
    with pytest.warns(TornLineWarning, match="cut off"):
        history.append("news", [{"night": "d"}])
    assert [row["night"] for row in history.rows("news")] == ["a", "b", "d"]


def test_a_torn_line_that_another_process_cuts_off_is_not_read_twice(history):
    """Whoever follows a table goes on behind the last whole line."""
    history.append("news", [{"night": "a"}])
    reader = Reader(history)
    assert len([*reader.unread("news")]) == 1
    with history.path("news").open("a") as file:
        file.write('{"night":"t')
    with pytest.warns(TornLineWarning):
        assert [*reader.unread("news")] == []
    with pytest.warns(TornLineWarning):
        History(history.folder).append("news", [{"night": "b"}])
    assert [*reader.unread("news")] == [{"night": "b"}]


def test_a_line_that_is_no_row_is_named(history):
    history.path("news").write_text("{}\nnews\n{}\n")
    with pytest.raises(ValueError, match=r"news.jsonl holds 'news', .* remove that"):
        history.rows("news")


def test_what_is_not_a_number_is_no_row(history):
    with pytest.raises(ValueError, match="not JSON compliant"):
        history.append("values", [{"values": [float("nan")]}])


def test_a_call_gets_new_seeds_and_nobody_else_meanwhile(history):
    """The next machine gets others; the first one is done for the night."""
    with history.begin("2027-01-01", "s", "one") as first:
        with history.begin("2027-01-01", "s", "two") as second:
            assert first.block.first_seed == FIRST_SEED
            assert second.block.first_seed == FIRST_SEED + STRIDE
            second.end()
        first.end()
    assert history.begin("2027-01-01", "s", "one") is None
    with history.begin("2027-01-02", "s", "one") as third:
        assert third.block.first_seed == FIRST_SEED + 2 * STRIDE
    locks = [*history.folder.glob(".1*.lock")]
    assert [lock.name for lock in locks] == [f".{FIRST_SEED + 2 * STRIDE}.lock"]


def test_seeds_of_a_call_that_died_are_given_again_to_the_same_stratum(history):
    with history.begin("2027-01-01", "s", "one") as first:
        pass  # not ended
    with history.begin("2027-01-01", "other", "two") as second:
        assert second.block.first_seed != first.block.first_seed
        second.end()
    with history.begin("2027-01-01", "s", "three") as third:
        assert third.block == first.block
        third.end()
    with history.begin("2027-01-02", "s", "one") as fourth:  # not those of yesterday
        assert fourth.block.first_seed == FIRST_SEED + 2 * STRIDE


def test_nights_begin_above_all_seeds_that_anybody_looks_at_otherwise(record):
    ledger = acceptance.expected.FOLDER / "ledger.toml"
    looked = acceptance.looked_at(record)
    noted = {
        seed for name in scales.SCALES for seed in acceptance.noted_seeds(ledger, name)
    }
    assert noted and max(noted | {*looked}) < FIRST_SEED / 10


def test_a_history_that_stays_locked_is_an_error(history, monkeypatch):
    script = (
        "import sys, time, pathlib; from claims.nightly.history import History\n"
        "with History(pathlib.Path(sys.argv[1])).locked():\n"
        "    print('locked', flush=True); time.sleep(60)"
    )
    other = started(script, history.folder)
    try:
        assert other.stdout.readline() == b"locked\n"
        monkeypatch.setattr(history._lock, "timeout", 0.1)
        with pytest.raises(TimeoutError, match=r"has been locked for .* see which"):
            history.append("news", [{}])
    finally:
        other.kill()
        other.wait()


def started(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )


TWENTY_NIGHTS = """
import sys
from pathlib import Path
from claims.nightly.history import History
history = History(Path(sys.argv[1]))
for night in range(20):
    with history.begin(f"2027-01-{night + 1:02}", "s", sys.argv[2]) as turn:
        row = {"block": turn.block.first_seed, "process": "p", "values": [1.0]}
        for _ in range(25):
            history.append("values", [row])
        turn.end()
"""


def test_two_processes_lose_nothing_and_use_no_seed_twice(history):
    both = [started(TWENTY_NIGHTS, history.folder, name) for name in ("one", "two")]
    assert [process.wait() for process in both] == [0, 0]
    rows = history.rows("values")
    blocks = [row["block"] for row in rows]
    assert len(rows) == 2 * 20 * 25 and len({*blocks}) == 40
    assert all(blocks.count(block) == 25 for block in {*blocks})
    begun = [row for row in history.rows("blocks") if not row["ended"]]
    assert len({row["first_seed"] for row in begun}) == len(begun) == 40
