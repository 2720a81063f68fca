"""What is on record of each place, read from ``claims/expected/<scale>.toml``.

``python -m claims accept`` writes those files.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from reports.results import with_spread, worded

FOLDER = Path(__file__).parents[1] / "claims" / "expected"


@dataclass(frozen=True)
class Entry:
    """What was accepted at a place, and of what.

    Attributes
    ----------
    verdict, leaning, estimate, spread, n, grain
        As of the result.
    rule
        What was decided, in words that no measurement changes.
    first_seed
        Of the networks.
    why
        What a person says about the verdict.
    """

    verdict: str
    estimate: float
    spread: float
    n: int
    grain: float = 0.0
    leaning: str = ""
    rule: str = ""
    first_seed: int | None = None
    why: str = ""

    def __str__(self) -> str:
        """Write it, as ``refuted (-14 ± 2.3, n = 8)``."""
        measured = with_spread(self.estimate, self.spread, self.n)
        return f"{worded(self.verdict, self.leaning)} ({measured})"


def read(scale: str, folder: Path = FOLDER) -> dict[tuple[str, str], Entry]:
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
        The file is malformed: says where and what to do.
    """
    path = folder / f"{scale}.toml"
    if not path.is_file():
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            (claim, place): Entry(**entry)
            for claim, places in tables.items()
            for place, entry in places.items()
        }
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is not what `python -m claims accept` writes ({error}): restore "
            "it with git, or accept a record of the whole scale anew"
        ) from None
