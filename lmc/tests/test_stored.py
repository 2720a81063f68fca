"""Symmetries that were written are those that were discovered."""

import pytest
import torch
from safetensors.torch import save_file

import lmc
from lmc.models import MLP, VGG
from lmc.permutation import Permutation
from lmc.tests.networks import normal, precise


def transformer():
    """A model with groups inside groups and with pinned axes."""
    layer = torch.nn.TransformerEncoderLayer(8, 2, 6, batch_first=True)
    return torch.nn.Sequential(torch.nn.Linear(3, 8), layer)


MODELS = {
    "mlp": (MLP((3, 5, 2)), normal(2, 3)),
    "vgg": (VGG((4, "M", 6), norm="bn", in_channels=1), normal(2, 1, 8, 8)),
    "transformer": (transformer(), normal(2, 4, 3)),
}


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_read_is_what_was_written(tmp_path, kind):
    """All of it, for another instance of the architecture and another batch size."""
    model, x = precise(MODELS[kind][0]), MODELS[kind][1]
    found = lmc.discover(model, x)
    lmc.save_symmetry(found, tmp_path / "s")
    again = lmc.load_symmetry(tmp_path / "s", model, torch.cat([x, x, x]))
    assert again.pinned == found.pinned and again.refused == found.refused
    assert again.certificate == found.certificate and again.shapes == found.shapes
    assert list(again.groups) == list(found.groups)
    for group, other in zip(found.groups.values(), again.groups.values(), strict=True):
        for key in ("name", "size", "parent", "copies"):
            assert getattr(group, key) == getattr(other, key)
        assert [(s.name, s.axes) for s in group.sites] == [
            (s.name, s.axes) for s in other.sites
        ]
        assert [(s.node, s.axes) for s in group.activations] == [
            (s.node, s.axes) for s in other.activations
        ]
        for kind in ("sites", "activations"):
            both = zip(getattr(group, kind), getattr(other, kind), strict=True)
            assert all(torch.equal(a.positions, b.positions) for a, b in both)
    shuffle = Permutation.random(again, torch.Generator().manual_seed(0))
    lmc.certify(again, model, model.state_dict(), x, permutation=shuffle)


def test_another_architecture_is_refused(tmp_path):
    """Other shapes, and other operations on the same shapes."""
    model, x = precise(MLP((3, 5, 2))), normal(2, 3)
    lmc.save_symmetry(lmc.discover(model, x), tmp_path / "s")
    wider = precise(MLP((3, 6, 2)))
    smooth = torch.nn.Sequential(*model)
    smooth[2] = torch.nn.Tanh()
    for other in (wider, smooth.eval()):
        with pytest.raises(ValueError, match=r"of another architecture.*discover it"):
            lmc.load_symmetry(tmp_path / "s", other, x)


def test_a_file_of_something_else_is_refused(tmp_path):
    """Weights, and what is no file of safetensors."""
    save_file({"w": torch.zeros(1)}, tmp_path / "weights")
    (tmp_path / "text").write_text("groups")
    for name in ("weights", "text"):
        with pytest.raises(ValueError, match=r"no symmetry: give a file of lmc\.save"):
            lmc.load_symmetry(tmp_path / name, precise(MLP((3, 5, 2))), normal(2, 3))


def test_without_a_certificate(tmp_path):
    """The groups are the same; that there is none is kept, and shown."""
    model, x = precise(MLP((3, 5, 2))), normal(2, 3)
    found = lmc.discover(model, x, certify=False)
    assert found.certificate is None and "not certified" in repr(found)
    assert list(found.groups) == list(lmc.discover(model, x).groups)
    lmc.save_symmetry(found, tmp_path / "s")
    assert lmc.load_symmetry(tmp_path / "s", model, x).certificate is None


def test_reprs_are_short():
    """Groups as a table, a matching in three lines, a permutation in one."""
    model, x = precise(VGG((4, "M", 6), in_channels=1)), normal(2, 1, 8, 8)
    symmetry, state = lmc.discover(model, x), model.state_dict()
    lines = repr(symmetry).splitlines()
    assert lines[0].startswith("Symmetry of 2 groups; relative difference ")
    assert [line.split()[:2] for line in lines[1:]] == [
        ["group", "size"],
        ["features.0", "4"],
        [list(symmetry.groups)[1], "6"],
    ]
    generator = torch.Generator().manual_seed(0)
    shuffle = Permutation.cyclic(symmetry, generator)
    assert repr(shuffle) == "Permutation of 2 groups: 10 of 10 units move"
    found = lmc.weight_matching(
        symmetry, state, shuffle.apply(state), generator=generator
    )
    lines = repr(found).splitlines()
    assert len(lines) == 3 and lines[0] == repr(found.permutation)
    assert lines[1].startswith(f"objective {found.history[0]:.6g} at the start, ")
    many = lmc.match_to_reference(symmetry, [state, state], generator=generator)
    assert len(repr(many).splitlines()) == 3
