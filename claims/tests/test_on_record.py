"""What is on record is what the present code decides by the values on record."""

from dataclasses import replace
from pathlib import Path

import pytest

from claims.claim import places_of
from claims.joining import joined
from fixtures import scales
from reports import results

REPORTS = Path(__file__).parents[2] / "reports"
FILES = [
    file.relative_to(REPORTS).as_posix()
    for folder in ("records", "replications")
    for file in sorted((REPORTS / folder).glob("*.jsonl"))
]

OF_A_RUN = {"accepted", "red", "seconds"}
"""What a run says of itself, or of what was on record then."""


def differences(found):
    """Return the fields that the values in ``pairs`` give otherwise."""
    places = {(p.claim.id, p.name): p for p in places_of(scales.get(found[0].scale))}
    differ = []
    for was in found:
        now = joined(places[was.id, was.where], [was])
        for name in vars(was).keys() - OF_A_RUN:
            theirs, ours = getattr(was, name), getattr(now, name)
            if isinstance(theirs, float):
                theirs = pytest.approx(theirs, rel=1e-9)
            if ours != theirs:
                differ.append((was.place, name))
    return differ


def read(file):
    return [r for r in results.read(REPORTS / file) if r.kind != "invariant"]


@pytest.mark.parametrize("file", FILES)
def test_values_on_record_decide_what_is_on_record(file):
    """Verdict, interval, each p-value, what the paper says beside: every field."""
    found = read(file)
    assert found and differences(found) == []


def test_there_are_records_and_replications():
    assert {"records/digits.jsonl", "replications/digits-200.jsonl"} <= {*FILES}


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "refuted"},
        {"low": -18.0},
        {"p": 0.001},
        {"margin": 2.0},
        {"sentence": "RESCALE is better than REPAIR."},
    ],
)
def test_a_record_that_says_something_else_is_found(changes):
    supported = next(r for r in read(FILES[0]) if r.verdict == "supported")
    changed = replace(supported, **changes)
    assert differences([changed]) == [(changed.place, *changes)]
