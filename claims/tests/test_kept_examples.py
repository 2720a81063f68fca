"""Failing examples of invariants: kept by night, and tried first the next night."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from claims import test_invariants as invariants

ROOT = Path(__file__).parents[2]

BROKEN = """
import conftest
from claims.plugin import hypothesis
from claims.test_invariants import invariant
from claims.claim import claim, places_of
from claims.trial import Trial
from hypothesis import strategies as st
import claims.test_invariants as module

hypothesis.settings.load_profile("nightly")
tried = []

@module.invariant("2402.05966v1", "section 2.2", "size of a number")
def test_broken(number: st.integers(0, 10**6)):
    \"\"\"No number is above 654,321.\"\"\"
    tried.append(number)
    return 1.0 if number > 654_321 else 0.0

@module.invariant("2402.05966v1", "section 2.2", "size of a number")
def test_whole(number: st.integers(0, 10**6)):
    \"\"\"All numbers are small.\"\"\"
    return 0.0

from fixtures import scales
for test in (test_whole, test_broken):
    [made] = [mark.args[0] for mark in test.pytestmark]
    [place] = made.places(scales.get("digits"))
    made.function(Trial(place, None))
print(tried[0])
"""


def first_tried(folder):
    run = subprocess.run(
        [sys.executable, "-c", BROKEN],
        cwd=ROOT,
        env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(run.stdout.splitlines()[-1])


def test_what_failed_is_tried_first_though_other_invariants_hold(tmp_path):
    first_tried(tmp_path)
    assert first_tried(tmp_path) == 654_322  # which hypothesis had shrunk it to


@pytest.mark.parametrize("profile", ["same", "nightly"])
def test_only_the_profile_of_nights_keeps_any(profile, request):
    """By day the same examples are tried every time."""
    before = settings.get_current_profile_name()
    request.addfinalizer(lambda: settings.load_profile(before))
    settings.load_profile(profile)
    kept = invariants.kept_examples("test_x weights")
    if profile == "same":
        assert kept is None
    else:
        assert kept.path.name == "test_x-weights"
        assert kept.path.parent == settings().database.path
