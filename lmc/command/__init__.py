"""Match, merge and repair networks from files, and measure the barrier between them.

The one part of ``lmc`` that reads, writes and prints.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmc.command.errors import CommandError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 2 for what the user can mend."""
    options = _parser().parse_args(arguments)
    say = Said(options.json)
    try:
        # Torch and the commands take seconds to import: --help does not need them.
        from lmc.command import run

        getattr(run, options.command)(options, say)
    except (CommandError, OSError) as error:  # such as: no space left, not readable
        print(f"lmc {options.command}: error: {error}", file=sys.stderr)
        return 2
    return 0


class Said:
    """Progress on stderr; the result on stdout, as a table or as JSON."""

    def __init__(self, as_json: bool):
        self._json = as_json
        self._start = time.perf_counter()

    def progress(self, text: str) -> None:
        """Say what is being done, with the seconds since the start."""
        seconds = time.perf_counter() - self._start
        print(f"[{seconds:6.1f} s] {text}", file=sys.stderr, flush=True)

    def result(self, summary: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
        """Print a summary, and a table of rows above it."""
        if self._json:
            print(json.dumps({**summary, "rows": list(rows)}))
            return
        if rows:
            header = list(rows[0])
            lines = [header, *([_text(row[key]) for key in header] for row in rows)]
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            for line in lines:
                cells = (c.ljust(w) for c, w in zip(line, widths, strict=True))
                print("  ".join(cells).rstrip())
            print()
        width = max(map(len, summary))
        for key, value in summary.items():
            print(f"{key.ljust(width)}  {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return (
            "; ".join(f"{key}: {_text(entry)}" for key, entry in value.items()) or "-"
        )
    return "-" if value is None else str(value)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lmc", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    symmetry = commands.add_parser("symmetry", help="show what may be permuted")
    symmetry.add_argument("model", metavar="SPEC", help=_SPEC)
    _model_options(symmetry)

    match = commands.add_parser("match", help="permute B so that it lies near A")
    match.add_argument("checkpoints", nargs=2, type=Path, metavar="FILE")
    _checkpoint_options(match)
    match.add_argument(
        "--method",
        choices=("weights", "activations", "straight-through"),
        default="weights",
    )
    _output_options(match)
    _data_options(match)

    merge = commands.add_parser("merge", help="match, average and repair networks")
    merge.add_argument("checkpoints", nargs="+", type=Path, metavar="FILE")
    _checkpoint_options(merge)
    merge.add_argument(
        "--method", choices=("weights", "activations", "none"), default="weights"
    )
    merge.add_argument(
        "--many",
        choices=("reference", "sequential", "iterative", "cycle-consistent"),
        default="iterative",
        help="how three or more networks are matched (default: iterative)",
    )
    merge.add_argument(
        "--renormalize",
        choices=(
            *("repair", "rescale", "rescale-average", "reshift"),
            *("reset", "none"),
        ),
        default="none",
        help="reset for networks with BatchNorm; all but none need --data",
    )
    _output_options(merge)
    _data_options(merge)

    barrier = commands.add_parser("barrier", help="measure the line between networks")
    barrier.add_argument("checkpoints", nargs=2, type=Path, metavar="FILE")
    _checkpoint_options(barrier)
    barrier.add_argument(
        "--match",
        dest="method",
        choices=("none", "weights", "activations"),
        default="none",
        help="match B to A first (default: none)",
    )
    barrier.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves")
    barrier.add_argument("--force", action="store_true", help="overwrite the plot")
    _data_options(barrier, required=True)
    return parser


_SPEC = "package.module:callable, or the name of a model of torchvision"


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model-args", metavar="JSON", help="object or array of arguments for SPEC"
    )
    parser.add_argument(
        "--input-shape",
        metavar="C,H,W",
        help="of one input (default: that of torchvision's models)",
    )
    parser.add_argument(
        "--input-dtype", choices=("float32", "int64"), default="float32"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _checkpoint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="SPEC", help=_SPEC)
    _model_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--device", default="cpu", help="default: cpu")


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument("--force", action="store_true", help="overwrite the output")


def _data_options(parser: argparse.ArgumentParser, required: bool = False) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        required=required,
        metavar="FOLDER",
        help="images, one folder for each class, in the order of the logits",
    )
    parser.add_argument("--batch-size", type=int, default=128, help="default: 128")
    parser.add_argument("--samples", type=int, metavar="N", help="use N of the images")
    parser.add_argument("--mean", type=_numbers, help="default: that of ImageNet")
    parser.add_argument("--std", type=_numbers, help="default: that of ImageNet")
