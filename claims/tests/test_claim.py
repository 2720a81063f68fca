"""Declaring a claim, and deciding an invariant by a property test."""

from functools import partial
from types import SimpleNamespace

import pytest

from claims.claim import CLAIMS, Claim, Inconclusive, PaperValue, Refuted, Trial
from claims.decisions import exact, trend


def claim(**more):
    given = {
        "id": "topic/claim",
        "sentence": "s",
        "source": "p",
        "quantity": "q",
        "rule": partial(exact, tolerance=1e-9),
        "settings": ("mlp",),
        "variants": ("weights", "activations"),
    }
    return Claim(**given | more)


@pytest.fixture(autouse=True)
def declared(monkeypatch):
    """Claims of these tests are forgotten after each."""
    monkeypatch.setattr("claims.claim.CLAIMS", {})
    return CLAIMS


@pytest.fixture
def trial():
    [parameter, _] = claim().parameters("digits", ("mlp",))
    return Trial(parameter.values[0], bench=None)


def test_ids_are_unique():
    """History is keyed by the id, so that two claims must not share one."""
    claim()
    with pytest.raises(ValueError, match="two claims are called 'topic/claim'"):
        claim()


def test_refutation_is_declared_where_the_claim_is_asserted():
    """A typing error in a declaration must not silently declare nothing."""
    with pytest.raises(ValueError, match="where it is not asserted"):
        claim(refuted={("digits", "mpl", "weights"): "a typing error"})


def test_undecided_places_have_a_reason_and_no_mark():
    """It stands in the record; whatever is decided there passes or fails as ever."""
    made = claim(undecided={("digits", "mlp", "weights"): "too few pairs"})
    first, second = made.parameters("digits", ("mlp",))
    assert not first.marks and not second.marks
    record = first.values[0].record()
    assert (record["expected"], record["reason"]) == ("supported", "too few pairs")
    assert second.values[0].record()["reason"] == ""
    with pytest.raises(ValueError, match="refuted or undecided at digits on 'mpl'"):
        claim(id="topic/other", undecided={("digits", "mpl", "weights"): "typing"})


def test_parameters_and_marks():
    """Settings times variants; a strict xfail where a refutation is declared."""
    made = claim(refuted={("digits", "mlp", "weights"): "why"})
    first, second = made.parameters("digits", ("mlp",))
    [mark] = first.marks
    assert (first.id, second.id) == ("mlp-weights", "mlp-activations")
    assert mark.name == "xfail" and mark.kwargs["strict"]
    assert mark.kwargs["raises"] is Refuted and mark.kwargs["reason"] == "why"
    assert not second.marks
    assert not any(p.marks for p in made.parameters("another scale", ("mlp",)))


def test_paper_values_stand_beside_their_variant():
    """A number for weights is not shown beside activations."""
    made = claim(
        paper=(PaperValue("both", 1.0), PaperValue("one", 2.0, None, "mlp", "weights"))
    )
    labels = [
        [value["label"] for value in parameter.values[0].record()["paper"]]
        for parameter in made.parameters("digits", ("mlp",))
    ]
    assert labels == [["both", "one"], ["both"]]


def test_examine_supports(trial):
    """A check that passes with small deviations is supported."""
    trial.examine(lambda: None, [0.0, 1e-12])
    assert trial.record["verdict"] == "supported"
    assert trial.record["estimate"] == 1e-12


def test_examine_refutes(trial):
    """A deviation above the tolerance refutes, whatever the check says."""
    with pytest.raises(Refuted, match=r"measured 0\.1"):
        trial.examine(lambda: None, [0.1])


def test_examine_passes_other_failures_on(trial):
    """An assertion that is no deviation is not taken for support."""

    def check():
        raise AssertionError("something else")

    with pytest.raises(AssertionError, match="something else"):
        trial.examine(check, [0.0])
    assert "verdict" not in trial.record


def test_examine_needs_examples(trial):
    """A check that saw no example decides nothing."""
    with pytest.raises(ValueError, match="at least 1 deviation"):
        trial.examine(lambda: None, [])


def test_settings_that_a_scale_lacks_are_left_out():
    """An invariant on random networks is asserted at every scale."""
    made = claim(settings=("mlp", "vit", "random"), variants=("",))
    places = [p.values[0] for p in made.parameters("tiny", ("mlp", "other"))]
    assert [place.setting for place in places] == ["mlp", "random"]


def test_scales_where_a_claim_can_not_be_asked_leave_it_out():
    """Those with fewer epochs too."""
    made = claim(not_at={"tiny": "it has too few images"})
    assert made.parameters("tiny", ("mlp",)) == []
    assert made.parameters("tiny-epochs3", ("mlp",)) == []
    assert made.parameters("digits", ("mlp",)) != []


def place(**more):
    """Return the first place of a claim at a scale of three settings."""
    [parameter, *_] = claim(**more).parameters("tiny", ("mlp", "vgg", "mlp-weights"))
    return parameter.values[0]


