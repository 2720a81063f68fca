"""What tests of all claims begin with."""

import importlib
from pathlib import Path

import pytest

from claims.claim import CLAIMS, Claim


@pytest.fixture(scope="session")
def declared() -> dict[str, Claim]:
    """Every claim of every module."""
    for path in sorted(Path(__file__).parents[1].glob("test_*.py")):
        importlib.import_module(f"claims.{path.stem}")
    return dict(CLAIMS)
