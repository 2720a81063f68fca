"""Symmetries on disk, so that large models are discovered and certified once."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmc.graph import Graph, trace
from lmc.symmetry import Activation, Certificate, Group, Pinned, Site, Symmetry


def save_symmetry(symmetry: Symmetry, path: str | Path) -> None:
    """Write a symmetry to a file, with a key of its architecture.

    The file is one of safetensors: positions of units are its tensors, all else is JSON
    in its metadata.  The model's graph is not in it: :func:`load_symmetry` takes it
    anew.

    Parameters
    ----------
    symmetry
        Of a model.
    path
        The file, which is overwritten.

    Raises
    ------
    ImportError
        safetensors is not installed.
    """
    from safetensors.torch import save_file

    groups, tensors = [], dict[str, Tensor]()
    for number, group in enumerate(symmetry.groups.values()):
        places: dict[str, Sequence[Site | Activation]] = {
            "site": group.sites,
            "activation": group.activations,
        }
        for kind, of_kind in places.items():
            for place, found in enumerate(of_kind):
                tensors[f"{number}.{kind}.{place}"] = found.positions.contiguous()
        groups.append(
            {
                "name": group.name,
                "size": group.size,
                "sites": [[site.name, site.axes] for site in group.sites],
                "activations": [[a.node, a.axes] for a in group.activations],
                "parent": group.parent,
                "copies": group.copies,
            }
        )
    certificate = symmetry.certificate
    held = {
        "architecture": _architecture(symmetry.graph, symmetry.shapes),
        "torch": torch.__version__,
        "groups": groups,
        "pinned": [asdict(entry) for entry in symmetry.pinned],
        "refused": symmetry.refused,
        "certificate": None if certificate is None else asdict(certificate),
    }
    save_file(tensors, path, metadata={"symmetry": json.dumps(held)})


def load_symmetry(path: str | Path, model: nn.Module, *example_inputs: Any) -> Symmetry:
    """Read a symmetry, for the architecture that it was found for.

    Takes as long as ``torch.export`` of the model, and no certificate is made: it is
    that of the file.

    Parameters
    ----------
    path
        A file of :func:`save_symmetry`.
    model, *example_inputs
        As for :func:`lmc.discover`.

    Returns
    -------
    Symmetry

    Raises
    ------
    ValueError
        The file holds no symmetry, or that of another architecture; or the model has no
        graph, as for :func:`lmc.discover`.
    ImportError
        safetensors is not installed.

    Examples
    --------
    >>> import lmc, tempfile
    >>> from lmc.models import MLP
    >>> model, x = MLP((4, 3, 2)).eval(), torch.zeros(2, 4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     lmc.save_symmetry(lmc.discover(model, x), f"{folder}/mlp")
    ...     lmc.load_symmetry(f"{folder}/mlp", model, x).groups["1"].size
    3
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            held = json.loads((file.metadata() or {})["symmetry"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{path} holds no symmetry: give a file of lmc.save_symmetry"
        ) from error
    graph = trace(model, *example_inputs)
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    if held["architecture"] != _architecture(graph, shapes):
        raise ValueError(
            f"{path} holds the symmetry of another architecture (or of its graph by "
            f"another version of torch: that was {held['torch']}, this is "
            f"{torch.__version__}): discover it anew"
        )
    groups = {}
    for number, entry in enumerate(held["groups"]):
        sites = tuple(
            Site(name, tuple(axes), tensors[f"{number}.site.{place}"])
            for place, (name, axes) in enumerate(entry.pop("sites"))
        )
        activations = tuple(
            Activation(node, tuple(axes), tensors[f"{number}.activation.{place}"])
            for place, (node, axes) in enumerate(entry.pop("activations"))
        )
        groups[entry["name"]] = Group(sites=sites, activations=activations, **entry)
    certificate = held["certificate"]
    if certificate is not None:
        lists = {k: tuple(v) for k, v in certificate.items() if isinstance(v, list)}
        certificate = Certificate(**{**certificate, **lists})
    return Symmetry(
        groups,
        tuple(Pinned(**entry) for entry in held["pinned"]),
        tuple(held["refused"]),
        shapes,
        graph,
        certificate,
    )


def _architecture(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A key of a model's operations and of its tensors' shapes."""
    operations = [
        [node.op, node.name, str(node.target), str(node.args), str(node.kwargs)]
        for node in graph.nodes
    ]
    text = json.dumps(
        [operations, {name: list(shape) for name, shape in shapes.items()}]
    )
    return hashlib.sha256(text.encode()).hexdigest()
