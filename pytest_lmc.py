"""Fixtures for tests of projects that build on ``lmc``: found by pytest by itself.

A module of its own, outside the package, so that torch is imported by those tests only
that ask for one of the fixtures.
"""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture(scope="session")
def check_matcher() -> Callable[..., Any]:
    """:func:`lmc.checks.check_matcher`, which asserts that a matcher can be used."""
    from lmc.checks import check_matcher

    return check_matcher


@pytest.fixture(scope="session")
def lmc_testing() -> Any:
    """:mod:`lmc.testing`, random architectures for property tests.

    The test is skipped where hypothesis is not installed.
    """
    pytest.importorskip("hypothesis", reason="lmc.testing needs hypothesis")
    import lmc.testing

    return lmc.testing
