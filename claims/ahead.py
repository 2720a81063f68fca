"""Measuring what claims look at on an executor, ahead of their tests.

A task has the networks that a setting's claims look at, by value, and returns what was
measured on them, which is remembered here: the tests find it.  What the claims of a
setting and variant share is measured once, as they are one task.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from typing import Any

import safetensors.torch

import claims
import reports
from claims.claim import Place, places_of
from claims.measure import Bench, Network
from claims.trial import Trial
from fixtures import measurements, scales
from fixtures.display import SILENT, Display, Status
from fixtures.measurements import Row
from fixtures.pool import Pool

PACKAGES = (claims, reports)
"""What tasks need beside what training needs."""

TICK = 1.0
"""Seconds between two looks at what has ended."""

Files = Mapping[int, bytes]
"""From seeds to files of tensors.  Bytes, as tensors would travel between processes by
shared memory, which goes with the process that has it."""


@dataclass(frozen=True)
class Task:
    """Claims to be measured, and all networks that they look at.

    Attributes
    ----------
    scale, first_seed, seeds, device
        As pytest's options.
    places
        The id of each claim, and the name of its place.
    networks, origins
        By setting: the first good ones; those that others were made from.
    """

    scale: str
    first_seed: int
    seeds: int | None
    device: str
    places: Sequence[tuple[str, str]]
    networks: Mapping[str, Files]
    origins: Mapping[str, Files]


@dataclass(frozen=True)
class Measured:
    """What a task has measured, and by place the errors of claims' tests."""

    rows: Sequence[Row]
    errors: Mapping[str, str]


def measure(task: Task) -> Measured:
    """Measure what the task's claims look at."""
    bench = _bench(task.scale, task.first_seed, task.seeds, task.device)
    for name, files in task.networks.items():
        origins = task.origins.get(name, {})
        bench.setting(name).take(*map(_states, (files, origins)))
    errors = {}
    with measurements.noting() as noted:
        for place in (_places(task.scale)[each] for each in task.places):
            try:
                place.claim.function(Trial(place, bench, task.seeds))
            except Exception as error:  # others may go on
                errors[f"{place.claim.id} {place.name}"] = f"{error!r}"
    for name in task.networks:
        bench.setting(name).release()
    return Measured([*noted.values()], errors)


def _states(files: Files) -> dict[int, Any]:
    return {seed: safetensors.torch.load(content) for seed, content in files.items()}


@cache
def _bench(scale: str, first_seed: int, seeds: int | None, device: str) -> Bench:
    """Return one for all tasks of this process: symmetries take long."""
    found = scales.get(scale)
    return Bench(found, first_seed, seeds or found.networks, device)


@cache
def _places(scale: str) -> dict[tuple[str, str], Place]:
    return {(p.claim.id, p.name): p for p in places_of(scales.get(scale))}


@dataclass(frozen=True)
class Group:
    """The places of a setting and variant."""

    setting: str
    variant: str
    places: tuple[Place, ...]

    def __str__(self) -> str:
        return f"{self.setting} {self.variant}".strip()


def groups(places: Iterable[Place]) -> list[Group]:
    """Return the places that look at networks, by setting and variant, as they come."""
    found = defaultdict(list)
    for place in places:
        if place.uses:
            found[str(place.setting), place.variant].append(place)
    return [Group(*key, tuple(those)) for key, those in found.items()]


def task_of(group: Group, bench: Bench, seeds: int | None) -> Task:
    """Return a group's task, with the networks, all of which must be there."""
    demand: dict[str, int] = {}
    for place in group.places:
        for name, count in place.demand(seeds).items():
            demand[name] = max(count, demand.get(name, 0))
    networks = {name: bench.setting(name).networks(n) for name, n in demand.items()}
    origins: dict[str, list[Network]] = defaultdict(list)
    for name, those in networks.items():
        recipe = bench.setting(name).recipe
        if recipe.parent is not None and recipe.parent.name in demand:
            parent = bench.setting(recipe.parent.name)
            found = [parent.network(recipe.origin(network.seed)) for network in those]
            origins[recipe.parent.name] += found
    return Task(
        scale=bench.scale.name,
        first_seed=bench.first_seed,
        seeds=seeds,
        device=str(bench.images.device),
        places=[(place.claim.id, place.name) for place in group.places],
        networks={name: _files(those) for name, those in networks.items()},
        origins={name: _files(those) for name, those in origins.items()},
    )


def _files(networks: Iterable[Network]) -> dict[int, bytes]:
    return {n.seed: safetensors.torch.save(n.state) for n in networks}


def measure_all(
    places: Sequence[Place],
    bench: Bench,
    seeds: int | None,
    open_executor: Callable[[], AbstractContextManager[Executor]],
    workers: int = 1,
    display: Display = SILENT,
) -> list[str]:
    """Measure what claims look at, and remember it.

    What is measured by the time of an exception, such as Ctrl-C, is kept.

    Parameters
    ----------
    places
        Where claims are asked; all networks that they look at are there.
    bench
        Those networks.
    seeds
        How many of each setting there may be; None for as many as each claim says.
    open_executor, workers
        Opens what measures, so many tasks at once.
    display
        Shows how far it is, in claims.

    Returns
    -------
    A line for each claim whose test ended with an error.

    Raises
    ------
    fixtures.pool.TaskError
        If workers die again and again, or measuring ends with an error of its own.
    """
    waiting = groups(places)
    total = sum(len(group.places) for group in waiting)
    errors: list[str] = []
    pool: Pool[Group, Measured] = Pool("measuring", open_executor, workers)
    with pool:
        while waiting or pool.running:
            while waiting and pool.room:
                if pool.submit(waiting[0], measure, task_of(waiting[0], bench, seeds)):
                    del waiting[0]
            at_work = [*pool.running.values()]
            left = sum(len(group.places) for group in (*waiting, *at_work))
            display.show(
                Status(total - left, total, at_work=[*map(str, at_work)], what="claims")
            )
            for future in pool.ended(TICK):
                result = pool.result(future)
                group = pool.remove(future)
                if result is None:
                    waiting.insert(0, group)
                    continue
                for row in result.rows:
                    measurements.opened().put(row)
                errors += [f"{place}: {why}" for place, why in result.errors.items()]
    display.tell(f"measured what {total - len(errors)} claims look at")
    return errors
