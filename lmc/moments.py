"""Means, variances and covariances of units, taken batch by batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and variance of each channel of a layer's output.

    Attributes
    ----------
    mean, variance
        Float64 tensors of shape ``(channels,)``.
    """

    mean: Tensor
    variance: Tensor

    @property
    def std(self) -> Tensor:
        """Standard deviation of each channel, ``(channels,)``."""
        return self.variance.sqrt()

    def to(self, device: torch.device) -> Statistics:
        """Return the same on a device."""
        return Statistics(self.mean.to(device), self.variance.to(device))


class AveragedMoments:
    """The statistics of each batch, averaged over batches with equal weight."""

    def __init__(self) -> None:
        self._batches: list[Statistics] = []

    def add(self, values: Tensor, channel_axis: int) -> Statistics:
        """Take the statistics of one batch, and return them.

        Raises
        ------
        ValueError
            It has fewer than two values for each channel.
        """
        # A copy, to be written into: new memory for each step takes longer than it.
        channels = values.detach().movedim(channel_axis, -1)
        channels = channels.to(torch.float64, copy=True)
        others = tuple(range(channels.ndim - 1))
        count = math.prod(channels.shape[:-1])
        if count < 2:
            raise ValueError(
                "statistics need at least two values per channel: use larger batches"
            )
        mean = channels.mean(others)
        # Two passes: a fifth of the time of torch.var on CPUs, as exact.
        squares = channels.sub_(mean).square_().sum(others)
        batch = Statistics(mean, squares / (count - 1))
        self._batches.append(batch)
        return batch

    def average(self) -> Statistics:
        """Return the average over batches of means and of unbiased variances."""
        return Statistics(
            torch.stack([batch.mean for batch in self._batches]).mean(0),
            torch.stack([batch.variance for batch in self._batches]).mean(0),
        )


class PooledMoments:
    """Mean and variance of the columns of all batches, as if they were one.

    Batches are merged by their means and sums of squared deviations: sums of squares
    would lose the variance of a feature that hardly varies, which is what is measured.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, rows: Tensor) -> None:
        """Add a float64 batch ``(values, columns)``."""
        count, mean = len(rows), rows.mean(0)
        squares = (rows - mean).square().sum(0)
        if self.count == 0:
            self.count, self.mean, self._squares = count, mean, squares
            return
        total, apart = self.count + count, mean - self.mean
        self._squares += squares + apart.square() * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total

    def variance(self) -> Tensor:
        """Return the variance of each column, divided by the number of values."""
        return self._squares / self.count


class Covariances:
    """Averages over batches of the moments and the products of two networks' units.

    Parameters
    ----------
    size
        Number of units.
    dtype, device
        In and on which they are gathered.
    """

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device):
        self.weight = 0
        self.mean = torch.zeros(2, size, dtype=dtype, device=device)
        self.square = torch.zeros(2, size, dtype=dtype, device=device)
        self.product = torch.zeros(size, size, dtype=dtype, device=device)

    def add(self, a: Tensor, b: Tensor, by_samples: bool) -> None:
        """Add one batch of activations, ``(samples, units)`` each, which are lost."""
        weight = len(a) if by_samples else 1
        self.product += weight * (a.T @ b) / len(a)
        for which, units in enumerate((a, b)):
            self.mean[which] += weight * units.mean(0)
            # In place: for new memory of this size the system would be asked anew.
            self.square[which] += weight * units.square_().mean(0)
        self.weight += weight

    def constant(self) -> Tensor:
        """Return which units of A and of B never vary, bool ``(2, units)``."""
        # Rounding leaves a constant unit a variance of this order instead of zero.
        rounding = 1e4 * torch.finfo(self.mean.dtype).eps
        return self._variance() <= rounding * self.square / self.weight

    def correlation(self) -> Tensor:
        """Return the ``(units of A, units of B)`` correlations, 0 for constant ones.

        Raises
        ------
        ValueError
            Activations are not finite.
        """
        if not bool(self.square.isfinite().all()):
            raise ValueError(
                "activations are not finite: one of the networks has diverged"
            )
        constant = self.constant()
        deviation = self._variance().masked_fill(constant, 1.0).sqrt()
        mean = self.mean / self.weight
        covariance = self.product / self.weight - mean[0, :, None] * mean[1]
        correlation = covariance / (deviation[0, :, None] * deviation[1])
        return correlation.masked_fill(constant[0, :, None] | constant[1], 0.0).double()

    def _variance(self) -> Tensor:
        return (self.square - self.mean.square() / self.weight) / self.weight
