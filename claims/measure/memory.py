"""Which code a measured value stands on: part of the key that it is remembered by.

It is the module that defines the measuring function and all that it imports of
:data:`PACKAGES`, directly or not: its closure.  That is found in the sources.  From
``lmc.renormalize`` it leads to the module that the name comes from, and not to all that
``lmc/__init__.py`` imports.  Docstrings, comments and layout count for nothing.
"""

import ast
import hashlib
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path

import claims
import fixtures
import lmc
from fixtures import measurements
from fixtures.measurements import Held

PACKAGES = {
    package.__name__: Path(str(package.__file__)).parent
    for package in (claims, fixtures, lmc)
}
"""From the names of packages whose code is covered to their folders."""

APART = (
    *("fixtures.checkpoints", "fixtures.folders", "fixtures.measurements"),
    *("claims.claim", "claims.evidence", "claims.measure.memory", "claims.trial"),
)
"""What shapes no value, and is not followed: where files lie, how values are kept, and
what is decided by values.  Networks enter by their bits."""


class Sources:
    """The modules of some packages, as their files are.

    Parameters
    ----------
    packages
        From their names to their folders.
    apart
        Modules and packages that are not covered.
    """

    def __init__(self, packages: Mapping[str, Path], apart: Collection[str] = APART):
        self._apart = apart
        self._files = {
            ".".join((package, *file.relative_to(folder).with_suffix("").parts)): file
            for package, folder in packages.items()
            for file in folder.rglob("*.py")
        }
        self._known: dict[str, _Module] = {}

    def digest(self, module: str) -> str:
        """Return the sha256 of the code of a module's closure.

        Raises
        ------
        ValueError
            There is no such module, or the way that one imports can't be followed.
        """
        code = hashlib.sha256()
        for name in self.closure(module):
            code.update(f"{name} {self._module(name).digest}\n".encode())
        return code.hexdigest()

    def closure(self, module: str) -> list[str]:
        """Return the names of a module and of all that it imports, sorted.

        A package stands for its ``__init__.py``.  Errors as for :meth:`digest`.
        """
        if module not in self._files and not self._is_package(module):
            raise ValueError(
                f"{module!r} is no module of {', '.join(PACKAGES)}: define there what "
                "measures, so that a change of its code is noticed"
            )
        found: set[str] = set()
        waiting = {module}
        while waiting:
            name = waiting.pop()
            if name not in found and not self._is_apart(name):
                found.add(name)
                waiting |= {*self._imports(name), *self._busy_parents(name)}
        return sorted(found)

    def measuring(self) -> list[str]:
        """Return the modules that may define what is measured."""
        return [
            name
            for name in self._files
            if name.startswith(("claims.measure.", "claims.test_"))
            and not name.endswith("__init__")
        ]

    def _imports(self, module: str) -> Iterator[str]:
        """Give the modules that one imports, anywhere in it."""
        own = self._module(module)
        if own.dynamic:
            raise ValueError(
                f"{module} imports by import_module or __import__, which is not "
                "followed: write an import statement"
            )
        for given, whole in own.imports:
            if self._is_package(whole):
                for first, *path in own.paths:
                    if first == given:
                        yield from self._reached(whole, path)
            else:
                yield from self._origins(whole)

    def _reached(self, package: str, path: list[str]) -> Iterator[str]:
        """Give the modules that ``package.a.b`` comes from."""
        while path and self._is_package(f"{package}.{path[0]}"):
            package = f"{package}.{path.pop(0)}"
        # A package that is used by itself may give whatever it has.
        yield from self._origins(f"{package}.{path[0]}") if path else [package]

    def _origins(self, whole: str) -> Iterator[str]:
        """Give the modules that ``module.name`` comes from; or ``module`` itself is."""
        package, _, name = whole.rpartition(".")
        if whole in self._files:
            yield whole
        if package in self._files:
            yield package
        elif self._is_package(package):
            sources = [
                source
                for given, source in self._module(package).imports
                if given == name and source != whole
            ]
            for source in sources:
                yield from self._origins(source)
            if not sources and whole not in self._files:
                yield package  # defined in it

    def _busy_parents(self, module: str) -> Iterator[str]:
        """Give the packages that hold a module and do more than to import names."""
        parts = module.split(".")
        for package in (".".join(parts[:end]) for end in range(1, len(parts))):
            if self._module(package).busy:
                yield package

    def _is_package(self, name: str) -> bool:
        return f"{name}.__init__" in self._files

    def _is_apart(self, name: str) -> bool:
        return any(f"{name}.".startswith(f"{other}.") for other in self._apart)

    def _module(self, name: str) -> "_Module":
        if name not in self._known:
            file = self._files.get(name) or self._files[f"{name}.__init__"]
            self._known[name] = _parsed(name, file.read_bytes())
        return self._known[name]


class _Module:
    """What is to be known of one module.

    Attributes
    ----------
    digest
        Of its code, without docstrings.
    busy, dynamic
        Whether it does more than to import names; whether it imports what only its run
        can tell.
    imports
        Names in this module, and the modules or names of others that they stand for.
    paths
        All ``a.b.c`` in it, each as its parts.
    """

    def __init__(self, name: str, tree: ast.Module):
        nodes = [*ast.walk(tree)]
        for node in nodes:
            if isinstance(body := getattr(node, "body", None), list):
                body[:] = [each for each in body if not _is_text(each)]
        self.digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
        self.busy = not all(map(_imports_names, tree.body))
        self.imports: list[tuple[str, str]] = []
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    first = alias.name.split(".")[0]
                    self.imports.append((alias.asname or first, alias.name))
                    if not alias.asname:
                        self.imports.append((first, first))
            elif isinstance(node, ast.ImportFrom):
                if node.level or any(alias.name == "*" for alias in node.names):
                    raise ValueError(
                        f"{name}, line {node.lineno}: what this imports is not "
                        "followed: write the module's whole name, and each name"
                    )
                self.imports += [
                    (alias.asname or alias.name, f"{node.module}.{alias.name}")
                    for alias in node.names
                ]
        inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        self.paths = [_dotted(node) for node in nodes if id(node) not in inner]
        self.dynamic = any(
            {"import_module", "__import__"} & {*path} for path in self.paths
        )


@cache
def _parsed(name: str, source: bytes) -> _Module:
    return _Module(name, ast.parse(source))


def _imports_names(node: ast.stmt) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom) or (
        isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )


def _dotted(node: ast.AST) -> list[str]:
    """Return the parts of ``a.b.c``, an empty one for anything else."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute) and (parts := _dotted(node.value))[0]:
        return [*parts, node.attr]
    return [""]


def _is_text(node: ast.stmt) -> bool:
    """Return whether a statement is a string alone, such as a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def code_digest(module: str) -> str:
    """Return the digest of the code that a module measures by."""
    return _sources().digest(module)


@cache
def _sources() -> Sources:
    return Sources(PACKAGES)


def stale() -> dict[str, Held]:
    """Return what no present code has measured: how much, by its code's digest.

    `fixtures.measurements.Measurements.forget` deletes it.
    """
    sources = _sources()
    present = {code_digest(module) for module in sources.measuring()}
    held = measurements.opened().held()
    return {code: much for code, much in held.items() if code not in present}
