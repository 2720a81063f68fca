"""What all nights have found: tables of JSON lines that only ever grow.

Each file is one table, a row a line, which `History.frame` gives to pandas:

``blocks.jsonl``
    Seeds that a call was given; when it was done with them, which known networks it
    had looked at again by then, and what time was planned for fresh ones and was used.
``processes.jsonl``
    What is asked where, by what rule: one process of evidence.  A change of claim,
    rule, recipe or accepted value begins another; old ones stay.
``values.jsonl``
    The values of a process's fresh units, a row a block.
``strata.jsonl``
    Kinds of machine and versions.
``news.jsonl``
    What a night had to tell, and whether it was red.
``accepted.jsonl``
    What a person has accepted, and why.

Any number of processes append at once, each row under the history's lock.  A process
that is killed while it writes leaves a torn last line: it is left out, and the next
one that writes cuts it off; both say so.
"""

import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import filelock

if TYPE_CHECKING:  # pandas takes a second to import, and nights do without
    from pandas import DataFrame

TABLES = ("blocks", "processes", "values", "strata", "news", "accepted")

FIRST_SEED = 10_000
"""Of the first night: far above all seeds that a ledger lists or a record takes."""

SEEDS = 8
"""Networks of each setting that a block is asked for: four pairs, one tuple of eight.
Fewer would leave claims about such tuples out."""

STRIDE = 16
"""Seeds of a block: as many as may be passed over, because they failed, and more."""

PATIENCE = 60.0
"""Seconds to wait for other processes that write."""

ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

AT_ONCE = 1000
"""Lines that are parsed together."""

Row = dict[str, Any]


class TornLineWarning(UserWarning):
    """A process was killed while it wrote: an unfinished last line is left out."""


class Block(NamedTuple):
    """Seeds of one call in one night, and of no other."""

    night: str
    first_seed: int
    stratum: str


class History:
    """A folder of tables.

    Parameters
    ----------
    folder : Path
        Made where there is none.

    Examples
    --------
    >>> import tempfile
    >>> history = History(Path(tempfile.mkdtemp()))
    >>> history.append("news", [{"night": "2027-01-01", "text": "all is well"}])
    >>> history.rows("news")
    [{'night': '2027-01-01', 'text': 'all is well'}]
    >>> history.frame("news").night.dt.year.tolist()
    [2027]
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(folder / ".lock", timeout=PATIENCE)

    def path(self, table: str) -> Path:
        """Return the file of a table."""
        return self.folder / f"{table}.jsonl"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing; may be entered again inside."""
        try:
            with self._lock:
                yield
        except filelock.Timeout:
            raise TimeoutError(
                f"{self.folder} has been locked for {PATIENCE:g} s: see which process "
                "writes there, and call again"
            ) from None

    def append(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows to a table."""
        text = "".join(ENCODER.encode(row) + "\n" for row in rows)
        with self.locked(), self.path(table).open("a+b") as file:
            if end := file.tell():
                file.seek(end - 1)
                if file.read() != b"\n":
                    file.seek(0)
                    whole = file.read().rfind(b"\n") + 1
                    _warn(self.path(table), "cut off")
                    file.truncate(whole)
            file.write(text.encode())
            file.flush()

    def rows(self, table: str) -> list[Row]:
        """Return all rows of a table."""
        return [*Reader(self).unread(table)]

    def frame(self, table: str) -> "DataFrame":
        """Return all rows of a table as one of pandas, nights as dates.

        Raises
        ------
        ValueError
            There is no such table: names those that there are.
        """
        import pandas

        if table not in TABLES:
            raise ValueError(f"no table {table!r}: choose {', '.join(TABLES)}")
        found = pandas.DataFrame(self.rows(table))
        if "night" in found:
            found = found.assign(night=pandas.to_datetime(found.night))
        return found

    def begin(self, night: str, stratum: str, machine: str) -> "Turn | None":
        """Give a call its seeds for a night, and keep others from them while it holds.

        Seeds of tonight that a call has begun and not ended, because it was killed, are
        given again, to a machine of the same stratum.  Else new ones are allocated,
        that no call was ever given; but for a machine that has done its part of the
        night already there is nothing: None.
        """
        with self.locked():
            rows = self.rows("blocks")
            tonight = [row for row in rows if row["night"] == night]
            ended = {row["first_seed"] for row in tonight if row["ended"]}
            for row in tonight:
                block = Block(night, row["first_seed"], row["stratum"])
                if block.first_seed in ended or block.stratum != stratum:
                    continue
                if turn := self._taken(block, machine):
                    return turn
            if any(row["machine"] == machine for row in tonight if row["ended"]):
                return None
            seeds = [row["first_seed"] + STRIDE for row in rows]
            block = Block(night, max(seeds, default=FIRST_SEED), stratum)
            turn = self._taken(block, machine)
            assert turn is not None, "nobody knows of these seeds yet"
            self.append("blocks", [self._row(block, machine, {"ended": False})])
            return turn

    def _taken(self, block: Block, machine: str) -> "Turn | None":
        lock = filelock.FileLock(self.folder / f".{block.first_seed}.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            return None
        return Turn(self, block, machine, lock)

    @staticmethod
    def _row(block: Block, machine: str, facts: Row) -> Row:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return {**block._asdict(), "machine": machine, **facts, "at": at}


class Reader:
    """Reads on in the tables of a history from where it has come to."""

    def __init__(self, history: History):
        self._history = history
        self._read = dict.fromkeys(TABLES, 0)  # bytes

    def unread(self, table: str) -> Iterator[Row]:
        """Return a table's rows that this reader has not given before, in their order.

        The file is read now, and its rows are parsed as they are taken.

        Raises
        ------
        ValueError
            A line is no JSON: names the file and the line.
        """
        path = self._history.path(table)
        if not path.exists():
            return iter(())
        with path.open("rb") as file:
            file.seek(self._read[table])
            content = file.read()
        whole, newline, torn = content.rpartition(b"\n")
        if torn:
            _warn(path, "left out")
        self._read[table] += len(whole) + len(newline)
        return _parsed(path, whole.splitlines())


def _parsed(path: Path, lines: list[bytes]) -> Iterator[Row]:
    # Many at once take half the time of one by one, and all at once more memory than
    # the garbage collector looks over gladly.
    for first in range(0, len(lines), AT_ONCE):
        some = lines[first : first + AT_ONCE]
        try:
            yield from json.loads(b"[" + b",".join(some) + b"]")
        except ValueError:
            yield from (_row(path, line) for line in some)


def _row(path: Path, line: bytes) -> Row:
    try:
        row: Row = json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"{path} holds {line[:60].decode(errors='replace')!r}, which is no row "
            f"({error}): remove that line"
        ) from None
    return row


class Turn:
    """A block in the hands of one call; a context, after which others may have it."""

    def __init__(
        self, history: History, block: Block, machine: str, lock: filelock.BaseFileLock
    ):
        self.block = block
        self._history, self._machine, self._lock = history, machine, lock
        self._ended = False

    def __enter__(self) -> "Turn":
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()
        if self._ended:  # nobody asks for it any more
            Path(self._lock.lock_file).unlink(missing_ok=True)

    def end(self, **facts: float) -> None:
        """Say that the block is done, and what there is to say of it."""
        row = History._row(self.block, self._machine, {"ended": True, **facts})
        self._history.append("blocks", [row])
        self._ended = True


def _warn(path: Path, what: str) -> None:
    warnings.warn(
        f"{path}: the last line is unfinished, as a killed process leaves it: {what}",
        TornLineWarning,
        stacklevel=3,
    )
