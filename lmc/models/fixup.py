"""Fixup residual network (Zhang et al., arXiv 1901.09321), CIFAR style."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FixupBlock(nn.Module):
    """Two 3x3 convolutions with scalar biases around them, and one scalar scale."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.bias1a, self.bias1b, self.bias2a, self.bias2b = (
            nn.Parameter(torch.zeros(1)) for _ in range(4)
        )
        self.scale = nn.Parameter(torch.ones(1))
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Conv2d(channels_in, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, channels_in, H, W)`` to ``(N, channels, H/stride, W/stride)``."""
        shifted = x + self.bias1a
        branch = self.conv2(F.relu(self.conv1(shifted) + self.bias1b) + self.bias2a)
        return F.relu(branch * self.scale + self.bias2b + self.shortcut(shifted))


class FixupResNet(nn.Module):
    """Residual network without normalization that trains by its initialization.

    The first convolution of each of ``L`` blocks is He-normal (fan-out) times
    ``L ** -0.5``; the second one and the classifier are zero (arXiv 1901.09321,
    section 3).  Where shapes change the shortcut is a 1x1 convolution, as in
    :class:`lmc.models.ResNet`.

    Parameters
    ----------
    widths, blocks, classes, in_channels
        As in :class:`lmc.models.ResNet`.

    Examples
    --------
    >>> import torch
    >>> FixupResNet((4, 8), (1, 1))(torch.rand(2, 1, 8, 8))
    tensor([[0., 0., 0., 0., 0., 0., 0., 0., 0., 0.],
            [0., 0., 0., 0., 0., 0., 0., 0., 0., 0.]], grad_fn=<AddmmBackward0>)
    """

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64),
        blocks: Sequence[int] = (1, 1, 1),
        classes: int = 10,
        in_channels: int = 1,
    ):
        super().__init__()
        if len(widths) != len(blocks):
            raise ValueError(
                f"widths and blocks name the same stages, got {len(widths)} widths "
                f"and {len(blocks)} block counts"
            )
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.bias1 = nn.Parameter(torch.zeros(1))
        stages: list[FixupBlock] = []
        channels = widths[0]
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                stages.append(FixupBlock(channels, width, stride))
                channels = width
        self.blocks = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.bias2 = nn.Parameter(torch.zeros(1))
        self.classifier = nn.Linear(channels, classes)
        self._initialize(stages)

    def _initialize(self, stages: Sequence[FixupBlock]) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(
                    module.weight, mode="fan_out", nonlinearity="relu"
                )
        with torch.no_grad():
            for block in stages:
                block.conv1.weight.mul_(len(stages) ** -0.5)
                block.conv2.weight.zero_()
            self.classifier.weight.zero_()
            self.classifier.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` images to ``(N, classes)`` logits."""
        x = self.blocks(F.relu(self.stem(x) + self.bias1))
        return self.classifier(self.pool(x).flatten(1) + self.bias2)

    def block_convolutions(self) -> tuple[str, ...]:
        """Names of both convolutions of every block, in order."""
        return tuple(
            f"blocks.{index}.{conv}"
            for index in range(len(self.blocks))
            for conv in ("conv1", "conv2")
        )
