"""The laboratory, without networks."""

import subprocess
from pathlib import Path

import pytest

from claims import again
from claims.nightly import laboratory as laboratories
from claims.nightly.history import SEEDS, Block
from claims.nightly.laboratory import taken
from claims.nightly.process import Measured, key_of, process_of
from claims.training import node_id
from fixtures import scales
from fixtures.store import Artefact
from reports import results
from reports.tests.made_up import made


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
    assert laboratory.again == {"fixed": 2, "stored": 0, "retrained": 0}


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
