"""What a command says."""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from lmc.tables import cell, table


class Said:
    """Progress on stderr; the result on stdout, as a table or as JSON."""

    def __init__(self, as_json: bool):
        self._json = as_json
        self._start = time.perf_counter()

    def progress(self, text: str) -> None:
        """Say what is being done, with the seconds since the start."""
        seconds = time.perf_counter() - self._start
        print(f"[{seconds:6.1f} s] {text}", file=sys.stderr, flush=True)

    def warning(self, text: str) -> None:
        """Say on stderr what should be looked at."""
        print(f"warning: {text}", file=sys.stderr, flush=True)

    def result(self, summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
        """Print a summary, and a table of rows above it."""
        if self._json:
            print(json.dumps({**summary, "rows": list(rows)}))
            return
        if rows:
            print(table(rows), end="\n\n")
        width = max(map(len, summary))
        for key, value in summary.items():
            print(f"{key.ljust(width)}  {cell(value)}")
