"""One claim at one place as a record, and the files of such records.

The one place that writes and reads them: `append` as results come, `read`, and `merge`
into a file that keeps the best of each place.
"""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from reports import units

VERDICTS = ("supported", "refuted", "inconclusive", "error")
LEANINGS = ("", "for", "against")

LACKING = "networks that decide are there"
"""How a premise ends that fails for their number alone."""


class Status(NamedTuple):
    """How a verdict reads beside what is on record: never by its colour alone."""

    key: str  # in HTML attributes and CSS
    word: str  # on the page
    counted: str  # after a number
    symbol: str
    colour: str  # a pytest markup name


STATUSES = {
    status.key: status
    for status in (
        Status("supported", "supported", "supported", "✓", "green"),
        Status("known", "refuted, as on record", "refuted as on record", "⊘", "cyan"),
        Status("refuted", "refuted", "refuted", "✗", "red"),
        Status("inconclusive", "inconclusive", "inconclusive", "?", "yellow"),
        Status("waiting", "no verdict yet", "without a verdict yet", "…", "yellow"),
        Status("error", "error", "errors", "!", "red"),
        Status("contradicts", *["contradicts the record"] * 2, "⚑", "red"),
    )
}


RARE = ("waiting", "contradicts")
"""Statuses that are not named where no result has them."""


