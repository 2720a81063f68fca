"""A machine that is there for minutes: what fits, what is asked, what comes home."""

import io
import json
import tarfile
from dataclasses import replace

import pytest

from claims.__main__ import main
from claims.claim import declared
from claims.reproduction import asked, machine, record, run
from claims.reproduction.schedule import fitting, training_seconds
from fixtures import scales, store
from fixtures.store import network
from fixtures.task import train_task
from fixtures.ways import PLAIN, Way
from reports.results import read
from reports.tests.made_up import made

RATES = {PLAIN: 100.0, Way("graphs"): 200.0, Way("graphs", 2): 300.0}
RATES[Way("graphs", 4)] = 320.0
STEPS = 62_560


def test_networks_are_trained_in_rounds():
    """What is left at the end has the device for fewer."""
    pair = 2 * STEPS / 300
    assert training_seconds(4, Way("graphs", 2), RATES, STEPS) == pytest.approx(
        2 * pair
    )
    whole = 4 * STEPS / 320
    assert training_seconds(4, Way("graphs", 4), RATES, STEPS) == pytest.approx(whole)
    seconds = training_seconds(6, Way("graphs", 4), RATES, STEPS)
    assert seconds == pytest.approx(whole + pair)
    seconds = training_seconds(2, Way("graphs", 4), RATES, STEPS)
    assert seconds == pytest.approx(pair)


def test_as_many_whole_pairs_as_fit_are_trained():
    """Never more than are asked for; what would end with more pairs to measure than
    it saves is not chosen."""
    plan = fitting(RATES, STEPS, left=1000, reserve=100, most=16)
    assert (plan.networks, plan.way) == (4, Way("graphs", 2))
    assert plan.seconds == pytest.approx(4 * STEPS / 300 + 145)
    assert fitting(RATES, STEPS, left=1e9, reserve=100, most=8).networks == 8
    slow_to_measure = fitting(RATES, STEPS, left=1000, reserve=0, most=4)
    assert slow_to_measure.way == Way("graphs", 4)


def test_two_at_full_length_beat_four_cut_short():
    assert fitting(RATES, STEPS, left=1.0, reserve=100, most=16).networks == 2


@pytest.fixture(scope="module")
def paper():
    return scales.get("paper")


def test_all_that_is_asked_is_declared_and_asked_somewhere(paper):
    known = declared()
    wanted = asked.CLAIMS + asked.LATER
    assert not [id for id in wanted if id not in known]
    settings = ("plain-vgg", "plain-resnet", "bn-resnet", "bn-vgg")
    found = {p.claim.id for name in settings for p in asked.places(paper, name)}
    assert found == {*wanted}


def test_what_is_asked_stands_on_the_networks_that_are_trained(paper):
    """And on what they were in the middle of their training: so nothing else has to be
    trained, in halves that together are all of it."""
    places = asked.places(paper, "plain-vgg")
    names = {name for place in places for name in place.uses}
    assert names == {"plain-vgg", *(f"plain-vgg-after{n}" for n in (20, 40, 80))}
    halves = asked.halves(places)
    assert sum(map(len, halves.values())) == len(places)
    assert all("activations" in node for node in halves["activations"])
    first = halves["weights"][0]
    assert first.endswith("::test_rescale_beats_repair[plain-vgg-weights]")


