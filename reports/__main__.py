"""``python -m reports``: the report, the terminal's lines, and what papers say."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports import coverage, page, papers
from reports.catalogue import CATALOGUE, papers_named, read_papers
from reports.results import Result
from reports.scales import scales_of
from reports.terminal import contradictions, count_line, lines, news, side_by_side

RESULTS = Path("reports/out/latest.jsonl")
SEVERAL = Path("reports/out/scales")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code, 2 where the input is at fault."""
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Show the results of claims: of a session, or of several scales "
        "side by side.",
        epilog="example, the records of all scales on one page: "
        "python -m reports page reports/records/*.jsonl",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does, example in (
        ("page", "write the HTML report", "python -m reports page --out claims"),
        ("show", "print a line per claim", "python -m reports show old/results.jsonl"),
    ):
        command = commands.add_parser(
            name,
            help=does,
            description=f"{does}; results of several scales stand side by side, and "
            "of two for one claim, setting, variant and scale the newer counts, by "
            "its time",
            epilog=f"examples: {example}; "
            f"python -m reports {name} reports/records/*.jsonl",
        )
        command.add_argument(
            "results",
            nargs="*",
            type=Path,
            metavar="RESULTS.jsonl",
            help=f"files of results (default: {RESULTS})",
        )
        if name == "page":
            command.add_argument(
                "--out",
                type=Path,
                metavar="FOLDER",
                help="folder of the report, whose first page is index.html (default: "
                f"beside the results; {SEVERAL} where they come from several files)",
            )
    _add_coverage(commands)
    _add_paper(commands)
    args = parser.parse_args(argv)
    paths, code = args.results or [RESULTS], 0
    try:
        if args.command == "coverage":
            text, code = _coverage(args)
        elif args.command == "paper":
            text = _paper(args)
        elif args.command == "page":
            text = str(_page(paths, coverage.read_newest(paths), args.out))
        else:
            width = shutil.get_terminal_size().columns
            text = _lines(coverage.read_newest(paths), width)
    except (OSError, ValueError) as error:
        print(f"{parser.prog} {args.command}: {error}", file=sys.stderr)
        return 2
    try:
        print(text, flush=True)
    except BrokenPipeError:  # a reader such as `head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _page(paths: Sequence[Path], results: Sequence[Result], out: Path | None) -> Path:
    """Write the report, and return where its first page is."""
    if out is None:
        out = paths[0].parent if len(paths) == 1 else SEVERAL
    elif out.suffix:  # as of `--out *.jsonl`, which would take the first for a folder
        raise ValueError(f"--out {out}: give a folder for the report")
    return page.write(out, results)


def _lines(results: Sequence[Result], width: int) -> str:
    """Return what `show` prints."""
    scales = scales_of(results)
    if len(scales) < 2:
        shown = [verdict + rest for _, verdict, rest in lines(results, width)]
        return "\n".join([*shown, "", count_line(results), *_beside_record(results)])
    counted = [
        f"{scale}: {count_line([r for r in results if r.scale == scale])}"
        for scale in scales
    ]
    beside = _beside_record(results)
    return "\n".join([*side_by_side(results, width), "", *counted, *beside])


def _beside_record(results: Sequence[Result]) -> list[str]:
    return [*contradictions(results), *news(results)]


def _add_coverage(commands: Any) -> None:
    does = "print what the papers say beside what was measured of it"
    command = commands.add_parser(
        "coverage",
        help=does,
        description=does,
        epilog="example: python -m reports coverage --paper 2402.05966 --missing",
    )
    _add_kept(command)
    command.add_argument(
        "--paper", metavar="ARXIV_ID", help="entries of this paper only"
    )
    command.add_argument(
        "--missing",
        action="store_true",
        help="list the entries without a test only; exit code 1 if there are any",
    )


def _add_paper(commands: Any) -> None:
    does = "print a paper's findings in its order, with how each came out"
    command = commands.add_parser(
        "paper",
        help=does,
        description=does,
        epilog="example: python -m reports paper 2402.05966",
    )
    command.add_argument(
        "paper",
        metavar="ARXIV_ID",
        help="of the paper, with a version or of all versions that there are",
    )
    _add_kept(command)


def _add_kept(command: Any) -> None:
    """Add what is read where nothing is named: what the checkout has."""
    command.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS.jsonl",
        help="results to read, from old to new (default: the checkout's "
        "reports/records/*.jsonl and reports/out/latest.jsonl)",
    )
    command.add_argument(
        "--catalogue",
        type=Path,
        default=CATALOGUE,
        metavar="FOLDER",
        help="what the papers say, a file each (default: the checkout's claims/papers)",
    )


def _paper(args: argparse.Namespace) -> str:
    """Return what `paper` prints."""
    found = papers_named(read_papers(args.catalogue), args.paper)
    results = coverage.read_newest(args.results or coverage.kept_results())
    width = min(100, shutil.get_terminal_size().columns)
    return "\n\n\n".join(papers.text(paper, results, width) for paper in found)


def _coverage(args: argparse.Namespace) -> tuple[str, int]:
    """Return what `coverage` prints, and its exit code."""
    found = sorted(read_papers(args.catalogue), key=lambda paper: paper.id)
    if args.paper is not None:
        found = papers_named(found, args.paper)
    entries = [entry for paper in found for entry in paper.entries]
    counted = coverage.count_line(entries)
    if args.missing:
        untested = coverage.missing(entries)
        return (f"{untested}\n\n{counted}", 1) if untested else (counted, 0)
    paths = args.results or coverage.kept_results()
    table = coverage.table(entries, coverage.read_newest(paths))
    if not paths:
        counted += "\nno results yet: run `pytest claims/` to write them"
    return f"{table}\n\n{counted}", 0


if __name__ == "__main__":
    sys.exit(main())
