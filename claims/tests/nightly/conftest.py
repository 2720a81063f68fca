"""What tests of nights begin with: values of the record, and histories."""

from pathlib import Path

import pytest

from claims.claim import places_of
from claims.nightly import command as nights
from claims.nightly.drawn import Drawn, residuals_of
from claims.nightly.history import History
from claims.nightly.night import news
from claims.nightly.process import key_of
from claims.nightly.simulation import night_of
from claims.nightly.standing import Standing
from claims.tests.nightly.simulated import ran
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


@pytest.fixture(scope="session")
def nights_of_faults(tmp_path_factory, places, residuals):
    """A history of 40 nights, the tenth of them with a fault."""
    history = History(tmp_path_factory.mktemp("nights"))
    fault = news("same", key_of(places[1]), "the fixed networks: <b> is 2", red=True)
    source = Drawn(
        residuals,
        seed=0,
        effects={key_of(places[0]): 1e6},
        found={night_of(9): [fault]},
    )
    for day in range(40):
        ran(history, places, source, night_of(day))
    return history


@pytest.fixture(scope="session")
def report(nights_of_faults, places):
    standing = Standing(nights_of_faults, len(places))
    return nights.reported(nights_of_faults, standing, places)
