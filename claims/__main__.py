"""Command line of the claims: ``python -m claims reproduce``."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from claims.reproduce import Plan, Reproduction
from fixtures import pack, scales


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status, see `Reproduction.run`."""
    chosen = _parser().parse_args(arguments)
    plan = Plan(
        scale=scales.short_name(chosen.scale, chosen.epochs),
        tests=chosen.tests,
        seeds=chosen.seeds or scales.networks(chosen.scale),
        device=chosen.device,
        workers=chosen.workers or _workers(chosen.device),
        budget=None if chosen.budget is None else 60 * chosen.budget,
        deciding=chosen.deciding,
        pack_dtype=chosen.pack_dtype,
        pack_limit=chosen.pack_limit,
        network_limit=chosen.network_limit,
    )
    return Reproduction(plan, chosen.out.absolute()).run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m claims",
        description="Decide claims; `pytest claims/` does it in a session of pytest.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    does = "train within a budget what claims want, and decide those that can be"
    command = commands.add_parser(
        "reproduce",
        help=does,
        description="Train what claims want, what decides the most of them first, "
        "until a part of the budget is spent; then decide each claim on as many pairs "
        "as its settings have, two or more, and train nothing any more. Results, "
        "report, log, provenance and the networks that are small go into a folder. "
        "Exit 0 when all is trained and decided, 1 if something failed, 3 when the "
        "budget ended first: the same command goes on.",
        epilog="example: python -m claims reproduce --scale paper --device cuda "
        "--budget 25 --out paper --for='-k renormalization'",
    )
    command.add_argument(
        "--scale",
        choices=tuple(scales.SCALES),
        default=scales.DEFAULT_SCALE,
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
        help="which claims, such as --for='-k renormalization' (default: all)",
    )
    command.add_argument(
        "--seeds",
        type=_even,
        metavar="N",
        help="most networks of each setting (default: 16, at scale cifar10 12)",
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
    command.add_argument(
        "--pack-dtype",
        choices=tuple(pack.DTYPES),
        default=Plan.pack_dtype,
        help="what the networks in DIR/pack are stored as (default: %(default)s)",
    )
    command.add_argument(
        "--pack-limit",
        type=_amount,
        default=Plan.pack_limit,
        metavar="MB",
        help="most that DIR/pack may have (default: %(default)g)",
    )
    command.add_argument(
        "--network-limit",
        type=_amount,
        default=Plan.network_limit,
        metavar="MB",
        help="most that a network there may have (default: %(default)g)",
    )
    return parser


def _workers(device: str) -> int:
    cores = os.cpu_count() or 1
    return cores if device == "cpu" else min(cores, 4)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _even(text: str) -> int:
    if not text.isdecimal() or int(text) < 4 or int(text) % 2:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an even number from 4 on: a claim needs two pairs"
        )
    return int(text)


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
