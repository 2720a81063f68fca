"""A change of the code that measures forgets what it measured, and nothing else."""

import shutil

import pytest
import torch

from claims.__main__ import main
from claims.measure import memory
from claims.measure.memory import PACKAGES, Sources
from fixtures import measurements


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the sources, and its folders by the packages' names."""
    root = tmp_path_factory.mktemp("sources")
    for name, folder in PACKAGES.items():
        ignored = shutil.ignore_patterns("tests", "pack", "__pycache__", "*.json")
        shutil.copytree(folder, root / name, ignore=ignored)
    return {name: root / name for name in PACKAGES}


MODULES = ("matchers", "pairs", "pruned", "features")


@pytest.fixture
def edited(copied):
    """Return which modules have another digest after a file of the copy is edited."""

    def digests():
        sources = Sources(copied)
        return {name: sources.digest(f"claims.measure.{name}") for name in MODULES}

    def forgets(file, old, new):
        path = copied["lmc"].parent / file
        text = path.read_text()
        assert old in text
        before = digests()
        path.write_text(text.replace(old, new, 1))
        try:
            after = digests()
        finally:
            path.write_text(text)
        return [name for name in MODULES if before[name] != after[name]]

    return forgets


# What gives another value, in a file that has it.
BREAK = "return ", "return 0 or "


@pytest.mark.parametrize(
    "file, old, new, forgotten",
    [
        # All that is measured stands on the graph and the ways to match.
        ("lmc/graph.py", *BREAK, "matchers pairs pruned features"),
        ("lmc/matching/descent.py", "1e-12", "1e-13", "matchers pairs pruned features"),
        ("claims/measure/published.py", *BREAK, "matchers pairs pruned features"),
        # A pair stands on what its networks are made of and see, matching does not.
        ("lmc/renormalization.py", *BREAK, "pairs pruned features"),
        ("lmc/models/vgg.py", *BREAK, "pairs pruned features"),
        ("fixtures/datasets.py", *BREAK, "pairs pruned features"),
        # A barrier does not stand on pruning ...
        ("lmc/pruning.py", "1e-5", "1e-6", "pruned features"),
        ("lmc/features/fisher.py", ".square()", ".abs()", "pruned features"),
        ("claims/measure/pruned.py", "2000", "1000", "pruned features"),
        # ... and nothing on what people run, how training is shown, what is decided.
        ("lmc/command/job.py", *BREAK, ""),
        ("lmc/report.py", *BREAK, ""),
        ("fixtures/checkpoints.py", *BREAK, ""),
        ("fixtures/store.py", *BREAK, ""),
        ("claims/evidence/rules.py", *BREAK, ""),
        # Docstrings, also of attributes, comments and layout count for nothing.
        ("lmc/graph.py", '"""A model as', '"""One model as', ""),
        ("lmc/graph.py", '"""Parameters and buffers', '"""Buffers', ""),
        ("lmc/graph.py", '"""Run the model', '"""Run it', ""),
        ("lmc/graph.py", "import copy\n", "# Above.\n\n\nimport copy  # here\n", ""),
        # A name of a package may come from another module ...
        (
            "lmc/__init__.py",
            "from lmc.homogeneous import",
            "from lmc.tables import",
            "pairs pruned features",
        ),
        # ... and a name more changes nothing for those who do not use it.
        ("lmc/__init__.py", "import (", "import (\n    tables,", ""),
    ],
)
def test_what_is_forgotten(edited, file, old, new, forgotten):
    assert edited(file, old, new) == forgotten.split()


def write(folder, **files):
    """Write a package: its name is the folder's."""
    folder.mkdir()
    for name, text in {"__init__": "", **files}.items():
        (folder / f"{name}.py").write_text(text)
    return Sources({folder.name: folder}, apart=["p.apart"])


ONE = {"one": "from p import two\n", "two": "", "three": "import p.two\n"}


