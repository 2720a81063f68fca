"""Nights: the history, what a night measures, and what it tells."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas
import pytest

from claims import __main__ as command
from claims import again
from claims.claim import places_of
from claims.evidence.nights import log_e
from claims.expected import acceptance
from claims.nightly import command as nights
from claims.nightly import laboratory as laboratories
from claims.nightly.allocation import choose
from claims.nightly.history import (
    FIRST_SEED,
    SEEDS,
    STRIDE,
    Block,
    History,
    Reader,
    TornLineWarning,
)
from claims.nightly.laboratory import taken
from claims.nightly.night import Night, news
from claims.nightly.process import Measured, key_of, process_of
from claims.nightly.simulation import Drawn, Year, night_of, residuals_of, simulate
from claims.nightly.standing import Standing
from claims.training import node_id
from fixtures import scales
from fixtures.store import Artefact
from reports import results
from reports.tests.made_up import made

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "reports" / "records" / "digits.jsonl"


@pytest.fixture(scope="module")
def record():
    return results.read(RECORD)


@pytest.fixture(scope="module")
def residuals(record):
    return residuals_of(record)


@pytest.fixture(scope="module")
def places(residuals):
    """Twelve places, of several rules and sizes of tuples."""
    found = [p for p in places_of(scales.get("digits")) if key_of(p) in residuals]
    return found[:: len(found) // 12][:12]


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history")


def ran(history, places, source, night="2027-01-01", on_record=None):
    """Run one night; return its news."""
    standing = Standing(history, len(places))
    Night(
        history,
        standing,
        places,
        source,
        on_record=on_record or {},
        budget=60.0,
    ).run(night)
    return [row for row in history.rows("news") if row["night"] == night]


# The history


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


# What a night measures


def test_as_many_are_chosen_in_their_order_as_the_budget_lets():
    """A network is paid for once; what does not fit is passed over."""
    cost = {("a", ""): 5.0, ("b", ""): 100.0, ("c", ""): 6.0}

    def chosen(network, budget):
        demands = {key: {"mlp": SEEDS} for key in cost}
        order = [*cost].index
        found = choose(demands, order, cost.get, {"mlp": network}, budget)
        return [claim for claim, _ in found]

    assert chosen(1.0, SEEDS + 11.0) == ["a", "c"]
    assert chosen(1.0, SEEDS + 10.9) == ["a"]
    assert chosen(9.0, 20.0) == []


def test_another_rule_recipe_or_accepted_value_is_another_process(places, monkeypatch):
    from dataclasses import replace

    from claims.nightly import process

    place = next(p for p in places if p.claim.rule.name == "superiority")
    same = process_of(place, 0)
    assert process_of(place, 0) == same
    others = [
        process_of(replace(place, claim=replace(place.claim, sentence="Other.")), 0),
        process_of(
            replace(
                place,
                claim=replace(place.claim, rule=replace(place.claim.rule, margin=9.0)),
            ),
            0,
        ),
        process_of(place, 1),
    ]
    key = " ".join(key_of(place))
    monkeypatch.setattr(process, "_fixed", lambda: {key: {"value": [1.0]}})
    others.append(process_of(place, 0))
    assert len({row["process"] for row in [same, *others]}) == 5


def test_a_night_adds_its_coins_to_the_evidence(history, places, residuals):
    """Against the arithmetic of one place, from the values on file."""
    source = Drawn(residuals, seed=0)
    for day in range(3):
        ran(history, places, source, night_of(day))
    standing = Standing(history, len(places))
    assert len(standing.processes) == len(places)
    for process in standing.processes.values():
        rows = [
            r for r in history.rows("values") if r["process"] == process.row["process"]
        ]
        values = np.concatenate([row["values"] for row in rows])
        low, high = process.row["low"], process.row["high"]
        inside = (values > (-np.inf if low is None else low)) & (
            values < (np.inf if high is None else high)
        )
        assert process.log_e[0] == pytest.approx(
            log_e(inside.sum(), len(values), process.row["null_for"])
        )
        assert process.means[-1] == pytest.approx(values.mean())
        assert process.units == len(values) and process.visited == night_of(2)


def test_two_that_follow_a_history_stand_alike(history, places, residuals):
    """Night by night, or all at once."""
    source = Drawn(residuals, seed=0)
    standing = Standing(history, len(places))
    for day in range(5):
        ran(history, places, source, night_of(day))
        standing.follow()
    once = Standing(history, len(places))
    for process, other in zip(
        standing.processes.values(), once.processes.values(), strict=True
    ):
        assert vars(process) == vars(other)


def test_without_its_premise_a_unit_speaks_in_neither_direction(history, places):
    class Source(Drawn):
        def fresh(self, block, places, seconds):
            yield Measured(key_of(places[0]), [1e6, -1e6, 1e6, 1e6], unmet=True)

    ran(history, places, Source({}, seed=0))
    [process] = Standing(history, len(places)).processes.values()
    assert process.sums[:2] == [0, 0] and process.units == 4
    assert history.rows("values")[0]["unmet"] is True


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
        "decided for the claim, after 12 units"
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


def test_a_second_call_of_a_night_does_nothing(history, places, residuals):
    source = Drawn(residuals, seed=0)
    ran(history, places, source)
    before = {path: path.read_bytes() for path in history.folder.glob("*.jsonl")}
    ran(history, places, source)
    assert before == {
        path: path.read_bytes() for path in history.folder.glob("*.jsonl")
    }


KILLED = """
import sys
from pathlib import Path
from claims.claim import places_of
from claims.nightly.history import History
from claims.nightly.night import Night
from claims.nightly.process import key_of
from claims.nightly.simulation import Drawn, residuals_of
from claims.nightly.standing import Standing
from fixtures import scales
from reports import results

