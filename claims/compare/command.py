"""``python -m claims compare``: run a comparison and write what came of it."""

import json
import os
import statistics
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from claims.compare import page, seeds, tables
from claims.compare.differences import by_method, differences, settings_of
from claims.compare.measuring import REPAIRS, Comparison, Measured
from claims.compare.methods import (
    BUILT_IN,
    MATCHING,
    RENORMALIZING,
    Method,
    built_in,
    load,
    short,
)
from claims.evidence import FEWEST, grain_of
from claims.measure import METHODS, Bench
from claims.provenance import commit
from fixtures import executors, scales, store
from fixtures.build import Building
from fixtures.display import Display
from fixtures.planning import Want
from fixtures.pool import TaskError
from fixtures.scales import Scale
from reports.results import write_text

SETTINGS = ("mlp", "plain-vgg", "bn-vgg", "plain-resnet", "bn-resnet")
"""Where methods are compared if nothing else is said, as far as a scale has them."""

OUT = Path("reports/out/compare")

INTERRUPTED = 130
"""Exit status where Ctrl-C ended it, as shells have it."""


def add_parser(commands: Any) -> None:
    """Add the command to a parser's commands."""
    command = commands.add_parser(
        "compare",
        help="run a matcher or renormalizer of your own beside the known ones",
        description="Run your own method on the same pairs of networks as the known "
        "ones, check it, and write a table as JSON lines, LaTeX and a page. The "
        "networks are ones that nobody has looked at: the ledger of your cache folder "
        "keeps which were. With --tune, networks that everybody has seen: it prints "
        "what a method attains there, and writes nothing.",
        epilog="example: python -m claims compare --matcher my_package.module:match "
        "--setting plain-vgg --tune",
    )
    command.add_argument(
        "--matcher",
        metavar="MODULE:FUNCTION",
        help=f"({', '.join(MATCHING)}) -> lmc.Permutation",
    )
    command.add_argument(
        "--renormalizer",
        metavar="MODULE:FUNCTION",
        help=f"({', '.join(RENORMALIZING)}) -> state dict; b is matched",
    )
    command.add_argument(
        "--scale", default=scales.DEFAULT, help="(default: %(default)s)"
    )
    command.add_argument(
        "--setting",
        action="append",
        metavar="SETTING",
        help="may be given several times (default: those of "
        f"{', '.join(SETTINGS)} that the scale has)",
    )
    command.add_argument(
        "--against",
        action="append",
        choices=BUILT_IN,
        help="a known method to stand beside it; may be given several times (default: "
        f"all; beside a renormalizer alone {' and '.join(METHODS)}, with --tune "
        "weights)",
    )
    command.add_argument(
        "--pairs",
        type=int,
        metavar="N",
        help="independent pairs of each setting (default: as many as claims look at)",
    )
    command.add_argument(
        "--first-seed",
        type=int,
        metavar="N",
        help="look at these networks, from an even seed on, once more",
    )
    command.add_argument(
        "--tune",
        action="store_true",
        help="exploratory networks, numbers for tuning, no table",
    )
    command.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    command.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help=f"(default: {OUT}/ and the functions' names)",
    )
    command.set_defaults(run=compare)


def compare(
    *,
    matcher: str | None,
    renormalizer: str | None,
    scale: str,
    setting: Sequence[str] | None,
    against: Sequence[str] | None,
    pairs: int | None,
    first_seed: int | None,
    tune: bool,
    device: str,
    out: Path | None,
) -> int:
    """Compare methods of one's own with the known ones; parameters as in ``--help``.

    Returns
    -------
    int
        0, or 130 where Ctrl-C ended it.

    Raises
    ------
    ValueError
        What is asked for is not possible, or a method breaks its contract.
    """
    whole = scales.get(scale)
    names = _settings(whole, setting)
    pairs = whole.networks // 2 if pairs is None else pairs
    _check(pairs, first_seed, tune, device)
    comparison = _comparison(matcher, renormalizer, against, tune)
    untrained = Bench(whole, 0, 2, device)
    for name in names:
        comparison.check(untrained.setting(name))
    given = [name for name in (matcher, renormalizer) if name]
    looks = None
    if not tune:
        why, code = f"compare {' and '.join(given)}", commit(Path.cwd())
        looks = seeds.take(whole.name, 2 * pairs, why, code, first_seed)
        print(looks.sentence, file=sys.stderr)
    first = seeds.EXPLORATORY if looks is None else looks.seeds[0]
    bench = Bench(whole, first, 2 * pairs, device)
    rows = _measured(comparison, bench, names)
    try:
        _train(bench, names)
        if looks is None:
            print("\n".join(_tuning([*rows])))
        else:
            folder = out or OUT / "+".join(map(short, given))
            _write(rows, folder, looks.sentence, given, whole, renormalizer)
    except KeyboardInterrupt:
        goes_on = "" if tune else f": --first-seed {first} goes on with these networks"
        print(f"interrupted{goes_on}", file=sys.stderr)
        return INTERRUPTED
    return 0


