"""Which files import which: no circles, rooms are kept, and packages are declared."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("lmc", "fixtures", "claims", "reports")
FORBIDDEN = {
    "lmc": {"fixtures", "claims", "reports"},
    "fixtures": {"claims", "reports"},
    "reports": {"fixtures", "claims"},
    "claims": set(),
}


EXTRAS = {
    "lmc": (),
    "lmc.command": ("command",),
    "lmc.benchmarks": ("suite", "architectures"),
    "lmc.checks": ("testing",),
    "lmc.stored": ("command",),
    "lmc.testing": ("testing",),
    "fixtures": ("suite",),
    "fixtures.cluster": ("suite", "cluster"),
    "claims": ("suite",),
    "reports": ("suite",),
}
"""What has to be installed beside `lmc` for a module, or all in a package."""


def modules():
    """Return every module's name and file, those of tests apart."""
    found = {}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            parts = file.relative_to(ROOT).with_suffix("").parts
            if "tests" not in parts and not parts[-1].startswith("test_"):
                found[".".join(parts).removesuffix(".__init__")] = file
    return found


def imported(tree, known):
    """Return the modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not followed here"
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            # A module of a package is imported, not the package that holds it.
            found |= (inside & known) or {node.module}
    return found


def graph():
    """Return for each module those of the repository that it imports."""
    files = modules()
    return {
        name: imported(ast.parse(file.read_text()), {*files}) & {*files} - {name}
        for name, file in files.items()
    }


def circles(edges):
    """Return the sets of modules that lead to each other (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in edges[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(frozenset(stack[at:]))
            del stack[at:]

    for name in sorted(edges):
        if name not in index:
            visit(name)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_no_circle(package):
    """Not between files of a package: at the top, in functions, or for types alone."""
    found = circles(
        {
            name: {other for other in others if other.split(".")[0] == package}
            for name, others in graph().items()
            if name.split(".")[0] == package
        }
    )
    assert not found, [sorted(circle) for circle in found]


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms(package):
    """The science knows nothing of claims, and a page needs neither."""
    wrong = {
        f"{name}: {other}"
        for name, file in modules().items()
        if name.split(".")[0] == package
        for other in imported(ast.parse(file.read_text()), {*modules()})
        if other.split(".")[0] in FORBIDDEN[package]
    }
    assert not wrong


def test_circles_are_seen():
    """Of two and of three; what only leads there is in none."""
    edges = {
        "a": {"b"},
        "b": {"a"},
        "c": {"a", "d"},
        "d": {"e"},
        "e": {"c"},
        "f": {"a"},
    }
    assert {*circles(edges)} == {frozenset("ab"), frozenset("cde")}
    tree = ast.parse("import a\ndef f():\n    from b import c\n    from d import e\n")
    assert imported(tree, {"b.c"}) == {"a", "b.c", "d"}


def declared(extras):
    """Return the packages that the project, and some of its extras, ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"]]
    for extra in extras:
        asked += project["optional-dependencies"][extra]
    return {re.match(r"[\w-]+", each)[0].lower() for each in asked}


@cache
def distributions():
    """Return which installed packages have a module of each name."""
    return metadata.packages_distributions()


def undeclared(found, there):
    """Return which of some imported modules no declared package has."""
    own = {*PACKAGES, *sys.stdlib_module_names}
    return {
        top
        for top in {name.split(".")[0] for name in found} - own
        if not there & {each.lower() for each in distributions().get(top, [top])}
    }


@pytest.mark.parametrize("room", EXTRAS)
def test_an_extra_has_all_that_is_imported(room):
    """So that each works alone, in an environment that has nothing else."""
    files = modules()
    nearest = {
        name: max((r for r in EXTRAS if f"{name}.".startswith(f"{r}.")), key=len)
        for name in files
    }
    there = declared(EXTRAS[room])
    for name, file in files.items():
        if nearest[name] == room:
            found = imported(ast.parse(file.read_text()), {*files})
            assert not undeclared(found, there), name


def test_what_is_not_declared_is_seen():
    assert undeclared(
        {"torch.nn", "sklearn.datasets", "ast", "lmc.graph"}, {"torch"}
    ) == {"sklearn"}
    assert not undeclared({"sklearn"}, declared(["suite"]))
