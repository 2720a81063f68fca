"""Simulated years, in short: ``python -m claims simulate`` goes on for longer."""

import json
import time

import numpy as np

from claims import __main__ as command
from claims.nightly.drawn import Drawn
from claims.nightly.process import key_of, process_of
from claims.nightly.simulation import Year, night_of, simulate


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


def test_years_are_simulated_side_by_side(record, tmp_path, capsys):
    """By the command in two processes, and here one after the other: alike."""
    command.main(["simulate", "--nights", "4", "--places", "6", "--workers", "2"])
    lines, _ = simulate(record, tmp_path, years=1, nights=4, count=6)
    assert capsys.readouterr().out.splitlines() == lines
