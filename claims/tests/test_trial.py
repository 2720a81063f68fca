"""Deciding a claim: what is looked at, what is recorded, what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from claims.claim import Claim
from claims.evidence import exact, superiority, trend
from claims.papers import paper
from claims.trial import Columns, Trial
from fixtures import scales
from fixtures.scales import Name

DIGITS = scales.get("digits")
FIVE = [3.0, 4.0, 5.0, 4.0, 4.5]


class Networks:
    """Stands in for the bench and its settings."""

    batchnorm = False
    name = "debiased-vgg"
    recipe = SimpleNamespace(
        parent=SimpleNamespace(name="plain-vgg"), origin=lambda seed: seed - 100
    )

    def setting(self, _):
        return self

    def network(self, seed):
        return SimpleNamespace(seed=seed, setting=self)

    def networks(self, count):
        return [self.network(100 + n) for n in range(count)]

    def pairs(self, count):
        return [self._several(2, n, SimpleNamespace) for n in range(count)]

    def tuples(self, size, count):
        return [self._several(size, n, SimpleNamespace) for n in range(count)]

    def _several(self, size, number, make):
        part = self.networks((number + 1) * size)[-size:]
        found = make(networks=part, name=f"{part[0].seed}-{part[-1].seed}")
        found.a, found.b = part[0], part[1]
        found.midpoint = lambda method, repair: SimpleNamespace(
            accuracy=10.0 * number + len(f"{method}{repair}")
        )
        return found

    def provenance(self, seeds):
        return sorted(seeds)


def trial(seeds=10, variant="weights", **more):
    given = {
        "id": "topic/claim",
        "sentence": "It is so.",
        "source": paper("2402.05966v1", "section 4.1", tables=("1", "4")),
        "quantity": "a difference",
        "rule": superiority(margin=1.0),
        "settings": (Name("plain-vgg"),),
        "variants": (variant,),
    }
    [place, *_] = Claim(**given | more).places(DIGITS)
    return Trial(place, Networks(), seeds)


def test_columns_are_attributes():
    columns = Columns(midpoint=np.array([1.0, 2.0]))
    assert list(columns.midpoint) == [1.0, 2.0]
    with pytest.raises(AttributeError, match="no column 'repair': choose midpoint"):
        _ = columns.repair


def test_midpoints_are_columns_by_the_names_of_renormalizations():
    found = trial().midpoints("", "rescale-average", method="none")
    assert list(found) == ["midpoint", "rescale_average"]
    assert list(found.midpoint) == [4.0, 14.0, 24.0, 34.0, 44.0]
    assert found.rescale_average[0] == len("nonerescale-average")


def test_parents_are_the_pairs_of_the_networks_origins():
    """Of copies, whose pairs still name the values to come."""
    uses = {"uses": lambda place: (place.setting, place.setting.parent)}
    ours = trial(4, settings=(Name("debiased-vgg"),), **uses)
    assert [pair.name for pair in ours.parents()] == ["0-1", "2-3"]
    ours.decide([5.0, 4.0])
    assert [row["pair"] for row in ours.record["pairs"]] == ["100-101", "102-103"]


def test_what_is_measured_by_setting_has_their_names():
    found = trial(uses=lambda _: ("plain-vgg", "mlp")).by_setting(len)
    assert found == {"plain-vgg": 9, "mlp": 3}


def test_a_decision_is_recorded_with_all_that_it_comes_from():
    """Beside columns of the paper's tables stand the paper's numbers."""
    ours = trial(effect="rescale - repair")
    ours.pairs()
    ours.decide(FIVE, {"repair": [1, 2, 3, 4, 5]}, other=[0] * 5)
    record = ours.record
    assert record["verdict"] == "supported" and record["n"] == 5
    assert record["estimate"] == pytest.approx(4.1)
    assert record["pairs"][0] == {
        "pair": "100-101",
        "repair": 1,
        "other": 0,
        "decided": 3.0,
    }
    assert record["fixtures"] == [list(range(100, 110))]
    numbers = [(each["column"], each["value"]) for each in record["paper"]]
    assert numbers[0][0] == "decided" and numbers[0][1] == pytest.approx(9.22)
    assert ("repair", 75.1) in numbers
    assert record["share"] == pytest.approx(4.1 / 9.22)
    assert record["share_low"] < record["share"] < record["share_high"]


def test_networks_that_come_in_lots_decide_nothing_before_all_are_there(monkeypatch):
    """The number is the one that the claim declares; elsewhere fewer decide."""
    lots = replace(DIGITS, in_lots=True)
    for scale, networks, verdict in (
        (DIGITS, 10, "supported"),
        (lots, 10, "inconclusive"),
        (lots, 12, "supported"),
    ):
        monkeypatch.setattr(f"{__name__}.DIGITS", scale)
        ours = trial(networks, networks=12)
        ours.pairs()
        ours.decide((FIVE * 2)[: networks // 2])
        record = ours.record
        assert record["verdict"] == verdict
        assert record["estimate"] and record["low"] is not None
        few = "premise not met: 10 of the 12 networks that decide are there ("
        assert record["decision"].startswith(few) == (verdict == "inconclusive")
        assert (record["p"] is None) == (verdict == "inconclusive")


def test_no_share_is_shown_of_what_the_paper_does_not_resolve():
    """Plain ResNet20: -2.93, with a spread of 5.9 by its tables."""
    ours = trial(
        source=paper("2402.05966v1", "appendix F.1", tables=("6",)),
        settings=(Name("plain-resnet"),),
        effect="rescale - repair",
    )
    ours.decide(FIVE)
    assert ours.record["effect"] == pytest.approx(-2.93)
    assert ours.record["share"] is None


def test_without_its_premise_a_claim_is_inconclusive():
    """However clear the values are; what was measured is shown."""
    ours = trial()
    ours.decide(FIVE, unmet="no biases", share=FIVE)
    record = ours.record
    assert (record["verdict"], record["leaning"], record["p"]) == (
        "inconclusive",
        "",
        None,
    )
    assert "premise not met: no biases" in record["decision"]
    assert record["pairs"][1]["share"] == 4.0


def test_a_claim_is_decided_once():
    """A second decision can't overwrite a refutation."""
    ours = trial()
    ours.decide([-value for value in FIVE])
    with pytest.raises(RuntimeError, match="topic/claim is decided twice"):
        ours.decide(FIVE)
    assert ours.record["verdict"] == "refuted"


