"""The output of a classifier."""

from typing import Any

from torch import Tensor


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
