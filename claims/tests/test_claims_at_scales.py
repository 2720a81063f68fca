"""What the claims declare that they look at, against the settings of all scales."""

from pathlib import Path

import pytest

from claims.claim import TOPICS, Place, whole_scale
from claims.test_renormalization import FEW
from fixtures import scales
from reports.results import read

RECORDS = Path(__file__).parents[2] / "reports" / "records"

LEFT_OUT = {
    "digits": set(),
    "mnist": set(),
    "paper": set(),
    "cifar10": {"matching"},  # it has one width of each network
}
"""Topics of which a scale has a claim's setting, but not what it is compared with."""


def places(claim, scale):
    """Return the settings and variants on which a claim is asserted at a scale."""
    found = claim.parameters(scale, scales.settings(scale))
    return {(p.values[0].setting, p.values[0].variant) for p in found}


def test_scales_with_fewer_epochs_are_known():
    """What is said of a scale holds for them too."""
    for scale in scales.SCALES:
        assert whole_scale(scale) == whole_scale(scales.short_name(scale, 3)) == scale


def test_what_is_declared_was_looked_at(declared):
    """In kept runs every test has looked at all settings that its claim names."""
    results = [result for path in RECORDS.glob("*.jsonl") for result in read(path)]
    assert len(results) > 500
    for result in results:
        place = Place(declared[result.id], result.scale, result.setting, result.variant)
        looked_at = {fixture["name"] for fixture in result.fixtures}
        # A trial of too few tuples looks at none.
        assert looked_at == {*place.uses} or not result.pairs, place


def figures(result):
    """Return what was measured, as a declaration's reason ends with it."""
    low, high = (f"{end:.2g}" for end in (result.low, result.high))
    unit = f" {result.unit}" if result.unit else ""
    return f"({result.estimate:.2g} [{low}, {high}]{unit}, n = {result.n})."


def test_reasons_have_the_figures_of_the_kept_runs(declared):
    """Where a claim is declared not to be supported, it is said by how much."""
    results = [result for path in RECORDS.glob("*.jsonl") for result in read(path)]
    compared = 0
    for result in results:
        place = Place(declared[result.id], result.scale, result.setting, result.variant)
        assert result.reason == place.record()["reason"], place
        if result.reason and result.estimate is not None:
            assert result.reason.endswith(figures(result)), place
            compared += 1
    assert compared > 50


def test_few_samples_are_known_at_each_scale(declared):
    """Where the claim is asked, its number of samples is given."""
    claim = declared["renormalization/few-samples-suffice"]
    assert {scale for scale in scales.SCALES if places(claim, scale)} == FEW.keys()


def test_topics_are_those_of_claims(declared):
    """A typing error in a scale's topics would leave a topic out."""
    topics = {claim.topic for claim in declared.values()}
    assert set().union(*TOPICS.values()) <= topics
    assert TOPICS.keys() <= scales.SCALES.keys()
    assert all(
        claim.not_at.keys() <= scales.SCALES.keys() for claim in declared.values()
    )


def test_every_place_is_at_some_scale(declared):
    """A typing error in a declaration would leave the claim out everywhere."""
    for claim in declared.values():
        found = set().union(*(places(claim, scale) for scale in scales.SCALES))
        assert found == {(s, v) for s in claim.settings for v in claim.variants}


@pytest.mark.parametrize("scale", scales.SCALES)
def test_claims_are_left_out_where_nothing_is_there_to_compare_with(declared, scale):
    """Elsewhere they are on all of their settings that the scale has."""
    topics = set()
    for claim in declared.values():
        topic_asked = claim.topic in TOPICS.get(scale, {claim.topic})
        if scale in claim.not_at or not topic_asked:
            assert not places(claim, scale)
            continue
        there = {*claim.settings} & {*scales.settings(scale), "random"}
        if places(claim, scale) != {(s, v) for s in there for v in claim.variants}:
            topics.add(claim.topic)
    assert topics == LEFT_OUT[scale]
