"""``python -m claims reproduce``: its options, and what it prints."""

import sys
from pathlib import Path
from typing import Any

import pytest

from claims.plugin import check_device, even
from claims.reproduction import machine, run
from fixtures import scales, store


def add_command(commands: Any) -> None:
    """Add the command to a command line's."""
    command = commands.add_parser(
        "reproduce",
        help="train and measure a setting on a machine that is there for minutes",
        description="Measure which way of training is the fastest, train as many "
        "networks of a setting as the budget has room for, measure each pair while "
        "the next ones are trained, and write the record, how the networks were "
        "trained, and two of them in float16. Interrupted, the same command goes on. "
        "Exit 0 when a record is written, 1 when no two networks were there in time, "
        "2 for what can't be done as asked.",
        epilog="example: python -m claims reproduce --device cuda --budget 560 "
        "--out reports/out/paper",
    )
    command.add_argument(
        "--scale",
        default="paper",
        metavar="NAME",
        help="whose recipes; paper-rehearsal goes through all of it in a minute or "
        "two (default: %(default)s)",
    )
    command.add_argument(
        "--setting",
        default="plain-vgg",
        metavar="NAME",
        help="whose networks (default: %(default)s)",
    )
    command.add_argument("--device", default="cuda", help="default: %(default)s")
    command.add_argument(
        "--first-seed",
        metavar="N",
        help="of the first network, even; after another lot the one behind its last "
        "(default: where the scale's record begins)",
    )
    command.add_argument(
        "--networks",
        metavar="N",
        help="the most there shall be, even (default: as many as decide)",
    )
    command.add_argument(
        "--budget",
        type=float,
        default=560.0,
        metavar="SECONDS",
        help="for all of it (default: %(default)g)",
    )
    command.add_argument(
        "--reserve",
        type=float,
        default=120.0,
        metavar="SECONDS",
        help="part of the budget for measuring the last pair (default: %(default)g)",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("reports/out/reproduction"),
        metavar="FOLDER",
        help="where files are written (default: %(default)s)",
    )
    command.add_argument(
        "--commit",
        default="",
        help="of this code, where the folder is no checkout of git",
    )
    command.add_argument(
        "--check",
        action="store_true",
        help="only see whether the machine has what is needed, and measure the ways",
    )
    command.set_defaults(run=_reproduce)


def _reproduce(
    scale: str,
    setting: str,
    first_seed: str | None,
    networks: str | None,
    check: bool,
    **given: Any,
) -> int:
    whose = scales.get(scale)
    try:
        check_device(given["device"])
        options = run.Options(
            scale=whose,
            setting=whose.canonical(setting),
            first_seed=even("--first-seed", first_seed, 0, whose.first_seed),
            networks=even("--networks", networks, 2, whose.networks),
            **given,
        )
    except pytest.UsageError as error:
        raise ValueError(str(error)) from None
    if check:
        for line in machine.checked(whose, options.device):
            print(line, flush=True)
        print("\n".join(run.table(options)))
        return 0
    try:
        files = run.reproduce(options)
    except (run.NothingMeasuredError, store.ManyFailedError) as error:
        print(error, file=sys.stderr)
        return 1
    for file in files:
        print(f"{file} ({file.stat().st_size / 1e6:.1f} MB)")
    return 0
