"""What the papers say: their numbers by table and column, and their findings.

Each paper is one TOML file, named by its arXiv id, and version where it matters::

    chief = ["renormalization/rescale-at-least-repair"]  # of the entries, by weight

    [tables.4]                         # or [tables."Fig. 16"], [tables."section 3.4"]
    caption = "VGG16 on CIFAR-10, midpoint after activation matching"
    rows = [{ label = "VGG16, AM", setting = "plain-vgg", repair = [43.71, 3.36] }]

    [entries."renormalization/rescale-at-least-repair"]
    where = "section 4.1, Table 1"
    kind = "E"                         # empirical; "I" an invariant, "I/E" both
    sentence = "..."                   # what it says, such that it may turn out false
    quote = "..."                      # in its own words; "" where they aren't known
    numbers = "..."                    # what stands in no table
    tests = ["renormalization/rescale-beats-repair"]  # the chief one first
    reason = ""                        # without tests: why there are none

With ``apart = ["cifar100"]`` at the top, rows that name no scale are not about that
one: the paper has numbers of their own for its images, or none.

A row's keys but label, scale, setting and variant are columns: a number, or its mean
and spread. A row without scale, setting or variant is about every one; a list names
several, and "" in it claims without variants. A label with ``(2nd)`` marks a secondary
review's numbers: shown, but never an effect.

An entry may name the ``scale`` whose results alone decide it.  With ``quoted = "a
summary of the paper"`` in an entry, or at the top for all, quotes are not its words.
"""

import ast
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent

LARGEST_MARGIN = 5.0
"""Points: so much matters, however large the paper's effect is."""
LEAST_MARGIN = 0.1
"""Points: nobody would call less an effect."""

PLACE = ("label", "scale", "setting", "variant")
"""Keys of a row that are no columns."""

ARITHMETIC = (ast.Expression, ast.Name, ast.Load, ast.Constant, ast.BinOp, ast.UnaryOp)
ARITHMETIC += (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub)

STEP = 1e-3
"""Part of a spread by which a number is moved to find the slope of an expression."""


@dataclass(frozen=True)
class Number:
    """A number of a paper, its spread over repetitions if given, and what it is of."""

    value: float
    spread: float | None = None
    label: str = ""


@dataclass(frozen=True)
class Source:
    """Where a paper says something, and the tables that give its numbers.

    Where rows of several tables fit a place equally, the first table wins. An unknown
    paper or table is a ValueError that names those that there are.
    """

    id: str
    where: str
    tables: tuple[str, ...] = ()
    raised: bool = False

    def __post_init__(self) -> None:
        there = _read(self.id).get("tables", {})
        for name in self.tables:
            if name not in there:
                raise ValueError(
                    f"claims/papers/{self.id}.toml has no table {name!r}; it has "
                    f"{_quoted(there) or 'none'}"
                )

    def __str__(self) -> str:
        where = f"raised by {self.where}" if self.raised else self.where
        *first, last = [t for t in self.tables if t.isdigit()] or [""]
        table = f"Tables {', '.join(first)} and {last}" if first else f"Table {last}"
        others = [t for t in self.tables if not t.isdigit() and t not in self.where]
        said = [f"arXiv:{self.id}", where, table if last else "", *others]
        return ", ".join(filter(None, said))

    def check(self, expression: str) -> None:
        """Raise a ValueError if no row of the tables can give an expression a value."""
        names, rows = _names(expression), [_columns(row) for row in self._rows()]
        if any(names <= {*row} for row in rows):
            return
        columns = dict.fromkeys(name for row in rows for name in row)
        lacking = _quoted(sorted(names - {*columns})) or "row with all of its columns"
        there = _quoted(columns) or "none: name some tables="
        raise ValueError(
            f"{expression!r}: {self} has no {lacking}; its tables' columns: {there}"
        )

    def effect(
        self, expression: str, setting: str, variant: str = "", scale: str = ""
    ) -> Number | None:
        """Compute a number of the tables at a place.

        Parameters
        ----------
        expression : str
            Columns, numbers, ``+ - * /`` and parentheses; "" for no number.
        setting, variant, scale : str
            The place. Of the rows about it that have all columns, the one that names
            most of it is taken; the scale counts for more than the setting, and that
            for more than the variant.

        Returns
        -------
        Number or None
            The value, and its spread if the columns are independent: one without a
            spread adds none. None where no row is about the place.

        Examples
        --------
        >>> source = paper("2402.05966v1", "section 4.1", tables=("1", "4"))
        >>> gain = source.effect("rescale - repair", "plain-vgg", "weights")
        >>> round(gain.value, 2), round(gain.spread, 2)
        (9.22, 4.16)
        """
        if not expression:
            return None
        self.check(expression)
        names = _names(expression)
        for row in self._fitting(setting, variant, scale):
            if names <= {*row} and "(2nd)" not in row["label"]:
                return _computed(expression, _columns(row), row["label"])
        return None

    def columns(
        self, setting: str, variant: str = "", scale: str = ""
    ) -> dict[str, list[Number]]:
        """Return all numbers of the tables about a place, by column, nearest first."""
        found: dict[str, list[Number]] = {}
        for row in self._fitting(setting, variant, scale):
            for name, number in _columns(row).items():
                found.setdefault(name, []).append(number)
        return found

    def _rows(self) -> list[dict[str, Any]]:
        tables = _read(self.id).get("tables", {})
        return [row for name in self.tables for row in tables[name]["rows"]]

    def _fitting(self, setting: str, variant: str, scale: str) -> list[dict[str, Any]]:
        """Return the rows about a place, those that name most of it first."""
        found = []
        apart = scale in _read(self.id).get("apart", ())
        place = {"scale": scale, "setting": setting, "variant": variant}
        for row in self._rows():
            fit = [_named(row, key, name) for key, name in place.items()]
            if None not in fit and not (apart and "scale" not in row):
                found.append((fit, row))
        return [row for _, row in sorted(found, key=lambda f: f[0], reverse=True)]


