"""Images from a folder with one folder for each class."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from lmc.command.errors import CommandError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, with which torchvision's models were trained."""


class Batches:
    """Batches of images and labels on a device, always the same ones."""

    def __init__(self, loader: DataLoader[tuple[Tensor, int]], device: torch.device):
        self._loader = loader
        self._device = device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in self._loader:
            yield images.to(self._device), labels.to(self._device)

    def __len__(self) -> int:
        return len(self._loader)


def images(
    folder: Path,
    *,
    shape: tuple[int, ...],
    mean: tuple[float, ...],
    std: tuple[float, ...],
    batch_size: int,
    samples: int | None,
    seed: int,
    device: torch.device,
) -> tuple[Batches, list[str]]:
    """Return batches of the images of a folder, and the names of its classes.

    Images are scaled and cropped to ``shape``, ``(channels, height, width)``; with
    one channel they are made grey.  Of the shuffled images the first ``samples``.
    """
    try:
        from torchvision import datasets, transforms  # type: ignore[import-untyped]
    except ImportError as error:
        raise CommandError(
            "--data needs torchvision: pip install torchvision"
        ) from error
    if not folder.is_dir():
        raise CommandError(f"--data {folder}: no such folder")
    if len(shape) != 3:
        raise CommandError(
            f"--data gives images, but the inputs have shape {shape}: use "
            "--input-shape channels,height,width"
        )
    channels, *size = shape
    if not len(mean) == len(std) == channels:
        raise CommandError(
            f"--mean and --std have {len(mean)} and {len(std)} values for {channels} "
            "channels"
        )
    if batch_size < 1:
        raise CommandError(f"--batch-size {batch_size}: take at least one")
    if not all(value > 0 for value in std):
        raise CommandError(f"--std {','.join(map(str, std))}: give deviations above 0")
    steps = [
        transforms.Resize(max(size)),
        transforms.CenterCrop(size),
        *([transforms.Grayscale()] if channels == 1 else []),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]

    def opened(path: str) -> Any:
        try:
            return datasets.folder.default_loader(path)
        except OSError as error:  # truncated, or no image: Pillow names no file
            raise CommandError(f"{path}: {error}") from error

    try:
        found = datasets.ImageFolder(
            str(folder), transforms.Compose(steps), loader=opened
        )
    except FileNotFoundError as error:
        raise CommandError(
            f"--data {folder}: {error}; it must have one folder of images for "
            "each class"
        ) from error
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    if samples is not None:
        if samples < 1:
            raise CommandError(f"--samples {samples}: take at least one")
        if samples > len(found):
            raise CommandError(
                f"--samples {samples}: {folder} has only {len(found)} images"
            )
        order = order[:samples]
    chosen: Dataset[tuple[Tensor, int]] = Subset(found, order.tolist())
    return Batches(DataLoader(chosen, batch_size), device), found.classes
