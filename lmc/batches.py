"""What goes into a model and what comes out of it, batch by batch."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def as_arguments(inputs: Any) -> tuple[Any, ...]:
    """Return a batch's inputs as the arguments of a model.

    A tuple or a list holds the arguments (a DataLoader makes lists of tuples);
    anything else is the one argument.

    Examples
    --------
    >>> as_arguments([1, 2]), as_arguments((1, 2)), as_arguments({"x": 1})
    ((1, 2), (1, 2), ({'x': 1},))
    """
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


def pairs(batches: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the inputs and targets of each batch, None for targets that it lacks.

    A batch is a pair, as data loaders of labelled data give it; a tuple or list of the
    inputs alone, as those of unlabelled data do; or the inputs themselves.

    Raises
    ------
    ValueError
        A batch has more than two parts.

    Examples
    --------
    >>> list(pairs([("x", "y"), ["x"], {"ids": "x"}]))
    [('x', 'y'), ('x', None), ({'ids': 'x'}, None)]
    """
    for batch in batches:
        parts = batch if isinstance(batch, (tuple, list)) else [batch]
        if len(parts) > 2:
            raise ValueError(
                f"a batch is a pair of inputs and targets, got {len(parts)} parts: "
                "give several inputs as a tuple, ((first, second), targets)"
            )
        yield parts[0], parts[1] if len(parts) == 2 else None


def labelled(batches: Iterable[Any]) -> Iterator[tuple[Any, Tensor]]:
    """Yield the inputs and targets of each batch that has any.

    Raises
    ------
    ValueError
        A batch has no targets; or as for :func:`pairs`.
    """
    for inputs, targets in pairs(batches):
        if targets is None:
            raise ValueError("a loss needs labels: give pairs of inputs and targets")
        if not isinstance(targets, Tensor) or targets.ndim == 0 or len(targets):
            yield inputs, targets


def batch_size(arguments: Any) -> int:
    """Return the number of samples, the size of the first input's first axis."""
    for leaf in pytree.tree_leaves(arguments):
        if isinstance(leaf, Tensor) and leaf.ndim:
            return len(leaf)
    raise ValueError("a batch's inputs hold no tensor: give them as tensors")


def logits_of(output: Any) -> Any:
    """Return the ``logits`` of an output that has them, as those of transformers do.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> logits_of(SimpleNamespace(logits=1, loss=2)), logits_of(3)
    (1, 3)
    """
    return getattr(output, "logits", output)


def check_logits(output: Any, samples: int) -> Tensor:
    """Return a model's output if it is the logits of so many samples.

    Parameters
    ----------
    output
        What the model returned: logits, or what has them as its ``logits``.
    samples
        Number of samples that it was given.

    Returns
    -------
    Tensor
        The logits, of shape ``(samples, classes)``.

    Raises
    ------
    ValueError
        It is anything else: logits of pixels, a dict, those of other samples.
    """
    logits = logits_of(output)
    if isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == samples:
        return logits
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    raise ValueError(
        f"the model must return logits (samples, classes), got {shape} for {samples} "
        "samples: take one that returns nothing else"
    )
