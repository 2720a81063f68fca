"""Tensors that a model keeps for its next call, outside its state dict.

Some models keep what they compute from their parameters, in evaluation mode, in a
plain attribute (the tables of relative positions of LeViT and TinyViT).  Run with
other parameters, such a model would go on with those of its first call.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

T = TypeVar("T")

_OWN = frozenset(vars(nn.Module()))
"""Attributes of every module, its parameters, buffers and submodules among them."""


def forgetful(model: nn.Module, run: Callable[[], T]) -> T:
    """Run a model without what it keeps from other calls, and leave it as it was.

    Parameters
    ----------
    model
        The model, of which plain attributes, and dictionaries and lists in them, are
        restored.
    run
        Calls the model.  Called once more, with the tensors that dictionaries in
        attributes hold, where it fails without them: these are constants, then.

    Returns
    -------
    object
        What ``run`` returns.
    """
    with _restored(model):
        if not _forget(model):
            return run()
        try:
            return run()
        except Exception:
            pass  # raised again below, unless a constant was missing
    with _restored(model):
        return run()


def kept_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors in plain attributes, and in dictionaries and lists there."""
    for module in model.modules():
        for _, value in _plain(module):
            values = value.values() if isinstance(value, dict) else value
            inside = values if isinstance(value, (dict, list, tuple)) else (value,)
            yield from (v for v in inside if isinstance(v, Tensor))


def _plain(module: nn.Module) -> list[tuple[str, Any]]:
    return [item for item in vars(module).items() if item[0] not in _OWN]


def _forget(model: nn.Module) -> bool:
    """Take tensors out of dictionaries in attributes; whether there were any."""
    found = False
    for module in model.modules():
        for _, value in _plain(module):
            if isinstance(value, dict):
                tensors = [key for key, v in value.items() if isinstance(v, Tensor)]
                found = found or bool(tensors)
                for key in tensors:
                    del value[key]
    return found


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Restore what modules have in plain attributes."""
    before = [
        (module, name, value, copy.copy(value) if type(value) in (dict, list) else None)
        for module in model.modules()
        for name, value in _plain(module)
    ]
    try:
        yield
    finally:
        known = {(id(module), name) for module, name, _, _ in before}
        for module in model.modules():
            for name, _ in _plain(module):
                if (id(module), name) not in known:
                    delattr(module, name)
        for module, name, value, content in before:
            if vars(module).get(name) is not value:
                setattr(module, name, value)
            if isinstance(value, dict) and isinstance(content, dict):
                value.clear()
                value.update(content)
            elif isinstance(value, list) and isinstance(content, list):
                value[:] = content
