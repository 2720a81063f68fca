"""``python -m reports``: the page, the terminal's lines, and the papers' coverage."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from reports import coverage, page
from reports.results import read
from reports.terminal import count_line, lines


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code, 2 where the input is at fault."""
    parser = argparse.ArgumentParser(
        prog="python -m reports",
        description="Show the results of a session of claims.",
        epilog="example: python -m reports page reports/out/results.jsonl --out a.html",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does, example in (
        ("page", "write the HTML page", "python -m reports page --out claims.html"),
        ("show", "print a line per claim", "python -m reports show old/results.jsonl"),
    ):
        command = commands.add_parser(
            name, help=does, description=does, epilog=f"example: {example}"
        )
        command.add_argument(
            "results",
            nargs="?",
            type=Path,
            default=Path("reports/out/results.jsonl"),
            metavar="RESULTS.jsonl",
            help="results to read (default: %(default)s)",
        )
        if name == "page":
            command.add_argument(
                "--out",
                type=Path,
                metavar="PAGE.html",
                help="page to write (default: index.html beside the results)",
            )
    _add_coverage(commands)
    args = parser.parse_args(argv)
    try:
        if args.command == "coverage":
            text, code = _coverage(args)
        else:
            results = read(args.results)
    except (OSError, ValueError) as error:
        print(f"{parser.prog} {args.command}: {error}", file=sys.stderr)
        return 2
    if args.command == "coverage":
        print(text)
        return code
    if args.command == "page":
        out = args.out or args.results.with_name("index.html")
        page.write(out, results, page.written(args.results))
        print(out)
        return 0
    for _, verdict, rest in lines(results, shutil.get_terminal_size().columns):
        print(verdict + rest)
    print("\n" + count_line(results))
    return 0


def _add_coverage(commands: Any) -> None:
    does = "print what the papers say beside what was measured of it"
    command = commands.add_parser(
        "coverage",
        help=does,
        description=does,
        epilog="example: python -m reports coverage --paper 2402.05966 --missing",
    )
    command.add_argument(
        "results",
        nargs="*",
        type=Path,
        metavar="RESULTS.jsonl",
        help="results to read, from old to new (default: the checkout's "
        "reports/records/*.jsonl and reports/out/latest.jsonl)",
    )
    command.add_argument(
        "--paper", metavar="ARXIV_ID", help="entries of this paper only"
    )
    command.add_argument(
        "--missing",
        action="store_true",
        help="list the entries without a test only; exit code 1 if there are any",
    )
    command.add_argument(
        "--catalogue",
        type=Path,
        default=coverage.CATALOGUE,
        metavar="CATALOGUE.toml",
        help="what the papers say (default: the checkout's claims/catalogue.toml)",
    )


def _coverage(args: argparse.Namespace) -> tuple[str, int]:
    """Return what `coverage` prints, and its exit code."""
    entries = coverage.read_catalogue(args.catalogue)
    if args.paper is not None:
        entries = coverage.of_paper(entries, args.paper)
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