@pytest.mark.parametrize(
    "source, closure",
    [
        ("import p.one", "one two"),
        ("import p.one as first", "one two"),
        ("from p.one import anything", "one two"),
        ("from p import two as second", "two"),
        ("def f():\n    from p import three", "three two"),
        ("import p\ndef f(): return p.three.x.y", "three two"),
        ("import p as q\nx = q.two", "two"),
        ("from p import two\nimport numpy.linalg\nimport os as p", "two"),
        # One name for a package and for another one, in two functions.
        ("def f():\n import p as q\n q.two\ndef g():\n import os as q", "two"),
        ("from p import apart", ""),
        ("import p.apart", ""),
        ("from p import name", "two"),
        ("import p\nx = p.name()", "two"),
        ("import p\nx = p.new()", "three two"),
        ("x = 1", ""),
        # What a package does not tell the origin of, it may have in itself.
        ("from p import unknown", "__init__ three two"),
        ("import p\nx = getattr(p, 'two')", "__init__ three two"),
    ],
)
def test_imports_are_followed(tmp_path, source, closure):
    names = "from p.two import name\nfrom p.three import other as new\n__all__ = []"
    sources = write(
        tmp_path / "p", main=source, apart="import p.one", **(ONE | {"__init__": names})
    )
    found = [name.removeprefix("p.") for name in sources.closure("p.main")]
    expected = ["p" if name == "__init__" else name for name in closure.split()]
    assert sorted(found) == sorted([*expected, "main"])


def test_a_package_that_does_more_than_import_is_covered(tmp_path):
    """As whoever imports one of its modules runs it."""
    sources = write(tmp_path / "p", **ONE, __init__="from p import three\nx = 1 + 1")
    assert sources.closure("p.two") == ["p", "p.three", "p.two"]


@pytest.mark.parametrize(
    "source, told",
    [
        ("from . import two", "p.main, line 1: what this imports is not followed"),
        ("from p.two import *", "p.main, line 1: what this imports is not followed"),
        ("import importlib\nimportlib.import_module('p.two')", "write an import stat"),
        ("x = __import__('p.two')", "p.main imports by import_module or __import__"),
    ],
)
def test_what_can_not_be_followed_is_refused(tmp_path, source, told):
    sources = write(tmp_path / "p", **ONE, main=source)
    with pytest.raises(ValueError, match=told):
        sources.digest("p.main")


def test_measuring_functions_are_of_our_packages():
    with pytest.raises(ValueError, match="'functools' is no module of claims, fixt"):
        memory.code_digest("functools")


def test_all_that_measures_can_be_followed():
    sources = Sources(PACKAGES)
    names = sources.measuring()
    assert "claims.measure.pairs" in names and "claims.test_svd" in names
    assert len({sources.digest(name) for name in names}) == len(names)
    assert "lmc.pruning" not in sources.closure("claims.measure.pairs")
    assert "lmc.matching.weights" in sources.closure("claims.measure.pairs")


def test_stale_is_what_no_code_measures(tmp_path, monkeypatch):
    monkeypatch.setenv("LMC_CACHE", str(tmp_path))
    present = memory.code_digest("claims.measure.pairs")
    for code in (present, "old"):
        measurements.remember("test", {}, code, dict)
    assert [*memory.stale()] == ["old"]
    assert memory.stale()["old"].rows == 1


def test_gc_shows_and_then_removes_what_is_stale(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LMC_CACHE", str(tmp_path))
    present = memory.code_digest("claims.measure.pairs")
    for code in (present, "old"):
        values = {"value": torch.ones(2)}
        measurements.remember("test", {}, code, lambda values=values: values)
    assert main(["gc"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("1 values measured by other code, 0.0 MB\n")
    assert "gc --yes removes" in shown
    assert [*memory.stale()] == ["old"]
    assert main(["gc", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("removed\n")
    assert memory.stale() == {}
    assert [*measurements.opened().held()] == [present]
