"""What to train for tests of claims, in which order, and what can be decided by now.

For `claims.reproduce`: a test is decided on as many networks as all its settings have,
so what counts is what the tests want together.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from fixtures import build, store
from fixtures.build import Job, Want
from fixtures.demand import collected
from fixtures.scales import Scale

FEWEST = 10
"""Networks of a setting from which most claims are decided: five independent pairs."""


def levels(scale: Scale, seeds: int | None) -> list[int | None]:
    """Return the numbers of networks, ``--seeds``, on which tests are decided.

    None, the last one unless ``seeds`` are given, stands for what each claim declares.

    Examples
    --------
    >>> from fixtures import scales
    >>> levels(scales.get("digits"), None), levels(scales.get("digits"), 12)
    ([10, 12, 14, None], [10, 12])
    """
    if seeds is None:
        return [*range(FEWEST, scale.networks, 2), None]
    return [*range(FEWEST, seeds + 1, 2)]


@dataclass(frozen=True)
class Wanted:
    """What a selected test wants.

    Attributes
    ----------
    test
        Its node id.
    wants
        For each of the `levels`, how many networks of each setting it looks at; of
        settings that have one recipe under that one's name.  Nothing where they are too
        few for one of its tuples.
    """

    test: str
    wants: Sequence[Mapping[str, int]]

    def possible(self, there: Mapping[str, int]) -> int | None:
        """Return the last level at which it can be decided, if there is one.

        Parameters
        ----------
        there
            From setting to the number of its networks, without a gap.
        """
        for level, wanted in reversed([*enumerate(self.wants)]):
            if wanted and all(there[name] >= n for name, n in wanted.items()):
                return level
        return None

    def lack(self, there: Mapping[str, int]) -> str:
        """Return what is missing to decide it on the fewest networks."""
        fewest = next(filter(None, self.wants), None)
        if fewest is None:
            return "one unit of its claim has more networks than --seeds allows"
        return "missing networks: " + ", ".join(
            f"{name} has {there[name]} of {n}"
            for name, n in fewest.items()
            if there[name] < n
        )


def select(arguments: str, scale: Scale, counts: Sequence[int | None]) -> list[Wanted]:
    """Return what a selection of tests wants; claims on random networks are left out.

    Parameters
    ----------
    arguments
        What pytest is told, such as ``"-k renormalization"``; all claims where no
        part of it begins with ``claims``.
    scale
        Where they are asked.
    counts
        The `levels`.

    Raises
    ------
    fixtures.demand.DemandError
        If pytest fails, or no test that wants networks is selected.
    """

    def named(wanted: Mapping[str, int]) -> dict[str, int]:
        return {scale.recipe(name).name: n for name, n in wanted.items() if n}

    found = collected(arguments, scale, counts)
    return [Wanted(test, [*map(named, found[test].values())]) for test in found]


def in_order(tests: Sequence[Wanted], scale: Scale, first_seed: int) -> list[Job]:
    """Return all networks that tests want, and their parents, in the order to train.

    First what decides each test on the fewest networks, then on more, and so on.  Among
    those come first the tests whose settings most other tests look at too.  So wherever
    the budget ends, many tests can be decided.
    """

    @cache
    def of(name: str, count: int) -> Sequence[Job]:
        return build.plan([Want(scale.recipe(name), first_seed, count)])

    shared = Counter(name for test in tests for name in test.wants[0])
    tests = sorted(tests, key=lambda t: -min(map(shared.get, t.wants[0]), default=0))
    jobs: dict[Job, None] = {}
    for level in zip(*(test.wants for test in tests), strict=True):
        for name, count in (each for wanted in level for each in wanted.items()):
            jobs |= dict.fromkeys(of(name, count))
    return [*jobs]


def together(tests: Sequence[Wanted], scale: Scale, first_seed: int) -> list[Want]:
    """Return what tests want of each setting, in the order of their names."""
    most: dict[str, int] = {}
    for name, count in (each for t in tests for w in t.wants for each in w.items()):
        most[name] = max(count, most.get(name, 0))
    return [Want(scale.recipe(name), first_seed, n) for name, n in sorted(most.items())]


def networks_there(
    tests: Sequence[Wanted], scale: Scale, first_seed: int
) -> dict[str, int]:
    """Return how many networks each setting has, from a seed on without a gap.

    Seeds that have failed are no gap; the next ones stand for them.
    """
    there = {}
    for want in together(tests, scale, first_seed):
        try:
            seeds = store.candidates(want.recipe, first_seed, want.count)[0]
        except store.ManyFailedError:
            seeds = []
        found = (store.find(want.recipe, seed) is None for seed in seeds)
        there[want.recipe.name] = next(
            (n for n, gap in enumerate(found) if gap), len(seeds)
        )
    return there
