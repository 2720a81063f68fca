"""Failing examples of invariants: kept by night, and tried first the next night."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from claims import claim as claims
from claims import test_invariants as invariants
from claims.trial import Trial
from fixtures import scales


@pytest.fixture
def profile(request):
    """Load a profile by its name until the test ends."""
    before = settings.get_current_profile_name()
    request.addfinalizer(lambda: settings.load_profile(before))
    return settings.load_profile


def broken(number: st.integers(0, 10**6)):
    """No number is above 654,321."""
    tried.append(number)
    return float(number > 654_321)


def whole(number: st.integers(0, 10**6)):
    """No number is too large."""
    tried.append(number)
    return 0.0


tried = []


def examined(deviation):
    """Try an invariant as its test would; return what was tried first, and verdict."""
    tried.clear()
    test = invariants.invariant("2402.05966v1", "section 2.2", "size")(deviation)
    [made] = [mark.args[0] for mark in test.pytestmark]
    claims._declared.pop(made.id)  # it is no claim of the suite
    [place] = made.places(scales.get("digits"))
    trial = Trial(place, None)
    test(trial)
    return next(iter(tried), None), trial.record["verdict"]


def test_what_failed_is_tried_first_though_other_invariants_hold(profile, tmp_path):
    """Each has its own: another one, which holds, deletes none of its examples."""
    kept = DirectoryBasedExampleDatabase(tmp_path)
    settings.register_profile("kept", settings.get_profile("nightly"), database=kept)
    profile("kept")
    assert examined(broken)[1] == "refuted"
    assert examined(whole)[1] == "supported"
    assert examined(broken) == (654_322, "refuted")  # as hypothesis had shrunk it


def test_a_short_run_tries_five_examples_the_same_every_time(profile):
    profile("short")
    found = []
    for _ in range(2):
        assert examined(whole)[1] == "supported"
        found.append([*tried])
    assert found[0] == found[1] and len(found[0]) == 5


def test_only_the_profile_of_nights_keeps_any(profile):
    """By day the same examples are tried every time."""
    profile("same")
    assert invariants.kept_examples("test_x weights") is None
    profile("nightly")
    kept = invariants.kept_examples("test_x weights")
    assert kept.path.name == "test_x-weights"
    assert kept.path.parent == settings().database.path
