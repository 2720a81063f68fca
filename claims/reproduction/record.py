"""What is brought home: the record, how networks were trained, and two of them."""

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fixtures import pack, store
from fixtures.folders import pack_folder
from fixtures.recipe import Recipe
from fixtures.ways import PLAIN, Rates, Way
from reports import results
from reports.results import Result

PART_BYTES = 15 * 2**20
"""Largest part of the file of networks: some ways home take no larger ones."""

TOLD = (
    *("name", "seed", "gpu", "backend", "seconds", "losses"),
    *("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
)
"""What is told of each network's training."""


def metas(recipe: Recipe, seeds: Iterable[int]) -> list[dict[str, Any]]:
    """Return the metas of those networks of a recipe that are there."""
    found = (store.find(recipe, seed) for seed in seeds)
    files = [artefact.folder / "meta.json" for artefact in found if artefact]
    return [json.loads(file.read_text()) for file in files]


def seconds_an_epoch(metas: Sequence[dict[str, Any]]) -> float | None:
    """Return the mean over networks that were trained, not taken from a checkpoint.

    Examples
    --------
    >>> seconds_an_epoch([{"seconds": 3.0, "losses": {"1": 2.3, "2": 2.2}}])
    1.5
    """
    each = [meta["seconds"] / len(meta["losses"]) for meta in metas if meta["losses"]]
    return round(sum(each) / len(each), 3) if each else None


def written(
    found: Sequence[Result],
    recipes: Sequence[Recipe],
    rates: Rates,
    way: Way,
    commit: str = "",
) -> list[Result]:
    """Return results whose networks say how they were trained.

    Parameters
    ----------
    found
        As sessions have written them.
    recipes
        Of the networks.
    rates, way
        What was measured of ways to train, and which one was taken.
    commit
        That of the code, for those that could not know it.
    """
    by_key = {recipe.key: recipe for recipe in recipes}

    def told(fixture: dict[str, Any]) -> dict[str, Any]:
        recipe = by_key.get(fixture["key"])
        own = metas(recipe, fixture["seeds"]) if recipe else []
        if not own:
            return fixture
        how = {
            "gpu": own[0]["gpu"],
            "way": str(way),
            "times_the_plain_loop": round(rates[way] / rates[PLAIN], 2),
            "seconds_an_epoch": seconds_an_epoch(own),
        }
        return {**fixture, "training": how}

    return [
        replace(
            result,
            fixtures=[*map(told, result.fixtures)],
            commit=result.commit or commit,
        )
        for result in found
    ]


def write(
    folder: Path,
    name: str,
    found: Sequence[Result],
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    rates: Rates,
) -> list[Path]:
    """Write a record, and beside it how networks were trained; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    record, training = folder / f"{name}.jsonl", folder / f"{name}-training.json"
    results.write(record, sorted(found, key=lambda result: result.place))
    ways = [
        {
            "backend": way.backend,
            "at_once": way.at_once,
            "steps_per_second": round(rate, 2),
            "times_the_plain_loop": round(rate / rates[PLAIN], 3),
        }
        for way, rate in rates.items()
    ]
    networks = [
        {name: meta[name] for name in TOLD}
        for recipe in recipes
        for meta in metas(recipe, seeds)
    ]
    content = {"ways": ways, "networks": networks}
    training.write_text(json.dumps(content, indent=1) + "\n")
    return [record, training]


def pack_parts(
    folder: Path, recipe: Recipe, seeds: Sequence[int], device: str
) -> list[Path]:
    """Write networks in float16 as a tar file in parts, laid out as the pack is.

    ``cat networks.tar.* | tar x -C fixtures/pack`` puts them there.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for seed in seeds:
            found = pack.convert(recipe, seed, "float16", device)
            place = found.artefact.folder.relative_to(pack_folder())
            meta = (json.dumps(found.meta, indent=1) + "\n").encode()
            for file, content in (
                (found.artefact.file, found.content),
                ("meta.json", meta),
            ):
                member = tarfile.TarInfo(f"{place}/{file}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for number, at in enumerate(range(0, buffer.tell(), PART_BYTES)):
        parts.append(folder / f"networks.tar.{number:02}")
        parts[-1].write_bytes(buffer.getbuffer()[at : at + PART_BYTES])
    return parts
