"""Random architectures and networks, for property tests of one's own code.

Needs hypothesis (``pip install hypothesis``).  :func:`networks` draws from a grammar
of the layers that papers use::

    @given(networks(), st.integers(0, 2**32 - 1))
    def test_my_merging(model, seed):
        symmetry = lmc.discover(model, images(0))
        ...
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from lmc.discovery import discover as discover_symmetry
from lmc.models.locally_connected import LocallyConnected2d
from lmc.models.norm import norm_layer
from lmc.symmetry import Symmetry

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


class Concatenated(nn.Module):
    """Several branches side by side: dense blocks have the identity among them."""

    def __init__(self, *branches: nn.Module):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, sum of the branches' channels, H, W)``."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class Excited(nn.Module):
    """Squeeze and excitation: channels scaled by what all of them say together."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the channels of ``(N, C, H, W)``."""
        scale = self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1))))
        return x * scale.sigmoid()


class Halved(nn.Module):
    """One half of the channels passes, the other goes through a layer; shuffled."""

    def __init__(self, channels: int):
        super().__init__()
        self.layer = nn.Conv2d(channels // 2, channels // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape; C is even."""
        passed, other = x.chunk(2, 1)
        joined = torch.cat([passed, F.relu(self.layer(other))], 1)
        count, channels, height, width = joined.shape
        halves = joined.view(count, 2, channels // 2, height, width)
        return halves.transpose(1, 2).reshape(count, channels, height, width)


class Attending(nn.Module):
    """Self-attention over pixels, with LayerNorm and a residual sum."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same shape."""
        tokens = x.flatten(2).transpose(1, 2)
        normed = self.norm(tokens)
        mixed, _ = self.attention(normed, normed, normed, need_weights=False)
        return (tokens + mixed).transpose(1, 2).reshape(x.shape)


Grown = tuple[list[nn.Module], int]
"""Layers that were added, and the number of channels behind them."""


class Grower:
    """Draws layers one kind at a time; each method is a kind of the grammar."""

    def __init__(self, draw: st.DrawFn, norm: str | None, bias: bool):
        self._draw = draw
        self._norm = norm
        self._bias = bias
        self.pixels = PIXELS

    def plain(self, channels: int) -> Grown:
        """A convolution, a norm, ReLU."""
        width = self._width()
        return [*self._convolution(channels, width), nn.ReLU()], width

    def identity(self, channels: int) -> Grown:
        """A residual block with the identity as shortcut."""
        return [Residual(self._branch(channels, channels), nn.Identity())], channels

    def projection(self, channels: int) -> Grown:
        """A residual block with a 1x1 convolution as shortcut."""
        width = self._width()
        shortcut = nn.Sequential(*self._convolution(channels, width, 1))
        return [Residual(self._branch(channels, width), shortcut)], width

    def dense(self, channels: int) -> Grown:
        """The input beside a branch."""
        width = self._width()
        branch = nn.Sequential(*self._convolution(channels, width), nn.ReLU())
        return [Concatenated(nn.Identity(), branch)], channels + width

    def inception(self, channels: int) -> Grown:
        """Two branches with different kernels."""
        widths = self._width(), self._width()
        branches = [
            nn.Sequential(*self._convolution(channels, width, kernel), nn.ReLU())
            for width, kernel in zip(widths, (1, 3), strict=True)
        ]
        return [Concatenated(*branches)], sum(widths)

    def grouped(self, channels: int) -> Grown:
        """A bottleneck whose middle is a grouped convolution."""
        groups = self._draw(st.integers(2, 3))
        inner, outer = (groups * self._draw(st.integers(1, 3)) for _ in range(2))
        width = self._width()
        return [
            *self._convolution(channels, inner, 1),
            nn.ReLU(),
            nn.Conv2d(inner, outer, 3, padding=1, groups=groups, bias=self._bias),
            nn.ReLU(),
            *self._convolution(outer, width, 1),
        ], width

    def depthwise(self, channels: int) -> Grown:
        """One or two filters for each channel, then a 1x1 convolution."""
        inner = channels * self._draw(st.integers(1, 2))
        width = self._width()
        depthwise = nn.Conv2d(
            channels, inner, 3, padding=1, groups=channels, bias=self._bias
        )
        return [depthwise, nn.ReLU(), *self._convolution(inner, width, 1)], width

    def excitation(self, channels: int) -> Grown:
        """Squeeze and excitation."""
        return [Excited(channels, self._width())], channels

    def shuffle(self, channels: int) -> Grown:
        """A layer for half of the channels, and a channel shuffle."""
        width = 2 * self._draw(st.integers(1, 3))
        return [*self._convolution(channels, width, 1), Halved(width)], width

    def attention(self, channels: int) -> Grown:
        """Multi-head self-attention over pixels."""
        heads = self._draw(st.integers(1, 3))
        width = heads * self._draw(st.integers(1, 3))
        return [*self._convolution(channels, width, 1), Attending(width, heads)], width

    def local(self, channels: int) -> Grown:
        """Filters of its own at each pixel, without padding."""
        width, sides = self._width(), (self.pixels, self.pixels)
        kernel = self._draw(st.integers(1, min(3, self.pixels)))
        # Each position has a group of its own: a stride keeps them few.
        layer = LocallyConnected2d(channels, width, sides, kernel, 2, self._bias)
        self.pixels = layer.output_size[0]
        return [layer, nn.ReLU()], width

    def _width(self) -> int:
        return self._draw(st.integers(2, 6))

    def _convolution(self, before: int, after: int, kernel: int = 3) -> list[nn.Module]:
        made = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=self._bias)
        if self._norm == "gn":
            return [made, nn.GroupNorm(2 if after % 2 == 0 else 1, after)]
        return [made, norm_layer(self._norm, after)]  # type: ignore[arg-type]

    def _branch(self, before: int, after: int) -> nn.Module:
        inner = self._width()
        first = [*self._convolution(before, inner), nn.ReLU()]
        return nn.Sequential(*first, *self._convolution(inner, after))


KINDS: dict[str, Callable[[Grower, int], Grown]] = {
    name: getattr(Grower, name)
    for name in (
        "plain identity projection dense inception grouped depthwise excitation "
        "shuffle attention local"
    ).split()
}
"""The kinds of layers of the grammar, beside pooling."""


@st.composite
def networks(
    draw: st.DrawFn,
    norms: Sequence[str | None] = (None, "bn", "ln", "gn"),
    kinds: Sequence[str] = tuple(KINDS),
) -> Any:
    """Draw a convolutional network with random weights, in float64.

    Parameters
    ----------
    norms
        Behind each convolution one of: none, BatchNorm, LayerNorm over channels,
        GroupNorm.
    kinds
        Names of :data:`KINDS`.

    Returns
    -------
    hypothesis.strategies.SearchStrategy of torch.nn.Module
        In evaluation mode, for inputs ``(N, 2, 8, 8)``, with 3 logits.
    """
    bias = draw(st.booleans())
    grower = Grower(draw, draw(st.sampled_from(list(norms))), bias)
    channels = CHANNELS
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([*kinds, "pool"]))
        if kind != "pool":
            grown, channels = KINDS[kind](grower, channels)
            layers += grown
        elif grower.pixels > 1:
            layers.append(draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))(2))
            grower.pixels //= 2
    if draw(st.booleans()):
        layers.append(nn.AdaptiveAvgPool2d(1))
        grower.pixels = 1
    features = channels * grower.pixels**2
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


def discover(model: nn.Module) -> Symmetry:
    """Return the symmetry of a network drawn by :func:`networks`."""
    return discover_symmetry(model, images(0))


def another(model: nn.Module, seed: int) -> dict[str, Tensor]:
    """Return another random network of the same architecture, as a state dict."""
    own = {name: value.clone() for name, value in model.state_dict().items()}
    randomize(model, seed)
    other = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(own)
    return other
