"""The same networks again: what fixed networks measure, and measured before.

Some twenty networks of scale ``digits`` ship in the pack.  All that claims measure on
them, and losses that show what an accuracy hides, is kept in ``expected/again.json``;
every run measures them again.  Statistics over fresh seeds can't see a fault of half a
point; this does.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from claims.claim import Place, places_of
from claims.measure import METHODS, Bench, Pair
from claims.trial import Trial
from fixtures import scales, store, task
from reports.results import write_text

FILE = Path(__file__).parent / "expected" / "again.json"

SCALE, FIRST_SEED, NETWORKS = "digits", 0, 4

SETTINGS = ("mlp", "plain-vgg", "bn-vgg", "plain-resnet", "bn-resnet")
"""Two pairs of each ship with the repository."""

HERE = 1e-6
"""By how much of its column's largest a value may differ on the machine, and with the
versions, of those on file: rounding that another order of sums makes."""

IMAGES = 3
"""Elsewhere: test images that an accuracy may gain or lose by the last bits."""

ELSEWHERE = 1e-2
"""Elsewhere: the share for all other numbers."""

CHAOTIC = ("ste", "recover")
"""Parts of names of what is trained on: elsewhere last bits grow without bound there,
and nothing is compared."""

REPAIRS = ("", "repair", "rescale", "rescale-average", "reshift")

Values = dict[str, list[float]]
"""From a column to one value for each unit."""


def names() -> list[str]:
    """Return all that is measured again: the claims' places, and losses by setting."""
    return [*_places(), *(f"losses {setting}" for setting in SETTINGS)]


def _places() -> dict[str, Place]:
    """Return the places by name that look at the fixed networks, and no others."""
    return {
        f"{place.claim.id} {place.name}": place
        for place in places_of(scales.get(SCALE))
        if place.uses and {*place.uses} <= {*SETTINGS} and place.count(NETWORKS)
    }


def measure(name: str, bench: Bench) -> Values:
    """Return what the fixed networks measure.

    Parameters
    ----------
    name
        One of :func:`names`.
    bench
        Of this scale and these seeds, see :func:`fixed`.
    """
    what, _, where = name.partition(" ")
    if what == "losses":
        pairs = bench.setting(where).pairs(NETWORKS // 2)
        rows = [dict(_losses(pair)) for pair in pairs]
    else:
        place = _places()[name]
        trial = Trial(place, bench, NETWORKS)
        place.claim.function(trial)
        rows = trial.record["pairs"]
    columns = [column for column in rows[0] if column != "pair"]
    return {column: [float(row[column]) for row in rows] for column in columns}


def _losses(pair: Pair) -> Iterator[tuple[str, float]]:
    """Give what is continuous: an accuracy moves by whole images only."""
    for method in ("none", *METHODS):
        for repair in REPAIRS:
            yield f"{method} {repair}".strip(), pair.midpoint(method, repair).loss
        curve = pair.curve(method)
        yield f"{method} barrier", curve.loss_barrier
        yield f"{method} distance", pair.distance(method)
    for method in METHODS:
        yield f"{method} objective", pair.objective(method)


def fixed(device: str = "cpu") -> Bench:
    """Return the bench of the fixed networks: those of the pack, never of the cache.

    What this machine has trained from the same recipes and seeds has other bits.
    """
    bench = Bench(scales.get(SCALE), FIRST_SEED, NETWORKS, device)
    for name in SETTINGS:
        setting, states = bench.setting(name), {}
        for seed in range(FIRST_SEED, FIRST_SEED + NETWORKS):
            found = store.packed(setting.recipe, seed).read()
            if found is None:
                raise FileNotFoundError(
                    f"{name} seed {seed} of scale {SCALE} is not in the pack: restore "
                    "fixtures/pack with git"
                )
            states[seed] = store.restored(setting.recipe, *found)
        setting.take(states)
    return bench


def differences(name: str, found: Values, kept: Values, here: bool) -> list[str]:
    """Return what differs beyond rounding, a sentence for each column.

    Parameters
    ----------
    name, found
        What was measured, and its values.
    kept
        The values on file.
    here
        Whether those are of this kind of machine and these versions: then values agree
        within `HERE`.  Elsewhere accuracies, which move by whole images, within
        `IMAGES`, other numbers within `ELSEWHERE`, and `CHAOTIC` ones are left out.
    """
    if gone := kept.keys() ^ found.keys():
        return [f"{name}: {', '.join(sorted(gone))} is measured now or then, not both"]
    if not here and any(part in name for part in CHAOTIC):
        return []
    grain = 100 / scales.get(SCALE).test_images
    told = []
    for column, values in found.items():
        ours, theirs = np.array(values), np.array(kept[column])
        if ours.shape != theirs.shape:
            told.append(f"{name}: {column} has {len(ours)} values, not {len(theirs)}")
            continue
        largest = np.abs(theirs).max(initial=0.0)
        allowed = (HERE if here else ELSEWHERE) * max(largest, 1e-6)
        # Means of two, or a tenth of the line between two, are parts of an image.
        steps = np.concatenate([ours, theirs]) / (grain / 20)
        if not here and np.allclose(steps, steps.round(), rtol=0, atol=1e-6):
            allowed = IMAGES * grain
        off = np.abs(ours - theirs).max(initial=0.0)
        if not off <= allowed:  # and not if it is NaN
            told.append(
                f"{name}: {column} was {_shown(theirs)} and is {_shown(ours)}, off by "
                f"{off:.3g} where {allowed:.3g} is rounding"
            )
    return told


def compared(found: Mapping[str, Values]) -> list[str]:
    """Return all that differs from the values on file, or is not there."""
    file = kept()
    told = []
    for name, values in found.items():
        if name not in file["values"]:
            told.append(
                f"{name} was never measured on the fixed networks: accept it by "
                "`python -m claims again --accept --why TEXT`"
            )
        else:
            here = file["where"] == where()
            told += differences(name, values, file["values"][name], here)
    return told


def where() -> dict[str, str]:
    """Return the kind of machine and the versions that last bits depend on."""
    packages = ("torch", "numpy", "scipy")
    return task.machine() | {name: metadata.version(name) for name in packages}


def _shown(values: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in values)


def kept() -> dict[str, Any]:
    """Return what is on file: ``values`` by name, ``where``, ``reasons`` by date."""
    if not FILE.exists():
        return {"reasons": [], "where": {}, "values": {}}
    return json.loads(FILE.read_text(encoding="utf-8"))


def accept(values: Mapping[str, Values], why: str) -> None:
    """Keep what the fixed networks measure now, with a reason."""
    told = {"on": datetime.now(UTC).date().isoformat(), "why": why}
    head = json.dumps([*kept()["reasons"], told], indent=1)
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(values[name])}" for name in sorted(values)
    )
    place = json.dumps(where())
    text = f'{{"reasons": {head},\n"where": {place},\n"values": {{\n{lines}\n}}}}\n'
    write_text(FILE, text)
