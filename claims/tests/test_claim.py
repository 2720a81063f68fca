"""Declaring a claim: what is refused, where it is asked, and by which margin."""

from dataclasses import replace

import pytest

from claims import claim as module
from claims.claim import Claim, Place, at, claim, declared, places_of
from claims.evidence import FEWEST, exact, noninferiority, superiority
from claims.papers import paper, raised
from fixtures import scales
from fixtures.scales import Name

DIGITS = scales.get("digits")
TABLES = paper("2402.05966v1", "section 4.1", tables=("1", "4"))


def made(**more):
    given = {
        "id": "topic/claim",
        "sentence": "It is so.",
        "source": TABLES,
        "quantity": "a difference",
        "rule": superiority(),
        "settings": (Name("plain-vgg"), Name("mlp")),
        "variants": ("weights", "activations"),
    }
    return Claim(**given | more)


def names(claim, scale=DIGITS):
    return [place.name for place in claim.places(scale)]


def test_the_function_is_the_claim(monkeypatch):
    """Module and name make the id, the docstring the sentence; words are settings."""
    monkeypatch.setattr(module, "_declared", {})

    @claim(
        source=TABLES,
        quantity="q",
        rule=superiority(),
        settings="plain-vgg mlp",
        variants="weights none",
        networks=10,
    )
    def test_bigger_is_better(trial):
        """Bigger
        is better."""

    [mark] = test_bigger_is_better.pytestmark
    [found] = mark.args
    assert (found.id, found.sentence) == ("claim/bigger-is-better", "Bigger is better.")
    assert found.settings == ("plain-vgg", "mlp")
    assert found.variants == ("weights", "none") and found.networks == 10
    assert module._declared == {"claim/bigger-is-better": found}


def test_all_claims_of_the_suite_are_found():
    """By importing the topics' modules, whatever pytest has selected."""
    found = declared()
    assert len(found) > 100 and "renormalization/rescale-beats-repair" in found
    ids = [claim.id for claim in found.values()]
    assert ids == list(found) and all(id.count("/") == 1 for id in ids)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sentence": ""}, "topic/claim has no docstring: write the sentence"),
        (
            {"settings": (Name("plain-vg"),)},
            "asked of 'plain-vg', .*: choose plain-vgg",
        ),
        (
            {"networks": 8},
            "limits its networks to 8, .*: give networks= 10 or more, or tuple_size= 1",
        ),
        ({"networks": 14, "tuple_size": 3}, "give networks= 15 or more"),
        ({"networks": 4, "tuple_size": 1}, "give networks= 5 or more"),
        ({"tuple_size": 0}, "about tuples of 0: give tuple_size= 1 or more"),
        ({"not_at": {"digit": "why"}}, "names the scale digit: choose digits"),
        ({"effect": "rescale - repairs"}, "repairs"),
    ],
)
def test_what_can_not_be_meant_is_refused(fields, message):
    """At once, when the module is imported."""
    with pytest.raises(ValueError, match=message):
        made(**fields)


def test_places_are_settings_times_variants():
    expected = ["plain-vgg weights", "plain-vgg activations"]
    assert names(made())[:2] == expected and len(names(made())) == 4
    assert names(made(settings=(Name("random"),), variants=("",))) == ["random"]


def test_settings_that_a_scale_lacks_are_left_out():
    """Its own, or one that is only looked at."""
    mnist, there = scales.get("mnist"), ["mlp weights", "mlp activations"]
    assert names(made(), mnist) == there
    merging = made(uses=lambda place: (place.setting, "mlp-merging"))
    assert names(merging, mnist) == there and names(merging) == []


def test_scales_where_a_claim_is_not_asked():
    """Those with fewer epochs neither."""
    elsewhere = made(not_at={"digits": "why"})
    assert names(elsewhere) == names(elsewhere, scales.get("digits-epochs2")) == []
    assert names(elsewhere, scales.get("mnist"))


def test_levels_of_a_setting_are_named():
    """Of several factors all combinations, the first one slowest."""
    place = Place(made(), DIGITS, Name("ln-vgg"), "")
    assert at(lr=(0.01, 0.1), init=(None, "uniform"))(place) == [
        "ln-vgg-lr0.01",
        "ln-vgg-uniform-lr0.01",
        "ln-vgg-lr0.1",
        "ln-vgg-uniform-lr0.1",
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        # 9.22 and 40.01 points in the paper; no table has the MLP.
        ({"effect": "rescale - repair"}, [2.0, 5.0, 1.0, 1.0]),
        ({"effect": "repair - rescale"}, [2.0, 5.0, 1.0, 1.0]),
        ({"rule": noninferiority(), "contrast": "repair - midpoint"}, [5.0, 1.0, 1, 1]),
        ({"rule": superiority(margin=20.0), "effect": "rescale"}, [20.0] * 4),
        ({}, [1.0] * 4),
        ({"rule": exact(tolerance=0.0), "kind": "invariant"}, [0.0] * 4),
    ],
)
def test_margins_follow_from_the_paper(fields, expected):
    """A quarter of its effect, one digit, at most 5 points; else 1 point."""
    assert [place.margin for place in made(**fields).places(DIGITS)] == expected


