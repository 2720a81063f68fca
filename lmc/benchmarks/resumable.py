"""A table with a row for each model, which goes on where it was interrupted."""

import argparse
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar


@dataclass(frozen=True)
class Row(ABC):
    """What was found for one model, in values that JSON has."""

    model: str

    @abstractmethod
    def line(self) -> str:
        """Write a row of the table."""


Found = TypeVar("Found", bound=Row)


def arguments(
    prog: str, about: str | None, table: Path, given: Sequence[str] | None
) -> tuple[list[str], Path]:
    """Read which models are wanted (none: all), and where the table is written."""
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("models", nargs="*", help="default: all")
    parser.add_argument("--out", type=Path, default=table)
    options = parser.parse_args(given)
    return options.models, options.out


def fill(
    table: Path,
    models: Sequence[str],
    survey: Callable[[str], Found],
    kind: type[Found],
    head: Callable[[Sequence[Found]], str],
) -> None:
    """Survey models one by one and write a table of them.

    What was done is kept beside the table, in a file of JSON lines with its name, until
    all models are: the next call goes on from there.

    Parameters
    ----------
    table
        The Markdown file.
    models
        Their names, in the table's order.
    survey
        Makes the row of a model.
    kind
        The class of rows.
    head
        Writes what comes before the first row, given all of them.
    """
    table.parent.mkdir(parents=True, exist_ok=True)
    partial = table.with_suffix(".jsonl")
    lines = partial.read_text("utf-8").splitlines() if partial.exists() else []
    done = {row.model: row for row in (kind(**json.loads(line)) for line in lines)}
    for number, model in enumerate(models, start=1):
        if model not in done:
            print(f"{number}/{len(models)} {model}", file=sys.stderr, flush=True)
            done[model] = survey(model)
            with partial.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(done[model])) + "\n")
    rows = [done[model] for model in models]
    body = "".join(row.line() + "\n" for row in rows)
    table.write_text(head(rows) + body, encoding="utf-8")
    partial.unlink(missing_ok=True)
