"""Fully connected network (arXiv 2402.05966, appendix C: 784-120-84-10)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Sequential):
    """Multi-layer perceptron with ReLU between its linear layers.

    Parameters
    ----------
    sizes
        Widths from the flattened input to the logits, at least two numbers.
    bias
        Whether the linear layers have biases.

    Examples
    --------
    >>> import torch
    >>> MLP((64, 120, 84, 10))(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(self, sizes: Sequence[int] = (64, 120, 84, 10), bias: bool = True):
        if len(sizes) < 2:
            raise ValueError(
                f"sizes must name the input and the output width, got {tuple(sizes)}"
            )
        layers: list[nn.Module] = [nn.Flatten()]
        for width_in, width_out in pairwise(sizes):
            layers += [nn.Linear(width_in, width_out, bias=bias), nn.ReLU()]
        super().__init__(*layers[:-1])  # no ReLU behind the logits

    def forward(self, input: Tensor) -> Tensor:
        """Map ``(N, ...)`` float images to ``(N, sizes[-1])`` logits."""
        return super().forward(input)
