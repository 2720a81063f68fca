"""Whether a matcher of one's own keeps what :data:`lmc.matching.Matcher` promises."""

from collections.abc import Iterable
from typing import Any

import torch

from lmc.graph import State
from lmc.matching import Matcher
from lmc.permutation import Permutation
from lmc.symmetry import Symmetry


def check_matcher(
    matcher: Matcher,
    symmetry: Symmetry,
    a: State,
    b: State,
    batches: Iterable[Any] = (),
    *,
    seed: int = 0,
) -> Permutation:
    """Run a matcher twice on two networks, and assert that it can be used.

    Parameters
    ----------
    matcher
        A function ``(symmetry, a, b, batches, generator) -> Permutation``.
    symmetry
        Groups of both networks.
    a, b
        State dicts of the two networks.
    batches
        For the matcher; they are gone through in each run.
    seed
        Of its generator.

    Returns
    -------
    Permutation
        What it found.

    Raises
    ------
    AssertionError
        It returns no permutation of the model's groups, changes a network, finds
        another permutation by an equal generator, or draws from torch's own generator.

    Examples
    --------
    >>> import lmc
    >>> from lmc.models import MLP
    >>> model, other = MLP((4, 3, 2)).eval(), MLP((4, 3, 2))
    >>> symmetry = lmc.discover(model, torch.zeros(2, 4))
    >>> def still(symmetry, a, b, batches, generator):
    ...     return lmc.Permutation.identity(symmetry)
    >>> check_matcher(still, symmetry, model.state_dict(), other.state_dict())
    Permutation of 1 groups: 0 of 3 units move
    """
    before = [{n: value.clone() for n, value in s.items()} for s in (a, b)]
    drawn = torch.get_rng_state()
    found = []
    for _ in range(2):
        generator = torch.Generator().manual_seed(seed)
        found.append(matcher(symmetry, a, b, batches, generator))
        for which, state, kept in zip("ab", (a, b), before, strict=True):
            changed = [
                name
                for name in {**kept, **state}
                if name not in kept
                or name not in state
                or not torch.equal(state[name], kept[name])
            ]
            assert not changed, f"the matcher changes {changed[:3]} of network {which}"
    for permutation in found:
        assert isinstance(permutation, Permutation), (
            f"the matcher returns a {type(permutation).__name__}: it must return an "
            "lmc.Permutation"
        )
        sizes = [
            {name: (g.size, g.copies) for name, g in of.groups.items()}
            for of in (permutation.symmetry, symmetry)
        ]
        assert sizes[0] == sizes[1], "the matcher permutes groups of another model"
    first, second = (permutation.moved() for permutation in found)
    differ = [n for n in first if not torch.equal(first[n], second[n].to(first[n]))]
    assert not differ, (
        f"the matcher finds other permutations of {differ[:3]} by an equal generator: "
        "draw all random numbers from the one that it is given"
    )
    assert torch.equal(drawn, torch.get_rng_state()), (
        "the matcher draws from torch's own generator: draw from the one that it is "
        "given"
    )
    return found[0]
