"""One claim on one setting as a record, and the file of such records."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

VERDICTS = ("supported", "refuted", "inconclusive", "error")


class Status(NamedTuple):
    """How a verdict reads beside what was declared: never by its colour alone."""

    key: str  # in HTML attributes and CSS
    word: str  # on the page
    short: str  # in the terminal; upper case asks for attention
    counted: str  # in the line of counts, after a number
    symbol: str
    colour: str  # a pytest markup name


STATUSES = {
    status.key: status
    for status in (
        Status("supported", "supported", "supported", "supported", "✓", "green"),
        Status(
            "declared",
            "refuted, as declared",
            "as declared",
            "refuted as declared",
            "⊘",
            "cyan",
        ),
        Status("refuted", "refuted", "REFUTED", "refuted", "✗", "red"),
        Status("inconclusive", *["inconclusive"] * 3, "?", "yellow"),
        Status("error", "error", "ERROR", "errors", "!", "red"),
        # A claim declared refuted that holds after all: its strict xfail fails.
        Status(
            "undeclared",
            "supported, unexpected",
            "UNDECLARED",
            "supported though declared refuted",
            "⚑",
            "red",
        ),
    )
}


@dataclass(frozen=True)
class Result:
    """The outcome of one claim on one setting, in one variant.

    The fields are the keys of one line of ``results.jsonl``. Numbers that were not
    measured, or are not finite, are None. See `from_json`.
    """

    id: str
    setting: str
    variant: str
    scale: str
    kind: str
    sentence: str
    source: str
    quantity: str
    unit: str
    rule: str
    decision: str
    margin: float | None
    alpha: float | None
    verdict: str
    expected: str
    reason: str
    estimate: float | None
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    n: int | None
    detectable: float | None
    pairs: list[dict[str, Any]]
    curves: dict[str, Any] | None
    paper: list[dict[str, Any]]
    fixtures: list[dict[str, Any]]
    device: str
    versions: dict[str, str]
    commit: str
    seconds: float | None
    nodeid: str
    outcome: str
    error: str = ""
    measured_at: str = ""  # ISO 8601 with offset; "" in files from before it was noted

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Result:
        """Check a decoded record and make it a result.

        Parameters
        ----------
        record : mapping
            One decoded line. Keys that this version does not know are left out;
            null stands for an empty list, mapping or string.

        Raises
        ------
        ValueError
            Names every missing key, or the key whose value has the wrong type.
        """
        needed = [f.name for f in fields(cls) if f.default is MISSING]
        if missing := [name for name in needed if name not in record]:
            raise ValueError(
                f"missing {', '.join(map(repr, missing))}; a record needs all of: "
                + ", ".join(needed)
            )
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = record.get(field.name)
            for kind, word in _KINDS[str(field.type)]:
                if value is None:
                    value = None if "None" in str(field.type) else kind()
                elif not isinstance(value, kind) or isinstance(value, bool):
                    raise ValueError(f"{field.name!r} must be {word}, got {value!r}")
            values[field.name] = value
        if values["verdict"] not in VERDICTS:
            raise ValueError(
                f"'verdict' is {values['verdict']!r}; give one of "
                + ", ".join(map(repr, VERDICTS))
            )
        if not values["scale"]:
            raise ValueError("'scale' is empty: give the scale's name, as 'digits'")
        check_curves(values["curves"])
        result = cls(**values)
        _ = result.when  # refuses what is no time
        return result

    @property
    def topic(self) -> str:
        """The part of the id before the slash."""
        return self.id.partition("/")[0]

    @property
    def claim(self) -> str:
        """The part of the id after the slash (the whole id where there is none)."""
        return self.id.partition("/")[2] or self.id

    @property
    def where(self) -> str:
        """Setting and variant, as ``plain-vgg weights``."""
        return f"{self.setting} {self.variant}".strip()

    @property
    def anchor(self) -> str:
        """Fragment of its setting and variant on the page; its claim's is the id."""
        return f"{self.id}/{self.where}".replace(" ", "/")

    @property
    def when(self) -> datetime:
        """When it was measured; the earliest time there is where that is not known."""
        if not self.measured_at:
            return datetime.min.replace(tzinfo=UTC)
        try:
            when = datetime.fromisoformat(self.measured_at)
        except ValueError:
            when = None
        if when is None or when.tzinfo is None:
            raise ValueError(
                f"'measured_at' is {self.measured_at!r}; give a time with its offset, "
                "as '2026-11-21T10:58:00+00:00'"
            )
        return when

    @property
    def status(self) -> Status:
        """The verdict beside what was declared."""
        if self.expected == "refuted" and self.verdict == "refuted":
            return STATUSES["declared"]
        if self.expected == "refuted" and self.verdict == "supported":
            return STATUSES["undeclared"]
        return STATUSES[self.verdict]

    @property
    def measured(self) -> str:
        """The estimate with its interval, as ``+1.2 [0.4, 2.0] points``.

        The interval's width, to two digits, says how many decimals are worth showing.
        """
        if self.estimate is None:
            return "not measured"
        ends = [end for end in (self.low, self.high) if end is not None]
        width = 2 * max((abs(end - self.estimate) for end in ends), default=0.0)
        places = max(0, 1 - math.floor(math.log10(width))) if width else None
        # Differences of points carry their sign; a share or a deviation shows none.
        differs = self.unit == "points"
        text = ("+" if differs and self.estimate > 0 else "") + number(
            self.estimate, places
        )
        if ends:
            low = "(-inf" if self.low is None else f"[{number(self.low, places)}"
            high = "inf)" if self.high is None else f"{number(self.high, places)}]"
            text += f" {low}, {high}"
        return f"{text} {self.unit}".strip()


