"""The files, the model, its symmetry and the images of a command."""

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmc.batches import logits_of
from lmc.certificate import CertificateError
from lmc.command import checkpoints, data, models
from lmc.command.checkpoints import Checkpoint
from lmc.command.errors import CommandError
from lmc.command.output import Said
from lmc.discovery import discover
from lmc.graph import State, TraceError
from lmc.matching import MATCHERS, Matcher
from lmc.matching.matchers import NEED_BATCHES
from lmc.permutation import Permutation
from lmc.report import Metric
from lmc.stored import load_symmetry, save_symmetry
from lmc.symmetry import Symmetry
from lmc.version import __version__


class Job:
    """What a command works on, checked before anything long is done.

    Attributes
    ----------
    files : list of Checkpoint
        The networks as they are stored.
    states : list of dict
        The networks as they run: in float32, on the device.
    model : torch.nn.Module
        The architecture, on the device.
    symmetry : Symmetry
        Its groups.
    metric : callable or None
        That of ``--metric``.
    """

    def __init__(self, options: argparse.Namespace, say: Said):
        self._options = options
        self._say = say
        out = getattr(options, "out", None) or getattr(options, "plot", None)
        if out is not None:
            checkpoints.check_output(out, options.checkpoints, options.force)
        self._match = _matcher(options.method)
        if options.data is None:
            _check_without_data(options)
        spec = getattr(options, "metric", None)
        self.metric: Metric | None = spec and models.imported("--metric", spec)
        self.files = [checkpoints.read(path) for path in options.checkpoints]
        checkpoints.check_alike(self.files)
        try:
            self._device = torch.device(options.device)
            float(torch.zeros((), device=self._device))
        except (RuntimeError, AssertionError) as error:
            raise CommandError(f"--device {options.device}: {error}") from error
        self.model = models.build(options.model, options.model_args)
        for file in self.files:
            checkpoints.check_fit(file, self.model)
        self.model.load_state_dict(self.files[0].running())
        inputs = models.example(options.model, options.input_shape, options.input_dtype)
        self._shape = tuple(inputs.shape[1:])
        self._images = self._read_images() if options.data is not None else None
        self.symmetry = discovered(self.model, inputs, options.symmetry, say)
        self.model.to(self._device)
        if self._images is not None:
            self._check_classes()
        self.states: list[State] = [
            {name: tensor.to(self._device) for name, tensor in file.running().items()}
            for file in self.files
        ]

    def generator(self) -> torch.Generator:
        """Return a new source of random numbers, of ``--seed``."""
        return torch.Generator().manual_seed(self._options.seed)

    def match(
        self,
        symmetry: Symmetry,
        a: State,
        b: State,
        batches: Any,
        generator: torch.Generator,
    ) -> Permutation:
        """Match as ``--method`` says, and say so."""
        self._say.progress(f"matching by {self._options.method}")
        return self._match(symmetry, a, b, batches, generator)

    @property
    def batches(self) -> Any:
        """The images, with a count on stderr as they are gone through; or None."""
        return None if self._images is None else _Counted(self._images[0], self._say)

    def write(self, like: Checkpoint, state: State, own: dict[str, str]) -> None:
        """Write a network with the metadata and dtypes of an input."""
        own = {"lmc-version": __version__, **{f"lmc-{k}": v for k, v in own.items()}}
        on_cpu = {name: tensor.cpu() for name, tensor in state.items()}
        checkpoints.write(
            self._options.out, like.as_stored(on_cpu), {**like.metadata, **own}
        )

    def _read_images(self) -> tuple[data.Batches, list[str]]:
        options = self._options
        plain = (0.5,) * self._shape[0] if self._shape[0] != 3 else None
        mean, std = options.mean or plain or data.MEAN, options.std or plain or data.STD
        found = data.images(
            options.data,
            shape=self._shape,
            mean=mean,
            std=std,
            batch_size=options.batch_size,
            samples=options.samples,
            seed=options.seed,
            device=self._device,
        )
        numbered = [f"{number} {name}" for number, name in enumerate(found[1])]
        if len(numbered) > 10:
            numbered[5:-3] = ["..."]
        self._say.progress(f"classes by their logits: {', '.join(numbered)}")
        self._say.progress(
            f"images scaled and cropped to {self._shape[1:]}, mean {mean}, std {std}"
        )
        return found

    def _check_classes(self) -> None:
        """Raise unless the model has a logit for each class of the images."""
        if self.metric is not None:
            return
        assert self._images is not None
        batches, classes = self._images
        images, _ = next(iter(batches))
        with torch.no_grad():
            logits = logits_of(self.model(images[:2]))
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise CommandError(
                "the model returns no logits (samples x classes): pass --metric "
                "package.module:function"
            )
        if logits.shape[1] != len(classes):
            raise CommandError(
                f"--data {self._options.data} has {len(classes)} classes, the model "
                f"{logits.shape[1]} logits: pass a folder with one folder a logit"
            )


class _Counted:
    """Batches that say on stderr how far they are, each quarter of the way."""

    def __init__(self, batches: data.Batches, say: Said):
        self._batches = batches
        self._say = say

    def __iter__(self) -> Iterator[Any]:
        total = len(self._batches)
        marks = {total * part // 4 for part in (1, 2, 3)} if total >= 20 else set()
        for number, batch in enumerate(self._batches, start=1):
            yield batch
            if number in marks:
                self._say.progress(f"  batch {number} of {total}")


def discovered(
    model: nn.Module, inputs: Tensor, kept: Path | None, say: Said
) -> Symmetry:
    """Return a model's symmetry: that of a file, where there is one, or a new one."""
    if kept is not None and kept.exists():
        say.progress(f"reading the permutation symmetry from {kept}")
        with refusals():
            return load_symmetry(kept, model, inputs)
    say.progress("discovering and certifying the permutation symmetry")
    try:
        found = discover(model, inputs)
    except (TraceError, CertificateError) as error:
        shape = tuple(inputs.shape)
        raise CommandError(f"with inputs of shape {shape}: {error}") from error
    if kept is not None:
        with checkpoints.whole(kept) as temporary:
            save_symmetry(found, temporary)
    return found


def _matcher(method: str) -> Matcher:
    """The matcher of ``--method``, a name or one's own."""
    if ":" in method:
        found: Matcher = models.imported("--method", method)
        return found
    if method not in MATCHERS:
        raise CommandError(
            f"--method {method}: choose {', '.join(MATCHERS)}, or "
            "package.module:function"
        )
    return MATCHERS[method]


def _check_without_data(options: argparse.Namespace) -> None:
    if options.method in NEED_BATCHES:
        raise CommandError(
            f"matching by {options.method} needs images: pass --data FOLDER"
        )
    if getattr(options, "renormalize", "none") not in ("auto", "none"):
        raise CommandError(
            f"--renormalize {options.renormalize} takes statistics on images: pass "
            "--data FOLDER"
        )


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Within it, what the library refuses is an error of the command."""
    try:
        yield
    except ValueError as error:
        raise CommandError(str(error)) from error
