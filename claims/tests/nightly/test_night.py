"""A night: what it measures and tells, also where calls die or run side by side."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from claims.nightly import command as nights
from claims.nightly.drawn import Drawn
from claims.nightly.history import History
from claims.nightly.night import Night, news
from claims.nightly.process import key_of
from claims.nightly.simulation import night_of
from claims.nightly.standing import Standing
from claims.tests.nightly.simulated import ran

ROOT = Path(__file__).parents[3]


def test_where_the_same_networks_differ_no_fresh_evidence_is_taken(
    history, places, residuals
):
    """Nor anywhere else, as they tell of some places only; invariants are tried."""

    class Source(Drawn):
        def fresh(self, block, places, seconds):
            asked.append(places)
            return super().fresh(block, places, seconds)

    asked = []
    key = key_of(places[0])
    fault = news("same", key, "the fixed networks: repair was 1 and is 2", red=True)
    source = Source(residuals, seed=0, found={night_of(0): [fault]})
    told = ran(history, places, source)
    assert told == [{"night": night_of(0), **fault}]
    assert asked == [[]] and history.rows("values") == []
    report = nights.reported(history, Standing(history, len(places)), places)
    assert "No fresh evidence is taken until that is mended" in report.paragraph
    ran(history, places, source, night_of(1))
    assert len(history.rows("values")) == len(places)


def test_evidence_against_the_record_is_red_by_name_once(history, places, residuals):
    """On the night that would say it of any place at all, and not again."""
    place = next(p for p in places if p.claim.rule.name == "superiority")
    key = key_of(place)
    source = Drawn(residuals, seed=0, effects={key: 1000.0})
    told = [
        ran(history, places, source, night_of(day), {key: "refuted"})
        for day in range(12)
    ]
    red = [row for rows in told for row in rows if row["kind"] == "record"]
    assert len(red) == 1 and red[0]["red"] and (red[0]["claim"], red[0]["place"]) == key
    assert red[0]["text"].startswith("refuted on record, and most of")
    decided = [row for rows in told for row in rows if row["kind"] == "decided"]
    assert [row["text"] for row in decided if row["claim"] == key[0]] == [
        "for the claim, after 12 units (refuted on record)"
    ]


def test_a_shift_is_told_in_one_sentence_with_its_night(history, places, residuals):
    place = places[0]
    spread = residuals[key_of(place)].std() or 1.0
    source = Drawn(residuals, 0, shifts={key_of(place): (night_of(20), 8 * spread)})
    told = [ran(history, places, source, night_of(day)) for day in range(28)]
    [row] = [row for rows in told for row in rows if row["kind"] == "drift"]
    assert row["red"] and (row["claim"], row["place"]) == key_of(place)
    # A lucky value just before may be taken for the first one after.
    since = [f"since the night of {night_of(day)}" for day in (18, 19, 20)]
    assert any(text in row["text"] for text in since)
    assert "neither code, as the same networks measure what they did" in row["text"]


def test_another_stratum_is_news_and_compared_once(history, places, residuals):
    far = {key: values + 1e4 for key, values in residuals.items()}
    here = Drawn(residuals, seed=0)
    there = Drawn(far, seed=1, stratum={"stratum": "new", "torch": "9"}, machine="m")
    told = [
        ran(history, places, here if day < 4 else there, night_of(day))
        for day in range(8)
    ]
    assert not any(told[:4])
    first = [row for row in told[4] if row["kind"] == "stratum"]
    assert first[0]["text"].endswith("baselines of their own: torch 9")
    again = [row for rows in told[5:] for row in rows if row["kind"] == "stratum"]
    assert again and not any(row["red"] for row in again)
    places_told = [(row["claim"], row["place"]) for row in again]
    assert len({*places_told}) == len(places_told) <= len(places)
    assert "give 1e+04" in again[0]["text"]
    assert not any(row["kind"] == "drift" for rows in told for row in rows)


def test_the_report_says_where_known_networks_took_the_budget(
    history, places, residuals
):
    class Long(Drawn):
        def same(self, night, processes):
            now[0] += 60.0
            return super().same(night, processes)

    now = [0.0]
    source = Long(residuals, seed=0, again={"fixed": 402, "stored": 4, "retrained": 2})
    standing = Standing(history, len(places))
    Night(
        *(history, standing, places, source),
        on_record={},
        budget=60.0,
        clock=lambda: now[0],
    ).run(night_of(0))
    report = nights.reported(history, standing, places)
    assert (
        "Known networks: 402 places of the fixed ones measured again, 4 places of "
        "nights before measured again, 2 trained again; which took the budget. "
        "Fresh networks were measured at" in report.paragraph
    )


def test_a_night_plans_as_slowly_as_its_machine_was_the_night_before(
    history, places, residuals
):
    """Which takes three seconds for each that is planned; another machine plans all."""

    class Slow(Drawn):
        def fresh(self, block, places, seconds):
            planned.append(seconds)
            now[0] += 3 * seconds
            return super().fresh(block, places, seconds)

    planned, now = [], [0.0]
    for day, machine in enumerate(["slow", "slow", "slow", "other"]):
        standing = Standing(history, len(places))
        Night(
            history,
            standing,
            places,
            Slow(residuals, seed=0, machine=machine),
            on_record={},
            budget=60.0,
            clock=lambda: now[0],
        ).run(night_of(day))
    assert planned == [60.0, 20.0, 20.0, 60.0]
    rows = [row for row in history.rows("blocks") if row["ended"]]
    assert [(row["planned"], row["took"]) for row in rows[:2]] == [(60, 180), (20, 60)]


def test_a_second_call_of_a_night_does_nothing(history, places, residuals):
    source = Drawn(residuals, seed=0)
    ran(history, places, source)
    before = {path: path.read_bytes() for path in history.folder.glob("*.jsonl")}
    ran(history, places, source)
    assert before == {
        path: path.read_bytes() for path in history.folder.glob("*.jsonl")
    }


NIGHTS = """
import sys
from pathlib import Path
from claims.claim import places_of
from claims.nightly.drawn import Drawn, residuals_of
from claims.nightly.history import History
from claims.nightly.night import Night
from claims.nightly.process import key_of
from claims.nightly.standing import Standing
from fixtures import scales
from reports import results

