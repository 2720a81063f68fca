"""Methods that are compared: what a function of your own is, and how it is checked."""

import inspect
import pkgutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

import lmc
from claims.measure import MATCHERS, Architecture, Network
from claims.measure.architecture import digest_of
from claims.measure.matchers import Batches
from lmc.graph import State

Matcher = Callable[
    [lmc.Symmetry, State, State, Batches, torch.Generator], lmc.Permutation
]
"""``(symmetry, a, b, batches, generator) -> permutation``: B permuted lies near A.

State dicts of two networks, training batches as pairs of images ``(N, C, H, W)`` and
labels ``(N,)``, and the one source of random numbers.
"""

Renormalizer = Callable[
    [lmc.Symmetry, State, State, State, Batches, torch.Generator], Mapping[str, Tensor]
]
"""``(symmetry, middle, a, b, batches, generator) -> state``.

The midpoint of A and of B, which has been permuted, and both; the other arguments as
for a matcher.  It returns the state dict of the renormalized network.
"""

MATCHING = ("symmetry", "a", "b", "batches", "generator")
RENORMALIZING = ("symmetry", "middle", "a", "b", "batches", "generator")
"""What a matcher and a renormalizer are called with."""

BUILT_IN = ("none", "weights", "activations", "ste", "weights-restarts")
"""Names of the methods that every matcher stands beside, see `claims.measure`."""


@dataclass(frozen=True)
class Method:
    """A way to match two networks.

    Attributes
    ----------
    name
        That of a built-in method, or ``package.module:function``.
    function
        What finds the permutation.
    own
        Whether it was given, and its contract is to be checked.
    """

    name: str
    function: Matcher
    own: bool = False


def short(name: str) -> str:
    """Return the name of a function without that of its module.

    Examples
    --------
    >>> short("my_package.module:sinkhorn"), short("weights")
    ('sinkhorn', 'weights')
    """
    return name.rpartition(":")[2]


def built_in(name: str) -> Method:
    """Return one of `BUILT_IN`, by the interface of all matchers."""
    return Method(name, partial(_find, name))


def _find(
    name: str,
    symmetry: lmc.Symmetry,
    a: State,
    b: State,
    batches: Batches,
    generator: torch.Generator,
) -> lmc.Permutation:
    if name == "none":
        return lmc.Permutation.identity(symmetry)
    seed = generator.initial_seed()
    return MATCHERS[name](symmetry, batches, a, b, seed).permutation


def load(name: str, arguments: Sequence[str]) -> Callable[..., Any]:
    """Import the function that ``package.module:function`` names.

    Parameters
    ----------
    name
        Of the function.
    arguments
        Names of what it is called with, in order.

    Raises
    ------
    ValueError
        The name is written otherwise, the module can't be imported from the working
        folder or what is installed, has no such function, or it takes other arguments.
    """
    module, _, function = name.partition(":")
    if not module or not function.isidentifier():
        raise ValueError(f"{name!r} names no function: write package.module:function")
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"{name}: {error}: run this where {module} can be imported, or install it"
        ) from error
    except AttributeError as error:
        raise ValueError(f"{name}: {error}") from error
    if not callable(found):
        raise ValueError(f"{name} is no function but a {type(found).__name__}")
    try:
        inspect.signature(found).bind(*arguments)
    except TypeError as error:
        raise ValueError(
            f"{name} is called as {short(name)}({', '.join(arguments)}): {error}"
        ) from error
    return found


@dataclass(frozen=True)
class Found:
    """A permutation, and the seconds that it took to find it."""

    permutation: lmc.Permutation
    seconds: float


