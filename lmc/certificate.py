"""Evidence in float64 that a model computes the same function after a permutation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from lmc.graph import Around, BatchNorm, Graph, State, call, without_tensors
from lmc.permutation import Permutation
from lmc.symmetry import Certificate, Symmetry

TOLERANCE = 1e-9
"""Relative float64 difference of outputs up to which a certificate holds."""

SEED = 2_851_203_617
"""Of random permutations, noise and factors: none that people give.

Factors from the stream that drew a network's weights (``torch.manual_seed(0)``) would
be large where these are, and its outputs millions of times larger."""

LARGEST_SCALE = 100
"""Of an output, in medians of its entries."""


class CertificateError(ValueError):
    """A symmetry under which the model does not compute the same function."""


def certify(
    symmetry: Symmetry,
    model: nn.Module,
    state: State,
    *inputs: Any,
    permutation: Permutation | None = None,
    generator: torch.Generator | None = None,
) -> Certificate:
    """Check in float64 that permuting a network leaves its function unchanged.

    The model runs on the CPU, and in float64 also where it casts to float32 or lower.
    An operation that has no float64 kernel runs in the precision of the model: it is
    named, and differences are then allowed up to the square root of that precision's
    rounding (3e-4 for float32) instead of 1e-9.

    Parameters
    ----------
    symmetry
        Groups of the model.
    model
        The module itself, which is run: not the graph that the groups come from.
    state
        Parameters and buffers of the network.
    *inputs
        Real or random inputs.
    permutation
        The permutation to check; by default a random one that moves every unit.
    generator
        Source of the random permutation; by default a new one.

    Returns
    -------
    Certificate

    Raises
    ------
    CertificateError
        An output differs by more than is allowed, or is NaN somewhere.

    Warns
    -----
    UserWarning
        No output depends on the weights of the units: the certificate shows nothing.
    """
    if permutation is None:
        generator = generator or torch.Generator().manual_seed(SEED)
        permutation = Permutation.cyclic(symmetry, generator)
    found = _certificate(model, state, inputs, [permutation], symmetry)
    _warn_if_vacuous(found)
    return found


def certified(
    symmetry: Symmetry, model: nn.Module, inputs: tuple[Any, ...]
) -> Certificate:
    """Certify a symmetry on the model's own network and on a noisy one.

    Takes twelve runs of the model, or one more for each time that the number of groups
    of at most four units doubles beyond 31.

    Parameters
    ----------
    symmetry
        Groups of the model.
    model
        The module itself.
    inputs
        Example inputs; the noisy network gets random ones of their shapes.

    Returns
    -------
    Certificate

    Raises
    ------
    CertificateError
        An output differs by more than is allowed, or is NaN somewhere.
    """
    generator = torch.Generator().manual_seed(SEED)
    noisy = _noisy_state(model.state_dict(), symmetry.graph, generator)
    random_inputs = pytree.tree_map(
        lambda value: (
            torch.randn(value.shape, generator=generator, dtype=torch.float64)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
        ),
        inputs,
    )
    everything = Permutation.cyclic(symmetry, generator)
    apart = list(_telling_apart(symmetry, generator))
    # Initial zeros may hide a wrong group in the network itself, not in a noisy one.
    own = _certificate(model, model.state_dict(), inputs, [everything], symmetry)
    noisy = _calibrated(symmetry.graph, noisy, random_inputs, generator)
    decisive = _certificate(model, noisy, random_inputs, [everything, *apart], symmetry)
    _warn_if_vacuous(decisive)
    return replace(
        decisive,
        relative_difference=max(own.relative_difference, decisive.relative_difference),
        permutations=own.permutations + decisive.permutations,
    )


def _certificate(
    model: nn.Module,
    state: State,
    inputs: tuple[Any, ...],
    permutations: Sequence[Permutation],
    symmetry: Symmetry,
) -> Certificate:
    """Compare a network's outputs under permutations, one by one."""
    own = next(filter(torch.is_floating_point, model.state_dict().values()), None)
    mode = _Precise(torch.float32 if own is None else own.dtype)
    double = without_tensors(model).double().cpu()
    doubled, arguments = pytree.tree_map_only(Tensor, _precise, (dict(state), inputs))

    def outputs(state: State) -> list[Tensor]:
        copies = pytree.tree_map_only(Tensor, torch.clone, arguments)
        # torch.cond would compile itself, in this mode, and keep that for later calls.
        with torch.compiler.set_stance("force_eager"), mode:
            returned = call(double, state, copies, expendable=True)
        return [
            leaf.to(torch.promote_types(leaf.dtype, torch.float64))
            for leaf in pytree.tree_leaves(returned)
            if isinstance(leaf, Tensor)
        ]

    worst, vacuous = 0.0, []
    with torch.no_grad():
        before = outputs(doubled)
        for number, output in enumerate(before):
            if bool(output.isnan().any()):
                raise CertificateError(
                    f"output {number} has entries that are NaN, which shows nothing: "
                    "certify with a network and inputs that give numbers"
                )
        changed = outputs(_with_other_weights(doubled, symmetry))
        scales = [_typical(*pair) for pair in zip(before, changed, strict=True)]
        for number, values in enumerate(zip(before, changed, scales, strict=True)):
            if symmetry.groups and _relative(*values) <= mode.tolerance:
                vacuous.append(number)
        for permutation in permutations:
            after = outputs(permutation.apply(doubled))
            for number, values in enumerate(zip(before, after, scales, strict=True)):
                difference = _relative(*values)
                if not difference <= mode.tolerance:  # also when it is nan
                    names = list(symmetry.groups)
                    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                    raise CertificateError(
                        f"permuting the {len(names)} groups {some} changes output "
                        f"{number} by a relative {difference:.1e} (allowed "
                        f"{mode.tolerance:.0e}): the symmetry is wrong for this model; "
                        "please report the model with its torch version"
                    )
                worst = max(worst, difference)
    return Certificate(
        worst, len(permutations), len(before), tuple(vacuous), tuple(mode.coarse)
    )