def test_a_setting_that_nothing_is_asked_of_is_refused(paper):
    with pytest.raises(ValueError, match="nothing that is reproduced is asked of"):
        asked.places(paper, "mlp")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Two networks in a cache of their own; their recipe."""
    monkeypatch.setenv("LMC_CACHE", str(tmp_path / "cache"))
    recipe = replace(
        scales.get("paper-rehearsal").recipe("plain-vgg"),
        **{"samples": 64, "checkpoint_every": None},
    )
    for seed in (100, 101):
        with network(recipe, seed).take():
            store.keep(recipe, seed, train_task(recipe, seed))
    return recipe


def test_results_say_how_their_networks_were_trained(trained):
    """Others are left as they are."""
    own = {"name": "plain-vgg", "key": trained.key, "seeds": [100, 101]}
    other = {"name": "plain-vgg-after20", "key": "0" * 64, "seeds": [100, 101]}
    given = made(fixtures=[own, other], commit="")
    way = Way("graphs", 2)
    [told] = record.written([given], [trained], RATES, way, commit="abc")
    seconds = [meta["seconds"] / 4 for meta in record.metas(trained, [100, 101])]
    assert told.fixtures[0]["training"] == {
        "gpu": "",
        "way": "graphs, 2 at once",
        "times_the_plain_loop": 3.0,
        "seconds_an_epoch": pytest.approx(sum(seconds) / 2, abs=1e-3),
    }
    assert told.fixtures[1] == other
    assert told.commit == "abc"
    [kept] = record.written([replace(given, commit="d")], [trained], RATES, way, "abc")
    assert kept.commit == "d"


def test_the_record_lies_beside_the_curves_of_training(trained, tmp_path):
    files = record.write(
        tmp_path / "out", "paper", [made()], [trained], [100, 101, 102], RATES
    )
    assert [file.name for file in files] == ["paper.jsonl", "paper-training.json"]
    assert read(files[0]) == [made()]
    found = json.loads(files[1].read_text())
    assert [way["times_the_plain_loop"] for way in found["ways"]] == [1, 2, 3, 3.2]
    assert [each["seed"] for each in found["networks"]] == [100, 101]
    assert [*found["networks"][0]["losses"]] == ["1", "2", "3", "4"]


def test_networks_come_home_in_parts(trained, tmp_path, monkeypatch):
    """Which put together again are a pack."""
    monkeypatch.setattr(record, "PART_BYTES", 50_000)
    parts = record.pack_parts(tmp_path / "out", trained, [100, 101], "cpu")
    assert len(parts) > 2
    assert all(part.stat().st_size <= 50_000 for part in parts)
    content = b"".join(part.read_bytes() for part in sorted(parts))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "pack", filter="data")
    expected = store.networks(trained, [100, 101])
    monkeypatch.setenv("LMC_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("LMC_PACK", str(tmp_path / "pack"))
    monkeypatch.setenv("LMC_TRAIN", "never")
    for whole, packed in zip(
        expected, store.networks(trained, [100, 101]), strict=True
    ):
        for name, value in whole.items():
            assert packed[name].equal(value.half().float())


def options(tmp_path, **changes):
    given = run.Options(
        scale=scales.get("paper-rehearsal"),
        setting="plain-vgg",
        device="cpu",
        first_seed=100,
        networks=2,
        budget=100.0,
        reserve=50.0,
        out=tmp_path / "out",
    )
    return replace(given, **changes)


def test_rates_are_measured_once_on_a_machine(tmp_path, monkeypatch):
    """And again on another one."""
    monkeypatch.setenv("LMC_CACHE", str(tmp_path))
    measured = []

    def rates(recipe, device, seconds, pool, at_once):
        measured.append(seconds)
        return RATES

    monkeypatch.setattr("fixtures.ways.rates", rates)
    for _ in range(2):
        assert run.measured_rates(options(tmp_path)) == RATES
    assert measured == [1.0]
    monkeypatch.setattr("fixtures.training.gpu", lambda device: "another")
    run.measured_rates(options(tmp_path))
    assert len(measured) == 2


def test_a_budget_that_ends_before_a_pair_is_there_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("LMC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "measured_rates", lambda _: {PLAIN: 1.0})
    with pytest.raises(run.NothingMeasuredError, match="the same command goes on"):
        run.reproduce(options(tmp_path, budget=0.1, reserve=0.05))


def test_sessions_that_measure_nothing_leave_the_networks_and_say_so(
    trained, tmp_path, monkeypatch
):
    """Those can be measured elsewhere."""
    monkeypatch.setattr(run, "measured_rates", lambda _: {PLAIN: 1e6})
    monkeypatch.setattr(run, "sessions", lambda *_: None)
    monkeypatch.setattr(run.Options, "recipe", trained)
    with pytest.raises(run.NothingMeasuredError, match="no session has measured anyth"):
        run.reproduce(options(tmp_path))
    assert [*(tmp_path / "out").glob("networks.tar.*")]


def test_a_check_says_what_is_here(monkeypatch):
    lines = [*machine.checked(scales.get("paper-rehearsal"), "cpu")]
    assert lines[0].startswith("Python 3.")
    assert "pytest-xdist" in lines[1]
    assert lines[2].startswith("digits32 read and checked in ")
    assert [line.split(":")[0] for line in lines[3:]] == [
        f"{name} by loop" for name in machine.NETWORKS
    ]


def test_a_check_finds_a_package_missing(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    with pytest.raises(ValueError, match="no-such-package can't be imported"):
        [*machine.checked(scales.get("paper-rehearsal"), "cpu")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("--scale huge", "unknown scale 'huge': choose digits"),
        ("--device tpu", "--device tpu: choose cpu"),
        ("--device cpu --networks 3", "--networks 3: choose an even number from 2 on"),
        ("--device cpu --setting vit", "unknown setting 'vit'"),
    ],
)
def test_what_can_not_be_done_is_refused(given, said, capsys):
    assert main(["reproduce", *given.split()]) == 2
    assert said in capsys.readouterr().err
