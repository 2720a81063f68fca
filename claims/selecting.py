"""Pytest plugin: what selected tests of claims want, for each number of networks.

For ``-p claims.selecting --collect-only``.  Nothing is trained or measured: see
`fixtures.demand`, which finds out what a test wants of one number of networks.
"""

import json
import os
import sys
from pathlib import Path

import pytest

from fixtures.demand import RANDOM, demand_of, measure_nothing

FEWEST = 4
"""Networks of a setting from which a claim is decided: two independent pairs."""


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write each test's demand to the file that the environment names."""
    for name, module in list(sys.modules.items()):
        if name.startswith("claims.test_"):
            measure_nothing(vars(module))
    most = int(os.environ["LMC_DEMAND_SEEDS"])
    found = []
    for item in session.items:
        place = getattr(item, "callspec", None) and item.callspec.params.get("trial")
        if place is None or place.setting == RANDOM:
            continue
        wants, stopped = {}, ""
        for count in range(FEWEST, most + 1, 2):
            wants[count], stopped = demand_of(item.obj, place, count)
            if stopped:
                break
        found.append({"test": item.nodeid, "wants": wants, "stopped": stopped})
    Path(os.environ["LMC_DEMAND"]).write_text(json.dumps(found))
