"""Whether a machine has what is needed, in seconds: versions, data, a few steps."""

import importlib
import importlib.metadata
import os
import platform
import time
from collections.abc import Iterator

import torch

from fixtures import datasets, training, ways
from fixtures.scales import Scale

PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pandas"),
    *("safetensors", "filelock", "fsspec", "hypothesis", "jinja2", "matplotlib"),
    *("pytest", "pytest-xdist"),
)
"""What sessions of claims import."""

MODULES = {"scikit-learn": "sklearn", "pytest-xdist": "xdist"}
"""Where a package's module has another name."""

NETWORKS = ("plain-vgg", "plain-resnet", "bn-resnet")
"""Settings of which an epoch of `fixtures.ways` is run."""


def checked(scale: Scale, device: str) -> Iterator[str]:
    """Say line by line what is here.

    Raises
    ------
    ValueError
        A package is missing, or the data set is another one than the recipes'.
    """
    yield f"Python {platform.python_version()}, {os.cpu_count()} CPUs, " + (
        f"{training.gpu(device)}, CUDA {torch.version.cuda}"
        if device != "cpu"
        else platform.machine()
    )
    for package in PACKAGES:
        try:
            importlib.import_module(MODULES.get(package, package))
        except ImportError as error:
            raise ValueError(f"{package} can't be imported here: {error}") from error
    yield ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    name = scale.recipe(NETWORKS[0]).dataset
    if datasets.origin(name).startswith("torchvision") and name not in EMBEDDED:
        yield f"{name} is not here: name its folder in LMC_DATA"
    else:
        began = time.perf_counter()
        datasets.load(name)
        yield f"{name} read and checked in {time.perf_counter() - began:.1f} s"
    if device != "cpu":
        products = ways.matrix_products(device) / 1e12
        yield f"matrix products in bfloat16 at {products:.0f} TFLOP/s"
    for setting in NETWORKS:
        for backend in ways.backends(device):
            recipe, began = scale.recipe(setting), time.perf_counter()
            ways.epoch_ends(recipe, backend, device, 0.0)
            seconds = time.perf_counter() - began
            yield f"{setting} by {backend}: steps in {seconds:.1f} s from nothing"


EMBEDDED = ("digits", "digits32")
"""Data sets that scikit-learn brings."""
