"""The same networks again: values that differ beyond rounding are red."""

import pytest

from claims import again


@pytest.fixture(scope="module")
def fixed():
    """The networks that ship with the repository."""
    return again.fixed()


def pytest_generate_tests(metafunc):
    if "name" in metafunc.fixturenames:
        metafunc.parametrize("name", again.names())


def test_same_values(name, fixed):
    """Until another value is accepted: `python -m claims again --accept --why TEXT`."""
    told = again.compared({name: again.measure(name, fixed)})
    assert not told, "\n".join(told)


def test_nothing_on_file_is_measured_no_longer():
    gone = again.kept()["values"].keys() - {*again.names()}
    assert not gone, (
        f"{sorted(gone)}: accept that they went by `python -m claims again`"
    )