def test_another_unit_needs_a_margin_of_its_own():
    """There is no smallest ratio of interest in general."""
    [place, *_] = made(unit="").places(DIGITS)
    with pytest.raises(ValueError, match="topic/claim has no margin on 'plain-vgg wei"):
        _ = place.margin


@pytest.mark.parametrize(
    ("fields", "seeds", "demand"),
    [
        ({}, None, {"plain-vgg": 16}),
        ({}, 6, {"plain-vgg": 6}),
        ({}, 32, {"plain-vgg": 32}),
        ({"uses": lambda _: ("ln-vgg", "mlp")}, 4, {"ln-vgg": 4, "mlp": 4}),
        ({"networks": 10}, None, {"plain-vgg": 10}),
        ({"networks": 10}, 16, {"plain-vgg": 10}),
        ({"networks": 10}, 6, {"plain-vgg": 6}),
        ({"networks": 20, "tuple_size": 4}, None, {"plain-vgg": 20}),
        ({"networks": 20, "tuple_size": 4}, 10, {"plain-vgg": 8}),
        ({"tuple_size": 3}, None, {"plain-vgg": 15}),
        ({"settings": (Name("random"),)}, None, {}),
    ],
)
def test_what_is_declared_says_which_networks_are_wanted(fields, seeds, demand):
    """Of tuples whole ones; --seeds bounds what a claim declares."""
    [place, *_] = made(**fields).places(DIGITS)
    assert place.demand(seeds) == demand


FEW = replace(DIGITS, fewer={"plain-vgg": 10})


@pytest.mark.parametrize(
    ("fields", "seeds", "count"),
    [
        ({}, None, 10),
        ({"networks": 8, "tuple_size": 1}, None, 8),
        ({"networks": 12}, None, 10),
        ({}, 16, 16),  # told so
        ({"settings": (Name("bn-vgg"),)}, None, 16),
        # The setting that has fewest decides for all.
        ({"settings": (Name("bn-vgg"),), "uses": lambda _: ("bn-vgg",) * 2}, None, 16),
        ({"uses": lambda _: ("bn-vgg", "plain-vgg-epochs30")}, None, 10),
    ],
)
def test_a_setting_may_have_fewer_networks_than_others(fields, seeds, count):
    [place, *_] = made(**fields).places(FEW)
    assert {*place.demand(seeds).values()} == {count}


def test_a_claim_is_not_asked_where_its_networks_are_too_few_to_decide():
    """Ten networks make five pairs, and no five triples."""
    own = (Name("plain-vgg"),)
    assert made(tuple_size=2, settings=own).places(FEW)
    triples = made(tuple_size=3, networks=15, settings=own)
    assert triples.places(DIGITS) and not triples.places(FEW)


def test_every_claim_of_the_suite_can_be_decided():
    """Each place has a margin above 0 and networks for five units, by default."""
    for name in scales.SCALES:
        for place in places_of(scales.get(name)):
            if place.claim.kind == "invariant":
                continue
            assert place.margin > 0, place
            assert place.count() // place.claim.tuple_size >= FEWEST, place


def test_at_most_a_seventh_of_the_places_is_long():
    """The usual run decides nearly everything."""
    places = places_of(DIGITS)
    assert sum(place.claim.long for place in places) <= 0.15 * len(places)


def test_the_record_knows_the_claim_before_it_is_measured():
    """Margin and the paper's effect, so that an error shows them too."""
    [place, *_] = made(effect="rescale - repair").places(DIGITS)
    record = place.record()
    assert (record["margin"], round(record["effect"], 2)) == (2.0, 9.22)
    assert record["sentence"] == "It is so." and record["estimate"] is None
    assert "verdict" not in record


def test_questions_of_our_own_have_no_numbers():
    place = Place(
        made(source=raised("2402.05966v1", "its section 5")), DIGITS, "mlp", ""
    )
    assert place.effect is None and place.margin == 1.0
