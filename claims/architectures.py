"""Random architectures for property tests: a grammar of the layers that papers use."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

import lmc
from lmc.models.norm import norm_layer

CHANNELS, PIXELS, CLASSES = 2, 8, 3


class Residual(nn.Module):
    """A residual sum, with a projection or with the identity beside the branch."""

    def __init__(self, branch: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H, W)``."""
        return torch.relu(self.branch(x) + self.shortcut(x))


@st.composite
def networks(
    draw: st.DrawFn, norms: tuple[str | None, ...] = (None, "bn", "ln")
) -> Any:
    """Draw a convolutional network with random weights, in float64.

    Convolutions with and without bias, BatchNorm, LayerNorm or neither, residual sums
    with and without projection, max, average and global pooling, flattened pixels,
    one or two linear layers.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, for inputs ``(N, 2, 8, 8)``, with 3 logits.
    """
    norm = draw(st.sampled_from(norms))
    bias = draw(st.booleans())
    channels, pixels = CHANNELS, PIXELS
    layers: list[nn.Module] = []

    def convolution(width: int, kernel: int = 3) -> list[nn.Module]:
        made = nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=bias)
        return [made, norm_layer(norm, width)]

    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["plain", "identity", "projection", "pool"]))
        if kind == "pool":
            if pixels > 1:
                pool = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))
                layers.append(pool(2))
                pixels //= 2
            continue
        width = channels if kind == "identity" else draw(st.integers(2, 6))
        if kind == "plain":
            layers += [*convolution(width), nn.ReLU()]
        else:
            shortcut = nn.Identity() if kind == "identity" else convolution(width, 1)
            if isinstance(shortcut, list):
                shortcut = nn.Sequential(*shortcut)
            inner = draw(st.integers(2, 6))
            first = [*convolution(inner), nn.ReLU()]
            second = nn.Conv2d(inner, width, 3, padding=1, bias=bias)
            branch = nn.Sequential(*first, second, norm_layer(norm, width))
            layers.append(Residual(branch, shortcut))
        channels = width
    if draw(st.booleans()):
        layers.append(nn.AdaptiveAvgPool2d(1))
        pixels = 1
    features = channels * pixels**2
    layers.append(nn.Flatten())
    if draw(st.booleans()):
        hidden = draw(st.integers(2, 6))
        layers += [nn.Linear(features, hidden, bias=bias), nn.ReLU()]
        features = hidden
    model = nn.Sequential(*layers, nn.Linear(features, CLASSES, bias=bias))
    randomize(model, draw(st.integers(0, 2**32 - 1)))
    return model.double().eval()


def randomize(model: nn.Module, seed: int) -> None:
    """Draw every parameter and running statistic, so that no unit resembles another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            tensor.normal_(generator=generator)
            if name.endswith("running_var"):
                tensor.exp_()


def images(seed: int, count: int = 4) -> Tensor:
    """Return ``(count, 2, 8, 8)`` float64 images of normal noise."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(
        count, CHANNELS, PIXELS, PIXELS, generator=generator, dtype=torch.float64
    )


def discover(model: nn.Module) -> lmc.Symmetry:
    """Return the symmetry of a network drawn by :func:`networks`."""
    return lmc.discover(model, images(0))


def another(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Return another random network of the same architecture, as a state dict."""
    own = {name: value.clone() for name, value in model.state_dict().items()}
    randomize(model, seed)
    other = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(own)
    return other
