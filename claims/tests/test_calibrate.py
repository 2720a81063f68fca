"""Records and runs drawn from pooled runs with made-up values."""

import numpy as np
import pytest

from claims import calibrate as module
from claims.__main__ import main
from claims.calibrate import Pool, calibrate, pooled, sources, verdicts
from claims.claim import Claim
from claims.evidence import Verdict, equivalence, frequency, superiority, trend
from claims.expected import by_key
from claims.papers import raised
from fixtures import scales
from fixtures.scales import Name
from reports import results
from reports.tests.made_up import made

SCALE = scales.get("digits")
RULES = {
    "above": superiority(margin=2.0),
    "same": equivalence(margin=1.0),
    "falls": trend("falling", margin=1.0),
    "often": frequency(at_least=0.5),
}


def place(name, rule, **more):
    claim = Claim(
        id=f"made-up/{name}",
        sentence="A sentence.",
        source=raised("2402.05966v1", "section 4"),
        quantity="points",
        rule=rule,
        settings=(Name("mlp"),),
        **more,
    )
    return claim.places(SCALE)[0]


def pool(name, values, rule=None, unmet=False):
    values = np.asarray(values, dtype=float)
    slots = np.arange(values.shape[1])
    of_runs = np.broadcast_to(unmet, len(values))
    return Pool(place(name, rule or RULES["above"]), values, slots, of_runs)


def run(first_seed, values, name="above", size=2, **changes):
    """Return a run's result of one place."""
    seeds = [*range(first_seed, first_seed + size * len(values))]
    return made(
        **{
            "id": f"made-up/{name}",
            "setting": "mlp",
            "variant": "",
            "pairs": [{"pair": f"{n}", "decided": v} for n, v in enumerate(values)],
            "first_seed": first_seed,
            "fixtures": [{"name": "mlp", "key": "k", "seeds": seeds}],
        }
        | changes
    )


def test_a_record_and_its_run_share_no_network():
    record, other = sources(np.random.default_rng(0), 1000, 3, 8)
    assert record.shape == other.shape == (1000, 8)
    assert (record != other).all()
    for drawn in (record, other):  # each run is as likely everywhere
        counts = np.bincount(drawn.ravel(), minlength=3)
        assert np.abs(counts / drawn.size - 1 / 3).max() < 0.02


