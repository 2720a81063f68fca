"""``python -m claims accept``: a record becomes what later runs are held against."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from claims import expected
from claims.claim import places_of
from claims.expected import Entry, Key, entry_of
from claims.expected.ledger import note_seeds, noted_seeds, spans
from fixtures import scales
from reports import results
from reports.results import Result

RECORDS = Path(__file__).parents[2] / "reports" / "records"


@dataclass
class Acceptance:
    """Results that are to be accepted, beside what is on file.

    Attributes
    ----------
    found
        The results, one a place, of claims that are decided by chance: an invariant
        holds or is broken, and nothing is accepted of it.
    whole
        Whether they cover all places of the scale: what lies elsewhere is dropped.
    lines
        The differences, as they are shown.
    why
        What is to be said about a place, by its name; "" for no longer anything.
    """

    found: dict[Key, Result]
    why: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scale = next(iter(self.found.values())).scale
        places = places_of(scales.get(self.scale))
        self._invariants = {
            (p.claim.id, p.name) for p in places if p.claim.kind == "invariant"
        }
        self._asked = {(p.claim.id, p.name) for p in places} - self._invariants
        self.whole = self._asked <= self.found.keys()
        self.before = expected.load(self.scale)
        self.after = self._merged()

    def _merged(self) -> dict[Key, Entry]:
        """Return what will be on file, and note the differences."""
        known = self.before.keys() | self.found.keys()
        if unknown := self.why.keys() - {" ".join(key) for key in known}:
            raise ValueError(
                f"there is no place {', '.join(map(repr, sorted(unknown)))}: name one "
                "as the differences do, such as 'matching/barrier-falls mlp weights'"
            )
        refused, after = [], {}
        for key in sorted(known):
            name, old, new = " ".join(key), self.before.get(key), None
            why = self.why.get(name, old.why if old else "")
            if key in self.found:
                new = entry_of(self.found[key], why)
            elif key in self._asked or not self.whole:
                new = replace(old, why=why)
            now = f"now {_said(new)}" if new else "no longer asked"
            lost = old and old.why and (not new or old.verdict != new.verdict)
            if lost and name not in self.why:
                refused.append(f"{name}, {now}: {old.why}")
            if new:
                after[key] = new
            if change := _change(old, new):
                self.lines.append(f"{name}: {change}")
        if refused:
            raise ValueError(
                "\n- ".join(["these would lose their why:", *refused])
                + "\nsay --why 'ID PLACE: TEXT' for each, or --drop-why 'ID PLACE'"
            )
        return after

    def summary(self) -> str:
        """Return how many places have changed, and how."""
        kinds = Counter(
            line.partition(": ")[2].partition(":")[0] for line in self.lines
        )
        counted = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items()))
        part = "" if self.whole else ", not all of the scale: none is dropped"
        return (
            f"scale {self.scale}, {len(self.found)} places{part}; "
            f"{counted or 'nothing differs'}"
        )

    def write(self, given: Sequence[Result], reason: str) -> list[Path]:
        """Write entries, record and ledger; returns the files."""
        record = RECORDS / f"{self.scale}.jsonl"
        ledger = expected.FOLDER / "ledger.toml"
        seeds = looked_at(given)
        noted = noted_seeds(ledger, self.scale)
        if not {*seeds} <= noted and not reason:
            raise ValueError(
                f"seeds {spans(seeds)} of {self.scale} were not looked at before: say "
                "why they are now, as the ledger's line, with --reason TEXT"
            )
        # On record they are what is accepted, and nothing of them is red.
        kept = [
            r if r.kind == "invariant" else replace(r, accepted=r.verdict, red="")
            for r in given
        ]
        if record.exists():
            there = (self.after.keys() | self._invariants) - {
                (r.id, r.where) for r in given
            }
            old = results.newest(results.read(record))
            kept += [r for r in old if (r.id, r.where) in there]
        results.write(record, sorted(results.newest(kept), key=lambda r: r.place))
        expected.write(self.scale, self.after)
        if not {*seeds} <= noted:
            note_seeds(ledger, self.scale, seeds, given[0].commit, reason)
        return [record, expected.path(self.scale), ledger]


def read_acceptable(path: Path, dirty: bool) -> list[Result]:
    """Return a file's results if they can become a record.

    Raises
    ------
    ValueError
        They are of several scales or first seeds, hold errors or broken invariants, or
        are of code that was not committed.
    """
    found = results.newest(results.read(path))
    if not found:
        raise ValueError(f"{path} holds no result: run `pytest claims/` first")
    for what, values in (
        ("scales", {r.scale for r in found}),
        ("first seeds", {r.first_seed for r in found}),
    ):
        if len(values) > 1:
            raise ValueError(
                f"{path} holds results of several {what}, "
                f"{', '.join(sorted(map(str, values)))}: give those of one run"
            )
    bad = [
        r
        for r in found
        if r.verdict == "error" or (r.kind == "invariant" and r.verdict == "refuted")
    ]
    if bad:
        raise ValueError(
            f"{path} holds {len(bad)} errors or broken invariants, such as {bad[0].id} "
            f"{bad[0].where} ({(bad[0].error or bad[0].decision).splitlines()[0]}): "
            "mend them and run again"
        )
    if not dirty and not all(r.commit for r in found):
        raise ValueError(
            f"{path} is of a checkout with changes that are not committed: commit them "
            "and run again, or say --dirty"
        )
    return found


def accept(
    path: Path,
    *,
    yes: bool = False,
    dirty: bool = False,
    why: Iterable[str] = (),
    drop_why: Iterable[str] = (),
    reason: str = "",
) -> int:
    """Show what accepting a file of results would change, and do it if told.

    Returns
    -------
    int
        0 if it is accepted or nothing differs; 1 if something differs and `yes` is
        not said.

    Raises
    ------
    ValueError
        It is refused.
    """
    found = read_acceptable(path, dirty)
    empirical = [r for r in found if r.kind != "invariant"]
    if not empirical:
        raise ValueError(f"{path} holds invariants only: nothing to accept")
    told = dict.fromkeys(map(_place, drop_why), "") | dict(map(_why, why))
    acceptance = Acceptance(expected.by_key(empirical), told)
    print("\n".join([*acceptance.lines, acceptance.summary()]))
    if not yes:
        if acceptance.lines:
            print("nothing is written: say --yes to accept this")
        return int(bool(acceptance.lines))
    for file in acceptance.write(found, reason):
        print(f"written: {file}")
    return 0


def looked_at(found: Iterable[Result]) -> list[int]:
    """Return the seeds of all networks that results are of."""
    return sorted(
        {
            seed
            for result in found
            for fixture in result.fixtures
            for seed in (*fixture["seeds"], *fixture.get("failed", ()))
        }
    )


def _why(text: str) -> tuple[str, str]:
    place, colon, said = text.partition(":")
    if not colon or not said.strip():
        raise ValueError(
            f"--why {text!r} says nothing: write --why 'ID SETTING VARIANT: text'"
        )
    return _place(place), said.strip()


def _place(text: str) -> str:
    return " ".join(text.split())


def _change(old: Entry | None, new: Entry | None) -> str:
    """Say what differs, if anything does; first what matters most."""
    if old is None:
        return f"new: {_said(new)}"
    if new is None:
        return f"dropped: {_said(old)}"
    both = f"{_said(old)} -> {_said(new)}"
    if old.verdict != new.verdict:
        return f"verdict: {both}"
    if old.rule != new.rule:
        return f"rule: {old.rule} -> {new.rule}; {both}"
    if replace(old, why="") != replace(new, why=""):
        return f"estimate: {both}"
    return "" if old.why == new.why else f"why: {old.why!r} -> {new.why!r}"


def _said(entry: Entry) -> str:
    """Write a verdict, as ``supported 9.31 (spread 1.2, n = 8, seeds from 100)``."""
    return (
        f"{entry.verdict} {entry.estimate:g} (spread {entry.spread:g}, n = {entry.n}, "
        f"seeds from {entry.first_seed})"
    )