def test_places_that_lack_a_setting_to_look_at_are_left_out():
    """Wherever they are asserted, what they are compared with is there, and they."""
    made = claim(
        settings=("mlp", "vgg"),
        variants=("wide", "deep"),
        uses=lambda place: (f"{place.setting}-{place.variant}",),
    )
    there = ("mlp", "mlp-wide", "vgg-wide", "vgg-deep")
    assert [p.id for p in made.parameters("tiny", there)] == ["mlp-wide"]


@pytest.mark.parametrize(
    ("fields", "seeds", "demand"),
    [
        ({}, 6, {"mlp": 6}),
        ({"uses": lambda _: ("vgg", "mlp")}, 5, {"mlp": 5, "vgg": 5}),
        ({"uses": lambda _: ("vgg",)}, 4, {"vgg": 4}),
        ({"uses": lambda place: [f"mlp-{place.variant}"]}, 4, {"mlp-weights": 4}),
        ({"networks": 8}, 16, {"mlp": 8}),
        ({"networks": 8}, 6, {"mlp": 6}),
        ({"networks": {"mlp": 8}, "uses": lambda _: ("vgg",)}, 16, {"vgg": 8}),
        ({"networks": {"vgg": 8}, "settings": ("mlp", "vgg")}, 16, {"mlp": 16}),
        ({"tuple_size": 3}, 16, {"mlp": 15}),
        ({"tuple_size": 3}, 6, {"mlp": 6}),
        ({"tuple_size": 3}, 4, {}),
        ({"tuple_size": 3, "networks": 12}, 16, {"mlp": 12}),
        ({"tuple_size": 3, "networks": 12}, 8, {"mlp": 6}),
        ({"settings": ("random",)}, 4, {}),
    ],
)
def test_what_is_declared_says_which_networks_are_wanted(fields, seeds, demand):
    """Its own setting first; of tuples whole ones, and none if there are not two."""
    found = place(**fields).demand(seeds)
    assert [*found.items()] == [*demand.items()]


class Twelve:
    """Stands in for the bench, whose settings have twelve networks."""

    seeds = range(12)

    def setting(self, _):
        return self

    def networks(self, count):
        return [SimpleNamespace(seed=n, setting=self) for n in range(12)][:count]

    def pairs(self, count):
        two = [each.networks for each in self.tuples(2)]
        return [SimpleNamespace(a=a, b=b, name=f"{a.seed}-{b.seed}") for a, b in two][
            :count
        ]

    def tuples(self, size):
        parts = [self.networks(12)[n : n + size] for n in range(0, 12, size)]
        return [SimpleNamespace(networks=part, name="some") for part in parts]

    def provenance(self, seeds):
        return sorted(seeds)


@pytest.mark.parametrize(("given", "most"), [(6, 6), (None, 12)])
def test_no_more_networks_are_looked_at_than_are_declared(given, most):
    """A test may ask for fewer, and for no more."""
    trial = Trial(place(networks=given), Twelve())
    found = [len(trial.networks(count=n)) for n in (None, 4, 8)]
    assert found == [most, 4, min(8, most)]
    assert len(trial.pairs()) == most // 2


@pytest.mark.parametrize(
    ("look", "seeds"),
    [
        (lambda trial: trial.networks(count=3), [0, 1, 2]),
        (lambda trial: trial.pairs(count=2), [0, 1, 2, 3]),
        (lambda trial: (trial.pairs(count=1), trial.networks(count=3)), [0, 1, 2]),
        (lambda trial: trial.tuples(), list(range(12))),
    ],
)
def test_the_record_names_the_networks_that_were_looked_at(look, seeds):
    """And not those that the setting has, or that another test has loaded."""
    trial = Trial(place(tuple_size=3), Twelve())
    look(trial)
    trial.decide([0.0, 0.0], names=["a", "b"])
    assert trial.record["fixtures"] == [seeds]


def test_without_its_premise_a_claim_is_inconclusive(trial):
    """However clear the values are; what was measured is shown."""
    with pytest.raises(Inconclusive, match="premise not met: no biases"):
        trial.decide([0.0, 0.0], unmet="no biases", share=[1.0, 2.0])
    assert trial.record["verdict"] == "inconclusive"
    assert trial.record["p"] is None
    assert trial.record["estimate"] == 0.0
    assert [pair["share"] for pair in trial.record["pairs"]] == [1.0, 2.0]


def test_one_value_decides_nothing():
    """Of few networks some claims have one value only; that is no error."""
    trial = Trial(place(kind="empirical"), bench=None)
    with pytest.raises(Inconclusive, match="one value decides nothing: raise --seeds"):
        trial.decide([1.0])
    assert trial.record["verdict"] == "inconclusive"
    Trial(place(id="topic/other", kind="invariant"), bench=None).decide([0.0])