residuals = residuals_of(results.read("reports/records/digits.jsonl"))
places = [p for p in places_of(scales.get("digits")) if key_of(p) in residuals]
places = places[:: len(places) // 12][:12]

class Slow(Drawn):
    def fresh(self, *given):
        found = super().fresh(*given)
        yield next(found)
        print("at work", flush=True)
        sys.stdin.read() if sys.argv[2] == "killed" else None
        yield from found

history = History(Path(sys.argv[1]))
Night(
    history, Standing(history, 12), places, Slow(residuals, 0),
    on_record={}, budget=60.0,
).run("2027-01-01")
"""


def test_a_night_that_is_killed_is_completed_by_the_next_call(
    history, tmp_path, places, residuals
):
    """With the same seeds, and nothing twice."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(history.folder), "killed"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"at work\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert history.rows("values") == []
    ran(history, places, Drawn(residuals, 0))
    whole = History(tmp_path / "whole")
    ran(whole, places, Drawn(residuals, 0))
    assert history.rows("values") == whole.rows("values")
    assert [row["ended"] for row in history.rows("blocks")] == [False, True]


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


# What is told


def test_what_a_session_gives_to_a_night():
    """Contradictions of the record are told at a rate of runs, and not taken."""
    pairs = [{"pair": "0-1", "decided": 1.5}, {"pair": "2-3", "decided": 2.5}]
    result = made(pairs=pairs, red="contradicts", decision="mean > 1 points")
    assert [*taken(result)] == [Measured((result.id, result.where), [1.5, 2.5])]
    [unmet] = taken(made(pairs=pairs, decision="premise not met: no gap (mean > 1)"))
    assert unmet.unmet
    [error] = taken(made(verdict="error", red="ValueError: no", error="ValueError: no"))
    assert (error["kind"], error["red"], error["text"]) == (
        "error",
        True,
        "ValueError: no",
    )
    broken = made(kind="invariant", verdict="refuted", red="the invariant is broken")
    [row] = taken(broken)
    assert (row["kind"], row["red"]) == ("invariant", True)
    assert [*taken(made(kind="invariant", verdict="supported"))] == []


@pytest.fixture(scope="module")
def nights_of_faults(tmp_path_factory, places, residuals):
    """A history of 40 nights, the tenth of them with a fault."""
    history = History(tmp_path_factory.mktemp("nights"))
    fault = news("same", key_of(places[1]), "the fixed networks: <b> is 2", red=True)
    source = Drawn(
        residuals,
        seed=0,
        effects={key_of(places[0]): 1e6},
        found={night_of(9): [fault]},
    )
    for day in range(40):
        ran(history, places, source, night_of(day))
    return history


@pytest.fixture(scope="module")
def report(nights_of_faults, places):
    standing = Standing(nights_of_faults, len(places))
    return nights.reported(nights_of_faults, standing, places)


def test_the_report_in_words(report):
    assert not report.red and report.is_red(night_of(9))
    assert report.paragraph.startswith(
        f"The night of {night_of(39)} at digits is green: everything still holds. "
        "Fresh networks were measured at 12 of 12 places. Places decided by all 40 "
        "nights: 1 for their claim, 0 against it, 0 of them new."
    )
    assert "holds 1 for and 0 against" in report.paragraph


def test_a_fault_on_the_tenth_night_is_red_on_the_tenth_night_by_name(report, places):
    red = [night for night in report.nights if report.is_red(night)]
    assert red == [night_of(9)]
    assert " ".join(key_of(places[1])) in nights.pages(report)["feed.xml"]


def test_the_page_shows_nights_places_and_escapes_what_it_is_given(report):
    files = nights.pages(report)
    page = files["index.html"]
    assert page.count('<li class="green"') == 39 and page.count('<li class="red"') == 1
    assert page.count('aria-label="e-values over nights"') == 12
    assert "<b> is 2" not in page and "http://" not in page and "https://" not in page
    assert "prefers-color-scheme: dark" in page


def test_the_feed_is_atom_with_the_newest_night_first(report):
    atom = "{http://www.w3.org/2005/Atom}"
    root = ElementTree.fromstring(nights.pages(report)["feed.xml"])
    assert root.tag == f"{atom}feed"
    entries = root.findall(f"{atom}entry")
    titles = [entry.find(f"{atom}title").text for entry in entries]
    assert titles[0].startswith(f"{night_of(39)}: green")
    assert f"{night_of(9)}: red, 1 news" in titles
    for entry in [root, *entries]:
        assert all(
            entry.find(f"{atom}{name}") is not None for name in ("id", "updated")
        )


def test_badges_are_svg_that_say_it(report):
    files = nights.pages(report)
    for name, text in (
        ("supported.svg", "supported: 1 of 12"),
        ("last-night.svg", f"last night: green, {night_of(39)}"),
    ):
        root = ElementTree.fromstring(files[name])
        assert root.find("{http://www.w3.org/2000/svg}title").text == text


def test_pandas_reads_each_table_in_one_call(nights_of_faults):
    values = pandas.read_json(nights_of_faults.path("values"), lines=True)
    assert {"night", "block", "process", "values"} <= {*values.columns}
    assert len(values) == 39 * 12


# The command


def test_the_command_tells_and_exits_by_the_night(
    tmp_path, places, residuals, monkeypatch, capsys
):
    key = key_of(places[1])
    fault = news("same", key, "the fixed networks: x was 1 and is 2", red=True)
    source = Drawn(residuals, seed=0, found={"2027-01-02": [fault]})
    monkeypatch.setattr(nights, "places_of", lambda _: places)
    monkeypatch.setattr(nights, "Laboratory", lambda *_: source)
    call = ["nightly", "--history", str(tmp_path), "--night"]
    assert command.main([*call, "2027-01-01"]) == 0
    assert "is green: everything still holds" in capsys.readouterr().out
    assert command.main([*call, "2027-01-02"]) == 1
    told = capsys.readouterr().out
    assert "is RED: 1 x same networks, other values" in told
    assert f"RED: same networks, other values: {key[0]} {key[1]}: the fixed" in told
    assert command.main([*call, "2027-01-02"]) == 1  # still red, and done
    assert "is done already: nothing is measured again" in capsys.readouterr().out
    assert command.main([*call, "2027-01-01"]) == 2
    assert "lies before the last night" in capsys.readouterr().err
    assert {path.name for path in tmp_path.glob("[a-z]*")} == {
        *("index.html", "feed.xml", "supported.svg", "last-night.svg"),
        *(f"{name}.jsonl" for name in ("blocks", "processes", "values")),
        *("strata.jsonl", "news.jsonl"),
    }


def test_accepting_needs_a_place_and_a_reason(tmp_path, places, monkeypatch, capsys):
    monkeypatch.setattr(nights, "places_of", lambda _: places)
    name = " ".join(key_of(places[0]))
    call = ["nightly", "--history", str(tmp_path), "--accept"]
    assert command.main([*call, name]) == 2
    assert "say --why" in capsys.readouterr().err
    assert command.main([*call, "no place", "--why", "x"]) == 2
    assert f"name one as the news do, such as {name!r}" in capsys.readouterr().err
    assert command.main([*call, name, "--why", "a bug in x"]) == 0
    standing = Standing(History(tmp_path), 12)
    assert standing.accepted == {key_of(places[0]): 1}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--budget", "0"], "is no number of minutes between 0 and a day"),
        (["--night", "tomorrow"], "give a date as 2027-01-31"),
        (["--night", "2027-02-30"], "give a date as 2027-01-31"),
    ],
)
def test_what_is_no_budget_or_night_is_refused(options, told, capsys):
    with pytest.raises(SystemExit):
        command.main(["nightly", *options])
    assert told in capsys.readouterr().err