def match(method: Method, a: Network, b: Network, again: bool = False) -> Found:
    """Match two networks by a method, and check one's own.

    Parameters
    ----------
    method
        How.
    a, b
        The networks.
    again
        Whether a method of one's own is called twice, to see that all its random
        numbers come from the generator.

    Raises
    ------
    ValueError
        It returns no permutation of the groups, has changed its arguments, or another
        call with the same generator gives another permutation.
    """
    setting = a.setting
    arguments = (setting.symmetry, a.state, b.state, setting.batches("train"))
    before = _print_of(*arguments[1:]) if method.own else ""

    def call() -> Found:
        generator = torch.Generator().manual_seed(a.seed)
        _finish(setting)
        began = time.perf_counter()
        permutation = method.function(*arguments, generator)
        _finish(setting)
        return Found(permutation, time.perf_counter() - began)

    found = call()
    if method.own:
        found = Found(_checked(method.name, found.permutation, setting), found.seconds)
        if _print_of(*arguments[1:]) != before:
            raise _changed(method.name)
        if again:
            other = _checked(method.name, call().permutation, setting)
            for name, indices in found.permutation.indices.items():
                if not torch.equal(indices, other.indices[name]):
                    raise _random(method.name, f"permutation of group {name!r}")
    return found


def renormalize(
    name: str,
    function: Renormalizer,
    a: Network,
    b: State,
    middle: State,
    again: bool = False,
) -> dict[str, Tensor]:
    """Renormalize a midpoint by a function of one's own, and check it.

    Parameters
    ----------
    name, function
        Of the renormalizer.
    a, b, middle
        A network, the other one's state dict after its permutation, and the midpoint.
    again
        As for `match`.

    Raises
    ------
    ValueError
        It returns no state dict of the network, or one with a value that is not
        finite, has changed its arguments, or is not deterministic by its generator.
    """
    setting = a.setting
    batches = setting.batches("train")
    before = _print_of(middle, a.state, b, batches)

    def call() -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(a.seed)
        state = function(setting.symmetry, middle, a.state, b, batches, generator)
        return _checked_state(name, state, middle)

    found = call()
    if _print_of(middle, a.state, b, batches) != before:
        raise _changed(name)
    if again and digest_of(call()) != digest_of(found):
        raise _random(name, "network")
    return found


def _checked(name: str, found: Any, setting: Architecture) -> lmc.Permutation:
    if not isinstance(found, lmc.Permutation):
        hint = ": return its .permutation" if isinstance(found, lmc.Matching) else ""
        raise ValueError(
            f"{name} returns a {type(found).__name__}, not an lmc.Permutation{hint}"
        )
    try:
        return lmc.Permutation(setting.symmetry, found.indices)
    except ValueError as error:
        raise ValueError(f"{name} returns no permutation: {error}") from error


def _checked_state(name: str, found: Any, middle: State) -> dict[str, Tensor]:
    if not isinstance(found, Mapping) or {*found} != {*middle}:
        raise ValueError(
            f"{name} returns no state dict with the names of the midpoint: return "
            "all parameters and buffers, renormalized"
        )
    for tensor, old in middle.items():
        new = found[tensor]
        if (new.shape, new.dtype) != (old.shape, old.dtype):
            raise ValueError(
                f"{name} returns {tensor} as {new.dtype} {tuple(new.shape)}: it must "
                f"stay {old.dtype} {tuple(old.shape)}"
            )
        if not bool(new.isfinite().all()):
            raise ValueError(f"{name} returns a {tensor} that is not finite")
    return {tensor: found[tensor].detach() for tensor in middle}


def _changed(name: str) -> ValueError:
    return ValueError(
        f"{name} has changed a network or a batch that it was given: work on copies"
    )


def _random(name: str, what: str) -> ValueError:
    return ValueError(
        f"{name} gives another {what} when it is called again: draw all random numbers "
        "from the generator that it is given"
    )


def _print_of(*given: State | Iterable[tuple[Tensor, Tensor]]) -> str:
    """Return a digest of networks and batches."""
    parts: dict[str, Tensor] = {}
    for number, each in enumerate(given):
        if isinstance(each, Mapping):
            parts |= {f"{number} {name}": tensor for name, tensor in each.items()}
        else:
            for at, (images, labels) in enumerate(each):
                parts |= {f"{number} {at} images": images, f"{number} {at} y": labels}
    return digest_of(parts)


def _finish(setting: Architecture) -> None:
    """Wait for a GPU, whose work goes on after a call has returned."""
    if setting.device.type == "cuda":
        torch.cuda.synchronize(setting.device)