_KINDS: dict[str, list[tuple[Any, str]]] = {
    "str": [(str, "a string")],
    "int | None": [(int, "an integer or null")],
    "float | None": [((int, float), "a number or null")],
    "list[dict[str, Any]]": [(list, "a list")],
    "dict[str, str]": [(dict, "an object")],
    "dict[str, Any] | None": [(dict, "an object or null")],
}


def number(value: float | None, places: int | None = None) -> str:
    """Write a number with `places` decimals, or three significant digits.

    Examples
    --------
    >>> number(80.04, 1), number(0.012345), number(-0.04, 1), number(None)
    ('80.0', '0.0123', '0.0', '-')
    """
    if value is None:
        return "-"
    if places is None or places > 6 or abs(value) >= 1e6:
        return f"{value:.3g}"
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0 else text


def probability(p: float | None) -> str:
    """Write a p-value, as ``0.003`` or ``<0.001``; a dash where there is none."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def cited(entry: Mapping[str, Any]) -> str:
    """Write one of the paper's numbers, as ``75.1 ± 4.09``."""
    value, spread = entry.get("value"), entry.get("spread")
    if value is None:
        return "-"
    return f"{value:g}" + (f" ± {spread:g}" if spread is not None else "")


def counts(results: Iterable[Result]) -> dict[str, int]:
    """Count results by the key of their status; all keys but ``undeclared`` appear."""
    found = dict.fromkeys(STATUSES, 0)
    for result in results:
        found[result.status.key] += 1
    if not found["undeclared"]:
        del found["undeclared"]
    return found


def check_curves(curves: Mapping[str, Any] | None) -> None:
    """Refuse curves that cannot be drawn.

    Parameters
    ----------
    curves : mapping or None
        ``lines``
            From each line's name to one list of values per pair, or other independent
            unit. A value is None where nothing was measured; a list may end early. The
            only line of all may be called "".
        ``x``
            One number for each place of the values, in the unit of ``x_label``.
        ``names``
            A name for each place, in the order to be shown. Without ``x`` the places
            are evenly spaced.
        ``x_label``, ``unit``
            What the places are, and what the values are with their unit.
        ``x_scale``
            ``"linear"``, the default, or ``"log"``.
        ``lambda``
            Stands for ``x`` in older records.

    Raises
    ------
    ValueError
        Says which of these is wrong and what to give.

    Examples
    --------
    >>> lines = {"plain": [[9.5, 7.0, None]], "matched": [[9.0, 2.5, 0.5]]}
    >>> check_curves({"x": [0.001, 0.01, 0.1], "x_scale": "log", "lines": lines})
    >>> check_curves({"names": ["half", "whole", "double"], "lines": lines})
    """
    if not curves or not curves.get("lines"):
        return
    x, names = curves.get("x", curves.get("lambda")), curves.get("names")
    if not (names if x is None else x):
        raise ValueError(
            "the curves have no places: give 'x', a number for each, or 'names'"
        )
    for at in [] if x is None else x:
        if not isinstance(at, int | float) or not math.isfinite(at):
            raise ValueError(f"the curves' 'x' holds {at!r}: give finite numbers")
    if x is not None and names is not None and len(x) != len(names):
        raise ValueError(
            f"the curves' 'x' has length {len(x)} and 'names' {len(names)}: "
            "give one number for each name"
        )
    if (scale := curves.get("x_scale", "linear")) not in ("linear", "log"):
        raise ValueError(f"the curves' 'x_scale' is {scale!r}: give 'linear' or 'log'")
    if scale == "log" and (x is None or min(x) <= 0):
        held = "is missing" if x is None else f"holds {min(x)}"
        raise ValueError(
            f"a log scale needs numbers above zero, and the curves' 'x' {held}: "
            "give such numbers, or 'linear' as 'x_scale'"
        )
    places = len(names if x is None else x)
    for name, pairs in curves["lines"].items():
        if (longest := max(map(len, pairs), default=0)) > places:
            raise ValueError(
                f"line {name!r} of the curves has {longest} values at {places} places: "
                "give a place for each value, and None where none was measured"
            )


def newest(results: Iterable[Result]) -> list[Result]:
    """Keep the newest result of each claim, setting, variant and scale.

    Of two from the same time the later in the order given stays, so that a file's
    lines, and files given from old to new, need no times.
    """
    found: dict[tuple[str, ...], Result] = {}
    for result in results:
        key = (result.id, result.setting, result.variant, result.scale)
        if key not in found or result.when >= found[key].when:
            found[key] = result
    return list(found.values())


def read(path: str | os.PathLike[str]) -> list[Result]:
    """Read a file of results.

    Raises
    ------
    FileNotFoundError
        Says how to make the file.
    ValueError
        A line is malformed: names the file, the line's number and what is wrong.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no results at {path}: run `pytest claims/` to write them, or name a "
            "results.jsonl"
        )
    results = []
    # Not splitlines: a sentence may hold other line separators than this one.
    for count, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = _finite(json.loads(line))
            if not isinstance(record, dict):
                raise ValueError(f"expected a JSON object, got {line[:40]!r}")
            results.append(Result.from_json(record))
        except ValueError as error:
            raise ValueError(f"{path}, line {count}: {error}") from None
    return results


def write(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write results as JSON lines, whole or not at all; numbers not finite are null."""
    lines = [json.dumps(_finite(asdict(result))) + "\n" for result in results]
    write_text(path, "".join(lines))


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Put `text` at `path` so that a reader sees the old file or the new, no half."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _finite(value: Any) -> Any:
    """Python writes and reads NaN and Infinity, which JSON lacks: make them null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
