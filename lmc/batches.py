"""What goes into a model and what comes out of it, batch by batch."""

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


def batch_size(arguments: Any) -> int:
    """Return the number of samples, the size of the first input's first axis."""
    for leaf in pytree.tree_leaves(arguments):
        if isinstance(leaf, Tensor):
            return len(leaf)
    raise ValueError("a batch's inputs hold no tensor: give them as tensors")


def check_logits(logits: Any, samples: int) -> Tensor:
    """Return a model's output if it is the logits of so many samples.

    Parameters
    ----------
    logits
        What the model returned.
    samples
        Number of samples that it was given.

    Returns
    -------
    Tensor
        The same, of shape ``(samples, classes)``.

    Raises
    ------
    ValueError
        It is anything else: logits of pixels, a dict, those of other samples.
    """
    if isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == samples:
        return logits
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    raise ValueError(
        f"the model must return logits (samples, classes), got {shape} for {samples} "
        "samples: take one that returns nothing else"
    )
