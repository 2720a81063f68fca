"""Networks with random values in every tensor, so that none is hidden by a default."""

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Model = TypeVar("Model", bound=nn.Module)


class Layers(nn.Module):
    """Two linear layers, for other forward methods."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)))


def randomized(model: Model, seed: int = 0) -> Model:
    """Fill parameters and buffers from a seed; return the model in eval mode."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            values = normal(*tensor.shape, seed=seed)
            seed += 1
            fan_in = max(tensor[0].numel(), 1) if tensor.ndim else 1
            values = values.abs() + 0.5 if "running_var" in name else values
            tensor.copy_(values * fan_in**-0.5)
    return model.eval()


def precise(model: Model, seed: int = 0) -> Model:
    """The same in float64."""
    return randomized(model.double(), seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return float64 normal values from a seed, the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
