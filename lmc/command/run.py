"""The four commands."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from lmc.certificate import CertificateError
from lmc.command import Said, checkpoints, data, models
from lmc.command.checkpoints import Checkpoint
from lmc.command.errors import CommandError
from lmc.discovery import discover
from lmc.features import l2_distance
from lmc.graph import State, TraceError
from lmc.interpolation import LAMBDAS, Curve, average, evaluate, interpolate
from lmc.matching import (
    Matching,
    activation_matching,
    match_consistently,
    match_iteratively,
    match_sequentially,
    match_to_reference,
    straight_through,
    weight_matching,
)
from lmc.renormalization import averaged_statistics, renormalize, reset, statistics
from lmc.symmetry import Symmetry


def symmetry(options: argparse.Namespace, say: Said) -> None:
    """Show a model's groups."""
    model = models.build(options.model, options.model_args)
    inputs = models.example(options.model, options.input_shape, options.input_dtype)
    found = _discovered(model, inputs, say)
    rows = [
        {
            "group": group.name,
            "size": group.size,
            "copies": group.copies,
            "inside": group.parent,
            "sites": len(group.sites),
        }
        for group in found.groups.values()
    ]
    pinned = Counter(entry.reason.partition(" (node")[0] for entry in found.pinned)
    say.result(
        {
            "model": options.model,
            "groups": len(rows),
            "units": sum(g.size * g.copies for g in found.groups.values()),
            "pinned axes": dict(pinned.most_common()),
            "refused": list(found.refused) or None,
            "certificate": str(found.certificate),
        },
        rows,
    )


def match(options: argparse.Namespace, say: Said) -> None:
    """Permute B."""
    job = _Job(options, say)
    a, b = job.files
    found = job.matcher(options.method)(job.states[0], job.states[1])
    permuted = found.permutation.apply({n: t.to("cpu") for n, t in b.state.items()})
    job.write(b, permuted, {"method": options.method, "matched-to": a.path.name})
    graph = job.symmetry.graph
    # Each tensor once, as in the objective, whatever names it has.
    parameters = [n for n in graph.parameters if graph.aliases[n][0] == n]
    say.result(
        {
            "written": str(options.out),
            "method": options.method,
            "objective before": found.history[0],
            "objective": found.objective,
            "distance before": l2_distance(a.running(), b.running(), parameters),
            "distance": l2_distance(a.running(), permuted, parameters),
            "assignment problems": found.solves,
            "matching, s": found.seconds,
        },
        [],
    )


def merge(options: argparse.Namespace, say: Said) -> None:
    """Match, average, repair."""
    if len(options.checkpoints) < 2:
        raise CommandError("nothing to merge: give at least two files")
    if options.renormalize != "none" and options.data is None:
        raise CommandError(
            f"--renormalize {options.renormalize} takes statistics on images: pass "
            "--data FOLDER"
        )
    job = _Job(options, say)
    states, rounds = job.matched_together()
    merged: State = average(states)
    if options.renormalize != "none":
        merged = job.repaired(states, merged)
    job.write(
        job.files[0],
        merged,
        {
            "method": options.method,
            "renormalize": options.renormalize,
            "merged": " ".join(file.path.name for file in job.files),
        },
    )
    summary = {
        "written": str(options.out),
        "networks": len(states),
        "method": options.method,
        "rounds": rounds,
        "renormalization": options.renormalize,
    }
    rows = []
    if options.data is not None:
        job.check_classes()
        for name, state in [
            *((str(f.path), s) for f, s in zip(job.files, states, strict=True)),
            (str(options.out), merged),
        ]:
            say.progress(f"evaluating {name}")
            measured = evaluate(job.model, state, job.batches())
            rows.append(
                {"network": name, "loss": measured.loss, "accuracy": measured.accuracy}
            )
    say.result(summary, rows)


def barrier(options: argparse.Namespace, say: Said) -> None:
    """Measure and draw the curve between two networks."""
    job = _Job(options, say)
    job.check_classes()
    a, b = job.states
    if options.method != "none":
        b = job.matcher(options.method)(a, b).permutation.apply(b)
    points = []
    for lam in LAMBDAS:
        say.progress(f"evaluating lambda {lam:.1f}")
        points.append(evaluate(job.model, interpolate(a, b, lam), job.batches()))
    curve = Curve(
        LAMBDAS,
        tuple(point.loss for point in points),
        tuple(point.accuracy for point in points),
    )
    if options.plot is not None:
        _draw(curve, options)
    say.result(
        {
            "loss barrier, nats": curve.loss_barrier,
            "accuracy barrier, points": curve.accuracy_barrier,
            "matched by": options.method,
            "plot": None if options.plot is None else str(options.plot),
        },
        [
            {"lambda": lam, "loss": loss, "accuracy": accuracy}
            for lam, loss, accuracy in zip(
                LAMBDAS, curve.loss, curve.accuracy, strict=True
            )
        ],
    )