@dataclass(frozen=True)
class Result:
    """The outcome of one claim on one setting, in one variant.

    The fields are the keys of one line of ``results.jsonl``. Numbers that were not
    measured, or are not finite, are None. See `from_json`.

    Attributes
    ----------
    id, setting, variant, scale
        The place. The id is the topic and the claim's name, with a slash.
    kind
        ``"empirical"`` or ``"invariant"``.
    sentence, source, quantity, unit
        What is claimed and where; what was measured of it and in which unit.
    rule, decision, margin, alpha
        The rule's name, what it decides in words, its margin and error rate.
    verdict, leaning
        One of `VERDICTS`; ``"for"`` or ``"against"`` where an inconclusive one leans.
    estimate, low, high, spread, n
        Mean of the n independent units, its interval of level 1 - 2 alpha, off which
        the verdict is read, and the standard deviation of the units.
    p, p_against, p_flip, p_page
        One-sided p-values: for the claim, against it, for it by sign flips, and Page's.
    detectable, needed
        The effect that is found with 80% power; how many units would decide the claim
        if the estimate is right.
    grain
        The least step of the measure.
    effect, effect_spread
        The paper's value of the same quantity, with its standard deviation.
    share, share_low, share_high
        The estimate and its interval over the paper's effect.
    pairs
        One mapping a unit: its name, ``pair``, and the values of each column.
    curves
        See `check_curves`.
    paper
        The paper's numbers: ``label``, ``column``, ``value``, ``spread``; first those
        of the quantity that was decided, whose column is ``decided``.
    fixtures
        Networks: ``name``, ``key``, ``seeds``, ``failed`` seeds, ``digest``, and the
        ``images`` of the training set measured where not all were.
    first_seed, device, machine, versions, commit, seconds, nodeid, measured_at
        Provenance. The commit is "" where the code had changes; the time has its
        offset.
    accepted
        The verdict on record, or "".
    red
        Why this result makes the run red, or "".
    error
        What went wrong, or "".
    long
        Whether the claim is left out of short runs.
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
    leaning: str
    estimate: float | None
    low: float | None
    high: float | None
    spread: float | None
    p: float | None
    p_against: float | None
    p_flip: float | None
    p_page: float | None
    n: int | None
    detectable: float | None
    needed: int | None
    grain: float | None
    effect: float | None
    effect_spread: float | None
    share: float | None
    share_low: float | None
    share_high: float | None
    pairs: list[dict[str, Any]]
    curves: dict[str, Any] | None
    paper: list[dict[str, Any]]
    fixtures: list[dict[str, Any]]
    first_seed: int | None
    device: str
    machine: dict[str, str]
    versions: dict[str, str]
    commit: str
    seconds: float | None
    nodeid: str
    accepted: str
    red: str
    error: str
    measured_at: str
    long: bool

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Result:
        """Check a decoded record and make it a result.

        Parameters
        ----------
        record : mapping
            One decoded line. Keys that this version does not know are left out;
            null stands for an empty list, mapping or string, and for numbers that
            are not finite.

        Raises
        ------
        ValueError
            Names every missing key, or the key whose value is wrong.
        """
        names = [field.name for field in fields(cls)]
        if missing := [name for name in names if name not in record]:
            raise ValueError(
                f"missing {', '.join(map(repr, missing))}; a record needs all of: "
                + ", ".join(names)
            )
        values: dict[str, Any] = {}
        for field in fields(cls):
            value, kind = _finite(record[field.name]), str(field.type)
            wanted, word = _KINDS[kind]
            if value is None:
                value = None if "None" in kind else wanted()
            elif not isinstance(value, wanted) or (
                isinstance(value, bool) and wanted is not bool
            ):
                raise ValueError(f"{field.name!r} must be {word}, got {value!r}")
            values[field.name] = value
        for name, choices in (
            ("verdict", VERDICTS),
            ("leaning", LEANINGS),
            ("accepted", ("", *VERDICTS[:-1])),
        ):
            if values[name] not in choices:
                raise ValueError(
                    f"{name!r} is {values[name]!r}; give one of "
                    + ", ".join(map(repr, choices))
                )
        if not values["scale"]:
            raise ValueError("'scale' is empty: give the scale's name, as 'digits'")
        check_curves(record["curves"])
        result = cls(**values)
        _ = result.when  # refuses what is no time
        return result

    @property
    def place(self) -> tuple[str, str, str, str]:
        """Id, setting, variant and scale: of two results there the newer counts."""
        return self.id, self.setting, self.variant, self.scale

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
    def when(self) -> datetime:
        """When it was measured."""
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
    def unit_name(self) -> str:
        """The name of the first independent unit; "" where there is none."""
        return str(self.pairs[0].get("pair", "")) if self.pairs else ""

    @property
    def units(self) -> str:
        """What the independent units are, in the plural, as ``pairs``."""
        return units.kind(self.unit_name)

    @property
    def unmet(self) -> str:
        """The premise of the claim that these networks do not meet; "" if they do."""
        found = re.match(r"premise not met: (.*) \(", self.decision, re.DOTALL)
        return found[1] if found else ""

    @property
    def there(self) -> tuple[int, int] | None:
        """How many units are there, of how many, while the premise is that all are.

        Examples
        --------
        >>> from reports.tests.made_up import FIRST, made
        >>> made(**FIRST).there
        (1, 8)
        """
        found = re.fullmatch(rf"(\d+) of the (\d+) {LACKING}", self.unmet)
        if not found or not self.n:
            return None
        each = units.size(self.unit_name) or int(found[1]) // self.n
        return self.n, int(found[2]) // each

    @property
    def progress(self) -> str:
        """How many units are there while they are too few to decide, in words.

        Examples
        --------
        >>> from reports.tests.made_up import FIRST, made
        >>> made(**FIRST).progress, made().progress
        ('1 of 8 pairs', '')
        """
        if self.verdict != "inconclusive":
            return ""
        if self.there:
            return f"{self.there[0]} of {self.there[1]} {self.units}"
        few = re.search(r"; \d+ units?, at least (\d+) are needed", self.decision)
        if few and not self.unmet:
            return f"{self.n} of at least {few[1]} {self.units}"
        return ""

    @property
    def outcome(self) -> str:
        """The verdict in words, or why there is none.

        Examples
        --------
        >>> from reports.tests.made_up import FIRST, made
        >>> made(**FIRST).outcome
        '1 of 8 pairs, no verdict yet'
        >>> undecided = {"verdict": "inconclusive"}
        >>> made(**undecided, decision="premise not met: no gap (mean > 2)").outcome
        'premise not met'
        >>> made(**undecided, leaning="for").outcome
        'inconclusive, leans for'
        """
        if self.progress:
            return f"{self.progress}, no verdict yet"
        if self.verdict == "inconclusive" and self.unmet:
            return "premise not met"
        return worded(self.verdict, self.leaning)

    @property
    def status(self) -> Status:
        """The verdict beside what is on record, as a category to count and filter."""
        if self.verdict == "error":
            return STATUSES["error"]
        if self.red:
            return STATUSES["contradicts"]
        if self.progress:
            return STATUSES["waiting"]
        if self.verdict == self.accepted == "refuted":
            return STATUSES["known"]
        return STATUSES[self.verdict]

    @property
    def label(self) -> str:
        """The verdict with its leaning and, where that says more, what is on record.

        Examples
        --------
        >>> from reports.tests.made_up import made
        >>> made(verdict="refuted", accepted="refuted").label
        'refuted, as on record'
        >>> made(verdict="inconclusive", leaning="for", accepted="inconclusive").label
        'inconclusive, leans for'
        >>> made(accepted="inconclusive").label  # news, and no failure
        'supported, on record: inconclusive'
        """
        text = self.outcome
        if self.verdict == "error":
            return text
        if self.red:
            return f"{text}, contradicts the record"
        if self.accepted not in ("", self.verdict):
            return f"{text}, on record: {self.accepted}"
        return f"{text}, as on record" if self.status.key == "known" else text

    @property
    def measured(self) -> str:
        """The estimate with its interval, as ``+1.2 [0.4, 2.0] points``.

        The interval's width, to two digits, says how many decimals are worth showing.
        """
        if self.estimate is None:
            return "not measured"
        text = _with_interval(self.estimate, self.low, self.high)
        # Differences of points carry their sign; a share or a deviation shows none.
        sign = "+" if self.unit == "points" and self.estimate > 0 else ""
        return f"{sign}{text} {self.unit}".strip()

    @property
    def of_effect(self) -> str:
        """The share of the paper's effect with its interval, as ``1.4 [1.1, 1.8]``.

        "" where the paper gives no effect of this quantity, or none beyond its spread.
        """
        if self.share is None:
            return ""
        return _with_interval(self.share, self.share_low, self.share_high)

    @property
    def in_paper(self) -> str:
        """The paper's value of the very quantity that was measured; "" if none."""
        if self.effect is None:
            return ""
        return cited({"value": self.effect, "spread": self.effect_spread})