def _check(pairs: int, first_seed: int | None, tune: bool, device: str) -> None:
    """Refuse numbers and devices that can't be had."""
    if tune and first_seed is not None:
        raise ValueError("--tune has its own seeds: leave out --first-seed")
    if first_seed is not None and (first_seed < 0 or first_seed % 2):
        raise ValueError(
            f"--first-seed {first_seed}: choose an even number from 0 on (two networks "
            "of consecutive seeds make an independent pair)"
        )
    least = 1 if tune else FEWEST
    if pairs < least:
        raise ValueError(f"--pairs {pairs}: choose {least} or more")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch sees no GPU here, choose cpu")


def _settings(scale: Scale, chosen: Sequence[str] | None) -> Sequence[str]:
    """Return the settings that are asked for; an unknown one is an error."""
    if chosen:
        return list(dict.fromkeys(scale.canonical(name) for name in chosen))
    found = [scale.canonical(name) for name in SETTINGS if name in scale]
    return found or [*scale.settings]


def _comparison(
    matcher: str | None,
    renormalizer: str | None,
    against: Sequence[str] | None,
    tune: bool,
) -> Comparison:
    """Return what is compared; for tuning beside weight matching alone."""
    if not (matcher or renormalizer):
        raise ValueError("nothing to compare: give --matcher or --renormalizer")
    if renormalizer and short(renormalizer) in ("midpoint", "barrier", *REPAIRS):
        raise ValueError(
            f"{renormalizer}: a known column is called {short(renormalizer)}, give the "
            "function another name"
        )
    usual = ("weights",) if tune else BUILT_IN if matcher else METHODS
    methods = [built_in(name) for name in dict.fromkeys(against or usual)]
    if matcher:
        methods.append(Method(matcher, load(matcher, MATCHING), own=True))
    if not renormalizer:
        return Comparison(methods)
    return Comparison(methods, (renormalizer, load(renormalizer, RENORMALIZING)))


def _train(bench: Bench, names: Iterable[str]) -> None:
    """Train what is missing, one network for each CPU at once."""
    device = bench.images.device.type
    workers = executors.default_workers("local", device)
    recipes = map(bench.scale.recipe, names)
    try:
        outcome = Building(
            [Want(recipe, bench.first_seed, bench.seeds) for recipe in recipes],
            partial(executors.open_executor, "local", workers),
            workers,
            device=device,
            display=Display.on(sys.stderr),
        ).run()
    except (
        *(TaskError, executors.ExecutorError),
        *(store.CacheError, store.TrainingForbiddenError),
    ) as error:
        raise ValueError(str(error)) from error
    if outcome.status:
        raise ValueError("\n".join(outcome.lines()))


def _measured(
    comparison: Comparison, bench: Bench, names: Iterable[str]
) -> Iterator[Measured]:
    """Measure all, and say so as it goes."""
    for name in names:
        for row in comparison.measure(bench.setting(name), bench.scale.name):
            told = f"barrier {row.barrier:.1f} points, matched in {row.seconds:.2f} s"
            print(f"{name} {row.pair} {short(row.method)}: {told}", file=sys.stderr)
            yield row


def _write(
    rows: Iterable[Measured],
    folder: Path,
    looks: str,
    given: Sequence[str],
    scale: Scale,
    renormalizer: str | None,
) -> None:
    """Write rows, table and page to a folder, and print the table."""
    kept = _keep(rows, folder / "comparison.jsonl")
    own = short(renormalizer) if renormalizer else ""
    found = differences(kept, grain_of("points", scale.test_images), own)
    title = f"{' and '.join(given)} beside the known methods"
    write_text(folder / "table.tex", tables.latex(kept, found, looks))
    write_text(folder / "index.html", page.render(kept, found, looks, title))
    print(tables.text(kept, found, looks))
    print(f"\nwritten: {folder}/index.html, table.tex and comparison.jsonl")


def _keep(rows: Iterable[Measured], file: Path) -> list[Measured]:
    """Write rows as they come, and return them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            lines.write(json.dumps(row.row()) + "\n")
            lines.flush()
            kept.append(row)
        os.fsync(lines.fileno())
    return kept


def _tuning(rows: Sequence[Measured]) -> list[str]:
    """Say what each method attains on exploratory networks."""
    told = ["exploratory networks, for tuning; no table comes of them"]
    for setting in settings_of(rows):
        for method, found in by_method(rows, setting).items():
            means = [
                f"{what} {statistics.mean(row.accuracies[what] for row in found):.2f}"
                for what in found[0].accuracies
            ]
            seconds = statistics.mean(row.seconds for row in found)
            told.append(
                f"{setting} {short(method)}: {', '.join(means)}, {seconds:.2g} s"
            )
    return told