class _Job:
    """Files, model, symmetry and images of a command, checked before anything long."""

    def __init__(self, options: argparse.Namespace, say: Said):
        self._options = options
        self._say = say
        out = getattr(options, "out", None) or getattr(options, "plot", None)
        if out is not None:
            checkpoints.check_output(out, options.checkpoints, options.force)
        self.files = [checkpoints.read(path) for path in options.checkpoints]
        checkpoints.check_alike(self.files)
        try:
            self.device = torch.device(options.device)
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise CommandError(f"--device {options.device}: {error}") from error
        self.model = models.build(options.model, options.model_args)
        for file in self.files:
            checkpoints.check_fit(file, self.model)
        self.model.load_state_dict(self.files[0].running())
        inputs = models.example(options.model, options.input_shape, options.input_dtype)
        self._shape = tuple(inputs.shape[1:])
        self._images = self._read_images() if options.data is not None else None
        self.symmetry = _discovered(self.model, inputs, say)
        self.model.to(self.device)
        self.states: list[State] = [
            {name: tensor.to(self.device) for name, tensor in file.running().items()}
            for file in self.files
        ]

    def matcher(self, method: str) -> Callable[[State, State], Matching]:
        """A function that matches its second network to its first."""
        generator = torch.Generator().manual_seed(self._options.seed)
        if method != "weights" and self._images is None:
            raise CommandError(f"matching by {method} needs images: pass --data FOLDER")

        def matched(a: State, b: State) -> Matching:
            self._say.progress(f"matching by {method}")
            try:
                if method == "weights":
                    return weight_matching(self.symmetry, a, b, generator=generator)
                if method == "activations":
                    return activation_matching(self.symmetry, a, b, self.batches())
                return straight_through(
                    self.symmetry, a, b, self.batches(), generator=generator
                )
            except ValueError as error:
                raise CommandError(str(error)) from error

        return matched

    def matched_together(self) -> tuple[list[State], int]:
        """The networks permuted so that they may be averaged; rounds it took."""
        options, states = self._options, self.states
        if options.method == "none":
            return states, 0
        if options.many == "cycle-consistent" and len(states) > 2:
            if options.method != "weights":
                raise CommandError(
                    "cycle-consistent matching goes by weights: pass --method weights"
                )
            self._say.progress("matching all networks together")
            try:
                found = match_consistently(self.symmetry, states)
            except ValueError as error:
                raise CommandError(str(error)) from error
            return list(found.apply(states)), found.rounds
        match = self.matcher(options.method)
        if len(states) == 2 or options.many == "reference":
            found = match_to_reference(states, match)
        elif options.many == "sequential":
            found = match_sequentially(states, match)
        else:
            generator = torch.Generator().manual_seed(options.seed)
            found = match_iteratively(states, match, generator=generator)
        return list(found.apply(states)), found.rounds

    def repaired(self, states: Sequence[State], merged: State) -> State:
        """The merged network with its endpoints' statistics."""
        method, graph = self._options.renormalize, self.symmetry.graph
        self._say.progress(f"renormalizing: {method}")
        try:
            if method == "reset":
                return reset(graph, merged, self.batches())
            goal = averaged_statistics(
                [statistics(graph, state, self.batches()) for state in states]
            )
            found = renormalize(method, graph, merged, goal, self.batches())
            return found.fuse(merged)
        except ValueError as error:
            raise CommandError(f"--renormalize {method}: {error}") from error

    def batches(self) -> Any:
        """The images, with a count on stderr while they are gone through."""
        assert self._images is not None
        return _Counted(self._images[0], self._say)

    def check_classes(self) -> None:
        """Raise unless the model has a logit for each class of the images."""
        assert self._images is not None
        batches, classes = self._images
        images, _ = next(iter(batches))
        with torch.no_grad():
            logits = self.model(images[:2])
        if not isinstance(logits, Tensor) or logits.ndim != 2:
            raise CommandError(
                "the model returns no logits (samples x classes): it cannot be "
                "evaluated"
            )
        if logits.shape[1] != len(classes):
            raise CommandError(
                f"--data {self._options.data} has {len(classes)} classes, the model "
                f"{logits.shape[1]} logits: pass a folder with one folder a logit"
            )

    def write(self, like: Checkpoint, state: State, own: dict[str, str]) -> None:
        """Write a network with the metadata and dtypes of an input."""
        own = {"lmc-version": _version(), **{f"lmc-{k}": v for k, v in own.items()}}
        on_cpu = {name: tensor.cpu() for name, tensor in state.items()}
        checkpoints.write(
            self._options.out, like.as_stored(on_cpu), {**like.metadata, **own}
        )

    def _read_images(self) -> tuple[data.Batches, list[str]]:
        options = self._options
        plain = (0.5,) * self._shape[0] if self._shape[0] != 3 else None
        return data.images(
            options.data,
            shape=self._shape,
            mean=options.mean or plain or data.MEAN,
            std=options.std or plain or data.STD,
            batch_size=options.batch_size,
            samples=options.samples,
            seed=options.seed,
            device=self.device,
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


def _discovered(model: nn.Module, inputs: Tensor, say: Said) -> Symmetry:
    say.progress("discovering and certifying the permutation symmetry")
    try:
        return discover(model, inputs)
    except (TraceError, CertificateError) as error:
        shape = tuple(inputs.shape)
        raise CommandError(f"with inputs of shape {shape}: {error}") from error


def _draw(curve: Curve, options: argparse.Namespace) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CommandError("--plot needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for axes, values, label in zip(
        figure.subplots(1, 2),
        (curve.loss, curve.accuracy),
        ("loss, nats", "accuracy, %"),
        strict=True,
    ):
        axes.plot(curve.lambdas, values, marker="o")
        ends = (values[0], values[-1])
        axes.plot((0, 1), ends, linestyle="--", color="grey")
        axes.set_xlabel("lambda: A at 0, B at 1")
        axes.set_ylabel(label)
    with checkpoints.whole(options.plot) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _version() -> str:
    try:
        return version("linear-mode-connectivity")
    except PackageNotFoundError:
        return "unknown"
