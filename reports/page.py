"""The report: a folder of HTML pages, without network or server.

``index.html`` answers; each claim has a page with its evidence, each paper one with its
findings.  Templates lie in ``reports/templates``, style and behaviour in
``reports/assets``.
"""

import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from reports import accepted, flips, forest, overview, papers, plots
from reports.catalogue import CATALOGUE, Entry, Paper, read_papers
from reports.deciding import again, outlook
from reports.results import (
    STATUSES,
    Result,
    corrected,
    counts,
    number,
    probability,
    worded,
    write_text,
)
from reports.scales import by_claim, scales_of
from reports.terminal import shorten

ASSETS = Path(__file__).parent / "assets"
TEMPLATES = Path(__file__).parent / "templates"

LEANING = 0.05
"""A p-value by t below this is worth a second look, by sign flips."""

DISAGREE = 3
"""Times by which p by sign flips exceeds p by t before the page remarks on it."""

FLIPS = 20_000
"""So many random sign flips are taken where all of them are too many."""

HEADS = ("Place", "Verdict", "plot", "Measured [interval]", "Margin", "Paper",
         "Share of its effect", "n", "p")  # fmt: skip
"""Of the table of a claim's places."""


def pages(
    results: Sequence[Result],
    expected: Path = accepted.FOLDER,
    catalogue: Path = CATALOGUE,
) -> dict[str, str]:
    """Make the report; the same arguments and files give the same bytes.

    Parameters
    ----------
    results : sequence of Result
        Claims appear by topic, headlines first, in the order of the results. Of
        several for one claim, setting, variant and scale the newest counts.
    expected : Path
        Folder of what is on record, a file a scale: see `reports.accepted`.
    catalogue : Path
        Folder of what the papers say: see `reports.catalogue`.

    Returns
    -------
    dict
        From each file's path in the report's folder to its text; ``index.html`` last.
    """
    claims = [overview.Claim(tuple(rows)) for rows in by_claim(results)]
    kept = [result for claim in claims for result in claim.results]
    scales = scales_of(kept)
    parts = {scale: [r for r in kept if r.scale == scale] for scale in scales}
    records = {scale: accepted.read(scale, expected) for scale in scales}
    known, flipped = read_papers(catalogue), flips.lines(kept)
    deciding: dict[str, list[tuple[Paper, Entry]]] = {}
    for paper in known:
        for entry in paper.entries:
            for test in entry.tests:
                deciding.setdefault(test, []).append((paper, entry))
    found = {paper: papers.findings(paper, kept) for paper in known}
    shared = {
        "scales": scales,
        "several": len(scales) > 1,
        "level": ", ".join(dict.fromkeys(filter(None, map(level, kept)))),
        "flips": flipped,
    }
    made = {path.name: path.read_text(encoding="utf-8") for path in ASSETS.iterdir()}
    made["report.css"] += symbols()

    def add(path: str, template: str, **told: Any) -> None:
        root = "../" * path.count("/")
        found = _environment().get_template(template)
        made[path] = found.render(root=root, **shared, **told)

    holm = corrected(kept)
    for claim in claims:
        add(
            claim_file(claim.newest.id),
            "claim.html",
            claim=claim,
            first=claim.newest,
            entries=deciding.get(claim.newest.id, []),
            axis=forest.common(claim.results),
            heads=HEADS,
            same=told.pop()
            if len(told := {*map(circumstances, claim.results)}) == 1
            else "",
            holm=holm,
            on_record={
                r.place: records[r.scale].get((r.id, r.where)) for r in claim.results
            },
        )
    for paper in known:
        add(
            paper_file(paper),
            "paper.html",
            paper=paper,
            findings=found[paper],
            sentence=papers.in_words(found[paper]),
            outcomes=papers.OUTCOMES,
        )
    add("glossary.html", "glossary.html")
    if flipped:
        add("order.html", "order.html", lines=flipped)
    headlines = overview.chosen(claims)
    chief = {test for paper in known[:1] for e in paper.entries for test in e.tests}
    add(
        "index.html",
        "index.html",
        claims=claims,
        topics=list(dict.fromkeys(claim.newest.topic for claim in claims)),
        counts=counts(kept),
        outcome=overview.outcome(claims),
        contradicting=[r for r in kept if r.status.key == "contradicts"],
        broken=[r for r in kept if r.status.key == "error"],
        headlines=headlines,
        chief=sum(h.claim.newest.id in chief for h in headlines),
        papers=[(paper, papers.in_words(found[paper])) for paper in known],
        columns=[
            ("claim", "Claim"),
            *((scale, scale) for scale in scales),
            ("in-paper", "Paper"),  # there is a scale called paper
            ("share", "Share of its effect"),
        ],
        runs={scale: _run(part) for scale, part in parts.items()},
    )
    return made


