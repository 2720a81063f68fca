"""VGG with one linear layer behind the convolutions (arXiv 2402.05966, app. C)."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from lmc.models.norm import Norm, norm_layer


class VGG(nn.Module):
    """Plain, BatchNorm, LayerNorm or bias-free VGG.

    Parameters
    ----------
    plan
        Output channels of the 3x3 convolutions, with ``"M"`` for a 2x2 max-pool.
    classes
        Number of logits.
    in_channels
        Channels of the images.
    norm
        ``None``, ``"bn"`` or ``"ln"`` (LayerNorm over channels at each pixel),
        between each convolution and its ReLU.
    bias
        Whether convolutions and classifier have biases.

    Examples
    --------
    >>> import torch
    >>> VGG((8, "M", 16), classes=10)(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        plan: Sequence[int | Literal["M"]] = (16, "M", 32, 32, "M", 64, 64, 64, 64),
        classes: int = 10,
        in_channels: int = 1,
        norm: Norm = None,
        bias: bool = True,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for step in plan:
            if step == "M":
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [
                nn.Conv2d(channels, step, 3, padding=1, bias=bias),
                norm_layer(norm, step),
                nn.ReLU(),
            ]
            channels = step
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` images to ``(N, classes)`` logits."""
        return self.classifier(self.pool(self.features(x)).flatten(1))
