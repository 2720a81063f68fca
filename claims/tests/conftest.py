"""What tests of all claims begin with."""

import pytest

from claims import claim


@pytest.fixture(scope="session")
def declared() -> dict[str, claim.Claim]:
    """Every claim of every module."""
    return claim.declared()