def paper(id: str, where: str, tables: Iterable[str] = ()) -> Source:
    """Say where a paper says something.

    Examples
    --------
    >>> print(paper("2402.05966v1", "section 4.1", tables=("1", "4")))
    arXiv:2402.05966v1, section 4.1, Tables 1 and 4
    """
    return Source(id, where, tuple(tables))


def raised(id: str, where: str, tables: Iterable[str] = ()) -> Source:
    """Say which part of a paper raises a question of our own, as by `paper`."""
    return Source(id, where, tuple(tables), raised=True)


def papers() -> list[str]:
    """Return the ids of the papers that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def smallest_effect(effect: Number | None, unit: str) -> float | None:
    """Return a quarter of an effect, to one digit: the smallest one of interest.

    In points it is at least 0.1 and at most 5. None without an effect.

    Examples
    --------
    >>> [smallest_effect(Number(v), "points") for v in (9.22, -40.01, 0.81, 0.06)]
    [2.0, 5.0, 0.2, 0.1]
    >>> smallest_effect(Number(17.1), "")
    4.0
    """
    if effect is None:
        return None
    margin = float(f"{abs(effect.value) / 4:.0e}")
    if unit != "points":
        return margin or None  # of no effect no part is of interest
    return min(max(margin, LEAST_MARGIN), LARGEST_MARGIN)


@lru_cache
def _read(id: str) -> dict[str, Any]:
    if id not in papers():
        raise ValueError(
            f"no paper {id!r} in claims/papers: add {id}.toml, or give one of "
            f"{_quoted(papers())}"
        )
    return tomllib.loads((FOLDER / f"{id}.toml").read_text(encoding="utf-8"))


def _named(row: Mapping[str, Any], key: str, name: str) -> bool | None:
    """Say whether a row names a part of a place; None if it names only others."""
    if not (given := row.get(key)):
        return False
    return name in ([given] if isinstance(given, str) else given) or None


def _columns(row: Mapping[str, Any]) -> dict[str, Number]:
    given = {k: v for k, v in row.items() if k not in PLACE}
    pairs = {k: v if isinstance(v, list) else [v, None] for k, v in given.items()}
    return {name: Number(*pair, row["label"]) for name, pair in pairs.items()}


@lru_cache
def _names(expression: str) -> frozenset[str]:
    """Return the columns of an expression, which may hold nothing but arithmetic."""
    try:
        nodes = [*ast.walk(ast.parse(expression, mode="eval"))]
    except SyntaxError as error:
        raise ValueError(f"{expression!r} is no expression: {error.msg}") from None
    for node in nodes:
        number = not isinstance(node, ast.Constant) or type(node.value) in (int, float)
        if not isinstance(node, ARITHMETIC) or not number:
            raise ValueError(
                f"{expression!r} has a {type(node).__name__}: give columns of the "
                "tables, numbers, + - * / and parentheses"
            )
    return frozenset(node.id for node in nodes if isinstance(node, ast.Name))


def _computed(expression: str, columns: Mapping[str, Number], label: str) -> Number:
    """Evaluate an expression that `_names` has let through."""
    means = {name: columns[name].value for name in _names(expression)}
    spreads = {n: s for n in means if (s := columns[n].spread) is not None}

    def at(name: str = "", times: float = 0.0) -> float:
        moved = {name: means[name] + times * spreads[name]} if name else {}
        return float(eval(expression, {"__builtins__": {}}, means | moved))

    try:
        parts = [(at(name, STEP) - at(name, -STEP)) / (2 * STEP) for name in spreads]
        return Number(at(), math.hypot(*parts) if parts else None, label)
    except ZeroDivisionError:
        raise ValueError(f"{expression!r} divides by zero in {label!r}") from None


def _quoted(words: Iterable[str]) -> str:
    return ", ".join(map(repr, words))