# Simulated years, in short: `python -m claims simulate` goes on for longer


def test_half_of_all_pairs_beyond_the_margin_is_the_null(places, residuals):
    """For and against: no more than the null's share of what is drawn."""
    for skewed in (False, True):
        source = Drawn(residuals, seed=0, skewed=skewed)
        drawn = {key_of(place): [] for place in places}
        for first in range(300):
            block = type("Block", (), {"night": "", "first_seed": first})
            for item in source.fresh(block, places, 1.0):
                drawn[item.key] += item.values
        for place in places:
            process = process_of(place, 0)
            low, high = place.claim.rule.region(place.margin)
            values = np.array(drawn[key_of(place)])
            inside = ((low < values) & (values < high)).mean()
            outside = ((values < low) | (values > high)).mean()
            room = 4 * np.sqrt(0.25 / len(values))
            assert inside <= process["null_for"] + room, place
            assert outside <= process["null_against"] + room, place


def test_a_simulated_season_keeps_its_promises(record, tmp_path):
    lines, failed = simulate(record, tmp_path, years=1, nights=60, count=40)
    assert not failed
    assert lines[0].startswith("residuals of the record, 1 years of 60 nights at 40")
    assert len(lines) == 12


def test_a_season_in_which_all_moves_fails(record, tmp_path, monkeypatch):
    """Planted: every place lies beyond its margin, and nobody has said so."""
    values = Drawn._values
    monkeypatch.setattr(
        Drawn, "_values", lambda *given: [1e6 + value for value in values(*given)]
    )
    _, failed = simulate(record, tmp_path, years=1, nights=12, count=12)
    assert failed


