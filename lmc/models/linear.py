"""Deep linear network (arXiv 2402.05966v4, section 4: vanishing features)."""

from torch import Tensor, nn


class LinearNet(nn.Module):
    """Linear layers one behind the other, without nonlinearities.

    Parameters
    ----------
    depth
        Number of linear layers, at least two.
    width
        Units of each hidden layer.
    in_features
        Size of a flattened input.
    classes
        Number of logits.
    residual
        Whether the hidden layers behind the first add their input to their output.

    Examples
    --------
    >>> import torch
    >>> LinearNet(depth=3, width=4)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        depth: int = 8,
        width: int = 32,
        in_features: int = 64,
        classes: int = 10,
        residual: bool = False,
    ):
        super().__init__()
        if depth < 2:
            raise ValueError(f"depth counts linear layers, at least 2: got {depth}")
        self.residual = residual
        self.first = nn.Linear(in_features, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 2))
        self.last = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, ...)`` float images to ``(N, classes)`` logits."""
        x = self.first(x.flatten(1))
        for layer in self.hidden:
            x = x + layer(x) if self.residual else layer(x)
        return self.last(x)
