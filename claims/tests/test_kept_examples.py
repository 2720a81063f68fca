"""Examples of invariants: those that fail by night are tried first the next night, and
those that are the same every time are tried once for the same code."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.database import DirectoryBasedExampleDatabase

from claims import claim as claims
from claims import test_invariants as invariants
from claims.trial import Trial
from fixtures import scales


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Have what is found remembered in a folder of this test; others by their names."""

    def choose(name):
        monkeypatch.setenv("LMC_CACHE", str(tmp_path / name))

    choose("cache")
    return choose


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
    return number * 1e-16


def never(number: st.integers(0, 10**6)):
    """No number is any good."""
    tried.append(number)
    return 1.0


tried = []


def examined(deviation, **options):
    """Try an invariant as its test would; return what was tried first, and verdict.

    None where nothing was tried.
    """
    tried.clear()
    test = invariants.invariant("2402.05966v1", "section 2.2", "size", **options)(
        deviation
    )
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


def test_a_short_run_tries_five_examples_the_same_every_time(profile, cache):
    profile("short")
    found = []
    for name in ("one", "another"):
        cache(name)
        assert examined(whole)[1] == "supported"
        found.append([*tried])
    assert found[0] == found[1] and len(found[0]) == 5


def test_the_same_examples_are_tried_once_for_the_same_code(profile, monkeypatch):
    """More of them, other code and random ones are tried."""
    profile("short")
    first = examined(whole)
    assert first[0] is not None
    assert examined(whole) == (None, "supported")
    settings.register_profile("more", settings.get_profile("short"), max_examples=6)
    profile("more")
    assert examined(whole)[0] is not None and len(tried) == 6
    profile("short")
    monkeypatch.setattr(invariants, "code_digest", lambda module: f"other {module}")
    assert examined(whole) == first
    profile("nightly")
    assert all(examined(whole)[0] is not None for _ in range(2))


def test_what_was_found_once_is_decided_by_again(profile):
    """The largest deviation, above another tolerance."""
    profile("short")
    assert examined(whole)[1] == "supported"
    assert examined(whole, tolerance=1e-15) == (None, "refuted")


def test_a_failure_is_tried_every_time(profile):
    profile("same")
    for _ in range(2):
        first, verdict = examined(never)
        assert first is not None and verdict == "refuted"


def test_only_the_profile_of_nights_keeps_any(profile):
    """By day the same examples are tried every time."""
    profile("same")
    assert invariants.kept_examples("test_x weights") is None
    profile("nightly")
    kept = invariants.kept_examples("test_x weights")
    assert kept.path.name == "test_x-weights"
    assert kept.path.parent == settings().database.path