def test_a_year_of_one_place_is_noticed_late_and_early(places, residuals, tmp_path):
    place = next(p for p in places if p.claim.rule.name == "superiority")
    key = key_of(place)
    spread = float(residuals[key].std())
    source = Drawn(residuals, seed=0, effects={key: place.margin + 3 * spread})
    year = Year(tmp_path, [place], source).run(20)
    [process] = year.processes
    assert year.decided == 1 and process.decided["for"] <= night_of(5)
    assert json.loads(year.history.path("blocks").read_text().splitlines()[0])
    assert time.strptime(process.visited, "%Y-%m-%d")


# The laboratory, without networks


@pytest.fixture
def laboratory(history, places, monkeypatch):
    monkeypatch.setattr(again, "fixed", lambda: None)
    monkeypatch.setattr(
        again, "names", lambda: ["losses mlp", "matching/x mlp weights"]
    )
    monkeypatch.setattr(again, "compared", lambda found: [])
    monkeypatch.setattr(again, "measure", lambda *_: {"loss": [1.0]})
    monkeypatch.setattr(laboratories.retrain, "comparisons", lambda *_: [])
    return laboratories.Laboratory(history, scales.get("digits"), places, 600.0)


def test_all_is_well_where_the_same_networks_give_the_same(laboratory):
    assert [*laboratory.same("2027-01-01", {})] == []


def test_another_value_of_a_fixed_network_is_red_by_its_name(laboratory, monkeypatch):
    monkeypatch.setattr(
        again, "compared", lambda found: [f"{n}: loss was 1 and is 2" for n in found]
    )
    told = [*laboratory.same("2027-01-01", {})]
    assert [(row["claim"], row["place"], row["red"]) for row in told] == [
        ("losses", "mlp", True),
        ("matching/x", "mlp weights", True),
    ]
    assert told[0]["text"] == "the fixed networks: loss was 1 and is 2"


def test_code_that_breaks_on_a_fixed_network_is_red_and_the_night_goes_on(
    laboratory, monkeypatch
):
    def measure(name, bench):
        if name == "losses mlp":
            raise RuntimeError("shapes differ")
        return {"loss": [1.0]}

    monkeypatch.setattr(again, "measure", measure)
    [row] = laboratory.same("2027-01-01", {})
    assert row["text"] == "the fixed networks: RuntimeError: shapes differ"