def test_places_get_the_values_of_the_same_networks():
    """Pairs, tuples of four and single networks, whose values are their run."""
    runs = [
        [
            run(100 * k, [float(k)] * 8, "pairs"),
            run(100 * k, [float(k)] * 5, "tuples", 4),
            run(100 * k, [float(k)] * 16, "networks", 1),
        ]
        for k in range(4)
    ]
    places = [place(n, RULES["above"]) for n in ("pairs", "tuples", "networks")]
    pools, left_out = pooled([*map(by_key, runs)], places)
    assert left_out == {}
    pairs, tuples, networks = pools.values()
    assert [*tuples.slots] == [0, 2, 4, 6, 8]
    assert [*networks.slots] == [n // 2 for n in range(16)]
    record, _ = sources(np.random.default_rng(1), 50, 4, 9)
    assert (pairs.drawn(record) == record[:, :8]).all()
    assert (tuples.drawn(record) == record[:, ::2]).all()
    assert (networks.drawn(record)[:, ::2] == pairs.drawn(record)).all()


@pytest.mark.parametrize("direction", ["falling", "rising"])
def test_a_trend_is_decided_by_what_the_record_keeps(direction):
    """Its contrasts are in the claimed direction."""
    rule = trend(direction, margin=1.0)
    values = np.array([[3.0, 4.0, 3.5, 3.2, 3.9, 4.1]])
    decision = pool("trend", values, rule).decide(values[0])
    assert decision.verdict is Verdict.SUPPORTED
    assert decision.estimate == pytest.approx(values.mean())
    assert decision.spread == pytest.approx(values.std(ddof=1))


def test_where_a_premise_fails_nothing_is_opposite():
    values = [[9.0, 9.5] * 4, [-9.0, -9.5] * 4]
    found = calibrate({("a", "b"): pool("unmet", values, unmet=True)}, 450, draws=20)
    assert found.opposite.total() == 0


def test_a_premise_fails_as_often_as_among_the_runs():
    """Whole runs are drawn; half of those with opposite values have the first one."""
    values = np.array([[100.0 * sign] * 8 for sign in (1, -1, 1, -1)])

    def opposite(*unmet):
        one_slot = np.zeros(8, dtype=int)
        made = Pool(place("unmet", RULES["above"]), values, one_slot, np.array(unmet))
        return calibrate({("a", "b"): made}, 450, draws=2000).opposite.total()

    some, most = opposite(True, False, False, False), opposite(*[False] * 4)
    assert 0.62 < most / 2000 < 0.72
    assert 0.45 < some / most < 0.55


def test_which_runs_say_that_a_premise_fails():
    said = ("premise not met: no gap (mean > 2 points, alpha 0.005)", "mean > 2 points")
    runs = [by_key([run(100 * k, [1.0] * 5, decision=d)]) for k, d in enumerate(said)]
    pools, _ = pooled(runs, [place("above", RULES["above"])])
    assert [made.unmet.tolist() for made in pools.values()] == [[True, False]]


def test_what_is_left_undecided_can_not_be_red(monkeypatch):
    """The short cut changes no answer, for every rule and for values in the middle."""
    generator = np.random.default_rng(2)
    pools = {}
    for name, rule in RULES.items():
        for number in range(1 if name == "same" else 3):
            values = generator.normal(1.0 + number, 1.0, (4, 8))
            if name == "often":
                values = values > 1.5
            pools[name, str(number)] = pool(name, values, rule)
    quick = calibrate(pools, 12, draws=25)
    monkeypatch.setattr(module, "_far_apart", lambda a, b: np.ones(len(a), bool))
    assert calibrate(pools, 12, draws=25) == quick


def test_at_most_one_run_in_a_hundred_is_red_where_nothing_has_changed():
    """150 places that share their networks."""
    generator = np.random.default_rng(3)
    shared = generator.normal(size=(4, 8))
    pools = {
        ("made-up/x", f"{n}"): pool(
            "x", generator.uniform(-3, 6) + shared + generator.normal(size=(4, 8))
        )
        for n in range(150)
    }
    found = calibrate(pools, 150, draws=1000)
    assert found.interval[0] <= 0.01
    assert found.red <= sum(found.places.values())


def test_what_has_changed_is_red_and_named(tmp_path, capsys):
    """One place is another in each of two runs of five pairs, the other one stays.

    In 2 of 2^5 draws the record is all of one run.
    """
    generator = np.random.default_rng(4)
    paths = []
    for first, shift in ((100, 0.0), (200, -60.0)):
        paths.append(str(tmp_path / f"{first}.jsonl"))
        moved = [*(8.0 + shift + generator.normal(size=5))]
        honest = [*(8.0 + generator.normal(size=5))]
        verdict = "refuted" if shift else "supported"
        results.write(
            paths[-1],
            [run(first, moved, "moved", verdict=verdict), run(first, honest, "honest")],
        )
    places = [place(n, RULES["above"]) for n in ("moved", "honest", "absent")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "places_of", lambda scale: places)
        assert main(["calibrate", *paths, "--draws", "300"]) == 1
    left, head, red, often, opposite, changed = capsys.readouterr().out.splitlines()
    assert left == "left out, no values in run 1, 2: made-up/absent mlp"
    assert head == "scale digits, 2 of 3 places drawn, 2 runs, 300 draws"
    assert red.startswith("red runs: ") and " of 300, " in red
    assert often.startswith("places most often red: made-up/moved mlp (")
    assert "honest" not in often + opposite
    assert opposite.startswith("supported in one and refuted in the other: ")
    assert changed == (
        "verdicts of two given runs: 1 of 2 alike, others: refuted / supported (1)"
    )


def test_places_without_the_same_number_of_values_are_left_out():
    runs = [
        [run(100, [1.0] * 8), run(100, [1.0] * 8, "often")],
        [run(200, [1.0] * 7), run(200, [1.0] * 7 + [None], "often")],
    ]
    places = [place(name, RULES[name]) for name in ("above", "often")]
    pools, left_out = pooled([*map(by_key, runs)], places)
    assert pools == {}
    assert left_out == {"8, 7 values": ["made-up/above mlp", "made-up/often mlp"]}


def test_verdicts_are_counted_over_all_pairs_of_runs():
    """Those of claims: an invariant has nothing to do with its networks."""
    invariant = run(100, [1.0], "law", kind="invariant")
    runs = [
        by_key([run(100, [1.0], verdict=verdict), invariant])
        for verdict in ("supported", "inconclusive", "supported")
    ]
    assert verdicts(runs) == {
        ("inconclusive", "supported"): 2,
        ("supported", "supported"): 1,
    }


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (None, "one run is not enough: give the results of two or more"),
        ({"scale": "mnist"}, "the runs are of several scales, digits, mnist"),
        ({}, "share networks, such as mlp seed 100: give runs on disjoint seeds"),
    ],
)
def test_runs_that_can_not_be_pooled_are_refused(tmp_path, capsys, second, message):
    paths = [str(tmp_path / "first.jsonl")]
    results.write(paths[0], [run(100, [1.0] * 8)])
    if second is not None:
        paths.append(str(tmp_path / "second.jsonl"))
        results.write(paths[1], [run(100, [1.0] * 8, **second)])
    assert main(["calibrate", *paths]) == 2
    assert message in capsys.readouterr().err
