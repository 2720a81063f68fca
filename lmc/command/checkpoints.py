"""Checkpoints on disk: safetensors in and out, nothing half-written."""

import contextlib
import json
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
    from safetensors.torch import save
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


INDEX = ".index.json"
"""How the name of an index of shards ends."""

PICKLES = (".pt", ".pth", ".bin", ".ckpt")
"""Suffixes of files of :func:`torch.save`; all others are of safetensors."""

WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put in front of all names, in any order."""


def read(path: Path) -> Checkpoint:
    """Read a network; refuse pickles that could run code, and values not finite."""
    if not path.is_file():
        raise CommandError(f"{path}: no such file")
    if path.name.endswith(INDEX):
        state, metadata = _read_shards(path)
    else:
        state, metadata = _read_file(path)
    while wrapper := next((w for w in WRAPPERS if _all_begin(state, w)), None):
        state = {n.removeprefix(wrapper): value for n, value in state.items()}
    for name, tensor in state.items():
        narrow = tensor.is_floating_point() and tensor.itemsize == 1
        if not bool((tensor.float() if narrow else tensor).isfinite().all()):
            raise CommandError(
                f"{path}: {name} has values that are NaN or infinite: the network has "
                "diverged"
            )
    return Checkpoint(path, state, metadata)


def _all_begin(state: Mapping[str, Tensor], wrapper: str) -> bool:
    return bool(state) and all(name.startswith(wrapper) for name in state)


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except safetensors.SafetensorError:
        return _read_pickle(path), {}


def _read_shards(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the files that an index names, which lie beside it."""
    try:
        weights = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = dict.fromkeys(str(file) for file in weights.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandError(
            f"{path}: no index of shards, which maps the name of each tensor to a file "
            "under weight_map"
        ) from error
    state: dict[str, Tensor] = {}
    for file in files:
        if not (path.parent / file).is_file():
            raise CommandError(f"{path} names {file}, which is not beside it")
        state |= _read_file(path.parent / file)[0]
    if missing := sorted(set(weights) - set(state)):
        raise CommandError(f"{path} names {_some(missing)}, which no shard holds")
    return state, {"format": "pt"}


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
    """Raise unless all files have the same names and shapes."""
    first = checkpoints[0]
    for other in checkpoints[1:]:
        only = sorted(set(first.state) ^ set(other.state))
        if only:
            raise CommandError(
                f"{first.path} and {other.path} are not of one architecture: "
                f"{_some(only)} in one of them only"
            )
        for name, mine in first.state.items():
            here, there = tuple(mine.shape), tuple(other.state[name].shape)
            if here != there:
                raise CommandError(
                    f"{name} has shape {here} in {first.path} and {there} in "
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
    """Write a network, whole or not at all, in the format that its suffix says.

    A file of :func:`torch.save` holds the state dict alone, without metadata.
    """
    with whole(path) as temporary:
        if path.suffix in PICKLES:
            torch.save(dict(state), temporary)
            return
        # Tensors with two names share memory, which the format refuses.
        tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
        # Not save_file, which tells a full disk as an error of the format.
        Path(temporary).write_bytes(save(tensors, metadata=metadata))


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
