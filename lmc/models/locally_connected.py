"""Locally connected layers: convolutions without weight sharing (arXiv 2312.09832)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LocallyConnected2d(nn.Module):
    """A convolution with filters of its own at each output position.

    Without padding, dilation and groups.  Weight and bias are uniform within
    ``1 / sqrt(in_channels * kernel_size**2)`` at first, as those of
    :class:`torch.nn.Conv2d` are.

    Parameters
    ----------
    in_channels, out_channels
        Channels of the input and the output.
    image_size
        Height and width of the input.
    kernel_size
        Height and width of the filters.
    stride
        Distance between neighbouring patches, on both axes.
    bias
        Whether each channel has a bias at each output position.

    Attributes
    ----------
    weight : Parameter
        ``(positions, out_channels, in_channels * kernel_size**2)``; positions row by
        row, inputs as :func:`torch.nn.functional.unfold` orders them.
    bias : Parameter or None
        ``(out_channels, output height, output width)``.
    output_size : tuple of int
        Height and width of the output.

    Raises
    ------
    ValueError
        No patch fits into the image, or a size is not positive.

    Examples
    --------
    >>> import torch
    >>> layer = LocallyConnected2d(3, 16, (8, 6), kernel_size=3)
    >>> layer(torch.zeros(2, 3, 8, 6)).shape
    torch.Size([2, 16, 6, 4])
    >>> layer.weight.shape
    torch.Size([24, 16, 27])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        image_size: tuple[int, int],
        kernel_size: int,
        stride: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        height, width = image_size
        if min(in_channels, out_channels, kernel_size, stride) < 1:
            raise ValueError(
                "channels, kernel size and stride are positive: got in_channels="
                f"{in_channels}, out_channels={out_channels}, kernel_size="
                f"{kernel_size}, stride={stride}"
            )
        if kernel_size > min(height, width):
            raise ValueError(
                f"a kernel of {kernel_size} x {kernel_size} does not fit into an image "
                f"of {height} x {width}: choose a smaller kernel"
            )
        self.image_size = (height, width)
        self.kernel_size = kernel_size
        self.stride = stride
        self.output_size = (
            (height - kernel_size) // stride + 1,
            (width - kernel_size) // stride + 1,
        )
        fan_in = in_channels * kernel_size**2
        self.weight = nn.Parameter(
            torch.empty(math.prod(self.output_size), out_channels, fan_in)
        )
        self.bias = (
            nn.Parameter(torch.empty(out_channels, *self.output_size)) if bias else None
        )
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)

    @classmethod
    def from_convolution(
        cls, convolution: nn.Conv2d, image_size: tuple[int, int]
    ) -> LocallyConnected2d:
        """Return a layer that computes what a convolution does on images of one size.

        Raises
        ------
        ValueError
            The convolution has padding, dilation, groups, or a kernel or stride that
            is not square.
        """
        unit = (1, 1)
        surplus = [
            f"{name}={given}"
            for name, given, possible in (
                ("padding", convolution.padding, [(0, 0), "valid"]),
                ("dilation", convolution.dilation, [unit]),
                ("groups", convolution.groups, [1]),
                (
                    "kernel_size",
                    convolution.kernel_size,
                    [convolution.kernel_size[:1] * 2],
                ),
                ("stride", convolution.stride, [convolution.stride[:1] * 2]),
            )
            if given not in possible
        ]
        if surplus:
            raise ValueError(
                f"a locally connected layer has no {', '.join(surplus)}: use a "
                "convolution with a square kernel and stride, without padding, "
                "dilation and groups"
            )
        weight, bias = convolution.weight.detach(), convolution.bias
        layer = cls(
            convolution.in_channels,
            convolution.out_channels,
            image_size,
            convolution.kernel_size[0],
            convolution.stride[0],
            bias is not None,
        ).to(weight)
        with torch.no_grad():
            layer.weight.copy_(weight.flatten(1).expand_as(layer.weight))
            if layer.bias is not None and bias is not None:
                layer.bias.copy_(bias[:, None, None].expand_as(layer.bias))
        return layer

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` to ``(N, out_channels, H_out, W_out)``."""
        if x.shape[2:] != self.image_size:
            raise ValueError(
                f"the layer has filters for images of {self.image_size}, got "
                f"{tuple(x.shape[2:])}: make it for the size of its input"
            )
        patches = F.unfold(x, self.kernel_size, stride=self.stride)
        outputs = torch.einsum("nkp,pok->nop", patches, self.weight)
        outputs = outputs.unflatten(2, self.output_size)
        return outputs if self.bias is None else outputs + self.bias


class LocalNet(nn.Module):
    """One locally connected hidden layer, ReLU and a linear layer.

    The minimal network of arXiv 2312.09832; with shared weights its convolutional
    counterpart.

    Parameters
    ----------
    size
        Height and width of the images.
    in_channels
        Channels of the images.
    channels
        Hidden channels.
    kernel, stride
        Kernel size and stride of the hidden layer, which has no padding.
    shared
        Whether all positions share their filters: a convolution.
    classes
        Number of logits.

    Examples
    --------
    >>> import torch
    >>> LocalNet()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        size: tuple[int, int] = (8, 8),
        in_channels: int = 1,
        channels: int = 16,
        kernel: int = 3,
        stride: int = 1,
        shared: bool = False,
        classes: int = 10,
    ):
        super().__init__()
        self.hidden: nn.Module = (
            nn.Conv2d(in_channels, channels, kernel, stride)
            if shared
            else LocallyConnected2d(in_channels, channels, size, kernel, stride)
        )
        positions = math.prod((side - kernel) // stride + 1 for side in size)
        self.classifier = nn.Linear(channels * positions, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_channels, H, W)`` images to ``(N, classes)`` logits."""
        return self.classifier(F.relu(self.hidden(x)).flatten(1))
