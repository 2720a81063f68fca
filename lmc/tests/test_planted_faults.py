"""The suite notices planted faults: a copy of lmc with a fault fails its tests.

Each fault replaces one piece of source text, which must occur exactly once (so that
a fault cannot rot silently when the code changes), and names the tests that must
turn red.  They run in a process of their own on the copy.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import lmc
from lmc.tests.sessions import run_pytest

# Says at the end which lmc was tested; -q hides pytest's own header.
CONFTEST = """
import lmc

def pytest_unconfigure():
    print("tested", lmc.__file__)
"""


@dataclass(frozen=True)
class Fault:
    """Source text of a file of lmc, what it is replaced by, and who must notice."""

    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


FAULTS = {
    "repair-with-mean-and-deviation-swapped": Fault(
        "renormalization.py",
        "scale = _gain(now, goal.std)\n    return scale, goal.mean - scale * now.mean",
        "scale = _gain(now, goal.mean)\n    return scale, goal.std - scale * now.mean",
        (
            "test_renormalization.py::test_repair_by_hand_of_one_layer",
            "test_renormalization.py::test_repair_reaches_the_goal[vgg]",
        ),
    ),
    "permutation-not-applied-to-the-next-layers-inputs": Fault(
        "permutation.py",
        "for site in group.sites:",
        "for site in group.sites[:1]:",
        (
            "test_permutation.py::"
            "test_apply_is_indexing_of_rows_and_of_the_next_layers_columns",
            "test_certificate.py::test_certificate_is_rounding_in_float64[model0]",
        ),
    ),
    "rescale-that-leaves-the-bias-alone": Fault(
        "renormalization.py",
        "moved = bias.double() * scale.to(bias.device) + shift.to(bias.device)",
        "moved = bias.double() + shift.to(bias.device)",
        (
            "test_renormalization.py::test_rescale_multiplies_the_bias_too",
            "test_renormalization.py::test_fused_is_unfused[mlp-layers0-rescale]",
        ),
    ),
    "barrier-without-the-linear-reference": Fault(
        "interpolation.py",
        "value - ((1 - lam) * first + lam * last)\n        for",
        "value - min(first, last)\n        for",
        (
            "test_interpolation.py::"
            "test_barrier_is_measured_from_the_line_between_the_endpoints",
            "test_interpolation.py::test_loss_rises_and_accuracy_falls",
        ),
    ),
    "goals-interpolate-variances": Fault(
        "renormalization.py",
        "((1 - lam) * a[name].std + lam * b[name].std).square(),",
        "(1 - lam) * a[name].variance + lam * b[name].variance,",
        ("test_renormalization.py::test_goals_interpolate_means_and_deviations",),
    ),
    "mean-wrong-by-the-number-of-pixels": Fault(
        "moments.py",
        "mean = channels.mean(others)",
        "mean = channels.sum(others) / len(values)",
        ("test_renormalization.py::test_statistics_are_those_of_numpy[vgg]",),
    ),
    "biases-left-out-of-the-cost": Fault(
        "matching/pair.py",
        "left_out = {name for norm in norms for name in (norm.mean, norm.variance)}",
        "left_out = {name for name in symmetry.shapes if 'weight' not in name}",
        (
            "test_matching.py::test_biases_enter_unit_by_unit",
            "test_matching.py::test_weight_matching_of_one_layer_is_the_best_of_all_"
            "permutations[0]",
        ),
    ),
    "running-statistics-not-permuted": Fault(
        "rules/norms.py",
        "range(1, 5), [1])",
        "range(1, 3), [1])",
        ("test_discovery.py::test_groups_of_a_vgg_with_norm[bn]",),
    ),
    "products-averaged-with-the-first-batch-size": Fault(
        "moments.py",
        "weight * (a.T @ b) / len(a)",
        "weight * (a.T @ b) / self.__dict__.setdefault('size', len(a))",
        ("test_matching.py::test_unequal_batches_count_alike",),
    ),
}


def run_on_a_copy(folder: Path, fault: Fault) -> CompletedProcess[str]:
    """Copy lmc with its tests to a folder, plant the fault, run its tests there."""
    package = folder / "lmc"
    source = Path(lmc.__file__).parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    path = package / fault.file
    text = path.read_text(encoding="utf-8")
    assert text.count(fault.right) == 1, f"the fault's text has changed: {fault.right}"
    path.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")
    options = ["-q", "-p", "no:cacheprovider", "-rA", "--tb=no", f"--rootdir={folder}"]
    # Neither the caller's options nor his plugins belong to the copy.
    own = {"PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER"}
    environment = {k: v for k, v in os.environ.items() if k not in own}
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    environment["OMP_NUM_THREADS"] = "1"
    environment["COLUMNS"] = "400"  # so that the summary gives the reasons
    tests = [f"lmc/tests/{test}" for test in fault.tests]
    return run_pytest([*options, *tests], folder, environment)


def outcomes(result: CompletedProcess[str], word: str) -> dict[str, str]:
    """The tests that pytest's summary lists under PASSED or FAILED, with reasons."""
    start = f"{word} lmc/tests/"
    lines = [line for line in result.stdout.splitlines() if line.startswith(start)]
    parts = [line.removeprefix(start).partition(" - ") for line in lines]
    return {test: reason for test, _, reason in parts}


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_noticed(name, tmp_path):
    """Every named test of the faulty copy fails by what it asserts or certifies."""
    fault = FAULTS[name]
    result = run_on_a_copy(tmp_path, fault)
    assert result.returncode == 1, result.stdout + result.stderr
    failed = outcomes(result, "FAILED")
    assert set(failed) == set(fault.tests), result.stdout
    noticed = ("assert", "AssertionError", "lmc.certificate.CertificateError")
    assert all(reason.startswith(noticed) for reason in failed.values()), failed
    assert f"tested {tmp_path / 'lmc' / '__init__.py'}" in result.stdout


def test_copy_without_a_fault_passes(tmp_path):
    """The control: on an unchanged copy, all the tests named above pass."""
    tests = tuple(test for fault in FAULTS.values() for test in fault.tests)
    result = run_on_a_copy(
        tmp_path, Fault("__init__.py", "__all__ = [", "__all__ = [", tests)
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert set(outcomes(result, "PASSED")) == set(tests)
    assert f"tested {tmp_path / 'lmc' / '__init__.py'}" in result.stdout


def test_fault_whose_text_is_gone_is_an_error(tmp_path):
    """A fault must not pass because there is nothing left to plant it in."""
    fault = Fault("units.py", "no such text", "", ())
    with pytest.raises(AssertionError, match="text has changed: no such text"):
        run_on_a_copy(tmp_path, fault)
