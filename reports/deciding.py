"""What would decide an inconclusive claim, and the commands that measure again."""

import re
import shlex
from typing import NamedTuple

from reports.results import Result
from reports.units import size


class Outlook(NamedTuple):
    """What would decide a claim: in words, and the command ("" where none would)."""

    text: str
    command: str = ""


def command(result: Result, networks: int, first_seed: int | None = None) -> str:
    """Return the command that measures a result's place on so many networks.

    Examples
    --------
    >>> from reports.tests.made_up import made
    >>> command(made(nodeid="claims/test_a.py::test_b[mlp]"), 40)
    "pytest 'claims/test_a.py::test_b[mlp]' --scale digits --seeds 40"
    """
    words = ["pytest", result.nodeid, "--scale", result.scale]
    if first_seed is not None:
        words += ["--first-seed", str(first_seed)]
    words += ["--seeds", str(networks)]
    if result.device not in ("", "cpu"):
        words += ["--device", result.device]
    if result.long:
        words += ["--long"]
    return shlex.join(words)


def again(result: Result, name: str) -> str:
    """Return the command that measures one of a result's units alone again.

    Networks come two by two, from an even seed on. "" where the unit's name doesn't
    say which networks it has.

    Examples
    --------
    >>> from reports.tests.made_up import made
    >>> again(made(nodeid="claims/test_a.py::test_b[mlp]"), "104-105")
    "pytest 'claims/test_a.py::test_b[mlp]' --scale digits --first-seed 104 --seeds 2"
    """
    networks = size(name)
    if networks is None:
        return ""
    return command(result, networks + networks % 2, first_seed(name))


def first_seed(name: str) -> int:
    """Return the seed to begin with for a unit, by its name: an even one.

    Examples
    --------
    >>> first_seed("104-105"), first_seed("seed 101")
    (104, 100)
    """
    seed = int(re.findall(r"\d+", name)[0])
    return seed - seed % 2


def outlook(result: Result) -> Outlook | None:
    """Say what would decide an inconclusive result; None where it is decided."""
    if result.verdict != "inconclusive":
        return None
    what = result.units
    if result.there:
        there, everything = result.there
        return Outlook(
            f"It is decided when all {everything} {what} are there; so far {there} "
            f"{'is' if there == 1 else 'are'}."
        )
    if result.unmet:
        return Outlook(
            f"More {what} would not decide it: these networks lack what it is about."
        )
    if result.needed is None:
        return Outlook(
            f"Not even 10,000 {what} would decide it if the present estimate is right: "
            "it lies at the margin."
            if result.n != 1
            else f"What would decide it a single one of its {what} can't tell."
        )
    told = f"About {result.needed} {what} would decide it if the estimate is right"
    each = size(result.unit_name)
    if each is None or result.n is None:
        return Outlook(f"{told}.")
    more = max(0, result.needed - result.n)
    networks = result.needed * each
    return Outlook(
        f"{told}: {more} more, {_cost(result, more, each)}.",
        command(result, networks + networks % 2),
    )


def _cost(result: Result, more: int, each: int) -> str:
    """Say what so many more units take, by what those that are there have taken."""
    settings = len(result.fixtures)
    networks = more * each
    told = f"{networks} networks" + (" of each setting" if settings > 1 else "")
    trained = [fixture.get("seconds") for fixture in result.fixtures]
    known = [seconds for seconds in trained if isinstance(seconds, int | float)]
    if not known or len(known) < len(trained):
        return f"{told} to train"
    measuring = (result.seconds or 0.0) * more / max(1, result.n or 1)
    return f"{told}, about {duration(networks * sum(known) + measuring)}"


def duration(seconds: float) -> str:
    """Write a time in the unit that a person would use.

    Examples
    --------
    >>> duration(49.7), duration(360), duration(9000)
    ('50 s', '6 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
