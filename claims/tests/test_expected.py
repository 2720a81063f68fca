"""What is accepted: the file, the differences that are shown, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from claims import expected
from claims.__main__ import main
from claims.claim import Claim
from claims.evidence import contradiction, exact, superiority
from claims.expected import acceptance, entry_of, load, rule_of
from claims.papers import raised
from fixtures import scales
from fixtures.scales import Name
from reports import results
from reports.tests.made_up import made

SOURCE = raised("2402.05966v1", "section 4")
RULE = "mean > 2 points, one-sided t-test, alpha 0.005"
NETWORKS = {"name": "mlp", "key": "k", "seeds": [*range(100, 116)], "failed": []}


def claim(name, settings, rule=None, **more):
    return Claim(
        id=f"made-up/{name}",
        sentence="A sentence.",
        source=SOURCE,
        quantity="points",
        rule=rule or superiority(margin=2.0),
        settings=tuple(map(Name, settings.split())),
        **more,
    )


CLAIMS = [
    claim("gain", "mlp plain-vgg", variants=("weights", "activations")),
    claim("loss", "mlp"),
    claim("same", "random", exact(tolerance=0.0), kind="invariant"),
]


def result(name="gain", setting="mlp", variant="weights", **changes):
    return made(
        **{
            "id": f"made-up/{name}",
            "setting": setting,
            "variant": variant,
            "decision": RULE,
            "first_seed": 100,
            "fixtures": [NETWORKS],
            "commit": "c",
            "accepted": "",
            "red": "",
        }
        | changes
    )


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Empty folders in place of those of the repository; three claims are declared."""
    places = [p for c in CLAIMS for p in c.places(scales.get("digits"))]
    monkeypatch.setattr(acceptance, "places_of", lambda scale: places)
    monkeypatch.setattr(acceptance, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(expected, "FOLDER", tmp_path)
    return tmp_path


def whole(**changes):
    """Return results of all places of the scale."""
    return [
        *(
            result(setting=setting, variant=variant, **changes)
            for setting in ("mlp", "plain-vgg")
            for variant in ("weights", "activations")
        ),
        result("loss", variant="", **changes),
        result("same", "random", "", kind="invariant", **changes),
    ]


@pytest.fixture
def accept(tmp_path):
    """The command, on results that it is given."""

    def run(found, *options):
        results.write(tmp_path / "results.jsonl", found)
        return main(["accept", str(tmp_path / "results.jsonl"), *options])

    return run


YES = ("--yes", "--reason", "the first record")


def test_what_is_written_is_read_and_one_place_is_one_line(folder, accept):
    found = [replace(r, estimate=1.23456789, spread=9.0) for r in whole()]
    assert accept(found, *YES) == 0
    text = (folder / "digits.toml").read_text()
    assert text == (
        "# What was accepted at scale digits: written by `python -m claims accept`.\n"
        "# By hand change nothing; a `why` is given to that command.\n"
        '\n["made-up/gain"]\n'
        + "".join(
            f'"{place}" = {{ verdict = "supported", estimate = 1.235, spread = 9, '
            f'n = 8, grain = 0.2, leaning = "", rule = "{RULE}", first_seed = 100, '
            'why = "" }\n'
            for place in (
                "mlp activations",
                "mlp weights",
                "plain-vgg activations",
                "plain-vgg weights",
            )
        )
        + '\n["made-up/loss"]\n"mlp" = { verdict = "supported", estimate = 1.235, '
        'spread = 9, n = 8, grain = 0.2, leaning = "", '
        f'rule = "{RULE}", first_seed = 100, why = "" }}\n'
    )
    entry = load("digits")["made-up/loss", "mlp"]
    assert (entry.estimate, entry.spread, entry.first_seed) == (1.235, 9.0, 100)


def test_what_is_given_is_on_record_though_it_is_older(folder, accept):
    """So that the file and the record say the same."""
    assert accept(whole(measured_at="2027-01-02T00:00:00+00:00"), *YES) == 0
    older = result(
        estimate=-9.0, verdict="refuted", measured_at="2026-01-02T00:00:00+00:00"
    )
    assert accept([older], "--yes") == 0
    assert load("digits")["made-up/gain", "mlp weights"].estimate == -9.0
    record = results.read(folder / "records" / "digits.jsonl")
    assert len(record) == 6
    [kept] = [r for r in record if (r.id, r.where) == ("made-up/gain", "mlp weights")]
    assert (kept.estimate, kept.verdict) == (-9.0, "refuted")


def test_invariants_on_record_stay_where_none_are_given(folder, accept):
    assert accept(whole(), *YES) == 0
    assert accept(whole()[:-1], "--yes") == 0
    record = results.read(folder / "records" / "digits.jsonl")
    assert [r.id for r in record if r.kind == "invariant"] == ["made-up/same"]


def test_an_entry_is_what_a_later_decision_is_held_against():
    entry = entry_of(result(estimate=9.0, spread=0.5))
    rule, values = superiority(margin=2.0), 0.1 * np.arange(8)
    decision = rule.decide(values, unit="points", grain=0.2)
    assert "accepted as supported: +9 points" in contradiction(
        entry, decision, places=10
    )
    assert entry.rule == rule_of(decision.statement)


@pytest.mark.parametrize(
    "statement",
    [
        RULE,
        f"{RULE}; Page's p over 4 levels 0.02",
        f"{RULE}; 4 units, at least 5 are needed",
        f"premise not met: no gap ({RULE})",
        f"premise not met: no gap (of 3) ({RULE}; Page's p over 4 levels 0.02)",
    ],
)
def test_the_rule_does_not_depend_on_what_was_measured(statement):
    assert rule_of(statement) == RULE


def test_no_file_is_nothing_accepted_and_a_broken_one_is_told(folder):
    assert load("mnist") == {}
    (folder / "mnist.toml").write_text('["made-up/gain"]\nmlp = { verdict = 3 }\n')
    with pytest.raises(
        ValueError,
        match=r"mnist\.toml is not what `python -m claims accept` writes .*: restore",
    ):
        load("mnist")


def test_differences_are_shown_and_nothing_is_written_without_yes(
    folder, accept, capsys
):
    assert accept(whole()) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == (
        "made-up/gain mlp activations: new: supported 1.2 (spread 0.65, n = 8, seeds "
        "from 100)"
    )
    assert out[-2:] == [
        "scale digits, 5 places; 5 new",
        "nothing is written: say --yes to accept this",
    ]
    assert not (folder / "digits.toml").exists()
    assert not (folder / "records").exists()


def test_each_kind_of_difference_has_its_word(accept, capsys):
    assert accept(whole(), *YES) == 0
    found = whole()
    found[0] = replace(found[0], verdict="refuted", estimate=-3.0)
    found[1] = replace(found[1], decision=RULE.replace("2", "1"))
    found[2] = replace(found[2], estimate=1.3)
    found[3] = replace(found[3], estimate=1.20001)  # within rounding
    capsys.readouterr()
    assert accept(found) == 1
    shown = capsys.readouterr().out
    assert (
        "made-up/gain mlp weights: verdict: supported 1.2 (spread 0.65, n = 8, seeds "
        "from 100) -> refuted -3 (spread"
    ) in shown
    assert f"activations: rule: {RULE} -> mean > 1 points, one-sided" in shown
    assert "made-up/gain plain-vgg weights: estimate: supported 1.2" in shown
    assert "scale digits, 5 places; 1 estimate, 1 rule, 1 verdict" in shown


def test_the_same_again_differs_in_nothing(accept, capsys):
    assert accept(whole(), *YES) == 0
    capsys.readouterr()
    assert accept(whole()) == 0
    assert capsys.readouterr().out == "scale digits, 5 places; nothing differs\n"


def test_a_why_is_kept_while_the_verdict_is(accept):
    why = "made-up/loss mlp: few steps: it is noisy"
    assert accept(whole(), *YES, "--why", why) == 0
    assert accept(whole(first_seed=200, estimate=1.5), "--yes") == 0
    entry = load("digits")["made-up/loss", "mlp"]
    assert (entry.why, entry.first_seed) == ("few steps: it is noisy", 200)


@pytest.mark.parametrize(
    ("option", "left"),
    [
        (("--drop-why", "made-up/loss mlp"), ""),
        (("--why", "made-up/loss mlp: it was chance"), "it was chance"),
    ],
)
def test_a_why_is_not_lost_with_its_verdict_unless_told(accept, capsys, option, left):
    assert accept(whole(), *YES, "--why", "made-up/loss mlp: as the paper") == 0
    capsys.readouterr()
    changed = whole(verdict="inconclusive")
    assert accept(changed, "--yes") == 2
    assert capsys.readouterr().err == (
        "these would lose their why:\n- made-up/loss mlp, now inconclusive 1.2 (spread "
        "0.65, n = 8, seeds from 100): as the paper\nsay --why 'ID PLACE: TEXT' for "
        "each, or --drop-why 'ID PLACE'\n"
    )
    assert load("digits")["made-up/loss", "mlp"].verdict == "supported"
    assert accept(changed, "--yes", *option) == 0
    entry = load("digits")["made-up/loss", "mlp"]
    assert (entry.verdict, entry.why) == ("inconclusive", left)


def test_a_place_that_is_gone_is_dropped_by_a_whole_run_only(accept, capsys):
    extra = result(setting="bn-vgg")
    assert (
        accept([*whole(), extra], *YES, "--why", "made-up/gain bn-vgg weights: x") == 0
    )
    assert accept(whole()[:2], "--yes") == 0
    assert len(load("digits")) == 6
    assert "not all of the scale: none is dropped" in capsys.readouterr().out
    assert accept(whole(), "--yes") == 2
    assert "bn-vgg weights, no longer asked: x" in capsys.readouterr().err
    drop = ("--drop-why", "made-up/gain bn-vgg weights")
    assert accept(whole(), "--yes", *drop) == 0
    assert "made-up/gain bn-vgg weights: dropped: supported" in capsys.readouterr().out
    assert len(load("digits")) == 5


def test_the_record_is_sorted_and_a_part_replaces_its_places_only(folder, accept):
    record = folder / "records" / "digits.jsonl"
    assert accept(whole()[::-1], *YES) == 0
    first = results.read(record)
    assert [r.place for r in first] == sorted(r.place for r in whole())
    late = "2027-01-01T00:00:00+00:00"
    assert accept([result(estimate=1.5, measured_at=late)], "--yes") == 0
    second = results.read(record)
    changed = [new.where for old, new in zip(first, second, strict=True) if old != new]
    assert changed == ["mlp weights"]


def test_the_ledger_says_which_seeds_were_looked_at(folder, accept, capsys):
    assert accept(whole(), "--yes") == 2
    assert capsys.readouterr().err == (
        "seeds 100-115 of digits were not looked at before: say why they are now, as "
        "the ledger's line, with --reason TEXT\n"
    )
    assert not (folder / "digits.toml").exists()
    assert accept(whole(), *YES) == 0
    ledger = (folder / "ledger.toml").read_text()
    assert '[[looked]]\nscale = "digits"\nseeds = "100-115"\nlooked_at = 20' in ledger
    assert ledger.endswith('why = "the first record"\n')
    assert accept(whole(), "--yes") == 0
    assert (folder / "ledger.toml").read_text() == ledger
    more = NETWORKS | {"seeds": [*range(100, 117)], "failed": [103]}
    assert accept(whole(fixtures=[more]), "--yes", "--reason", "one failed") == 0
    noted = acceptance.noted_seeds(folder / "ledger.toml", "digits")
    assert noted == {*range(100, 117)}
    assert acceptance.noted_seeds(folder / "ledger.toml", "mnist") == set()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "holds no result: run `pytest claims/` first"),
        (
            [result(), result(scale="mnist")],
            "several scales, digits, mnist: give those",
        ),
        (
            [result(), result("loss", first_seed=200)],
            "holds results of several first seeds, 100, 200: give those of one run",
        ),
        (
            [result(), result("loss", variant="", verdict="error", error="Boom: 1\nx")],
            "holds 1 errors or broken invariants, such as made-up/loss mlp (Boom: 1): "
            "mend them and run again",
        ),
        (
            [result("same", "random", "", kind="invariant", verdict="refuted")],
            f"such as made-up/same random ({RULE}): mend them",
        ),
        (
            [result("same", "random", "", kind="invariant")],
            "holds invariants only: nothing to accept",
        ),
        (
            [result(), result("loss", commit="")],
            "is of a checkout with changes that are not committed: commit them and run "
            "again, or say --dirty",
        ),
    ],
)
def test_what_can_not_become_a_record_is_refused(
    folder, accept, capsys, found, message
):
    assert accept(found, *YES) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "digits.toml").exists()


def test_a_dirty_checkout_is_accepted_if_told(folder, accept):
    assert accept(whole(commit=""), *YES, "--dirty") == 0
    record = results.read(folder / "records" / "digits.jsonl")
    assert {r.commit for r in record} == {""}


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--why", "made-up/loss mlp"), "--why 'made-up/loss mlp' says nothing: write"),
        (
            ("--why", "made-up/loss: x"),
            "there is no place 'made-up/loss': name one as the differences do",
        ),
        (("--drop-why", "made-up/none mlp"), "there is no place 'made-up/none mlp'"),
    ],
)
def test_a_why_of_nothing_is_refused(accept, capsys, option, message):
    assert accept(whole(), *YES, *option) == 2
    assert message in capsys.readouterr().err
