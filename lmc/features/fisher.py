"""Fisher information: squared gradients of the log-probability."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from lmc.batches import as_arguments, batch_size, check_logits, pairs
from lmc.exported import operation_name
from lmc.graph import Graph, State

Targets = Literal["data", "model", "sampled"]

HELD = 2**26
"""The most numbers in gradients that are held at a time by default."""


def diagonal_fisher(
    graph: Graph,
    state: State,
    batches: Iterable[Any],
    *,
    targets: Targets = "data",
    generator: torch.Generator | None = None,
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Return the diagonal of a classifier's Fisher information matrix.

    For each parameter the mean over samples of ``(d log p(y|x) / d parameter)^2``,
    with the gradient of each sample by itself, in evaluation mode.

    Parameters
    ----------
    graph
        Graph of a classifier that returns logits ``(N, classes)``.
    state
        A network.
    batches
        Pairs of inputs and int64 targets ``(N,)``; only ``targets="data"`` uses them.
    targets
        What ``y`` is: ``"data"``, the labels (the empirical Fisher information);
        ``"model"``, the exact expectation over the classes under the network's own
        probabilities (the Fisher information, at the cost of one gradient for each
        class); ``"sampled"``, one label drawn from these probabilities.
    generator
        For ``"sampled"``, and needed there.
    chunk
        How many samples' gradients are held at a time; by default a batch's, but at
        most ``2**26`` numbers.

    Returns
    -------
    dict of str to Tensor
        For each parameter's name a float64 tensor of its shape.

    Raises
    ------
    ValueError
        ``targets`` is unknown, a generator or the labels are missing, the model does
        not return logits of the right shape, or there are no samples.

    References
    ----------
    arXiv 2402.05966, appendix F.3 and Figure 42 (its published code differentiates the
    logit instead of log p).  Kunstner et al., arXiv 1905.12558, on the difference
    between the empirical Fisher information and the Fisher information.

    Examples
    --------
    Two classes and one weight for each, of input 2 and equal logits: ``p = 1/2``, and
    each gradient is ``2 (1 - 1/2)`` or ``2 (0 - 1/2)``.

    >>> import torch
    >>> from lmc.graph import trace
    >>> from lmc.models import MLP
    >>> graph = trace(MLP((1, 2), bias=False).eval(), torch.zeros(2, 1))
    >>> batches = [(torch.tensor([[2.0]]), torch.tensor([0]))]
    >>> diagonal_fisher(graph, {"1.weight": torch.zeros(2, 1)}, batches)["1.weight"]
    tensor([[1.],
            [1.]], dtype=torch.float64)
    """
    if targets not in ("data", "model", "sampled"):
        raise ValueError(
            f"unknown targets {targets!r}: choose 'data', 'model' or 'sampled'"
        )
    if targets == "sampled" and generator is None:
        raise ValueError("targets='sampled' needs a generator to draw labels from")
    total = {
        name: torch.zeros_like(state[name], dtype=torch.float64) for name in _own(graph)
    }
    if chunk is None:
        chunk = max(1, HELD // sum(value.numel() for value in total.values()))
    samples = 0
    for inputs, labels in _pieces(batches, chunk):
        for y, weight in _weighted(graph, state, inputs, labels, targets, generator):
            gradients = sample_gradients(graph, state, inputs, y)
            for name in total:
                squares = gradients[name].double().square()
                total[name] += torch.einsum("n,n...->...", weight, squares)
        samples += batch_size(inputs)
    if samples == 0:
        raise ValueError("no samples: give at least one pair of inputs and targets")
    return {
        alias: value / samples
        for name, value in total.items()
        for alias in graph.aliases[name]
    }


def sample_gradients(
    graph: Graph, state: State, inputs: Any, targets: Tensor
) -> dict[str, Tensor]:
    """Return the gradient of ``log p(target|x)`` for each sample by itself.

    Parameters
    ----------
    graph
        Graph of a classifier that returns logits ``(N, classes)``.
    state
        A network, run in evaluation mode: a sample's gradient depends on no other.
    inputs
        A batch of inputs, a tuple or list if there are several.
    targets
        Int64 ``(N,)``.

    Returns
    -------
    dict of str to Tensor
        For each parameter's name ``(N, *shape)``, in the network's dtype; a tensor
        with several names stands under its first.

    Raises
    ------
    ValueError
        The model does not return logits of the right shape.
    """

    def log_probability(own: State, arguments: Any, target: Tensor) -> Tensor:
        whole = {a: value for name, value in own.items() for a in graph.aliases[name]}
        one = pytree.tree_map(lambda leaf: leaf.unsqueeze(0), arguments)
        output = graph.run({**state, **whole}, *one, around=reshapes)
        logits = check_logits(output, 1)[0]
        return F.log_softmax(logits.double(), 0).gather(0, target[None])[0]

    def reshape(_: Any, values: Tensor, shape: Any) -> Tensor:
        return values.reshape(shape)

    # Behind vmap the samples' axis may lie where a view cannot join what it joins.
    reshapes = {n.name: reshape for n in graph.nodes if operation_name(n) == "view"}
    own = {name: state[name].detach() for name in _own(graph)}
    gradients = vmap(grad(log_probability), in_dims=(None, 0, 0))
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        # The kernels for speed have no vmap; what has none falls back, with a warning.
        warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
        return gradients(own, as_arguments(inputs), targets)


def _own(graph: Graph) -> list[str]:
    """Return the parameters, a tensor with several names once."""
    return [name for name in graph.parameters if graph.aliases[name][0] == name]


def _pieces(
    batches: Iterable[Any], chunk: int
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Cut batches into pieces of at most ``chunk`` samples."""
    for inputs, labels in pairs(batches):
        arguments = as_arguments(inputs)
        for start in range(0, batch_size(arguments), chunk):
            part = slice(start, start + chunk)
            yield (
                pytree.tree_map(lambda leaf, part=part: leaf[part], arguments),
                None if labels is None else labels[part],
            )


def _weighted(
    graph: Graph,
    state: State,
    inputs: tuple[Any, ...],
    labels: Tensor | None,
    targets: Targets,
    generator: torch.Generator | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Give targets ``(N,)`` with their float64 weights ``(N,)``, for all y in turn."""
    if targets == "data":
        if labels is None:
            raise ValueError(
                "targets='data' needs labels: give pairs of inputs and int64 targets, "
                "or choose targets='model'"
            )
        yield labels, torch.ones_like(labels, dtype=torch.float64)
        return
    with torch.no_grad():
        logits = check_logits(graph.run(state, *inputs), batch_size(inputs))
        probabilities = F.softmax(logits.double(), 1)
    if targets == "sampled":
        assert generator is not None
        drawn = torch.multinomial(
            probabilities.to(generator.device), 1, generator=generator
        )[:, 0].to(probabilities.device)
        yield drawn, torch.ones_like(drawn, dtype=torch.float64)
        return
    for y, probability in enumerate(probabilities.T):
        yield torch.full_like(probability, y, dtype=torch.int64), probability
