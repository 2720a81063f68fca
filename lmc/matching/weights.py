"""Weight matching: coordinate descent over linear assignment problems."""

import math
import time
from itertools import accumulate
from typing import Literal

import torch

from lmc.graph import State
from lmc.matching.descent import SLACK, Descent
from lmc.matching.pair import Pair
from lmc.matching.result import Matching
from lmc.permutation import Permutation
from lmc.symmetry import Symmetry

_Descended = tuple[Descent, list[float]]
"""A descent at its end, and the objective at its start and after each step."""


def weight_matching(
    symmetry: Symmetry,
    a: State,
    b: State,
    *,
    generator: torch.Generator,
    buffers: bool = False,
    max_sweeps: int = 100,
    start: Literal["both", "identity", "forward"] | Permutation = "both",
    restarts: int = 1,
    dtype: torch.dtype = torch.float64,
) -> Matching:
    """Match the units of B to those of A by their weights.

    Coordinate descent: for one group after another, in a random
    order in each sweep, the permutation is replaced by the best one given all
    others, a linear assignment problem on the inner products of the units' weights.
    Groups inside a group's units (the channels of attention heads) are matched with
    it.  Stops when a sweep changes nothing.  Every weight, bias and normalization
    parameter of a unit enters, and a tensor with several names enters once; a step is
    taken only if the objective rises, so that the distance between A and the permuted
    B never grows.

    Costs are kept from step to step: only the inner products with units that have
    moved since are computed again, and a group whose costs are what they were is not
    solved again.

    Parameters
    ----------
    symmetry
        Groups of both networks.
    a, b
        State dicts of the two networks.  All but the assignment problems is computed
        on the device of ``a``.
    generator
        Source of the order of the groups.
    buffers
        Whether BatchNorm's running statistics enter the objective, as they do in
        the published code of arXiv 2402.05966.  Other buffers, such as a mask over
        hidden units, are as fixed as weights and always enter.
    max_sweeps
        Upper bound on the number of sweeps over all groups.
    start
        Where the descent starts: with ``"identity"`` at B as it is, as in the
        reference; with ``"forward"`` at what a first pass finds that goes from the
        inputs on and compares only weights whose other axes have been matched before;
        or at a given permutation.  Deep residual networks and transformers need
        ``"forward"`` to be recovered from a random permutation.  Where that descent
        ends farther from A than B was, one from the identity takes its place.  With
        ``"both"`` there is one from each of the two, and the better is kept: the
        forward one if its objective is higher by more than rounding.
    restarts
        Number of descents (with ``"both"``, of pairs of them), each in an order of its
        own; the best one is returned, with the solves and seconds of all.
    dtype
        Precision in which costs are computed, ``torch.float64`` or
        ``torch.float32``.  The objective that is returned is in float64 always.

    Returns
    -------
    Matching

    Raises
    ------
    ValueError
        A state dict does not fit the model, or holds values that are not finite;
        there is no such start, no restart, or no costs of such a dtype.

    References
    ----------
    Ainsworth et al., Git Re-Basin (arXiv 2209.04836), algorithm 1.

    Examples
    --------
    >>> import torch
    >>> from lmc import Permutation, discover
    >>> from lmc.models import MLP
    >>> model = MLP((4, 16, 2)).eval()
    >>> symmetry = discover(model, torch.zeros(2, 4))
    >>> g = torch.Generator().manual_seed(0)
    >>> shuffled = Permutation.random(symmetry, g).apply(model.state_dict())
    >>> found = weight_matching(symmetry, model.state_dict(), shuffled, generator=g)
    >>> recovered = found.permutation.apply(shuffled)
    >>> all(torch.equal(recovered[k], v) for k, v in model.state_dict().items())
    True
    """
    began = time.perf_counter()
    if isinstance(start, Permutation):
        start = Permutation(symmetry, start.indices)  # refuses those of another model
    elif start not in ("both", "identity", "forward"):
        raise ValueError(
            f"unknown start {start!r}: choose 'both', 'identity' or 'forward'"
        )
    if restarts < 1:
        raise ValueError(
            f"restarts is a number of descents, at least 1: got {restarts}"
        )
    if dtype not in SLACK:
        raise ValueError(f"costs in {dtype} are too coarse: use float64 or float32")
    pair = Pair(symmetry, a, b, buffers)

    def descended(start: Literal["identity", "forward"] | Permutation) -> _Descended:
        descent = Descent(pair, dtype)
        if isinstance(start, Permutation):
            descent.go_to(start)
        elif start == "forward":
            descent.go_forward()
        begin = descent.objective()
        rises = descent.run(generator, max_sweeps)
        descent.forget_costs()  # which would take memory until the last descent ends
        return descent, [*accumulate(rises, initial=begin)]

    found: list[_Descended] = []
    for _ in range(restarts):
        if start == "both":
            found += [descended("identity"), descended("forward")]
            continue
        found.append(descended(start))
        if start == "forward" and found[-1][1][-1] < math.fsum(pair.unmoved.values()):
            found.insert(-1, descended("identity"))
    best, history = found[0]
    for other, its_history in found[1:]:
        # Equal up to rounding is no gain: matching again and again would never end.
        if its_history[-1] - history[-1] > 1e-9 * abs(history[-1]):
            best, history = other, its_history
    # Summed once more: the history has gathered the rounding of every step.
    objective = best.objective()
    return Matching(
        best.permutation(),
        objective,
        (*history[:-1], objective),
        sum(descent.solves for descent, _ in found),
        time.perf_counter() - began,
    )
