"""Which files of the repository import which: no circles, and rooms are kept."""

import ast
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
