"""Results of several scales side by side: a row per claim, setting and variant."""

from collections.abc import Iterable
from dataclasses import dataclass

from reports.catalogue import headlines
from reports.results import Result, newest

ORDER = ("digits", "mnist", "cifar10", "cifar100", "paper")
"""From the smallest networks to the papers' own; other scales follow by name."""


@dataclass(frozen=True)
class Row:
    """A claim on one setting, in one variant, wherever it was measured.

    Attributes
    ----------
    results
        By scale, in the order of `scales_of`; never empty.
    """

    results: dict[str, Result]

    @property
    def newest(self) -> Result:
        """The result whose sentence and paper's numbers are those of today."""
        return max(self.results.values(), key=lambda result: result.when)

    @property
    def differs(self) -> bool:
        """Whether two scales have different verdicts.

        An error is none, nor is what too few units were measured of.
        """
        found = (r for r in self.results.values() if r.verdict != "error")
        return len({r.verdict for r in found if not r.progress}) > 1


def scales_of(results: Iterable[Result]) -> list[str]:
    """List the scales of results, small ones first.

    Examples
    --------
    >>> from reports.tests.made_up import made
    >>> scales_of(made(scale=name) for name in ("paper", "mnist", "paper", "digits"))
    ['digits', 'mnist', 'paper']
    """

    def rank(scale: str) -> tuple[int, str]:
        return (ORDER.index(scale) if scale in ORDER else len(ORDER), scale)

    return sorted({result.scale for result in results}, key=rank)


def rank(result: Result) -> tuple[int, str]:
    """Where a result's claim stands: headlines first, then topics in their order."""
    if result.id in headlines():
        return (headlines().index(result.id), "")
    return (len(headlines()), result.topic)


def by_claim(results: Iterable[Result]) -> list[list[Row]]:
    """Group results into claims, and each claim's into rows.

    Parameters
    ----------
    results : iterable of Result
        Of several for one claim, setting, variant and scale the newest counts, as
        in `reports.results.newest`.

    Returns
    -------
    list of list of Row
        The rows of each claim; headlines first, then claims by topic, all else in the
        order of the results.
    """
    kept = newest(results)
    scales = scales_of(kept)
    found: dict[str, dict[tuple[str, str], dict[str, Result]]] = {}
    for result in kept:
        place = (result.setting, result.variant)
        found.setdefault(result.id, {}).setdefault(place, {})[result.scale] = result
    claims = [
        [
            Row({scale: held[scale] for scale in scales if scale in held})
            for held in places.values()
        ]
        for places in found.values()
    ]
    return sorted(claims, key=lambda rows: rank(rows[0].newest))
