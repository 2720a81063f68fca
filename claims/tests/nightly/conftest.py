"""What tests of nights begin with: values of the record, and an empty history."""

from pathlib import Path

import pytest

from claims.claim import places_of
from claims.nightly.history import History
from claims.nightly.process import key_of
from claims.nightly.simulation import residuals_of
from fixtures import scales
from reports import results

RECORD = Path(__file__).parents[3] / "reports" / "records" / "digits.jsonl"


@pytest.fixture(scope="session")
def record():
    return results.read(RECORD)


@pytest.fixture(scope="session")
def residuals(record):
    return residuals_of(record)


@pytest.fixture(scope="session")
def places(residuals):
    """Twelve places, of several rules and sizes of tuples."""
    found = [p for p in places_of(scales.get("digits")) if key_of(p) in residuals]
    return found[:: len(found) // 12][:12]


@pytest.fixture
def history(tmp_path):
    return History(tmp_path / "history")
