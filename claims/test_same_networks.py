"""The same networks again: values that differ beyond rounding are red."""

import pytest

from claims import again


@pytest.fixture(scope="module")
def fixed():
    """The networks that ship with the repository."""
    return again.fixed()


def pytest_generate_tests(metafunc):
    metafunc.parametrize("name", again.names())


def test_same_values(name, fixed):
    """Until another value is accepted: `python -m claims again --accept --why TEXT`."""
    kept = again.kept()["values"]
    assert name in kept, (
        f"{name} was never measured on the fixed networks: accept it by `python -m "
        "claims again --accept --why TEXT`"
    )
    told = again.differences(name, again.measure(name, fixed), kept[name])
    assert not told, "\n".join(told)