def write(
    folder: str | os.PathLike[str],
    results: Sequence[Result],
    expected: Path = accepted.FOLDER,
    catalogue: Path = CATALOGUE,
) -> Path:
    """Write the report into a folder and return its first page. See `pages`.

    Each file is written whole or not at all, the first page last. Pages of claims and
    papers that are gone are removed; other files of the folder are left alone.
    """
    folder = Path(folder)
    made = pages(results, expected, catalogue)
    for path, text in made.items():
        write_text(folder / path, text)
    for part in ("claims", "papers"):
        for file in (folder / part).glob("*.html"):
            if f"{part}/{file.name}" not in made:
                file.unlink()
    return folder / "index.html"


def claim_file(claim: str) -> str:
    """Return the file of a claim's page, as ``claims/topic.name.html``.

    An id with other characters than letters, digits, points and hyphens gets a digest,
    so that no two claims have one file, and none lies outside the folder.
    """
    name = claim.replace("/", ".", 1)
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip(".")
    if plain != name:
        plain = f"{plain[:80]}-{sha256(claim.encode()).hexdigest()[:8]}"
    return f"claims/{plain}.html"


def paper_file(paper: Paper) -> str:
    """Return the file of a paper's page."""
    return f"papers/{paper.id}.html"


def symbols() -> str:
    """Return the style that gives each status its symbol.

    Beside its word that is read by nobody aloud; beside a bare count the word is.
    """
    rules = []
    for s in STATUSES.values():
        rules.append(
            f".chip.{s.key}::before, .tile.{s.key}::before "
            f'{{ content: "{s.symbol}"; content: "{s.symbol}" / ""; }}\n'
            f".pills .{s.key}::before "
            f'{{ content: "{s.symbol}"; content: "{s.symbol}" / "{s.word}:"; }}\n'
        )
    return "".join(rules)


def place_anchor(result: Result) -> str:
    """Return the fragment of a result on its claim's page."""
    return f"{result.where}@{result.scale}".replace(" ", "/")


def place_link(result: Result) -> str:
    """Return the address of a result from the first page."""
    return f"{claim_file(result.id)}#{quote(place_anchor(result), safe='/@')}"


def level(result: Result) -> str:
    """Write the level of a result's interval, as ``99%``; "" where it has none."""
    if result.alpha is None or (result.low is None and result.high is None):
        return ""
    return f"{100 * (1 - 2 * result.alpha):g}%"


def numbers(result: Result, holm: float | None) -> list[tuple[str, str]]:
    """List what is told of a result beside its line in the table, by name."""
    told = [
        ("p, sign flips", "" if result.p_flip is None else probability(result.p_flip)),
        ("p, Page", "" if result.p_page is None else probability(result.p_page)),
        ("p, Holm", "" if holm is None else probability(holm)),
        (
            "p, against it",
            "" if result.p_against is None else probability(result.p_against),
        ),
        ("Spread", "" if result.spread is None else number(result.spread)),
        (
            "Detectable effect",
            "" if result.detectable is None else number(result.detectable),
        ),
    ]
    return [(name, text) for name, text in told if text]


def remark(result: Result) -> str:
    """Say where the sign-flip test contradicts a small p-value of the t-test.

    It does where the t-test's p of the direction that the values lean in, for the claim
    or against it, is below `LEANING`, and the sign-flip p of that direction above
    `DISAGREE` times the larger of it and the smallest that n units can give, ``2**-n``
    (of many units, ``1 / FLIPS``).  Then the t-test rests on normal tails that the
    values don't show: so do fewer than 1 in 50 of the samples of 5 to 10 normal values
    that lean.
    """
    p, against, flips = result.p, result.p_against, result.p_flip
    if p is None or against is None or flips is None or result.n is None:
        return ""
    least = max(2.0**-result.n, 1 / (FLIPS + 1))
    direction = "for the claim"
    if against < p:  # the sign-flip p of the other direction, but for ties
        p, flips, direction = against, 1 - flips + least, "against it"
    if p >= LEANING or flips <= DISAGREE * max(p, least):
        return ""
    return (
        f"The sign-flip test disagrees: p {direction} is {probability(flips)} where "
        f"the t-test has {probability(p)}. The one assumes values symmetric about "
        "their mean, the other normal ones."
    )