@pytest.mark.parametrize("what", ["using", "networks", "pairs", "endpoints"])
def test_a_setting_that_is_not_declared_is_refused(what):
    """Its own too, where only others are: a plan would lack its networks."""
    ours = trial(uses=lambda _: ("ln-vgg",))
    ours.networks("ln-vgg")
    message = "topic/claim looks at setting 'plain-vgg', .*: add it to .* uses="
    with pytest.raises(ValueError, match=message):
        getattr(ours, what)()


def test_pairs_of_a_claim_about_single_networks_are_refused():
    """Of eight networks there are four pairs, too few to decide anything."""
    with pytest.raises(ValueError, match=r"looks at pairs and declares tuple_size=1"):
        trial(networks=8, tuple_size=1).pairs()


def test_tuples_need_their_size():
    with pytest.raises(ValueError, match=r"topic/claim looks at tuples .* tuple_size="):
        trial().tuples()


@pytest.mark.parametrize(
    ("look", "count"),
    [
        (lambda trial: trial.networks(), 9),
        (lambda trial: trial.pairs(), 8),
        (lambda trial: trial.tuples(), 9),
    ],
)
def test_the_record_names_the_networks_that_were_looked_at(look, count):
    """Of ten seeds whole tuples of three, or pairs of these."""
    ours = trial(tuple_size=3)
    look(ours)
    ours.decide(FIVE, names="abcde")
    assert ours.record["fixtures"] == [list(range(100, 100 + count))]


def test_a_trend_is_decided_by_its_ends():
    """Five pairs that fall by two points over three levels."""
    ours = trial(rule=trend("falling", margin=1.0))
    levels = {
        "small": [9, 8, 7, 9, 8],
        "middle": [9, 9, 8, 9, 9],
        "large": [7, 6, 5, 6.9, 6],
    }
    ours.decide_trend(levels, {"ends": [1] * 5}, x=[1, 10, 100], x_scale="log")
    record = ours.record
    assert record["verdict"] == "supported"
    assert [row["decided"] for row in record["pairs"]] == pytest.approx(
        [2, 2, 2, 2.1, 2]
    )
    assert record["pairs"][0]["large"] == 7 and record["p_page"] is not None
    assert record["curves"]["x"] == [1, 10, 100]
    assert record["curves"]["lines"][""][0] == [9, 9, 7]


def test_curves_that_cannot_be_drawn_decide_nothing():
    """Found when they are recorded: the session's report would be lost with them."""
    ours = trial()
    with pytest.raises(ValueError, match="give 'x', a number for each, or 'names'"):
        ours.decide(FIVE, curves={"lines": {"plain": [[1.0]]}})
    assert "verdict" not in ours.record and ours.record["curves"] is None


def invariant():
    return trial(rule=exact(tolerance=1e-9), kind="invariant", variant="")


def test_examine_supports():
    """A check that passes with small deviations is supported."""
    ours = invariant()
    ours.examine(lambda: None, [0.0, 1e-12])
    assert ours.record["verdict"] == "supported"
    assert ours.record["estimate"] == 1e-12


def test_examine_refutes():
    """A deviation above the tolerance refutes, and hypothesis' example is kept."""
    ours = invariant()

    def check():
        raise AssertionError("with seed 3")

    ours.examine(check, [0.1])
    assert ours.record["verdict"] == "refuted" and ours.record["error"] == "with seed 3"


def test_examine_passes_other_failures_on():
    """An assertion that is no deviation is not taken for support."""
    ours = invariant()

    def check():
        raise AssertionError("something else")

    with pytest.raises(AssertionError, match="something else"):
        ours.examine(check, [0.0])
    assert "verdict" not in ours.record


def test_examine_needs_examples():
    """A check that saw no example decides nothing."""
    with pytest.raises(ValueError, match="needs values, got none"):
        invariant().examine(lambda: None, [])
