"""Command line: ``python -m claims COMMAND``; ``--help`` names the commands."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from claims import again, calibrate, joining
from claims.compare import command as compare_command
from claims.expected import acceptance
from claims.measure import memory
from claims.nightly import command as nights
from claims.reproduction import command as reproduction_command
from fixtures import measurements


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["measure"]:  # whose options are pytest's
        return _measure(arguments[1:])
    chosen = vars(_parser().parse_args(arguments))
    try:
        return chosen.pop("run")(**chosen)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


def _measure(options: Sequence[str]) -> int:
    topics = Path(__file__).parent
    return int(pytest.main([*options, "--measure-only", str(topics)]))


def _again(accept: bool, why: str) -> int:
    if accept and not why:
        raise ValueError("say --why the fixed networks measure something else")
    torch.set_num_threads(1)
    bench = again.fixed()
    values = {name: again.measure(name, bench) for name in again.names()}
    told = again.compared(values)
    gone = again.kept()["values"].keys() - values.keys()
    told += [f"{name} is measured no longer" for name in sorted(gone)]
    print("\n".join([*told, f"{len(told)} differences"]))
    if told and accept:
        again.accept(values, why)
    return int(bool(told) and not accept)


def _gc(yes: bool) -> int:
    stale = memory.stale()
    rows = sum(held.rows for held in stale.values())
    size = sum(held.bytes for held in stale.values())
    print(f"{rows} values measured by other code, {size / 1e6:.1f} MB")
    if yes:
        measurements.opened().forget(stale)
        print("removed")
    elif rows:
        print("python -m claims gc --yes removes them")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claims",
        description="What is done with results of claims; `pytest claims/` decides "
        "them.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser(
        "measure",
        add_help=False,
        help="measure what claims look at on any executor, ahead of their tests; takes "
        "the options of pytest, such as -k renormalization --executor ray",
    )
    _add_accept(commands)
    _add_again(commands)
    _add_calibrate(commands)
    _add_join(commands)
    compare_command.add_parser(commands)
    reproduction_command.add_command(commands)
    nights.add_commands(commands, _positive)
    command = commands.add_parser(
        "gc",
        help="show, or remove, measured values that code of other versions measured",
        description="Show how much of what is remembered was measured by other code "
        "than this checkout's. With --yes, remove it; whoever goes back to that code "
        "measures it again. Networks are cleaned up by `python -m fixtures gc`.",
    )
    command.add_argument("--yes", action="store_true", help="remove them")
    command.set_defaults(run=_gc)
    return parser


def _add_accept(commands: Any) -> None:
    command = commands.add_parser(
        "accept",
        help="show what results change in what was accepted, and accept them",
        description="Show how results differ from what was accepted of their scale, "
        "claims/expected/SCALE.toml, and with --yes write that file, the record "
        "reports/records/SCALE.jsonl, and in the ledger of seeds that these were "
        "looked at. Places that are no longer asked are dropped where the results "
        "cover the whole scale. Exit 0 when nothing differs or it is written, 1 when "
        "something differs, 2 when it is refused.",
        epilog="example: python -m claims accept reports/out/results.jsonl --yes "
        "--reason 'record of the second edition'",
    )
    command.add_argument(
        "path", type=Path, metavar="RESULTS", help="of one run at one scale"
    )
    command.add_argument("--yes", action="store_true", help="write what is shown")
    command.add_argument(
        "--reason",
        default="",
        metavar="TEXT",
        help="why these seeds were looked at, for the ledger; needed with --yes where "
        "it doesn't have them",
    )
    command.add_argument(
        "--why",
        action="append",
        default=[],
        metavar="'ID PLACE: TEXT'",
        help="what is to be said of a place's verdict, such as 'matching/barrier-falls "
        "bn-vgg weights: too few steps'; may be given several times",
    )
    command.add_argument(
        "--drop-why",
        action="append",
        default=[],
        metavar="'ID PLACE'",
        help="what was said of this place holds no longer; may be given several times",
    )
    command.add_argument(
        "--dirty",
        action="store_true",
        help="even if the code had changes that were not committed",
    )
    command.set_defaults(run=acceptance.accept)


def _add_again(commands: Any) -> None:
    command = commands.add_parser(
        "again",
        help="measure the networks that ship with the repository once more",
        description="Measure the fixed networks and say what differs from the values "
        "in claims/expected/again.json. Exit 1 if anything does and is not accepted.",
    )
    command.add_argument("--accept", action="store_true", help="keep the values")
    command.add_argument("--why", default="", metavar="TEXT", help="why they differ")
    command.set_defaults(run=_again)


def _add_calibrate(commands: Any) -> None:
    command = commands.add_parser(
        "calibrate",
        help="measure how often a run is red where nothing has changed",
        description="Pool several whole runs at one scale on disjoint seeds, draw "
        "records and runs from them, disjoint and of the same networks at all places, "
        "and count the runs that contradict their record, which should be at most 1% "
        "of them. Exit 0 if so within chance, 1 if not, 2 if the runs can't be pooled.",
        epilog="example: python -m claims calibrate reports/records/digits.jsonl "
        "200.jsonl 300.jsonl 400.jsonl",
    )
    command.add_argument(
        "paths", type=Path, nargs="+", metavar="RESULTS", help="two or more runs"
    )
    command.add_argument(
        "--draws",
        type=_positive,
        default=calibrate.DRAWS,
        metavar="N",
        help="how many records and runs (default: %(default)s)",
    )
    command.add_argument(
        "--seed", type=int, default=0, help="of the draws (default: %(default)s)"
    )
    command.add_argument(
        "--most",
        type=_positive,
        default=10,
        metavar="N",
        help="most places that are listed (default: %(default)s)",
    )
    command.set_defaults(run=calibrate.report)


def _add_join(commands: Any) -> None:
    command = commands.add_parser(
        "join",
        help="decide claims by networks that came in lots, measured one by one",
        description="Put the results of several lots of networks at one scale together "
        "and decide each claim by all of them, as its test would. Exit 0 when it is "
        "written, 2 when the lots can't be joined.",
        epilog="example: python -m claims join lot1.jsonl lot2.jsonl --out both.jsonl",
    )
    command.add_argument(
        "paths", type=Path, nargs="+", metavar="RESULTS", help="of two or more lots"
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a new file of results"
    )
    command.set_defaults(run=joining.join)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