@pytest.mark.parametrize(("value", "red"), [(1.0, False), (1.001, True)])
def test_networks_of_nights_before_are_measured_again(
    laboratory, history, places, residuals, monkeypatch, value, red
):
    """Where they are in this cache, and of this machine and these versions."""
    place = places[0]
    process = process_of(place, 0)
    own = laboratory.stratum["stratum"]
    for block, stratum in ((10_000, own), (10_016, "other")):
        begun = {"night": "2027-01-01", "first_seed": block, "stratum": stratum}
        history.append("blocks", [begun | {"machine": "m", "ended": True}])
        row = {"night": "2027-01-01", "block": block, "process": process["process"]}
        history.append("values", [row | {"values": [1.0, 2.0]}])
    looked = []

    class Trial:
        def __init__(self, place, bench, seeds):
            looked.append(bench.first_seed)
            self.record = {"pairs": [{"decided": value}, {"decided": 2.0}]}

    stand_in = type("Place", (), {"claim": type("Claim", (), {})()})()
    stand_in.claim.id, stand_in.name = key_of(place)
    stand_in.claim.function = lambda trial: None
    stand_in.demand = lambda seeds: {}
    monkeypatch.setattr(laboratories, "Trial", Trial)
    told = [*laboratory.same("2027-01-02", {process["process"]: stand_in})]
    assert looked == [10_000]
    assert [row["red"] for row in told] == [True] * red
    if red:
        assert told[0]["text"].startswith(
            "the networks of the night of 2027-01-01: value was 1, 2 and is 1.001, 2"
        )


def test_a_network_that_training_does_not_give_again_is_red(laboratory, monkeypatch):
    folder = Path("mlp-0123456789abcdef") / "seed-3"
    found = [
        laboratories.retrain.Comparison(Artefact(folder, "", ""), outcome, "other bits")
        for outcome in laboratories.retrain.Outcome
    ]
    monkeypatch.setattr(laboratories.retrain, "comparisons", lambda *_: found)
    [row] = laboratory.same("2027-01-01", {})
    assert (row["kind"], row["claim"], row["place"]) == ("retrained", "mlp", "seed-3")
    assert row["red"] and row["text"] == "other bits"


@pytest.mark.parametrize("status", [0, 1, 3])
def test_a_night_runs_a_session_of_claims_as_by_hand(
    laboratory, places, monkeypatch, status
):
    """On its own seeds; the session's end is an error unless it went through."""
    calls = []

    def run(call, **given):
        calls.append((call, given["env"]))
        [folder] = [o.partition("=")[2] for o in call if o.startswith("--report-dir")]
        pairs = [{"pair": "0-1", "decided": 1.5}]
        results.append(Path(folder) / "results.jsonl", made(pairs=pairs))
        return subprocess.CompletedProcess(call, status, "", "no such option")

    monkeypatch.setattr(laboratories.subprocess, "run", run)
    block = Block("2027-01-01", 10_032, "s")
    found = [*laboratory.fresh(block, places[:2], 120.0)]
    [(call, environment)] = calls
    for option in ("--first-seed=10032", f"--seeds={SEEDS}", "--train-budget=2.0"):
        assert option in call
    assert "--hypothesis-profile=nightly" in call and "--scale=digits" in call
    assert all(node_id(place) in call for place in places[:2])
    assert environment["HYPOTHESIS_STORAGE_DIRECTORY"].endswith("history/hypothesis")
    assert [item.values for item in found if isinstance(item, Measured)] == [[1.5]]
    errors = [item["text"] for item in found if not isinstance(item, Measured)]
    assert errors == (
        ["the session of claims ended with exit status 3: no such option"]
        if status == 3
        else []
    )


def test_without_anything_to_measure_there_is_no_session(laboratory, monkeypatch):
    monkeypatch.setattr(laboratories.subprocess, "run", lambda *_: pytest.fail("ran"))
    assert [*laboratory.fresh(Block("2027-01-01", 10_000, "s"), [], 1e-9)] == []


def test_what_a_place_costs_is_its_share_of_the_record(laboratory, places, record):
    place = next(p for p in places if p.count() == 16)
    [result] = [r for r in record if (r.id, r.where) == key_of(place)]
    assert laboratory.cost(place) == pytest.approx(result.seconds / 2)
