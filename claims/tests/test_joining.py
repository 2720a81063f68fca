"""Lots of networks put together: as if all had been measured at once."""

from dataclasses import replace
from pathlib import Path

import pytest

from claims.__main__ import main
from claims.claim import places_of
from claims.joining import joined
from fixtures import scales
from reports import results

RECORDS = Path(__file__).parents[2] / "reports" / "records"
DIGITS = results.read(RECORDS / "digits.jsonl")
PAPER = results.read(RECORDS / "paper.jsonl")
HEADLINE = "renormalization/rescale-beats-repair"


def placed(scale):
    return {(p.claim.id, p.name): p for p in places_of(scales.get(scale))}


def lots_of(result, at):
    """Return what two lots would have given, the first one with so many of its units.

    Estimate and verdict stay behind, which must not be looked at.
    """
    return [cut(result, at, 0), cut(result, at, 1)]


def cut(result, at, part):
    def half(values, at=at):
        return (values[:at], values[at:])[part]

    fixtures = [
        f | {"seeds": half(f["seeds"], len(f["seeds"]) * at // len(result.pairs))}
        for f in result.fixtures
    ]
    curves = result.curves and dict(result.curves)
    if curves:
        curves["lines"] = {n: half(v) for n, v in curves["lines"].items()}
    return replace(
        result,
        pairs=half(result.pairs),
        curves=curves,
        fixtures=fixtures,
        first_seed=result.first_seed + 2 * at * part,
        estimate=0.0,
        verdict="inconclusive",
    )


def moved(result, by, **changes):
    """Return a result as that of other networks."""
    fixtures = [
        f | {"seeds": [s + by for s in f["seeds"]]} | changes for f in result.fixtures
    ]
    first = result.first_seed + by
    names = [u | {"pair": f"{first}-{first + 1}"} for u in result.pairs]
    return replace(result, fixtures=fixtures, first_seed=first, pairs=names)


def test_every_place_is_decided_as_if_its_networks_had_come_at_once():
    """All rules, of pairs, single networks and tuples; two lots of the record."""
    places, compared = placed("digits"), 0
    for whole in DIGITS:
        if whole.kind == "invariant" or len(whole.pairs) < 2:
            continue
        found = joined(
            places[whole.id, whole.where], lots_of(whole, len(whole.pairs) // 2)
        )
        for name in (
            *("verdict", "leaning", "estimate", "low", "high", "spread", "n", "p"),
            *("p_against", "p_flip", "share", "pairs", "curves"),
            *("paper", "first_seed", "commit", "machine", "versions", "sentence"),
        ):
            ours, theirs = getattr(found, name), getattr(whole, name)
            if isinstance(theirs, float):
                theirs = pytest.approx(theirs, rel=1e-9)
            assert ours == theirs, (whole.place, name)
        assert results.rule_of(found.decision) == results.rule_of(whole.decision)
        assert (found.p_page is None) == (whole.p_page is None)
        seeds = [f["seeds"] for f in whole.fixtures]
        assert [f["seeds"] for f in found.fixtures] == seeds
        compared += 1
    assert compared > 600


def lot(folder, name, found):
    path = folder / f"{name}.jsonl"
    results.write(path, found)
    return str(path)


def pairs_at_paper_scale(count):
    """Return the headline's values of so many pairs, each a lot, and a hundred more."""
    [only] = [r for r in PAPER if r.where == "plain-vgg weights" and r.id == HEADLINE]
    return [
        moved(
            replace(only, pairs=[u | {"decided": u["decided"] + n / 4}]),
            2 * n,
            digest=f"digest {n}",
            seconds=100.0 + n,
        )
        for n in range(count)
        for u in only.pairs
    ]


@pytest.mark.parametrize(("count", "verdict"), [(7, "inconclusive"), (8, "supported")])
def test_lots_decide_when_all_are_there(tmp_path, capsys, count, verdict):
    """Eight pairs, a number fixed beforehand; fewer are shown without a verdict."""
    lots = pairs_at_paper_scale(count)
    paths = [lot(tmp_path, n, [each]) for n, each in enumerate(lots)]
    out = tmp_path / "all.jsonl"
    assert main(["join", *paths, "--out", str(out)]) == 0
    said = f"written: {out}, 1 places, 1 {verdict}\n"
    assert capsys.readouterr().out == said
    [found] = results.read(out)
    assert (found.verdict, found.n, found.first_seed) == (verdict, count, 100)
    values = [each.pairs[0]["decided"] for each in lots]
    assert found.estimate == pytest.approx(sum(values) / count)
    [networks] = found.fixtures
    assert networks["seeds"] == [*range(100, 100 + 2 * count)]
    assert networks["seconds"] > 100 and networks["digest"] != "digest 0"


def test_what_only_one_lot_has_is_left_out_and_named(tmp_path, capsys):
    one, other = pairs_at_paper_scale(2)
    more = replace(one, id="renormalization/rescale-lifts-midpoint")
    paths = [lot(tmp_path, "one", [one, more]), lot(tmp_path, "other", [other])]
    out = tmp_path / "all.jsonl"
    assert main(["join", *paths, "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "left out, as not all lots have them: renormalization/rescale-lifts" in told
    assert [found.id for found in results.read(out)] == [HEADLINE]


def test_different_machines_versions_and_commits_are_all_told():
    one, other = pairs_at_paper_scale(2)
    other = replace(
        other,
        commit="abc",
        machine=other.machine | {"gpu": "another"},
        versions=other.versions | {"torch": "3.0"},
    )
    found = joined(placed("paper")[one.id, one.where], [one, other])
    assert found.commit == f"{one.commit}; abc"
    assert found.machine["gpu"] == "NVIDIA H200; another"
    assert found.versions["torch"] == "2.11.0; 3.0"
    assert found.versions["numpy"] == one.versions["numpy"]
    changed = replace(other, commit="")
    assert joined(placed("paper")[one.id, one.where], [one, changed]).commit == ""


def test_a_premise_that_one_lot_misses_is_missed_by_all():
    lots = pairs_at_paper_scale(8)
    decision = results.rule_of(lots[3].decision)
    lots[3] = replace(lots[3], decision=f"premise not met: no gap (half) ({decision})")
    found = joined(placed("paper")[lots[0].id, lots[0].where], lots)
    assert found.verdict == "inconclusive"
    assert found.decision.startswith("premise not met: no gap (half) (mean > ")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda r: moved(r, -2), "share networks, such as plain-vgg seed 100"),
        (lambda r: moved(r, 0, key="k"), "of two recipes, aef729b788f3f582 and k: "),
        (lambda r: replace(r, unit="nats"), "asked for another quantity or by another"),
        (
            lambda r: replace(r, decision="mean > 9 points, one-sided t-test"),
            "another rule, mean > 9 points, one-sided t-test of by corrected",
        ),
        (
            lambda r: replace(r, pairs=[{"pair": "102-103", "decided": 1.0}]),
            "columns, pair, ",
        ),
        (lambda r: replace(r, scale="digits"), "several scales, digits, paper"),
        (lambda r: replace(r, pairs=[]), "no place in common"),
    ],
)
def test_lots_that_do_not_belong_together_are_refused(tmp_path, capsys, change, told):
    one, other = pairs_at_paper_scale(2)
    paths = [lot(tmp_path, "one", [one]), lot(tmp_path, "other", [change(other)])]
    out = tmp_path / "all.jsonl"
    assert main(["join", *paths, "--out", str(out)]) == 2
    assert told in capsys.readouterr().err
    assert not out.exists()


def test_more_networks_than_decide_are_refused(tmp_path, capsys):
    paths = [lot(tmp_path, n, [each]) for n, each in enumerate(pairs_at_paper_scale(9))]
    assert main(["join", *paths, "--out", str(tmp_path / "all.jsonl")]) == 2
    told = "decided once, by 16 networks, and the lots have 18: leave the last lot out"
    assert told in capsys.readouterr().err


def test_no_file_is_overwritten_and_one_lot_is_not_enough(tmp_path, capsys):
    path = lot(tmp_path, "one", pairs_at_paper_scale(1))
    assert main(["join", path, "--out", path]) == 2
    assert "exists: name a new file with --out" in capsys.readouterr().err
    assert main(["join", path, "--out", str(tmp_path / "all.jsonl")]) == 2
    assert "give the results of two or more" in capsys.readouterr().err
