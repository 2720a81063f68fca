"""CIFAR-style residual network (He et al. 2015; ResNet20 has blocks (3, 3, 3))."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from lmc.models.norm import Norm, norm_layer


class Block(nn.Module):
    """Two 3x3 convolutions and a residual sum, with projection where shapes change.

    The projection is a strided 1x1 convolution with norm, as in the published
    code of arXiv 2402.05966.
    """

    def __init__(
        self, channels_in: int, channels: int, stride: int, norm: Norm, bias: bool
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=bias)
        self.norm1 = norm_layer(norm, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=bias)
        self.norm2 = norm_layer(norm, channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=bias),
                norm_layer(norm, channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels_in, H, W)`` to ``(N, channels, H/stride, W/stride)``."""
        branch = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(branch + self.shortcut(x))


class ResNet(nn.Module):
    """Plain, BatchNorm or LayerNorm residual network.

    Parameters
    ----------
    widths
        Channels of each stage; every stage after the first halves the resolution.
    blocks
        Number of residual blocks of each stage.
    classes
        Number of logits.
    in_channels
        Channels of the images.
    norm
        ``None``, ``"bn"`` or ``"ln"`` behind each convolution.
    bias
        Whether convolutions and classifier have biases.  With ``norm="bn"`` the
        convolutions have none, as usual: the normalization would remove them.

    Examples
    --------
    >>> import torch
    >>> model = ResNet((16, 32, 64), (3, 3, 3), in_channels=3, norm="bn")
    >>> sum(p.numel() for p in model.parameters())
    272474
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64),
        blocks: Sequence[int] = (1, 1, 1),
        classes: int = 10,
        in_channels: int = 1,
        norm: Norm = None,
        bias: bool = True,
    ):
        super().__init__()
        if len(widths) != len(blocks):
            raise ValueError(
                f"widths and blocks name the same stages, got {len(widths)} widths "
                f"and {len(blocks)} block counts"
            )
        conv_bias = bias and norm != "bn"
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=conv_bias)
        self.norm = norm_layer(norm, widths[0])
        stages: list[nn.Module] = []
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                stages.append(Block(channels, width, stride, norm, conv_bias))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, classes, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` images to ``(N, classes)`` logits."""
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        return self.classifier(self.pool(x).flatten(1))

    def block_convolutions(self) -> tuple[str, ...]:
        """Names of both convolutions of every block, in order.

        These are the layers that arXiv 2402.05966's published code renormalizes
        in residual networks: not the stem, the shortcuts or the classifier.
        """
        return tuple(
            f"blocks.{index}.{conv}"
            for index in range(len(self.blocks))
            for conv in ("conv1", "conv2")
        )
