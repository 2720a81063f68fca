"""``python -m reports``: the page and the terminal's lines, from a results file."""

import argparse
import shutil
import sys
from pathlib import Path

from reports import page
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
    args = parser.parse_args(argv)
    try:
        results = read(args.results)
    except (OSError, ValueError) as error:
        print(f"{parser.prog} {args.command}: {error}", file=sys.stderr)
        return 2
    if args.command == "page":
        out = args.out or args.results.with_name("index.html")
        page.write(out, results, page.written(args.results))
        print(out)
        return 0
    for _, verdict, rest in lines(results, shutil.get_terminal_size().columns):
        print(verdict + rest)
    print("\n" + count_line(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
