"""Command line: ``python -m claims accept | again | calibrate | reproduce``."""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from claims import again, calibrate
from claims.expected import acceptance
from claims.planning import FEWEST
from claims.reproduce import Plan, Reproduction
from fixtures import scales


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    chosen = vars(_parser().parse_args(arguments))
    try:
        return chosen.pop("run")(**chosen)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2


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


def _reproduce(**given: Any) -> int:
    chosen = argparse.Namespace(**given)
    scale = scales.get(chosen.scale)
    if chosen.epochs is not None:
        scale = scale.shortened(chosen.epochs)
    first_seed = chosen.first_seed
    plan = Plan(
        scale=scale.name,
        tests=chosen.tests,
        first_seed=scale.first_seed if first_seed is None else first_seed,
        seeds=chosen.seeds,
        device=chosen.device,
        workers=chosen.workers or _workers(chosen.device),
        budget=None if chosen.budget is None else 60 * chosen.budget,
        deciding=chosen.deciding,
    )
    return Reproduction(plan, chosen.out.absolute()).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claims",
        description="What is done with results of claims, or to get them within a "
        "budget; `pytest claims/` decides claims in a session of pytest.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_accept(commands)
    _add_again(commands)
    _add_calibrate(commands)
    _add_reproduce(commands)
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


def _add_reproduce(commands: Any) -> None:
    command = commands.add_parser(
        "reproduce",
        help="train within a budget what claims want, and decide those that can be",
        description="Train what claims want, what decides the most of them first, "
        "until a part of the budget is spent; then decide each claim on as many "
        "networks as its settings have, and train nothing any more. Results, report, "
        "log and provenance go into a folder. Exit 0 when all is trained and decided, "
        "1 if something failed or contradicts the record, 3 when the budget ended "
        "first: the same command goes on.",
        epilog="example: python -m claims reproduce --scale paper --device cuda "
        "--budget 25 --out paper --for='-k renormalization'",
    )
    command.add_argument(
        "--scale",
        choices=tuple(scales.SCALES),
        default=scales.DEFAULT,
        help="which recipes the settings have (default: %(default)s)",
    )
    command.add_argument(
        "--epochs",
        type=_positive,
        metavar="N",
        help="no recipe has more than N epochs; results are of a scale of its own, "
        "SCALE-epochsN",
    )
    command.add_argument(
        "--for",
        dest="tests",
        default="",
        metavar="PYTEST-ARGUMENTS",
        help="which claims, such as --for='-k renormalization', or --for=--long for "
        "those that take long too (default: all others)",
    )
    command.add_argument(
        "--seeds",
        type=_even(FEWEST, "a verdict needs five pairs"),
        metavar="N",
        help="most networks of each setting (default: what each claim declares)",
    )
    command.add_argument(
        "--first-seed",
        type=_even(0, "two networks of consecutive seeds make a pair"),
        metavar="N",
        help="of each setting's networks, an even number (default: the scale's own)",
    )
    command.add_argument("--device", type=_device, default="cpu", help="cpu or cuda")
    command.add_argument(
        "--workers",
        type=_positive,
        metavar="N",
        help="processes that share the work (default: one for each CPU, at most 4 on a "
        "GPU, which they share)",
    )
    command.add_argument(
        "--budget",
        type=_amount,
        metavar="MINUTES",
        help="start no network whose time, by those of its setting, would exceed "
        "training's part of it, and interrupt deciding at its end, which takes up to "
        "a minute; what is being trained is not interrupted (default: none)",
    )
    command.add_argument(
        "--deciding",
        type=_share,
        default=Plan.deciding,
        metavar="SHARE",
        help="part of the budget that is left for deciding (default: %(default)g)",
    )
    command.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder"
    )
    command.set_defaults(run=_reproduce)


def _workers(device: str) -> int:
    cores = os.cpu_count() or 1
    return cores if device == "cpu" else min(cores, 4)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _even(least: int, why: str) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < least or int(text) % 2:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not an even number from {least} on: {why}"
            )
        return int(text)

    return number


def _amount(text: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return amount


def _share(text: str) -> float:
    share = _amount(text)
    if share >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share from 0 to below 1")
    return share


def _device(text: str) -> str:
    there = ["cpu", *(["cuda"] if torch.cuda.device_count() else [])]
    if text not in there:
        raise argparse.ArgumentTypeError(
            f"there is no device {text!r} here: choose {' or '.join(there)}"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
