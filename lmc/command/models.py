"""Models by name: ``package.module:callable``, or one of torchvision's."""

import importlib
import json
import sys
from typing import Any

import torch
from torch import Tensor, nn

from lmc.command.errors import CommandError


def build(spec: str, arguments: str | None) -> nn.Module:
    """Return the model of a spec, in evaluation mode."""
    given = _arguments(arguments)
    make = _torchvision(spec) if ":" not in spec else imported("--model", spec)
    try:
        model = make(*given) if isinstance(given, list) else make(**given)
    except Exception as error:
        raise CommandError(
            f"--model {spec}: {type(error).__name__}: {error} (called with "
            f"--model-args {arguments or '{}'})"
        ) from error
    if not isinstance(model, nn.Module):
        raise CommandError(
            f"--model {spec} returns a {type(model).__name__}, not a torch.nn.Module"
        )
    return model.eval()


def _arguments(text: str | None) -> Any:
    try:
        given = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise CommandError(f"--model-args is no JSON: {error}") from error
    if not isinstance(given, (dict, list)):
        raise CommandError(
            "--model-args is a JSON object of keyword arguments or an array of "
            f"arguments, not {text}"
        )
    return given


def imported(option: str, spec: str) -> Any:
    """Return what ``package.module:name`` names, a function or a class."""
    module, _, path = spec.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # one's own modules, as with python -m
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise CommandError(
            f"{option} {spec}: module {module!r} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    for name in path.split("."):
        if not hasattr(found, name):
            raise CommandError(f"{option} {spec}: module {module!r} has no {path!r}")
        found = getattr(found, name)
    if not callable(found):
        raise CommandError(
            f"{option} {spec} is a {type(found).__name__}: name a class or a function"
        )
    return found


def _torchvision(name: str) -> Any:
    try:
        from torchvision import models  # type: ignore[import-untyped]
    except ImportError as error:
        raise CommandError(
            f"--model {name}: torchvision is not installed; models of your own are "
            "package.module:callable"
        ) from error
    if name not in models.list_models():
        raise CommandError(
            f"--model {name}: torchvision has no such model; models of your own are "
            "package.module:callable"
        )

    def make(**options: Any) -> nn.Module:
        # Its weights come from a file: what they start from does not matter.
        if name in ("googlenet", "inception_v3"):
            options = {"init_weights": False, **options}
        return models.get_model(name, weights=None, **options)

    return make


def example(spec: str, shape: str | None, dtype: str) -> Tensor:
    """Return two inputs of a shape, for the graph and the certificate."""
    if shape is None:
        if ":" in spec:
            raise CommandError(
                "--input-shape is needed for a model of your own, without the batch: "
                "--input-shape 3,32,32"
            )
        shape = "3,299,299" if spec == "inception_v3" else "3,224,224"
    try:
        sizes = [int(size) for size in shape.split(",")]
        if min(sizes) < 1:
            raise ValueError
    except ValueError as error:
        raise CommandError(
            f"--input-shape {shape}: give sizes with commas, such as 3,32,32"
        ) from error
    generator = torch.Generator().manual_seed(0)
    if dtype == "float32":
        return torch.randn(2, *sizes, generator=generator)
    return torch.zeros(2, *sizes, dtype=getattr(torch, dtype))