folder, machine, *nights = sys.argv[1:]
residuals = residuals_of(results.read("reports/records/digits.jsonl"))
places = [p for p in places_of(scales.get("digits")) if key_of(p) in residuals]
places = places[:: len(places) // 12][:12]

class Waiting(Drawn):
    def fresh(self, *given):
        found = super().fresh(*given)
        yield next(found)
        print("at work", flush=True)
        sys.stdin.readline()
        yield from found

history = History(Path(folder))
night = Night(
    history, Standing(history, 12), places,
    Waiting(residuals, 0, machine=machine), on_record={}, budget=60.0,
)
for date in nights:
    night.run(date)
"""
"""Nights of a machine, each waiting for a line at work."""


def calling(history, machine, *dates):
    """Begin a process that goes through nights."""
    return subprocess.Popen(
        [sys.executable, "-c", NIGHTS, str(history.folder), machine, *dates],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def is_at_work(process):
    """Wait until its night has begun."""
    return process.stdout.readline() == b"at work\n"


def test_a_night_that_is_killed_is_completed_by_the_next_call(
    history, tmp_path, places, residuals
):
    """With the same seeds, and nothing twice."""
    process = calling(history, "simulated", "2027-01-01")
    assert is_at_work(process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert history.rows("values") == []
    ran(history, places, Drawn(residuals, 0))
    whole = History(tmp_path / "whole")
    ran(whole, places, Drawn(residuals, 0))
    assert history.rows("values") == whole.rows("values")
    assert [row["ended"] for row in history.rows("blocks")] == [False, True]


def test_two_machines_lose_nothing_and_use_no_seed_twice(history, places):
    """Both at work on the same night, then each on two more as fast as it can."""
    dates = [night_of(day) for day in range(3)]
    both = [calling(history, name, *dates) for name in ("one", "two")]
    assert all([is_at_work(process) for process in both])
    for process in both:
        process.stdin.write(b"\n\n\n")
        process.stdin.flush()
    for process in both:
        process.communicate()
        assert process.returncode == 0
    rows = history.rows("values")
    visits = {(row["block"], row["process"]) for row in rows}
    assert len(visits) == len(rows) == 2 * len(dates) * len(places)
    begun = [row for row in history.rows("blocks") if not row["ended"]]
    assert len({row["first_seed"] for row in begun}) == len(begun) == 2 * len(dates)
    assert {(row["machine"], row["night"]) for row in begun} == {
        (machine, date) for machine in ("one", "two") for date in dates
    }


def test_what_a_killed_call_has_appended_is_not_measured_again(
    history, places, residuals
):
    source = Drawn(residuals, seed=0)
    ran(history, places, source)
    values = history.path("values").read_text().splitlines(keepends=True)
    history.path("values").write_text("".join(values[:5]))
    blocks = history.path("blocks").read_text().splitlines(keepends=True)
    history.path("blocks").write_text(blocks[0])
    ran(history, places, source)
    rows = history.rows("values")
    assert len(rows) == len({row["process"] for row in rows}) == len(values)
