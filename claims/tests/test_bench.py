"""The bench measures what it says, once."""

import pytest
import torch

import lmc
from claims import bench as module
from claims.bench import Bench
from fixtures import datasets, store


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A store of its own, with four small networks after the first use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def mlp(cache):
    return Bench("digits", 4, "cpu").setting("mlp")


def accuracy(networks, state):
    """Accuracy in percent by plain PyTorch."""
    images, labels = datasets.load("digits").tensors("test")
    networks.model.load_state_dict(state)
    with torch.no_grad():
        right = int((networks.model(images).argmax(1) == labels).sum())
    return 100 * right / len(labels)


def test_pairs_share_no_network(mlp):
    """Four seeds give two pairs of different networks."""
    seeds = [seed for pair in mlp.pairs for seed in pair.seeds]
    assert sorted(seeds) == [0, 1, 2, 3]


def test_midpoint(mlp):
    """Matched, averaged and evaluated by hand, the midpoint has the same accuracy."""
    pair = mlp.pairs[0]
    b = pair.permutation("weights").apply(pair.b)
    middle = {name: (pair.a[name] + b[name]) / 2 for name in b}
    assert pair.midpoint("weights").accuracy == accuracy(mlp, middle)
    assert pair.midpoint("none").accuracy != accuracy(mlp, middle)


def test_barrier_and_endpoints(mlp):
    """The barrier is the endpoints' mean minus the midpoint."""
    pair = mlp.pairs[1]
    ends = (accuracy(mlp, pair.a) + accuracy(mlp, pair.b)) / 2
    middle = pair.midpoint("activations").accuracy
    assert pair.endpoints() == ends
    assert pair.barrier("activations") == ends - middle


def test_renormalized_midpoint(mlp):
    """REPAIR brings the hidden statistics of the midpoint to the goal."""
    pair = mlp.pairs[0]
    b, graph, batches = (
        pair.matched("weights"),
        mlp.symmetry.graph,
        mlp.batches("train"),
    )
    ends = [lmc.statistics(graph, state, batches) for state in (pair.a, b)]
    goal = lmc.interpolated_statistics(*ends, 0.5)
    first = mlp.layers[0]
    state = pair._renormalized(b, "repair")
    now = lmc.statistics(graph, state, batches)
    assert torch.allclose(now[first].mean, goal[first].mean, atol=1e-2)
    assert accuracy(mlp, state) == pair.midpoint("weights", "repair").accuracy


def test_permutation_of_another_pair(mlp):
    """`found_on` applies the other pair's permutation to this pair's B."""
    ours, other = mlp.pairs
    expected = other.permutation("weights").apply(ours.b)
    found = ours.matched("weights", found_on=other)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_measured_once(mlp, monkeypatch):
    """What one bench measured, another finds."""
    before = mlp.pairs[0].midpoint("weights")
    monkeypatch.setattr(lmc, "evaluate", None)
    again = Bench("digits", 4, "cpu").setting("mlp").pairs[0]
    assert again.midpoint("weights") == before


def test_changed_code_measures_anew(mlp, monkeypatch):
    """Values measured by other code are not taken for those of this code."""
    pair = mlp.pairs[0]
    pair.midpoint("weights")
    monkeypatch.setattr(module, "code_digest", lambda: "other code")
    monkeypatch.setattr(lmc, "evaluate", None)
    with pytest.raises(TypeError):
        pair.midpoint("weights")


def test_recovered(mlp):
    """A shuffled copy comes back; one that was not shuffled back would not."""
    assert mlp.recovered("weights", 0)[0] == 0
    pair = mlp.pairs[0]
    p = lmc.Permutation.random(mlp.symmetry, torch.Generator().manual_seed(1))
    shuffled = p.apply(pair.a)
    assert not all(torch.equal(shuffled[name], pair.a[name]) for name in shuffled)


def test_damaged_network_is_noticed_though_all_is_measured(mlp):
    """A warm run still reads the networks that its values stand on."""
    pair = mlp.pairs[0]
    before = pair.midpoint("weights")
    file = store.recipe_folder(mlp.recipe) / "seed-1" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    again = Bench("digits", 4, "cpu").setting("mlp").pairs[0]
    with pytest.warns(store.DamagedWarning, match=f"{file} is truncated: 1000 of"):
        assert again.midpoint("weights") == before  # trained anew, bit by bit


def test_values_belong_to_networks(mlp):
    """Other weights under the same recipe and seed are measured for themselves."""
    pair = mlp.pairs[0]
    before = pair.midpoint("weights")
    other = Bench("digits", 4, "cpu").setting("mlp")
    other.states[1] = {k: torch.zeros_like(v) for k, v in other.states[1].items()}
    assert other.pairs[0].midpoint("weights") != before