def machine(result: Result) -> str:
    """Write where a result was measured, as ``cpu, Xeon, x86_64``."""
    return ", ".join(filter(None, [result.device, *result.machine.values()]))


def measured_at(result: Result) -> str:
    """Write when a result was measured, in UTC."""
    return f"{result.when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def linked(text: str) -> Markup:
    """Escape a source and turn ``arXiv:2402.05966v1`` into a link."""
    return Markup(
        re.sub(
            r"arXiv:(\d{4}\.\d{4,5}(?:v\d+)?)",
            r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>',
            str(escape(text)),
        )
    )


def cell(value: Any) -> str:
    """Write an entry of a data table: numbers with four significant digits."""
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rule_of(decision: str) -> str:
    """Return the part of a decision's statement that no measurement changes."""
    if decision.startswith("premise not met"):
        decision = decision.rpartition(" (")[2].removesuffix(")")
    return decision.partition("; ")[0]


def seeds(numbers: Sequence[Any]) -> str:
    """Write seeds with runs of them shortened, as ``100-115, 118``.

    Examples
    --------
    >>> seeds([100, 101, 102, 105])
    '100-102, 105'
    """
    runs: list[list[Any]] = []
    for seed in numbers:
        if runs and isinstance(seed, int) and seed - 1 == runs[-1][-1]:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def here(result: Result) -> str:
    """Write what was measured as `reports.accepted.Entry` writes what is on record."""
    if result.estimate is None:
        return worded(result.verdict, result.leaning)
    measured = f"{number(result.estimate)} ± {number(result.spread)}, n = {result.n}"
    from_seed = "" if result.first_seed is None else f", seeds from {result.first_seed}"
    return f"{worded(result.verdict, result.leaning)} ({measured}){from_seed}"


def circumstances(result: Result) -> str:
    """Write the machine, versions and commit of a result."""
    versions = ", ".join(f"{name} {text}" for name, text in result.versions.items())
    commit = f"commit {result.commit[:12]}" if result.commit else "commit not known"
    return f"{machine(result)}; {versions}; {commit}"


def _run(results: Sequence[Result]) -> dict[str, str]:
    """The header's facts; several values where results of several runs are shown."""
    if not results:
        return {}

    def values(found: Iterable[str]) -> str:
        return ", ".join(sorted({text for text in found if text}))

    names = sorted({name for r in results for name in r.versions})
    times = [r.when.astimezone(UTC) for r in results]
    first, last = min(times), max(times)
    day = "" if first.date() == last.date() else f"{last:%Y-%m-%d} "
    failed = {
        (fixture.get("name", ""), seed)
        for r in results
        for fixture in r.fixtures
        for seed in fixture.get("failed", [])
    }
    facts = {
        "Scale": values(r.scale for r in results),
        "Results": str(len(results)),
        "Measured": f"{first:%Y-%m-%d %H:%M} to {day}{last:%H:%M} UTC",
        "Seeds from": values(
            str(r.first_seed) for r in results if r.first_seed is not None
        ),
        "Networks that failed to train": str(len(failed) or ""),
        "Machine": "; ".join(sorted({machine(r) for r in results})),
        "Commit": values(r.commit[:10] for r in results),
        "Versions": ", ".join(
            f"{name} {values(r.versions.get(name, '') for r in results)}"
            for name in names
        ),
        "Measuring": f"{sum(r.seconds or 0.0 for r in results):.0f} s",
    }
    return {name: text for name, text in facts.items() if text}


@cache
def _environment() -> jinja2.Environment:
    environment: Any = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "plots": plots,
        "forest": forest,
        "statuses": STATUSES,
        "tally": overview.tally,
        "short": overview.short,
        "standing": overview.standing,
        "span": overview.span,
        "in_paper": overview.in_paper,
        "share": overview.share,
        "circumstances": circumstances,
    }
    environment.filters |= {
        "number": number,
        "probability": probability,
        "cell": cell,
        "measured_at": measured_at,
        "numbers": numbers,
        "remark": remark,
        "outlook": outlook,
        "again": again,
        "here": here,
        "seeds": seeds,
        "rule_of": rule_of,
        "linked": linked,
        "shorten": shorten,
        "claim_link": lambda result: claim_file(result.id),
        "place_link": place_link,
        "place_anchor": place_anchor,
        "paper_link": paper_file,
    }
    return environment
