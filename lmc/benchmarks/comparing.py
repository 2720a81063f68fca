"""Two ways to compute the same thing: time and memory, measured in turns."""

import argparse
import json
import statistics
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Comparison:
    """What two ways to compute the same thing take.

    Attributes
    ----------
    what
        The two ways.
    baseline, ours
        What each repetition took; those of one number were taken one after the other.
    same
        What was compared of the results.
    unit
        Of what they took: seconds or megabytes.
    """

    what: str
    baseline: tuple[float, ...]
    ours: tuple[float, ...]
    same: str
    unit: str = "s"

    @property
    def ratios(self) -> list[float]:
        """How many times less ours takes, for each repetition."""
        return [b / o for b, o in zip(self.baseline, self.ours, strict=True)]

    def line(self) -> str:
        """Write a row of the table."""
        ratios = sorted(self.ratios)
        return (
            f"{self.what:<66} {statistics.median(self.baseline):8.3f} {self.unit:<2}"
            f" {statistics.median(self.ours):8.3f} {self.unit:<2}"
            f" {statistics.median(ratios):6.2f} [{ratios[0]:.2f}..{ratios[-1]:.2f}]"
            f"  {self.same}"
        )


def wall_seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call takes, and what it returned."""
    start = time.perf_counter()
    found = run()
    return time.perf_counter() - start, found


def cpu_seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor's time for a call, and what it returned.

    Other programs on the machine hardly change it.
    """
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def megabytes(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return how much memory a call's tensors have at most, and what it returned.

    Examples
    --------
    >>> import torch
    >>> megabytes(lambda: sum(torch.ones(1000, 250) for _ in range(9)).shape)
    (3.0, torch.Size([1000, 250]))
    """
    with _Peak() as peak:
        found = run()
    return peak.most / 1e6, found


class _Peak(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, while they are there."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self._now = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        made = func(*args, **(kwargs or {}))
        known = {_key(tensor) for tensor in _tensors((args, kwargs))}
        for tensor in _tensors(made):
            if _key(tensor) not in known | self._counted:  # else it is a view
                self._count(tensor)
        self.most = max(self.most, self._now)
        return made

    def _count(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        self._counted.add(key)
        self._now += storage.nbytes()
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._counted.remove(key)
        self._now -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _key(tensor: Tensor) -> int:
    """Number of the storage of a tensor, while it is there."""
    return tensor.untyped_storage()._cdata


MEASURES = {
    "time": (wall_seconds, "s"),
    "processor": (cpu_seconds, "s"),
    "memory": (megabytes, "MB"),
}
"""What can be compared: by what function, in what unit."""


def compare(
    what: str,
    baseline: Callable[[], Any],
    ours: Callable[[], Any],
    same: Callable[[Any, Any], str],
    repeats: int,
    by: str = "time",
) -> Comparison:
    """Measure two ways in turns; raise ``AssertionError`` if results differ.

    Parameters
    ----------
    what
        The two ways, in words.
    baseline, ours
        What is measured.
    same
        Asserts that two results agree, and says in what.
    repeats
        Number of turns.
    by
        What is compared, one of :data:`MEASURES`.
    """
    measure, unit = MEASURES[by]
    taken: tuple[list[float], list[float]] = ([], [])
    said = ""
    for _ in range(repeats):
        results = []
        for run, numbers in zip((baseline, ours), taken, strict=True):
            number, found = measure(run)
            numbers.append(number)
            results.append(found)
        said = same(*results)
    return Comparison(what, tuple(taken[0]), tuple(taken[1]), said, unit)


def report(comparisons: Sequence[Comparison], path: str | None) -> None:
    """Write comparisons as JSON, if a path is given."""
    if path is not None:
        with open(path, "w", encoding="utf-8") as file:
            json.dump([asdict(found) for found in comparisons], file, indent=1)


def arguments(prog: str, about: str | None, given: Sequence[str] | None) -> Any:
    """Read the options that all benchmarks have."""
    parser = argparse.ArgumentParser(prog=prog, description=about)
    parser.add_argument("--quick", action="store_true", help="small sizes, to try it")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write what was measured too")
    return parser.parse_args(given)
