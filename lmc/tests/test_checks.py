"""The check of a matcher fails for each thing that can be wrong with one."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lmc
from lmc.checks import check_matcher
from lmc.matching import MATCHERS
from lmc.models import MLP
from lmc.permutation import Permutation
from lmc.tests.networks import normal, precise
from lmc.tests.sessions import run_pytest

MODEL, X = precise(MLP((3, 5, 2))), normal(12, 3)
SYMMETRY = lmc.discover(MODEL, X)
BATCHES = [(X, torch.arange(12) % 2)]


def networks():
    """Two networks that a faulty matcher may spoil."""
    states = (precise(MLP((3, 5, 2)), seed).state_dict() for seed in (1, 9))
    return [{name: value.clone() for name, value in s.items()} for s in states]


@pytest.mark.parametrize("name", MATCHERS)
def test_built_in_matchers_pass(name):
    """And the permutation is handed on."""
    found = check_matcher(MATCHERS[name], SYMMETRY, *networks(), BATCHES)
    assert isinstance(found, Permutation)


def changes(symmetry, a, b, batches, generator):
    b["1.bias"] += 1
    return Permutation.identity(symmetry)


def adds(symmetry, a, b, batches, generator):
    a["seen"] = torch.zeros(1)
    return Permutation.identity(symmetry)


def returns_a_matching(symmetry, a, b, batches, generator):
    return lmc.weight_matching(symmetry, a, b, generator=generator)


def of_another_model(symmetry, a, b, batches, generator):
    return Permutation.identity(lmc.discover(MLP((3, 4, 2)).eval(), X.float()))


SEEDS = iter(range(100))


def by_a_seed_of_its_own(symmetry, a, b, batches, generator):
    return Permutation.random(symmetry, torch.Generator().manual_seed(next(SEEDS)))


def by_torchs_generator(symmetry, a, b, batches, generator):
    torch.rand(1)
    return Permutation.identity(symmetry)


FAULTY = {
    changes: r"changes \['1.bias'\] of network b",
    adds: r"changes \['seen'\] of network a",
    returns_a_matching: r"returns a Matching: it must return an lmc\.Permutation",
    of_another_model: "permutes groups of another model",
    by_a_seed_of_its_own: r"other permutations of \['1'\] by an equal generator",
    by_torchs_generator: "draws from torch's own generator",
}


@pytest.mark.parametrize("matcher", FAULTY)
def test_faults_are_found(matcher):
    """Each by its own message."""
    with pytest.raises(AssertionError, match=FAULTY[matcher]):
        check_matcher(matcher, SYMMETRY, *networks(), BATCHES)


ALONE = """
import sys

def test_no_torch():
    assert "torch" not in sys.modules
"""

FIXTURES = """
def test_fixtures(check_matcher, lmc_testing):
    import lmc
    model = lmc_testing.networks().example()
    symmetry, state = lmc_testing.discover(model), model.state_dict()
    other = lmc_testing.another(model, 3)
    check_matcher(lmc.matching.MATCHERS["weights"], symmetry, state, other)
"""


def in_a_new_process(arguments, folder, environment):
    """Run pytest, as `run_pytest` does, where nothing is imported yet."""
    command = [sys.executable, "-m", "pytest", *arguments]
    given = {"cwd": folder, "env": environment}
    return subprocess.run(command, **given, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("tests", "by"),
    [(ALONE, in_a_new_process), (FIXTURES, run_pytest)],
    ids=["alone", "fixtures"],
)
def test_plugin(tests, by, tmp_path):
    """The module of the entry point, in a project of its own."""
    (tmp_path / "test_theirs.py").write_text(tests)
    own = {"PATH": "", "OMP_NUM_THREADS": "1"}
    own["PYTHONPATH"] = str(Path(lmc.__file__).parents[1])
    own["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # it may be installed, too
    options = ["-q", "-p", "pytest_lmc", "-p", "no:cacheprovider", "-W", "ignore"]
    done = by([*options, "test_theirs.py"], tmp_path, own)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
