"""How many networks a budget has room for, and how they are trained."""

from dataclasses import dataclass

from fixtures.ways import Rates, Way

FEWEST = 2
"""Networks that are trained whatever the budget: a pair at full length."""

SLOWED = 0.45
"""Part of what measuring a pair takes by which training beside it is slowed.

On an H200 202 s of measuring made a network's 120 s some 210, by its checkpoints.
"""


@dataclass(frozen=True)
class Schedule:
    """What is to be done.

    Attributes
    ----------
    networks
        How many there shall be.
    way
        How they are trained.
    seconds
        What that is expected to take.
    """

    networks: int
    way: Way
    seconds: float


def training_seconds(networks: int, way: Way, rates: Rates, steps: int) -> float:
    """Return how long networks take, so many at once and the rest of them at the end.

    Parameters
    ----------
    networks
        How many.
    way
        How they are trained.
    rates
        Steps per second by way, the backend's in one process among them.
    steps
        Of one network.

    Examples
    --------
    >>> rates = {Way("loop"): 10.0, Way("loop", 2): 15.0, Way("loop", 4): 20.0}
    >>> training_seconds(6, Way("loop", 4), rates, 30)
    10.0
    """
    rounds, rest = divmod(networks, way.at_once)
    seconds = rounds * way.at_once * steps / rates[way]
    if rest:
        fewer = [
            rate
            for other, rate in rates.items()
            if other.backend == way.backend and other.at_once <= rest
        ]
        seconds += rest * steps / max(fewer)
    return seconds


def fitting(
    rates: Rates, steps: int, left: float, reserve: float, most: int
) -> Schedule:
    """Return the largest even number of networks that fits, and the best way for it.

    Parameters
    ----------
    rates, steps
        As for `training_seconds`.
    left
        Seconds of the budget.
    reserve
        Of them, what measuring a pair takes.  Those that are trained last, all at
        once, are waited for; the others slow training by a part of that.
    most
        Largest number, even.

    Examples
    --------
    >>> rates = {Way("loop"): 100.0, Way("graphs"): 200.0, Way("graphs", 2): 300.0}
    >>> fitting(rates, 30_000, 800, 100, 16)
    Schedule(networks=6, way=Way(backend='graphs', at_once=2), seconds=790.0)
    >>> fitting(rates, 30_000, 10, 100, 16).networks  # it goes on another time
    2
    """

    def expected(networks: int, way: Way) -> float:
        last = networks % way.at_once or way.at_once
        pairs = max(1, last // 2)
        measuring = reserve * (pairs + SLOWED * (networks // 2 - pairs))
        return training_seconds(networks, way, rates, steps) + measuring

    schedules = []
    for networks in range(FEWEST, most + 1, 2):
        way = min(rates, key=lambda way: expected(networks, way))
        schedules.append(Schedule(networks, way, expected(networks, way)))
    fitting = [each for each in schedules if each.seconds <= left]
    return (fitting or schedules[:1])[-1]
