"""A run of claims notices planted faults: the fixed networks have other values then.

Statistics over fresh seeds miss most of them, as networks differ by far more from seed
to seed.  Each fault is planted in a copy of the repository, as the tests of lmc do it.
"""

import os
import shutil
from pathlib import Path

import pytest

from lmc.tests.sessions import run_pytest
from lmc.tests.test_planted_faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]

SAME = "test_same_networks.py::test_same_values"

OTHERS = {
    # It moved three estimates of 441 in the first edition, none out of its interval.
    "repair-that-averages-variances": Fault(
        "renormalization.py",
        "torch.stack([s[name].std for s in statistics]).mean(0).square(),",
        "torch.stack([s[name].variance for s in statistics]).mean(0),",
        (),
    ),
    "reset-without-variance": Fault(
        "renormalization.py",
        "            (norm.variance, average.variance),\n",
        "",
        (),
    ),
    "dead-where-half-is-zero": Fault(
        "features/activations.py",
        "dead[name] = found.after.zeros == 1",
        "dead[name] = found.after.zeros >= 0.5",
        (),
    ),
    "fisher-of-gradients-not-squared": Fault(
        "features/fisher.py",
        "squares = gradients[name].double().square()",
        "squares = gradients[name].double().abs()",
        (),
    ),
    "one-weight-too-many-pruned": Fault(
        "pruning.py",
        "    count = round(sparsity * len(scores))\n    mask",
        "    count = round(sparsity * len(scores)) + 40\n    mask",
        (),
    ),
}

NOTICED = {
    "repair-that-averages-variances": "losses mlp",
    "repair-with-mean-and-deviation-swapped": "losses mlp",
    "permutation-not-applied-to-the-next-layers-inputs": "losses mlp",
    "rescale-that-leaves-the-bias-alone": "losses mlp",
    "barrier-without-the-linear-reference": "losses mlp",
    "biases-left-out-of-the-cost": "losses mlp",
    "reset-without-variance": "renormalization/reset-restores-batchnorm bn-vgg weights",
    "dead-where-half-is-zero": "activations/dead-units plain-vgg weights",
    "fisher-of-gradients-not-squared": "activations/fisher-retained plain-vgg weights",
    "one-weight-too-many-pruned": "vanishing-features/pruning-vanishes plain-vgg",
}
"""From each fault to what the fixed networks have another value of then.

Where the fault is small not an accuracy: on another machine it may be off by an image.
"""


def run_on_a_copy(folder: Path, fault: Fault, tests: tuple[str, ...]) -> str:
    """Plant a fault in a copy of the repository, run tests there, return what is told.

    Nothing of the cache is used: networks come from the pack, and what is measured is
    measured anew, by the faulty code.
    """
    for name in ("lmc", "fixtures", "claims", "reports"):
        ignored = shutil.ignore_patterns("__pycache__", "pack", "out", "records")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "fixtures" / "pack").symlink_to(ROOT / "fixtures" / "pack")
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    path = folder / "lmc" / fault.file
    text = path.read_text(encoding="utf-8")
    assert text.count(fault.right) == 1, f"the fault's text has changed: {fault.right}"
    path.write_text(text.replace(fault.right, fault.wrong), encoding="utf-8")
    own = {"PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_XDIST_WORKER", "LMC_PACK"}
    environment = {k: v for k, v in os.environ.items() if k not in own}
    environment |= {
        "PYTHONPATH": str(folder),
        "LMC_CACHE": str(folder / "cache"),
        "LMC_TRAIN": "never",
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "400",
    }
    options = ["-q", "-rA", "-p", "no:cacheprovider"]
    chosen = [f"claims/{test}" for test in tests]
    return run_pytest([*options, *chosen], folder, environment).stdout


def failed(told: str) -> set[str]:
    """Return the tests that pytest lists as failed."""
    start = "FAILED claims/"
    lines = [line for line in told.splitlines() if line.startswith(start)]
    return {line.removeprefix(start).partition(" - ")[0] for line in lines}


@pytest.mark.parametrize("name", NOTICED)
def test_planted_fault_turns_a_run_red(name, tmp_path):
    fault, test = {**FAULTS, **OTHERS}[name], f"{SAME}[{NOTICED[name]}]"
    told = run_on_a_copy(tmp_path, fault, (test,))
    assert failed(told) == {test}, told


def test_copy_without_a_fault_is_green(tmp_path):
    """The control: all the tests named above pass on an unchanged copy."""
    tests = tuple(f"{SAME}[{name}]" for name in sorted({*NOTICED.values()}))
    same = Fault("__init__.py", "__all__ = [", "__all__ = [", ())
    told = run_on_a_copy(tmp_path, same, tests)
    assert not failed(told) and f"{len(tests)} passed" in told, told
