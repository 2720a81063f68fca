"""What to train for tests of claims, in which order, and what can be decided by now.

For `claims.reproduce`: a test is decided on as many pairs as all its settings have, so
what counts is what the tests want together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fixtures import scales, store
from fixtures.build import Job
from fixtures.demand import collected

ROOT = Path(__file__).parents[1]

FEWEST = 4
"""Networks of a setting from which a claim is decided: two independent pairs."""


@dataclass(frozen=True)
class Wanted:
    """What a selected test wants.

    Attributes
    ----------
    test
        Its node id.
    wants
        From the number of networks of each setting, ``--seeds``, to how many of these
        it looks at, by setting: none where it needs more to decide anything.
    """

    test: str
    wants: Mapping[int, Mapping[str, int]]

    @property
    def name(self) -> str:
        """The test's function and parameters."""
        return self.test.rpartition("::")[2]

    def possible(self, there: Mapping[str, int]) -> int:
        """Return the largest number of networks that it can be decided with, or 0.

        Parameters
        ----------
        there
            From setting to the number of its networks, from seed 0 on without a gap.
        """
        for count, wanted in sorted(self.wants.items(), reverse=True):
            if wanted and all(there[name] >= n for name, n in wanted.items()):
                return count
        return 0

    def lack(self, there: Mapping[str, int]) -> str:
        """Return what is missing to decide it on the fewest networks."""
        known = [wanted for _, wanted in sorted(self.wants.items()) if wanted]
        if not known:
            return "they need more networks of each setting than --seeds"
        return "missing networks: " + ", ".join(
            f"{name} has {there[name]} of {n}"
            for name, n in known[0].items()
            if there[name] < n
        )


def select(arguments: str, scale: str, seeds: int) -> list[Wanted]:
    """Return what a selection of tests wants; claims on random networks are left out.

    Parameters
    ----------
    arguments
        What pytest is told, such as ``"-k renormalization"``; all claims where no
        part of it begins with ``claims``.
    scale
        Name of the scale.
    seeds
        The most networks of each setting.

    Raises
    ------
    fixtures.demand.DemandError
        If pytest fails, or no test that wants networks is selected.
    """
    found = collected(arguments, scale, range(FEWEST, seeds + 1, 2))
    return [Wanted(test, wants) for test, wants in found.items()]


def in_order(tests: Sequence[Wanted], scale: str) -> list[Job]:
    """Return all networks that tests want, and their parents, in the order to train.

    First what decides each test on two pairs, then on three, and so on.  Among those
    what decides the most tests for each network to train comes first, as if all took
    the same time.  So wherever the budget ends, many tests can be decided.  Networks
    that are there come at the beginning.
    """
    jobs: dict[tuple[str, str, int], Job] = {}  # in the order in which they are met
    chains: dict[tuple[str, int], frozenset[tuple[str, str, int]]] = {}

    def chain(setting: str, seed: int) -> frozenset[tuple[str, str, int]]:
        """Return a network and the parents that must be trained for it."""
        if (setting, seed) not in chains:
            line = [Job(scales.recipe(scale, setting), seed)]
            while not line[0].done() and line[0].parent is not None:
                line.insert(0, line[0].parent)
            named = {(j.recipe.name, j.recipe.key, j.seed): j for j in line}
            jobs.update({key: job for key, job in named.items() if key not in jobs})
            chains[setting, seed] = frozenset(named)
        return chains[setting, seed]

    def needs(wanted: Mapping[str, int]) -> frozenset[tuple[str, str, int]]:
        return frozenset().union(
            *(chain(name, seed) for name, n in wanted.items() for seed in range(n))
        )

    levels = sorted({count for test in tests for count in test.wants})
    wanted = [[needs(test.wants.get(count, {})) for test in tests] for count in levels]
    planned = {key for key, job in jobs.items() if job.done()}
    order = [key for key in jobs if key in planned]
    for level in wanted:
        while waiting := [missing for keys in level if (missing := keys - planned)]:
            alike = Counter(waiting)
            best = max(alike, key=lambda chosen: _gain(chosen, alike))
            order += [key for key in jobs if key in best]
            planned |= best
    return [jobs[key] for key in order]


def _gain(chosen: frozenset, alike: Mapping[frozenset, int]) -> float:
    """Return how many tests some networks complete, for each of the networks."""
    return sum(n for missing, n in alike.items() if missing <= chosen) / len(chosen)


def networks_there(tests: Sequence[Wanted], scale: str, most: int) -> dict[str, int]:
    """Return how many networks each setting has, from seed 0 on without a gap."""
    names = {name for t in tests for wanted in t.wants.values() for name in wanted}
    there = {}
    for name in sorted(names):
        recipe = scales.recipe(scale, name)
        gaps = (seed for seed in range(most) if store.find(recipe, seed) is None)
        there[name] = next(gaps, most)
    return there
