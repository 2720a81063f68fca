"""Checkpoints on disk: safetensors in and out, nothing half-written."""

import contextlib
import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmc.command.errors import CommandError

try:
    import safetensors
    from safetensors.torch import save_file
except ImportError as error:  # pragma: no cover
    raise CommandError(
        "the command line needs safetensors: pip install safetensors"
    ) from error


@dataclass(frozen=True)
class Checkpoint:
    """A network from a file, with the file's metadata."""

    path: Path
    state: dict[str, Tensor]
    metadata: dict[str, str]

    def running(self) -> dict[str, Tensor]:
        """The network in float32, in which models run, whatever the file's dtype."""
        return {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in self.state.items()
        }

    def as_stored(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A network in the dtypes of this file."""
        return {name: state[name].to(own.dtype) for name, own in self.state.items()}


def read(path: Path) -> Checkpoint:
    """Read a network; refuse pickles that could run code, and values not finite."""
    if not path.is_file():
        raise CommandError(f"{path}: no such file")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError:
        state, metadata = _read_pickle(path), {}
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise CommandError(
                f"{path}: {name} has values that are NaN or infinite: the network has "
                "diverged"
            )
    return Checkpoint(path, state, metadata)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CommandError(
            f"{path}: neither safetensors nor a file of plain tensors; a pickle that "
            "may run code is not loaded.  Save the network with "
            "safetensors.torch.save_file(model.state_dict(), path)"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(
        isinstance(value, Tensor) for value in loaded.values()
    ):
        raise CommandError(f"{path}: holds no state dict, which maps names to tensors")
    return dict(loaded)


def check_alike(checkpoints: Sequence[Checkpoint]) -> None:
    """Raise unless all files have the same names, shapes and dtypes."""
    first = checkpoints[0]
    for other in checkpoints[1:]:
        only = sorted(set(first.state) ^ set(other.state))
        if only:
            raise CommandError(
                f"{first.path} and {other.path} are not of one architecture: "
                f"{_some(only)} in one of them only"
            )
        for name, mine in first.state.items():
            its = other.state[name]
            for what, here, there in (
                ("shape", tuple(mine.shape), tuple(its.shape)),
                ("dtype", mine.dtype, its.dtype),
            ):
                if here != there:
                    raise CommandError(
                        f"{name} has {what} {here} in {first.path} and {there} in "
                        f"{other.path}"
                    )


def check_fit(checkpoint: Checkpoint, model: nn.Module) -> None:
    """Raise unless a file holds a network of the model."""
    own = model.state_dict()
    only = sorted(set(own) ^ set(checkpoint.state))
    if only:
        where = "model" if only[0] in own else "file"
        raise CommandError(
            f"{checkpoint.path} does not fit the model: {_some(only)} (the first in "
            f"the {where} only); check --model and --model-args"
        )
    for name, tensor in own.items():
        if tensor.shape != checkpoint.state[name].shape:
            raise CommandError(
                f"{checkpoint.path} does not fit the model: {name} has shape "
                f"{tuple(checkpoint.state[name].shape)}, the model has "
                f"{tuple(tensor.shape)}; check --model and --model-args"
            )


def check_output(path: Path, inputs: Sequence[Path], force: bool) -> None:
    """Raise unless a file can be written here, before anything long is done."""
    if not path.parent.is_dir():
        raise CommandError(f"{path.parent}: no such folder to write {path.name} to")
    if any(path.exists() and path.samefile(other) for other in inputs):
        raise CommandError(f"{path} is one of the inputs: choose another --out")
    if path.exists() and not force:
        raise CommandError(f"{path} exists: choose another file, or pass --force")


def write(path: Path, state: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a network, whole or not at all."""
    # Tensors with two names share memory, which the format refuses.
    tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    with whole(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


@contextlib.contextmanager
def whole(path: Path) -> Any:
    """Give a temporary file beside a path, which takes its place in the end."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield name
        with open(name, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
