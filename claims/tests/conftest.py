"""What tests of all claims begin with."""

import pytest

from claims import claim


@pytest.fixture(scope="session", autouse=True)
def no_pack(tmp_path_factory):
    """Tests train their own networks: those of the pack are rounded, and have ties."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_PACK", str(tmp_path_factory.mktemp("no-pack")))
        yield


@pytest.fixture(scope="session")
def declared() -> dict[str, claim.Claim]:
    """Every claim of every module."""
    return claim.declared()