def _with_interval(value: float, low: float | None, high: float | None) -> str:
    """Write a value with its interval; no end at all means that it has none."""
    ends = [end for end in (low, high) if end is not None]
    width = 2 * max((abs(end - value) for end in ends), default=0.0)
    places = max(0, 1 - math.floor(math.log10(width))) if width else None
    text = number(value, places)
    if ends:
        opened = "(-inf" if low is None else f"[{number(low, places)}"
        closed = "inf)" if high is None else f"{number(high, places)}]"
        text += f" {opened}, {closed}"
    return text


_KINDS: dict[str, tuple[Any, str]] = {
    "str": (str, "a string"),
    "bool": (bool, "true or false"),
    "int | None": (int, "an integer or null"),
    "float | None": ((int, float), "a number or null"),
    "list[dict[str, Any]]": (list, "a list"),
    "dict[str, str]": (dict, "an object"),
    "dict[str, Any] | None": (dict, "an object or null"),
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


def with_spread(estimate: float, spread: float | None, n: int | None) -> str:
    """Write a mean of n values with their standard deviation; a single one has none.

    Examples
    --------
    >>> with_spread(14.0, 2.31, 8), with_spread(14.0, 0.0, 1)
    ('14 ± 2.31, n = 8', '14, n = 1')
    """
    beside = "" if n == 1 else f" ± {number(spread)}"
    return f"{number(estimate)}{beside}, n = {n}"


def worded(verdict: str, leaning: str) -> str:
    """Write a verdict with its leaning, as ``inconclusive, leans for``."""
    return f"{verdict}, leans {leaning}" if leaning else verdict


def rule_of(decision: str) -> str:
    """Return the part of a decision's statement that no measurement changes.

    Where it is not that of what is on record, another rule, or margin, decides now, and
    nothing is accepted.

    Examples
    --------
    >>> rule_of("falls by more than 1 points, alpha 0.005; Page's p over 3 levels 0.02")
    'falls by more than 1 points, alpha 0.005'
    >>> rule_of("premise not met: no gap (mean > 2 points, alpha 0.005)")
    'mean > 2 points, alpha 0.005'
    """
    if decision.startswith("premise not met"):
        decision = decision.rpartition(" (")[2].removesuffix(")")
    return decision.partition("; ")[0]


def listed(words: Sequence[str]) -> str:
    """Write words as a list.

    Examples
    --------
    >>> listed(["digits"]), listed(["digits", "mnist", "paper"])
    ('digits', 'digits, mnist and paper')
    """
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


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
    return f"{value:.4g}" + (f" ± {spread:.3g}" if spread is not None else "")


def cited_label(entry: Mapping[str, Any]) -> str:
    """Say what a number of the paper is of, as ``repair: VGG16, WM``."""
    column = entry.get("column", "")
    named = [column] if column not in ("", "decided") else []
    return ": ".join([*named, entry.get("label", "")])


def counts(results: Iterable[Result]) -> dict[str, int]:
    """Count results by the key of their status.

    `waiting` and `contradicts` appear if any is.
    """
    found = dict.fromkeys(STATUSES, 0)
    for result in results:
        found[result.status.key] += 1
    return {key: n for key, n in found.items() if n or key not in RARE}


def corrected(
    results: Sequence[Result],
) -> dict[tuple[str, str, str, str], float]:
    """Correct p-values for their number by Holm's method, each scale by itself.

    Parameters
    ----------
    results : sequence of Result
        All of a family: the corrected values depend on which others are given, which
        is why records do not hold them. No verdict depends on them.

    Returns
    -------
    dict
        From `Result.place` to the corrected p, for results that have one.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure.

    Examples
    --------
    >>> from reports.tests.made_up import made
    >>> held = [made(p=0.01), made(setting="mlp", p=0.04), made(setting="bn-vgg")]
    >>> list(corrected([*held[:2], made(variant="none", p=None)]).values())
    [0.02, 0.04]
    """
    found = {}
    for scale in dict.fromkeys(result.scale for result in results):
        family = [r for r in results if r.scale == scale and r.p is not None]
        highest = 0.0
        for rank, result in enumerate(sorted(family, key=lambda r: r.p or 0.0)):
            highest = max(highest, min(1.0, (len(family) - rank) * (result.p or 0.0)))
            found[result.place] = highest
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
    x, names = curves.get("x"), curves.get("names")
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
    """Keep the newest result of each place.

    Of two from the same time the later in the order given stays.
    """
    found: dict[tuple[str, ...], Result] = {}
    for result in results:
        if result.place not in found or result.when >= found[result.place].when:
            found[result.place] = result
    return list(found.values())


def read(path: str | os.PathLike[str]) -> list[Result]:
    """Read a file of results.

    A session that is killed while it appends leaves an unfinished last line: it is
    left out, with a warning.

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
    # Bytes, since a letter may be torn too; not splitlines, since a sentence may hold
    # other line separators than this one.
    lines = path.read_bytes().split(b"\n")
    for count, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            if count == len(lines):  # no line break: the writer did not get so far
                warnings.warn(
                    f"{path}, line {count} is unfinished, as a killed session leaves "
                    "it: left out",
                    stacklevel=2,
                )
                break
            raise ValueError(f"{path}, line {count}: {error}") from None
        try:
            if not isinstance(record, dict):
                raise ValueError(f"expected a JSON object, got {line[:40].decode()!r}")
            results.append(Result.from_json(record))
        except ValueError as error:
            raise ValueError(f"{path}, line {count}: {error}") from None
    return results


def append(path: str | os.PathLike[str], result: Result) -> None:
    """Append a result as one line, so that a killed session keeps what it has.

    An unfinished line at the end of the file, of another session that was killed, is
    cut off first, as it would spoil this one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if size := file.tell():
            file.seek(size - 1)
            if file.read() != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
        file.write(_line(result).encode())
        file.flush()


def write(path: str | os.PathLike[str], results: Iterable[Result]) -> None:
    """Write results as JSON lines, whole or not at all."""
    write_text(path, "".join(map(_line, results)))


def best(results: Iterable[Result]) -> list[Result]:
    """Keep the best result of each place: what a report is made of.

    An error never displaces what was measured, nor do fewer units more of them, where
    the same is decided by the same rule; otherwise the newer counts, as in `newest`.
    """
    found: dict[tuple[str, ...], Result] = {}
    for result in results:
        held = found.get(result.place)
        if held is None or _displaces(result, held):
            found[result.place] = result
    return list(found.values())


def _displaces(result: Result, held: Result) -> bool:
    if (result.verdict == "error") != (held.verdict == "error"):
        return held.verdict == "error"
    same = all(getattr(result, name) == getattr(held, name) for name in DECIDED)
    if same and (result.n or 0) != (held.n or 0):
        return (result.n or 0) > (held.n or 0)
    return result.when >= held.when


DECIDED = ("quantity", "unit", "rule", "margin", "alpha")
"""What makes two results at a place answers to the same question."""


def merge(
    path: str | os.PathLike[str],
    results: Iterable[Result],
    gone: Callable[[Result], bool] = lambda result: False,
) -> None:
    """Merge results into a file that keeps the `best` of each place.

    What was measured elsewhere stays, so that a session of a few claims, or at another
    scale, loses nothing.

    Parameters
    ----------
    path
        File of results; made if there is none. Its lock lies beside it, as several
        sessions may end at once.
    results : iterable of Result
    gone
        Whether the test of a result that the file has is there no more: it is left out.

    Raises
    ------
    ValueError
        The file is not one of results: it is left as it is.
    TimeoutError
        Another process has kept the lock for a minute.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f".{path.name}.lock"), timeout=60):
        try:
            held = read(path) if path.exists() else []
        except ValueError as error:
            raise ValueError(
                f"{error}; mend the line, or move the file away and a new one is begun"
            ) from None
        held = [result for result in held if not gone(result)]
        write(path, sorted(best([*held, *results]), key=lambda r: r.place))


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


def _line(result: Result) -> str:
    return json.dumps(_finite(asdict(result))) + "\n"


def _finite(value: Any) -> Any:
    """Python writes and reads NaN and Infinity, which JSON lacks: make them null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
