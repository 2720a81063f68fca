"""How what is known of a result beside its estimate is written on the pages."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any

from markupsafe import Markup, escape

from reports.results import Result, number, probability, with_spread

LEANING = 0.05
"""A p-value by t below this is worth a second look, by sign flips."""

DISAGREE = 3
"""Times by which p by sign flips exceeds p by t before the page remarks on it."""

FLIPS = 20_000
"""So many random sign flips are taken where all of them are too many."""


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
        (
            "Spread",
            "" if result.spread is None or result.n == 1 else number(result.spread),
        ),
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
        return result.outcome
    measured = with_spread(result.estimate, result.spread, result.n)
    from_seed = "" if result.first_seed is None else f", seeds from {result.first_seed}"
    return f"{result.outcome} ({measured}){from_seed}"


def circumstances(result: Result) -> str:
    """Write the machine, versions and commit of a result."""
    versions = ", ".join(f"{name} {text}" for name, text in result.versions.items())
    commit = f"commit {result.commit[:12]}" if result.commit else "commit not known"
    return f"{machine(result)}; {versions}; {commit}"


def run(results: Sequence[Result]) -> dict[str, str]:
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


def in_common(results: Sequence[Result]) -> str:
    """Write the circumstances that all results have; "" where they differ."""
    found = {circumstances(result) for result in results}
    return found.pop() if len(found) == 1 else ""
