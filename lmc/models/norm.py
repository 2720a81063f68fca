"""Normalization layers over the channels of ``N x C x H x W`` features."""

from typing import Literal

from torch import Tensor, nn

Norm = Literal["bn", "ln"] | None


class ChannelLayerNorm(nn.LayerNorm):
    """LayerNorm over the channels at each pixel, with per-channel affine.

    Not ``GroupNorm(1)``, which normalizes over channels and pixels together
    (protocol of arXiv 2402.05966's published code; eps 1e-5).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize ``(N, C, H, W)`` features over ``C``."""
        return super().forward(input.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Return the normalization layer that ``norm`` names, identity for None."""
    if norm is None:
        return nn.Identity()
    if norm == "bn":
        return nn.BatchNorm2d(channels)
    if norm == "ln":
        return ChannelLayerNorm(channels)
    raise ValueError(f"unknown norm {norm!r}: choose None, 'bn' or 'ln'")
