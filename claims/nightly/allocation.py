"""What a night measures: the most informative places that fit its budget.

Which ones depends on nights before alone, never on tonight's values, so that a coin's
chance given the past stays what the null says.
"""

from collections.abc import Callable, Mapping
from typing import Any

from claims.nightly.process import LOG_DECIDED, Key, Process

NEAR = 1.0
"""Log of the e-value from which on an undecided place is near a decision."""


def urgency(process: Process | None) -> tuple[Any, ...]:
    """Return a key that sorts places by what a night would tell of them.

    First those that are not decided and have some evidence, the most first; then those
    longest not visited, never visited ones at their head.

    Examples
    --------
    >>> new = Process({})
    >>> near = Process({}, nights=["2027-01-02"], evidence=([3.0], [-1.0]))
    >>> old = Process({}, nights=["2027-01-01"], evidence=([0.5], [0.1]))
    >>> sorted([old, new, near], key=urgency) == [near, new, old]
    True
    """
    if process is None:
        return 1, ""
    best = max(process.log_e)
    if not process.decided and best >= NEAR:
        return 0, LOG_DECIDED - best
    return 1, process.visited


def choose(
    demands: Mapping[Key, Mapping[str, int]],
    order: Callable[[Key], Any],
    cost: Callable[[Key], float],
    network: Mapping[str, float],
    budget: float,
) -> list[Key]:
    """Return the places to measure, in order, the later ones where they still fit.

    Parameters
    ----------
    demands
        From a place to how many networks of which settings it looks at.
    order
        By what places are sorted.
    cost
        What measuring a place takes, in seconds.
    network
        What training a network takes, by setting; it is paid once a night, whatever
        looks at it.
    budget
        Seconds of one core.
    """
    chosen, trained = [], dict.fromkeys(network, 0)
    for place in sorted(demands, key=order):
        demand = demands[place]
        training = sum(
            network[name] * max(0, count - trained[name])
            for name, count in demand.items()
        )
        seconds = cost(place) + training
        if seconds > budget:
            continue
        budget -= seconds
        chosen.append(place)
        for name, count in demand.items():
            trained[name] = max(count, trained[name])
    return chosen
