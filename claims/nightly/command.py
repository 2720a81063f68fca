"""``python -m claims nightly`` and ``python -m claims simulate``."""

import argparse
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from claims import expected
from claims.claim import Place, places_of
from claims.expected.acceptance import RECORDS
from claims.nightly.badges import badges
from claims.nightly.feed import feed
from claims.nightly.history import History
from claims.nightly.laboratory import Laboratory
from claims.nightly.night import Night
from claims.nightly.page import render
from claims.nightly.process import key_of, process_of
from claims.nightly.report import Report
from claims.nightly.simulation import simulate
from claims.nightly.standing import Standing
from fixtures import scales
from fixtures.executors import open_executor
from reports import results
from reports.results import write_text

FOLDER = Path("history")
"""Of histories, a folder for each scale."""


def nightly(
    scale: str,
    budget: float,
    history: Path | None,
    night: str | None,
    device: str,
    accept: str,
    why: str,
) -> int:
    """Go through a night, or what is left of it, and tell how it went.

    Returns
    -------
    int
        1 where the night is red, 0 where it is green.

    Raises
    ------
    ValueError
        Something is asked that can't be done: says what instead.
    """
    asked = scales.get(scale)
    every = places_of(asked)
    places = [place for place in every if place.claim.kind == "empirical"]
    kept = History(history or FOLDER / scale)
    night = night or datetime.now(UTC).date().isoformat()
    if accept:
        return _accept(kept, places, accept, why, night)
    standing = Standing(kept, len(places))
    if standing.nights and night < standing.nights[-1]:
        raise ValueError(
            f"--night {night} lies before the last night of {kept.folder}, "
            f"{standing.nights[-1]}: evidence is gathered in the order of time"
        )
    laboratory = Laboratory(kept, asked, every, 60 * budget, device)
    verdicts = {key: entry.verdict for key, entry in expected.load(scale).items()}
    ran = Night(
        kept,
        standing,
        places,
        laboratory,
        on_record=verdicts,
        budget=60 * budget,
    ).run(night)
    if not ran:
        print(f"the night of {night} is done already: nothing is measured again")
    report = reported(kept, standing, places)
    for path, text in pages(report).items():
        write_text(kept.folder / path, text)
    print("\n".join([report.paragraph, *report.lines()]))
    print(f"page: {kept.folder / 'index.html'}")
    return int(report.red)


def reported(history: History, standing: Standing, places: list[Place]) -> Report:
    """Return the report of a history as it stands."""
    now = [process_of(p, standing.accepted[key_of(p)])["process"] for p in places]
    return Report(
        scale=places[0].scale.name,
        standing=standing,
        present=standing.of(now),
        news=history.rows("news"),
        blocks=history.rows("blocks"),
        strata=history.rows("strata"),
    )


def pages(report: Report) -> dict[str, str]:
    """Return the files that people, and their programs, look at."""
    return {"index.html": render(report), "feed.xml": feed(report), **badges(report)}


def _accept(
    history: History, places: list[Place], accept: str, why: str, night: str
) -> int:
    """Accept that a place's networks of nights before have other values."""
    if not history.rows("blocks"):
        raise ValueError(
            f"{history.folder} has no nights: name the folder of those before by "
            "--history"
        )
    if not why:
        raise ValueError("say --why the same networks measure something else there")
    named = {" ".join(key_of(place)): key_of(place) for place in places}
    if accept not in named:
        raise ValueError(
            f"--accept {accept!r} is no place: name one as the news do, such as "
            f"{next(iter(named))!r}"
        )
    claim, place = named[accept]
    row = {"night": night, "claim": claim, "place": place, "why": why}
    history.append("accepted", [row])
    print(f"accepted: {accept} begins a new process of evidence")
    return 0


def add_commands(commands: Any, positive: Callable[[str], int]) -> None:
    """Add both commands to those of ``python -m claims``."""
    command = commands.add_parser(
        "nightly",
        help="gather evidence night by night, and notice what has moved",
        description="Measure known networks again, train and measure fresh ones in "
        "what is left of the budget, and add what they say to the history: a folder of "
        "JSON lines with a page (index.html), an Atom feed and badges. May be killed "
        "and called again, and called by several machines on one folder: seeds are "
        "given once. Exit 0 where the night is green, 1 where it is red: other values "
        "of the same networks, drift, evidence against the record, a broken invariant "
        "or an error.",
        epilog="example: python -m claims nightly --budget 30 --history nights",
    )
    command.add_argument(
        "--scale",
        choices=tuple(scales.SCALES),
        default=scales.DEFAULT,
        help="default: %(default)s",
    )
    command.add_argument(
        "--budget",
        type=_minutes,
        default=60.0,
        metavar="MINUTES",
        help="of this call (default: %(default)g)",
    )
    command.add_argument(
        "--history",
        type=Path,
        metavar="DIR",
        help=f"where nights are kept (default: {FOLDER}/SCALE)",
    )
    command.add_argument(
        "--night",
        type=_date,
        metavar="DATE",
        help="which night this is, as 2027-01-31 (default: today, in UTC)",
    )
    command.add_argument(
        "--device", default="cpu", help="cpu or cuda (default: %(default)s)"
    )
    command.add_argument(
        "--accept",
        default="",
        metavar="'ID PLACE'",
        help="measure nothing, and accept that networks of nights before have other "
        "values there; what the fixed networks measure is accepted by `again`",
    )
    command.add_argument("--why", default="", metavar="TEXT", help="why they have")
    command.set_defaults(run=nightly)
    command = commands.add_parser(
        "simulate",
        help="measure the error rates of nights by simulated years",
        description="Go through nights as `nightly` does, with values drawn from a "
        "record instead of networks, half of all pairs beyond each margin, and count "
        "what is decided, listed and alarmed wrongly; then how soon true effects and "
        "shifts are noticed. Exit 1 where a rate is above what is promised by more "
        "than chance explains.",
    )
    command.add_argument("--years", type=positive, default=1, metavar="N")
    command.add_argument("--nights", type=positive, default=365, metavar="N")
    command.add_argument("--places", type=positive, default=400, metavar="N")
    command.add_argument(
        "--record",
        type=Path,
        default=RECORDS / "digits.jsonl",
        metavar="RESULTS",
        help="of scale digits (default: the record)",
    )
    command.add_argument(
        "--workers",
        type=positive,
        default=os.cpu_count() or 1,
        metavar="N",
        help="years that are simulated at once (default: one a CPU)",
    )
    command.set_defaults(run=_simulate)


def _simulate(years: int, nights: int, places: int, record: Path, workers: int) -> int:
    with TemporaryDirectory() as folder, open_executor("local", workers) as pool:
        lines, failed = simulate(
            results.read(record), Path(folder), years, nights, places, pool.map
        )
    print("\n".join(lines))
    return int(failed)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < 24 * 60:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of minutes between 0 and a day"
        )
    return minutes


def _date(text: str) -> str:
    try:
        datetime.strptime(text, "%Y-%m-%d")
    except ValueError:
        text = ""
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        raise argparse.ArgumentTypeError("give a date as 2027-01-31")
    return text
