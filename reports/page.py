"""The report: a folder of HTML pages, without network or server.

``index.html`` answers; each claim has a page with its evidence, each paper one with its
findings.  Templates lie in ``reports/templates``, style and behaviour in
``reports/assets``.
"""

import os
import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from reports import accepted, details, flips, forest, overview, papers, plots
from reports.catalogue import CATALOGUE, Entry, Paper, read_papers
from reports.deciding import again, outlook
from reports.results import (
    STATUSES,
    Result,
    corrected,
    counts,
    number,
    probability,
    rule_of,
    write_text,
)
from reports.scales import by_claim, scales_of
from reports.terminal import shorten

ASSETS = Path(__file__).parent / "assets"
TEMPLATES = Path(__file__).parent / "templates"

HEADS = ("Place", "Verdict", "plot", "Measured [interval]", "Margin",
         "In the paper", "Share of its effect", "n", "p")  # fmt: skip
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
        "level": ", ".join(dict.fromkeys(filter(None, map(details.level, kept)))),
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
            same=details.in_common(claim.results),
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
            *((scale, f"Scale {scale}") for scale in scales),
            ("in-paper", "In the paper"),
            ("share", "Share of its effect"),
        ],
        runs={scale: details.run(part) for scale, part in parts.items()},
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
        "mapped": flips.mapped,
        "factors": flips.factors,
        "forest": forest,
        "statuses": STATUSES,
        "tally": overview.tally,
        "in_common": overview.in_common,
        "short": overview.short,
        "standing": overview.standing,
        "span": overview.span,
        "in_paper": overview.in_paper,
        "shares": overview.shares,
        "circumstances": details.circumstances,
    }
    environment.filters |= {
        "number": number,
        "probability": probability,
        "cell": details.cell,
        "measured_at": details.measured_at,
        "numbers": details.numbers,
        "remark": details.remark,
        "outlook": outlook,
        "again": again,
        "here": details.here,
        "seeds": details.seeds,
        "rule_of": rule_of,
        "linked": details.linked,
        "shorten": shorten,
        "claim_link": lambda result: claim_file(result.id),
        "place_link": place_link,
        "place_anchor": place_anchor,
        "paper_link": paper_file,
    }
    return environment
