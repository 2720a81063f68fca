"""Quantities of networks that claims are about."""

import math
from collections.abc import Iterable

from lmc.graph import State


def l2_distance(a: State, b: State, names: Iterable[str] | None = None) -> float:
    """Return the Euclidean distance between two networks, in float64.

    Parameters
    ----------
    a, b
        State dicts of the same names and shapes.
    names
        The tensors to compare: for instance the names of the parameters, to leave
        out BatchNorm's running statistics.  By default all of floating dtype.

    Raises
    ------
    ValueError
        A name is missing from one of the networks, or shapes differ.

    References
    ----------
    arXiv 2402.05966, Table 3 (with and without BatchNorm statistics).

    Examples
    --------
    >>> import torch
    >>> l2_distance({"w": torch.zeros(2)}, {"w": torch.tensor([3.0, 4.0])})
    5.0
    """
    if names is None:
        both = {**a, **b}
        names = [name for name in both if both[name].is_floating_point()]
    squares = []
    for name in names:
        if name not in a or name not in b:
            raise ValueError(f"{name!r} is missing from one of the networks")
        if a[name].shape != b[name].shape:
            raise ValueError(
                f"{name} has shape {tuple(a[name].shape)} in one network and "
                f"{tuple(b[name].shape)} in the other"
            )
        difference = a[name].double() - b[name].to(a[name].device).double()
        squares.append(float(difference.square().sum()))
    return math.sqrt(math.fsum(squares))  # whatever the order of the tensors
