"""What the claims declare that they look at, against the settings of all scales."""

import pytest

from fixtures import scales

LEFT_OUT = {
    "digits": set(),
    "mnist": set(),
    "paper": set(),
    # It has one width, learning rate, weight decay and initialization of each network.
    "cifar10": {"learning-rate", "matching", "svd", "weight-decay"},
}
"""Topics of which a scale has a claim's setting, but not what it is compared with."""


def places(claim, scale):
    """Return the settings and variants on which a claim is asserted at a scale."""
    found = claim.parameters(scale, scales.settings(scale))
    return {(p.values[0].setting, p.values[0].variant) for p in found}


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
        there = {*claim.settings} & {*scales.settings(scale), "random"}
        if places(claim, scale) != {(s, v) for s in there for v in claim.variants}:
            topics.add(claim.id.partition("/")[0])
    assert topics == LEFT_OUT[scale]
