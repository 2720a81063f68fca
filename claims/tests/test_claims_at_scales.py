"""What the claims declare, against the settings of all scales and what is kept."""

import dataclasses

import numpy as np
import pytest

from claims.claim import RANDOM, Place, places_of
from claims.expected import acceptance, rule_of
from fixtures.scales import SCALES
from reports.results import newest, read

IN_TIME = "order/time order/uncorrected-time order/after-20-epochs "
IN_TIME += "order/after-40-epochs order/after-80-epochs"

ON_TWO_CORES = (
    # One learning rate, one initialization, at most two weight decays and widths.
    "learning-rate/larger-lr-lower-barrier learning-rate/lr-sparsity "
    "learning-rate/not-from-better-endpoints learning-rate/stays-near-initialization "
    "learning-rate/too-large-hurts matching/width-exception "
    "matching/width-helps-slowly matching/width-lowers-barrier "
    "matching/width-lowers-barrier-activations matching/width-lowers-barrier-to-4x "
    "matching/width-steadies order/decay order/depth order/epochs "
    "order/epochs-of-deep order/width svd/decay-raises-alignment "
    "svd/width-raises-alignment weight-decay/evens-out-channels "
    "weight-decay/larger-wd-lower-barrier weight-decay/small-wd-retrained "
    "weight-decay/too-large-hurts weight-decay/wd-compresses "
    "weight-decay/wd-compresses-activations weight-decay/wd-not-from-better-endpoints "
    "weight-decay/wd-repairs-repair "
    # Ten networks make too few tuples.
    "many-models/average-degrades many-models/average-keeps-degrading "
    "many-models/barely-better-than-reference many-models/iterative-does-not-converge "
)

LEFT_OUT = {
    # Networks as they were in the middle of their training.
    "digits": IN_TIME,
    "mnist": "",
    "cifar10": ON_TWO_CORES + "learning-rate/init-distance-fades "
    "learning-rate/init-distance-persists learning-rate/init-matters-at-small-lr "
    "learning-rate/init-does-not-matter-at-large-lr "
    "learning-rate/init-performs-alike many-models/not-transitive",
    "cifar100": ON_TWO_CORES + "renormalization/independent-average-statistics "
    "renormalization/independent-statistics weight-decay/rescale-robust-to-wd",
    # Fewer rates, decays, depths and epochs, and no width of four times.
    "paper": "learning-rate/too-large-hurts matching/low-rate-fails "
    "matching/width-helps-slowly matching/width-lowers-barrier-to-4x order/depth "
    "order/epochs order/epochs-of-deep weight-decay/too-large-hurts",
}
"""Claims of which a scale has a setting, but not all that is looked at there, or not
enough networks."""


@pytest.fixture(scope="module")
def places():
    """All places by the name of their scale."""
    return {name: places_of(scale) for name, scale in SCALES.items()}


def key(place):
    return place.claim.id, place.name


def asserted(claim, scale):
    """Return where a claim would be asked if the scale had all that it looks at."""
    topics = scale.topics or {claim.topic}
    if scale.name in claim.not_at or claim.topic not in topics:
        return []
    return [
        Place(claim, scale, setting, variant)
        for setting in claim.settings
        for variant in claim.variants
        if setting == RANDOM or setting in scale
    ]


def test_a_mistyped_name_is_refused(declared):
    """Not known anywhere, it would leave the claim out everywhere, unseen."""
    claim = declared["matching/plain-nets-stay-broken"]
    claim = dataclasses.replace(claim, uses=lambda place: [place.setting, "plane-vgg"])
    message = "plain-nets-stay-broken looks at 'plane-vgg', .*: choose plain-vgg"
    with pytest.raises(ValueError, match=message):
        claim.places(SCALES["digits"])


def test_every_place_is_at_some_scale(declared, places):
    """Also with all that it looks at together."""
    there = {key(place) for found in places.values() for place in found}
    for claim in declared.values():
        for setting in claim.settings:
            for variant in claim.variants:
                assert (claim.id, f"{setting} {variant}".strip()) in there


@pytest.mark.parametrize("name", SCALES)
def test_claims_are_left_out_where_a_scale_lacks_what_they_look_at(
    declared, places, name
):
    """Those alone; elsewhere they are on all of their settings that the scale has."""
    wanted = {key(p) for c in declared.values() for p in asserted(c, SCALES[name])}
    there = {*map(key, places[name])}
    assert there <= wanted
    assert {id for id, _ in wanted - there} == {*LEFT_OUT[name].split()}


def test_topics_of_scales_are_those_of_claims(declared):
    """A mistyped topic would be left out."""
    topics = {claim.topic for claim in declared.values()}
    for scale in SCALES.values():
        assert (scale.topics or set()) <= topics


def test_few_samples_are_known_at_each_scale(places):
    """Where the claim about them is asked, and only there, their number is given."""
    few = {
        name
        for name, found in places.items()
        if any(p.claim.id == "renormalization/few-samples-suffice" for p in found)
    }
    assert few == {scale.name for scale in SCALES.values() if scale.few_samples}


def decided(place):
    """Return what decides a place: the rule in words, its name, and the margin."""
    claim = place.claim
    values = np.ones((5, 3) if claim.rule.name == "trend" else 5)
    now = claim.rule.decide(values, margin=place.margin, unit=claim.unit, grain=1.0)
    return rule_of(now.statement), now.rule, now.margin


@pytest.mark.parametrize("name", SCALES)
def test_what_is_kept_is_of_todays_declarations(places, name):
    """Places that exist, decided by the rule and with the margin that they have."""
    file = acceptance.RECORDS / f"{name}.jsonl"
    if not file.exists():
        pytest.skip(f"nothing is kept of scale {name}")
    kept = read(file)
    assert len(kept) == len(newest(kept)) > 0
    there = {key(place): place for place in places[name]}
    for result in kept:
        where = f"{result.id} [{result.where}]"
        assert result.scale == name
        assert (result.id, result.where) in there, f"{where} is not asked at {name}"
        then = (rule_of(result.decision), result.rule, result.margin)
        assert then == decided(there[result.id, result.where]), where
