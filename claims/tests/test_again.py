"""The same networks again: what counts as rounding, and what is told where not."""

import numpy as np
import pytest

from claims import __main__ as command
from claims import again
from fixtures import scales, store, task

GRAIN = 100 / scales.get(again.SCALE).test_images
ACCURACY = [90 * GRAIN, 91 * GRAIN]


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file of its own to keep values in."""
    path = tmp_path / "again.json"
    monkeypatch.setattr(again, "FILE", path)
    return path


def told(found, kept, here=True, name="losses mlp"):
    return again.differences(name, {"loss": found}, {"loss": kept}, here)


def test_here_only_rounding_is_no_difference():
    """Of a machine and versions like those on file, not one image may change."""
    assert not told([1.0, 2.0], [1.0 + 1e-9, 2.0])
    [line] = told([1.0, 2.0], [1.0, 2.0001])
    assert line == (
        "losses mlp: loss was 1, 2.0001 and is 1, 2, off by 0.0001 where 2e-06 is "
        "rounding"
    )
    assert told(ACCURACY, [ACCURACY[0] + GRAIN, ACCURACY[1]])


def test_elsewhere_a_few_images_and_a_hundredth_are_rounding():
    three, four = ([a + k * GRAIN for a in ACCURACY] for k in (3, 4))
    assert not told(ACCURACY, three, here=False) and told(ACCURACY, four, here=False)
    assert not told([0.0123], [0.01235], here=False)
    assert told([0.0123], [0.0130], here=False)


def test_elsewhere_what_is_trained_is_not_compared():
    """The last bits of a step decide about all later ones."""
    name = "activations/fast-recovery plain-vgg weights"
    assert not told([1.23], [4.56], here=False, name=name)
    assert told([1.23], [4.56], here=True, name=name)


@pytest.mark.parametrize("here", [True, False])
def test_what_is_not_a_number_or_not_there_differs(here):
    assert told([np.nan], [1.0], here) and told([np.nan], [np.nan], here)
    assert "has 1 values, not 2" in told([1.0], [1.0, 2.0], here)[0]
    [line] = again.differences("a", {"x": [1.0]}, {"y": [1.0]}, here)
    assert line == "a: x, y is measured now or then, not both"


def test_values_are_kept_with_reasons(file):
    """What was never measured is told with the command that accepts it."""
    values = {"losses mlp": {"loss": [1.0, 2.0]}}
    [line] = again.compared(values)
    assert "never measured on the fixed networks: accept it by `python -m" in line
    again.accept(values, "the first")
    assert again.compared(values) == []
    again.accept({"losses mlp": {"loss": [1.0, 3.0]}}, "a bug in x")
    assert [reason["why"] for reason in again.kept()["reasons"]] == [
        "the first",
        "a bug in x",
    ]
    assert again.kept()["where"] == again.where()
    assert len(again.compared(values)) == 1


def test_values_of_another_machine_have_more_room(file, monkeypatch):
    again.accept({"losses mlp": {"loss": [1.0]}}, "the first")
    found = {"losses mlp": {"loss": [1.001]}}
    assert again.compared(found)
    monkeypatch.setattr(task, "machine", lambda: {"type": "riscv"})
    assert not again.compared(found)


def test_the_fixed_networks_are_those_of_the_pack(tmp_path, monkeypatch):
    """Whatever this machine has trained from the same recipes, and nothing is."""
    monkeypatch.setenv("LMC_CACHE", str(tmp_path))
    monkeypatch.setenv("LMC_TRAIN", "never")
    monkeypatch.delenv("LMC_PACK")
    bench = again.fixed()
    for name in again.SETTINGS:
        seeds = [network.seed for network in bench.setting(name).networks(4)]
        assert seeds == [0, 1, 2, 3]
    monkeypatch.setattr(store, "packed", lambda *_: store.network(*_))
    with pytest.raises(FileNotFoundError, match="mlp seed 0 of scale digits is not in"):
        again.fixed()


def test_the_command_accepts_with_a_reason_only(file, monkeypatch, capsys):
    monkeypatch.setattr(again, "fixed", lambda: None)
    monkeypatch.setattr(again, "names", lambda: ["losses mlp"])
    monkeypatch.setattr(again, "measure", lambda *_: {"loss": [1.0]})
    assert command.main(["again"]) == 1 and not file.exists()
    assert command.main(["again", "--accept"]) == 2
    assert "say --why" in capsys.readouterr().err
    assert command.main(["again", "--accept", "--why", "new"]) == 0
    assert command.main(["again"]) == 0
    assert capsys.readouterr().out.endswith("0 differences\n")
    assert command.main(["again", "--accept", "--why", "no change"]) == 0
    assert len(again.kept()["reasons"]) == 1
