"""What is on record of each place, read from ``claims/expected/<scale>.toml``.

``python -m claims accept`` writes those files. They are read here as data, so that a
page can say why a verdict was accepted.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.results import number, worded

FOLDER = Path(__file__).parents[1] / "claims" / "expected"


@dataclass(frozen=True)
class Accepted:
    """The verdict on record, with the numbers it rests on and why it is as it is."""

    verdict: str
    leaning: str
    estimate: float | None
    spread: float | None
    n: int | None
    why: str

    def __str__(self) -> str:
        """Write it, as ``refuted (-14 ± 2.3, n = 8)``."""
        verdict = worded(self.verdict, self.leaning)
        if self.estimate is None:
            return verdict
        told = number(self.estimate)
        if self.spread is not None:
            told += f" ± {number(self.spread)}"
        return f"{verdict} ({told}, n = {self.n})"


def read(scale: str, folder: Path = FOLDER) -> dict[tuple[str, str], Accepted]:
    """Read what is on record of a scale.

    Parameters
    ----------
    scale : str
    folder : Path
        Of the files, one a scale.

    Returns
    -------
    dict
        From a claim's id and its place, as ``"plain-vgg weights"``. Empty where the
        scale has no file.

    Raises
    ------
    ValueError
        The file is malformed: names it and the place.
    """
    path = folder / f"{scale}.toml"
    if not path.is_file():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    return {
        (claim, place): _accepted(path, claim, place, entry)
        for claim, places in tables.items()
        for place, entry in places.items()
    }


def _accepted(path: Path, claim: str, place: str, entry: Any) -> Accepted:
    if not isinstance(entry, dict) or not isinstance(entry.get("verdict"), str):
        raise ValueError(
            f"{path}, {claim!r}, {place!r}: expected a table with a 'verdict', got "
            f"{entry!r}; `python -m claims accept` writes such files"
        )
    return Accepted(
        entry["verdict"],
        entry.get("leaning", ""),
        *(entry.get(name) for name in ("estimate", "spread", "n")),
        entry.get("why", ""),
    )