def _warn_if_vacuous(certificate: Certificate) -> None:
    if len(certificate.vacuous) == certificate.outputs:
        warnings.warn(
            "the certificate shows nothing: no output changes when the weights of the "
            "units do, as behind a layer of zeros; certify another network of this "
            "architecture",
            stacklevel=3,
        )


def _with_other_weights(state: State, symmetry: Symmetry) -> dict[str, Tensor]:
    """Multiply what groups act on by factors near 1, each entry by its own."""
    generator = torch.Generator().manual_seed(SEED + 1)  # noise has the other one
    names = {site.name for group in symmetry.groups.values() for site in group.sites}
    return {
        name: value * (0.5 + torch.rand(value.shape, generator=generator))
        if name in names and value.is_floating_point()
        else value
        for name, value in state.items()
    }


def _change(before: Tensor, after: Tensor) -> Tensor:
    """Absolute differences of an output, entry by entry; 0 for equal infinities."""
    if before.shape != after.shape:
        return torch.tensor(math.inf)
    return (after - before).abs().masked_fill(before == after, 0.0)


def _typical(before: Tensor, after: Tensor) -> float:
    """Median of the entries' changes, of those that change by a finite value.

    Entries that a mask sets, to a huge value or an infinite one, do not change: they
    have no part in it, however many they are.  Where other weights make outputs of
    another order, these entries' own size limits it: else nothing would be a change.
    """
    change = _change(before, after)
    changed = (change > 0) & change.isfinite()
    if change.shape != before.shape or not changed.any():
        return 0.0
    size = float(before[changed].abs().median())
    found = float(change[changed].median())
    return min(found, LARGEST_SCALE * size) if size > 0 else found


def _relative(before: Tensor, after: Tensor, scale: float) -> float:
    """Largest change of an entry, relative to the entry or the scale."""
    change = _change(before, after)
    if change.shape != before.shape:
        return math.inf
    size = before.abs().masked_fill(before.isinf(), 0.0).clamp(min=scale)
    ratio = (change / size).masked_fill(change == 0, 0.0)
    return float(ratio.max()) if ratio.numel() else 0.0


_PRECISE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


def _precise(value: Tensor) -> Tensor:
    """Move a tensor to the CPU, and to float64 (or complex128) if it is floating."""
    return value.detach().to("cpu", _PRECISE.get(value.dtype, value.dtype))


class _Precise(TorchDispatchMode):
    """Everything is on the CPU and in float64, whatever the model casts to.

    A norm or softmax in float32 would round at 1e-7, where a certificate could not
    tell rounding from a wrong symmetry, and constants may be in float32 or on
    another device.  What has no float64 kernel, or looks at the bits of its values,
    runs in the model's own dtype, and its result is taken back to float64.
    """

    supports_higher_order_operators = True

    def __init__(self, own: torch.dtype) -> None:
        super().__init__()
        self.own = own
        self.coarse: dict[str, None] = {}
        self._defaults: list[torch.dtype] = []

    @property
    def tolerance(self) -> float:
        """The relative difference that is allowed, after what has run so far."""
        return torch.finfo(self.own).eps ** 0.5 if self.coarse else TOLERANCE

    def __enter__(self) -> _Precise:
        self._defaults.append(torch.get_default_dtype())
        torch.set_default_dtype(torch.float64)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.set_default_dtype(self._defaults.pop())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if not isinstance(func, torch._ops.OpOverload):  # torch.cond: in its branches
            args = [self._inside(value) if callable(value) else value for value in args]
            return func(*args, **kwargs)
        if kwargs.get("dtype") in _PRECISE:
            kwargs["dtype"] = _PRECISE[kwargs["dtype"]]
        if kwargs.get("device") is not None:
            kwargs["device"] = torch.device("cpu")
        if not func._schema.is_mutable:  # which would write into the copy
            args, kwargs = pytree.tree_map_only(Tensor, _precise, (args, kwargs))
        if func is not torch.ops.aten.view.dtype:
            try:
                return func(*args, **kwargs)
            except Exception:
                if func._schema.is_mutable or self.own is torch.float64:
                    raise
        args, kwargs = pytree.tree_map_only(
            Tensor,
            lambda t: t.to(self.own) if t.is_floating_point() else t,
            (args, kwargs),
        )
        result = func(*args, **kwargs)
        self.coarse[func.name()] = None
        return pytree.tree_map_only(Tensor, _precise, result)

    def _inside(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*args: Any) -> Any:
            with self:
                return function(*args)

        return inside