@pytest.mark.parametrize("what", ["using", "networks", "pairs"])
def test_a_setting_that_is_not_declared_is_refused(what):
    """Its own too, where only others are: a plan would lack its networks."""
    trial = Trial(place(uses=lambda _: ("vgg",)), Twelve())
    getattr(trial, what)("vgg")
    message = (
        r"topic/claim looks at setting 'mlp', which it does not declare: add it to "
        r"what the claim's uses= returns"
    )
    with pytest.raises(ValueError, match=message):
        getattr(trial, what)()


def test_tuples_need_their_size():
    """It is declared, as what is planned depends on it."""
    message = "topic/claim looks at tuples .*: give the claim a tuple_size="
    with pytest.raises(ValueError, match=message):
        Trial(place(), Twelve()).tuples()


@pytest.mark.parametrize(("most", "count"), [(None, 4), (6, 2), (10, 3)])
def test_no_more_tuples_are_looked_at_than_are_declared(most, count):
    """As many whole ones as fit into the networks."""
    trial = Trial(place(networks=most, tuple_size=3), Twelve())
    assert len(trial.tuples()) == count


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"networks": 2}, "to fewer than 4, which decide nothing: raise networks="),
        ({"networks": 0}, "to fewer than 4"),
        ({"networks": 8, "tuple_size": 5}, "to fewer than 10"),
        ({"networks": {"vgg": 8}}, "limits the networks of vgg, .*: choose from mlp"),
        ({"tuple_size": 1}, "about tuples of 1: give tuple_size= 2 or more"),
    ],
)
def test_limits_that_can_not_be_meant_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        claim(**fields)


def test_trend_is_decided_on_rows_and_shown_as_rank_correlations():
    """Three pairs that fall over four levels."""
    made = claim(rule=trend, unit="")
    [parameter] = made.parameters("digits", ("mlp",))[:1]
    trial = Trial(parameter.values[0], None)
    levels = {f"level {n}": [10.0 - n, 20.0 - n, 30.0 - 2 * n] for n in range(4)}
    trial.decide_trend(levels, names=["a", "b", "c"])
    assert trial.record["verdict"] == "supported"
    assert [row["decided"] for row in trial.record["pairs"]] == [-1.0] * 3
    assert trial.record["pairs"][1]["level 3"] == 17.0
    rising = {name: [-value for value in row] for name, row in levels.items()}
    with pytest.raises(Refuted):
        trial.decide_trend(rising, names=["a", "b", "c"])


def trend_trial():
    [parameter] = claim(rule=trend, unit="").parameters("digits", ("mlp",))[:1]
    return Trial(parameter.values[0], None)


FALLING = {"lr 0.01": [3.0, 6.0], "lr 0.03": [2.0, 5.0], "lr 0.1": [1.0, 4.0]}


def test_trend_records_its_levels_as_a_curve():
    """One line with one list per pair; places by name, and by number if given."""
    trial = trend_trial()
    trial.decide_trend(FALLING, names=["a", "b"])
    assert trial.record["curves"] == {
        "names": ["lr 0.01", "lr 0.03", "lr 0.1"],
        "x_label": "",
        "x_scale": "linear",
        "unit": "",
        "lines": {"": [[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]]},
    }
    trial.decide_trend(
        FALLING,
        names=["a", "b"],
        x=(0.01, 0.03, 0.1),
        x_label="learning rate",
        x_scale="log",
        y_label="barrier in points",
    )
    curves = trial.record["curves"]
    assert curves["x"] == [0.01, 0.03, 0.1] and curves["x_scale"] == "log"
    assert (curves["x_label"], curves["unit"]) == ("learning rate", "barrier in points")
    own = {"x": [0, 1], "lines": {"plain": [[1.0, 2.0]]}}
    trial.decide_trend(FALLING, names=["a", "b"], curves=own)
    assert trial.record["curves"] == own


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([0.01, 0.1], "'x' has length 2 and 'names' 3: give one number for each name"),
        ([0.0, 0.1, 1.0], r"needs numbers above zero, and the curves' 'x' holds 0\.0"),
    ],
)
def test_a_trend_over_bad_numbers_is_not_decided(x, message):
    """No verdict stands in the record: the report shows the error."""
    trial = trend_trial()
    with pytest.raises(ValueError, match=message):
        trial.decide_trend(FALLING, names=["a", "b"], x=x, x_scale="log")
    assert "verdict" not in trial.record and trial.record["curves"] is None


def test_curves_that_cannot_be_drawn_decide_nothing(trial):
    """Found when they are recorded: the session's report would be lost with them."""
    with pytest.raises(ValueError, match="give 'x', a number for each, or 'names'"):
        trial.decide([0.0], curves={"lines": {"plain": [[1.0]]}})
    assert "verdict" not in trial.record and trial.record["curves"] is None


def test_too_few_networks_for_two_tuples_are_inconclusive():
    """Said with the number of seeds that it takes; no statistics of one tuple."""

    class Few:
        seeds = range(6)  # no network of them is asked for

    trial = Trial(place(tuple_size=4), Few())
    with pytest.raises(Inconclusive, match="two tuples of 4 networks need --seeds 8"):
        trial.tuples()
    assert trial.record["verdict"] == "inconclusive"
