"""The four commands."""

import argparse
import warnings
from collections import Counter
from typing import Any

import lmc
from lmc.command import checkpoints, models
from lmc.command.errors import CommandError
from lmc.command.job import Job, discovered, refusals
from lmc.command.output import Said
from lmc.features import l2_distance
from lmc.graph import State
from lmc.interpolation import LAMBDAS, deviations, interpolate
from lmc.merging import HOW_TO_RESET, MergeWarning
from lmc.repairing import STALE_STATISTICS, Repair
from lmc.report import alignments, guessing, score_of


def symmetry(options: argparse.Namespace, say: Said) -> None:
    """Show a model's groups."""
    model = models.build(options.model, options.model_args)
    inputs = models.example(options.model, options.input_shape, options.input_dtype)
    found = discovered(model, inputs, options.symmetry, say)
    rows = found.rows()
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
    job = Job(options, say)
    (a, b), files = job.states, job.files
    with refusals():
        found = job.match(job.symmetry, a, b, job.batches, job.generator())
    # As stored: half precision goes back to the file as it came.
    job.write(
        files[1],
        found.apply(files[1].state),
        {"method": options.method, "matched-to": files[0].path.name},
    )
    graph, moved = job.symmetry.graph, found.apply(b)
    # Each tensor once, as in the objective, whatever names it has.
    parameters = [n for n in graph.parameters if graph.aliases[n][0] == n]
    say.result(
        {
            "written": str(options.out),
            "method": options.method,
            "distance before": l2_distance(a, b, parameters),
            "distance": l2_distance(a, moved, parameters),
        },
        [
            {"layer": of.layer, "cosine before": of.before, "after": of.after}
            for of in alignments(graph, (a, b), (a, moved))
        ],
    )


def merge(options: argparse.Namespace, say: Said) -> None:
    """Match, average, repair."""
    if len(options.checkpoints) < 2:
        raise CommandError("nothing to merge: give at least two files")
    if options.many == "cycle-consistent" and options.method != "weights":
        raise CommandError(
            "cycle-consistent matching goes by weights: pass --method weights"
        )
    job = Job(options, say)
    with refusals(), warnings.catch_warnings():
        warnings.simplefilter("ignore", MergeWarning)  # they are said below
        found = lmc.merge(
            job.model,
            job.states,
            job.batches,
            # Cycle-consistent matching takes no function.
            match="weights" if options.many == "cycle-consistent" else job.match,
            many=options.many,
            renormalize=options.renormalize,
            generator=job.generator(),
            symmetry=job.symmetry,
            metric=job.metric,
        )
    job.write(
        job.files[0],
        found.state,
        {
            "method": options.method,
            "renormalize": found.renormalization,
            "merged": " ".join(file.path.name for file in job.files),
        },
    )
    for text in found.warnings:
        text = text.replace(HOW_TO_RESET, "pass --data FOLDER and --renormalize reset")
        say.warning(text)
    say.result(
        {
            "written": str(options.out),
            "networks": {
                str(number): str(file.path)
                for number, file in enumerate(job.files, start=1)
            },
            "method": options.method,
            "rounds": found.rounds,
            "renormalization": found.renormalization,
            "cosine of weights before": found.report.cosine_before,
            "cosine of weights": found.report.cosine,
        },
        found.report.rows(),
    )


def barrier(options: argparse.Namespace, say: Said) -> None:
    """Measure and draw the curve between two networks."""
    job = Job(options, say)
    a, b = job.states
    graph = job.symmetry.graph
    rows: list[dict[str, Any]] = []
    with refusals():
        found = job.match(job.symmetry, a, b, job.batches, job.generator())
        b = found.apply(b)
        repair = Repair(graph, (a, b), job.batches, options.renormalize)
        for lam in LAMBDAS:
            say.progress(f"evaluating lambda {lam:.1f}")
            state: State = interpolate(a, b, lam)
            if 0 < lam < 1:
                state = repair(state, lam)
            score, chance, samples = score_of(job.model, state, job.batches, job.metric)
            if lam in (0, 1):
                file = str(options.checkpoints[int(lam)])
                if text := guessing(file, score, chance, samples):
                    say.warning(text)
            rows.append({"lambda": lam, "loss": score.loss, "accuracy": score.accuracy})
    if graph.batch_norms and repair.method != "reset":
        say.warning(f"{STALE_STATISTICS}: pass --renormalize reset")
    losses = [row["loss"] for row in rows]
    summary = {"loss barrier, nats": max(deviations(LAMBDAS, losses))}
    if job.metric is not None:
        summary = {"barrier of the metric": max(deviations(LAMBDAS, losses))}
        for row in rows:
            del row["accuracy"]
    else:
        errors = [-row["accuracy"] for row in rows]
        summary["accuracy barrier, points"] = max(deviations(LAMBDAS, errors))
    if options.plot is not None:
        _draw(rows, options)
    say.result(
        {
            **summary,
            "matched by": options.method,
            "renormalization": repair.method,
            "plot": None if options.plot is None else str(options.plot),
        },
        rows,
    )


def _draw(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise CommandError("--plot needs matplotlib: pip install matplotlib") from error
    labels = {"loss": "loss, nats", "accuracy": "accuracy, %"}
    if options.metric is not None:
        labels = {"loss": options.metric}
    figure = Figure(figsize=(4.5 * len(labels), 3.5), layout="constrained")
    for axes, (key, label) in zip(
        figure.subplots(1, len(labels), squeeze=False)[0], labels.items(), strict=True
    ):
        values = [row[key] for row in rows]
        axes.plot(LAMBDAS, values, marker="o")
        axes.plot((0, 1), (values[0], values[-1]), linestyle="--", color="grey")
        axes.set_xlabel("lambda: A at 0, B at 1")
        axes.set_ylabel(label)
    with checkpoints.whole(options.plot) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
