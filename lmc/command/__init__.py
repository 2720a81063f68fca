"""Match, merge and repair networks from files, and measure the barrier between them.

The one part of ``lmc`` that reads, writes and prints.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lmc.command.errors import CommandError
from lmc.command.output import Said
from lmc.version import __version__


def program() -> NoReturn:
    """Run the command that the process was called for, and end the process."""
    sys.exit(main())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 2 for what the user can mend."""
    options = _parser().parse_args(arguments)
    say = Said(options.json)
    try:
        from lmc.command import run  # refuses, where safetensors is missing

        getattr(run, options.command)(options, say)
        sys.stdout.flush()  # here, where a full disk or a closed pipe can be said
    except (CommandError, OSError) as error:  # such as: no space left, not readable
        _empty_output()
        closed = "nobody reads the output: the pipe is closed"
        text = closed if isinstance(error, BrokenPipeError) else str(error)
        return _failed(options.command, text)
    except KeyboardInterrupt:
        return _failed(options.command, "interrupted", 130)
    return 0


def _empty_output() -> None:
    """Leave nothing that Python would write at its end, and fail at in many lines."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(command: str, text: str, code: int = 2) -> int:
    print(f"lmc {command}: error: {text}", file=sys.stderr)
    return code


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lmc", description=__doc__)
    parser.add_argument("--version", action="version", version=f"lmc {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    symmetry = commands.add_parser("symmetry", help="show what may be permuted")
    symmetry.add_argument("model", metavar="SPEC", help=_SPEC)
    _model_options(symmetry)

    match = commands.add_parser("match", help="permute B so that it lies near A")
    match.add_argument("checkpoints", nargs=2, type=Path, metavar="FILE", help=_FILE)
    _checkpoint_options(match)
    match.add_argument("--method", default="weights", help=_METHOD)
    _output_options(match)
    _data_options(match)

    merge = commands.add_parser("merge", help="match, average and repair networks")
    merge.add_argument("checkpoints", nargs="+", type=Path, metavar="FILE", help=_FILE)
    _checkpoint_options(merge)
    merge.add_argument("--method", default="weights", help=_METHOD)
    merge.add_argument(
        "--many",
        choices=("reference", "sequential", "iterative", "cycle-consistent"),
        default="iterative",
        help="how three or more networks are matched (default: iterative)",
    )
    _renormalize_option(merge, "auto")
    _output_options(merge)
    _data_options(merge)
    _metric_option(merge)

    barrier = commands.add_parser("barrier", help="measure the line between networks")
    barrier.add_argument("checkpoints", nargs=2, type=Path, metavar="FILE", help=_FILE)
    _checkpoint_options(barrier)
    barrier.add_argument("--match", dest="method", default="none", help=_METHOD)
    _renormalize_option(barrier, "none")
    barrier.add_argument("--plot", type=Path, metavar="PNG", help="draw the curves")
    barrier.add_argument("--force", action="store_true", help="overwrite the plot")
    _data_options(barrier, required=True)
    _metric_option(barrier)
    return parser


_SPEC = "package.module:callable, or the name of a model of torchvision"
_FILE = "safetensors, the index of its shards, or a file of torch.save"
_METHOD = (
    "weights, activations, straight-through (these two need --data), none, or "
    "package.module:function (symmetry, a, b, batches, generator) -> Permutation "
    "(default: %(default)s)"
)


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
    parser.add_argument(
        "--symmetry",
        type=Path,
        metavar="FILE",
        help="keep what is discovered there, and take it from there the next time",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def _checkpoint_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", required=True, metavar="SPEC", help=_SPEC)
    _model_options(parser)
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--device", default="cpu", help="default: cpu")


def _renormalize_option(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--renormalize",
        choices=(
            *("auto", "repair", "rescale", "rescale-average", "reshift"),
            *("reset", "none"),
        ),
        default=default,
        help="auto is reset for networks with BatchNorm; all but none need --data "
        f"(default: {default})",
    )


def _metric_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metric",
        metavar="SPEC",
        help="package.module:function of outputs and targets, the less the better, for "
        "what is no classifier",
    )


def _output_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="safetensors; or .pt, .pth, .bin or .ckpt for torch.load",
    )
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