def _telling_apart(
    symmetry: Symmetry, generator: torch.Generator
) -> Iterator[Permutation]:
    """Draw permutations that each move some groups only.

    Of any two small groups, one moves without the other in one of them: two groups of
    two units that should be one would otherwise always move alike.  Larger ones, if
    there are many, may move together, but do so by cycles drawn for each.
    """
    still = Permutation.identity(symmetry).indices
    groups = sorted(still, key=lambda name: symmetry.groups[name].size)
    small = sum(symmetry.groups[name].size <= 4 for name in groups)
    rounds = min(len(groups).bit_length(), max(small.bit_length(), 5))
    numbers = {name: n % (2**rounds - 1) + 1 for n, name in enumerate(groups)}
    for bit in range(rounds):
        moving = Permutation.cyclic(symmetry, generator).indices
        yield Permutation(
            symmetry,
            {n: (moving if numbers[n] >> bit & 1 else still)[n] for n in still},
        )


def _noisy_state(
    state: State, graph: Graph, generator: torch.Generator
) -> dict[str, Tensor]:
    """Add noise, so that constant values (zeros, ones) cannot hide a wrong group.

    Noise of the size that initializations have: with more, signals grow from layer to
    layer of a deep network, and the rounding with them.
    """
    variances = {norm.variance for norm in graph.batch_norms}
    noisy = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    statistics = variances | {norm.mean for norm in graph.batch_norms}
    for name in (*graph.parameters, *statistics):
        if not noisy[name].is_floating_point():
            continue
        shape = noisy[name].shape
        size = 0.1 * max(math.prod(shape[1:]), 1) ** -0.5 if len(shape) > 1 else 0.1
        noise = size * torch.randn(shape, generator=generator).to(noisy[name].dtype)
        noisy[name] = (
            noisy[name] * noise.exp() if name in variances else (noisy[name] + noise)
        )
    for name, aliases in graph.aliases.items():
        noisy[name] = noisy[aliases[0]]
    return noisy


def _calibrated(
    graph: Graph, state: State, inputs: tuple[Any, ...], generator: torch.Generator
) -> dict[str, Tensor]:
    """Give BatchNorm statistics near those of the inputs, so that no signal vanishes.

    Behind many layers whose outputs are small beside their running statistics, only
    biases would be left to see.
    """
    found = dict(state)

    def around(norm: BatchNorm) -> Around:
        def calibrated(
            operation: Any,
            x: Tensor,
            weight: Any,
            bias: Any,
            *rest: Any,
            **options: Any,
        ) -> Any:
            over = [0, *range(2, x.ndim)]
            variance, mean = torch.var_mean(x, over, correction=0)
            shift, scale = (
                torch.randn(mean.shape, generator=generator).to(mean) for _ in range(2)
            )
            mean = mean + 0.3 * variance.sqrt() * shift
            # Of all channels together: one that hardly varies would be nothing but
            # rounding, magnified from layer to layer.
            variance = variance.mean() * (0.1 * scale).exp()
            for statistic, value in ((norm.mean, mean), (norm.variance, variance)):
                for name in graph.aliases[statistic]:
                    found[name] = value.to(state[name].dtype)
            return operation(x, weight, bias, mean, variance, *rest[2:], **options)

        return calibrated

    if graph.batch_norms:
        # In the model's own dtype: not every operation has a kernel for float64.
        own = next(filter(torch.is_floating_point, state.values())).dtype
        arguments = pytree.tree_map_only(
            Tensor,
            lambda t: t.cpu().to(own) if t.is_floating_point() else t.cpu(),
            inputs,
        )
        with torch.no_grad():
            graph.run(
                state,
                *arguments,
                around={norm.node: around(norm) for norm in graph.batch_norms},
            )
    return found
