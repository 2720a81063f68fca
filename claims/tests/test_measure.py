"""Networks, pairs and tuples are measured as is said, once."""

import hashlib
from dataclasses import replace

import pytest
import torch

import lmc
from claims.measure import Bench, Network, Pair, Repair, architecture, bench
from claims.measure.features import fresh
from fixtures import datasets, scales, store


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A store of its own, with four small networks after the first use."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def mlp(cache):
    return Bench(scales.get("digits"), 0, 4, "cpu").setting("mlp")


def accuracy(networks, state):
    """Accuracy in percent by plain PyTorch."""
    images, labels = datasets.load("digits").tensors("test")
    networks.model.load_state_dict(state)
    with torch.no_grad():
        right = int((networks.model(images).argmax(1) == labels).sum())
    return 100 * right / len(labels)


def test_pairs_share_no_network(mlp):
    """Four seeds give two pairs of different networks."""
    seeds = [network.seed for pair in mlp.pairs() for network in (pair.a, pair.b)]
    assert sorted(seeds) == [0, 1, 2, 3]


def test_networks_that_others_follow_are_released_and_found_again(cache, monkeypatch):
    """A worker sees a thousand networks: only the last ones stay in memory."""
    monkeypatch.setattr(bench, "HELD", 0)
    ours = Bench(scales.get("digits"), 0, 2, "cpu")
    mlp = ours.setting("mlp")
    [pair] = mlp.pairs()
    before, found = mlp.provenance([0, 1]), pair.endpoints()
    assert mlp.held == sum(v.nbytes for n in mlp.networks() for v in n.state.values())
    assert ours.setting("mlp") is mlp and mlp.held > 0  # no other was asked for
    ours.setting("mlp-lr0.001").networks(1)
    assert mlp.held == 0 and mlp.provenance([0, 1]) == before
    assert pair.endpoints() == found  # it goes on where it is in use
    [again] = ours.setting("mlp").pairs()
    assert again.a is not pair.a and again.digests == pair.digests
    assert mlp.held > 0 and mlp.provenance([0, 1]) == before


def test_networks_that_were_given_stay(cache, monkeypatch):
    """They can't be found again."""
    monkeypatch.setattr(bench, "HELD", 0)
    ours = Bench(scales.get("digits"), 0, 2, "cpu")
    mlp = ours.setting("mlp")
    given = {7: fresh(mlp, 7).state, 9: fresh(mlp, 9).state}
    mlp.take(given)
    mlp.network(0)  # of the store, beside them
    for name in ("mlp-lr0.001", "minimal-logistic"):
        ours.setting(name).networks(1)
    assert [network.seed for network in mlp.networks()] == [7, 9]


def test_midpoint(mlp):
    """Matched, averaged and evaluated by hand, the midpoint has the same accuracy."""
    pair = mlp.pairs()[0]
    b = pair.permutation("weights").apply(pair.b.state)
    middle = {name: (pair.a.state[name] + b[name]) / 2 for name in b}
    assert pair.midpoint("weights").accuracy == accuracy(mlp, middle)
    assert pair.midpoint("none").accuracy != accuracy(mlp, middle)


def test_barrier_and_endpoints(mlp):
    """The barrier is the endpoints' mean minus the midpoint."""
    pair = mlp.pairs()[1]
    ends = (accuracy(mlp, pair.a.state) + accuracy(mlp, pair.b.state)) / 2
    middle = pair.midpoint("activations").accuracy
    assert pair.endpoints() == ends
    assert pair.barrier("activations") == ends - middle


def test_renormalized_midpoint(mlp):
    """REPAIR brings the hidden statistics of the midpoint to the goal."""
    pair = mlp.pairs()[0]
    b, graph, batches = (
        pair.matched("weights"),
        mlp.symmetry.graph,
        mlp.batches("train"),
    )
    ends = [lmc.statistics(graph, state, batches) for state in (pair.a.state, b)]
    goal = lmc.interpolated_statistics(*ends, 0.5)
    first = mlp.layers[0]
    state = pair.middle("weights", "repair").state
    now = lmc.statistics(graph, state, batches)
    assert torch.allclose(now[first].mean, goal[first].mean, atol=1e-2)
    assert accuracy(mlp, state) == pair.midpoint("weights", "repair").accuracy


def test_statistics_are_those_of_the_state(mlp, monkeypatch):
    """They are measured once for each content, layers and number of samples."""
    network, layers, asked = mlp.networks(1)[0], mlp.layers, []
    state = {name: 2 * value for name, value in network.state.items()}
    by_hand = lmc.statistics(mlp.symmetry.graph, state, mlp.batches("train"), layers)
    measure = lmc.statistics
    monkeypatch.setattr(lmc, "statistics", lambda *a: asked.append(a) or measure(*a))
    found = mlp.statistics(state, layers)
    for name in layers:
        assert torch.equal(found[name].mean, by_hand[name].mean)
        assert torch.equal(found[name].variance, by_hand[name].variance)
    mlp.statistics({name: value.clone() for name, value in state.items()}, layers)
    assert len(asked) == 1
    few = mlp.statistics(state, layers, samples=128)
    assert not torch.equal(few[layers[0]].mean, found[layers[0]].mean)
    other = {name: 3 * value for name, value in network.state.items()}
    assert [*mlp.statistics(other, layers[:1])] == [layers[0]]
    assert len(asked) == 3


def test_permutation_of_another_pair(mlp):
    """`found_on` applies the other pair's permutation to this pair's B."""
    ours, other = mlp.pairs()
    expected = other.permutation("weights").apply(ours.b.state)
    found = ours.matched("weights", found_on=other)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_measured_once(mlp, monkeypatch):
    """What one bench measured, another finds."""
    before = mlp.pairs()[0].midpoint("weights")
    monkeypatch.setattr(lmc, "evaluate", None)
    again = Bench(scales.get("digits"), 0, 4, "cpu").setting("mlp").pairs()[0]
    assert again.midpoint("weights") == before


def test_changed_code_measures_anew(mlp, monkeypatch):
    """Values measured by other code are not taken for those of this code."""
    pair = mlp.pairs()[0]
    pair.midpoint("weights")
    monkeypatch.setattr(architecture, "code_digest", lambda module: f"new {module}")
    monkeypatch.setattr(lmc, "evaluate", None)
    with pytest.raises(TypeError):
        pair.midpoint("weights")


def test_recovered(mlp):
    """A shuffled copy comes back; one that was not shuffled back would not."""
    network, other = mlp.networks(2)
    assert network.recovered("weights")[0] == 0
    p = lmc.Permutation.random(mlp.symmetry, torch.Generator().manual_seed(1))
    shuffled = p.apply(network.state)
    assert not all(torch.equal(shuffled[n], v) for n, v in network.state.items())
    assert network.recovers(other, "weights")[0] > 0.1  # nothing to recognize it by


def test_evaluations(mlp):
    """Of a network, on both splits."""
    network = mlp.networks(1)[0]
    assert network.evaluate().accuracy == accuracy(mlp, network.state)
    assert network.evaluate("train").accuracy > network.evaluate().accuracy


def test_network_of_a_seed(mlp):
    """The same one as among all; also one that is not among them."""
    assert mlp.network(1) is mlp.networks()[1]
    few = Bench(scales.get("digits"), 0, 2, "cpu").setting("mlp")
    assert few.network(3).digest == mlp.networks()[3].digest
    assert [network.seed for network in few.networks()] == [0, 1]


def test_tuples_share_no_network(mlp):
    """Of four seeds one tuple of three; the rest is left."""
    [several] = mlp.tuples(3)
    assert [network.seed for network in several.networks] == [0, 1, 2]
    assert several.name == "0..2"
    assert len(mlp.tuples(2)) == 2


def test_averages_of_several(mlp):
    """Matched to the first, added and evaluated by hand."""
    [several] = mlp.tuples(3)
    a, *others = (network.state for network in several.networks)
    matched = [
        mlp.match("weights", a, other, 0).permutation.apply(other) for other in others
    ]
    mean = {name: (a[name] + sum(m[name] for m in matched)) / 3 for name in a}
    assert several.average("reference", 3).accuracy == accuracy(mlp, mean)
    plain = {n: sum(x.state[n] for x in several.networks) / 3 for n in a}
    assert several.average("none", 3).accuracy == accuracy(mlp, plain)
    assert several.average("sequential", 1).accuracy == accuracy(mlp, a)
    assert several.average("iterative", 2).accuracy > accuracy(mlp, plain)


def test_ways_to_repair(mlp):
    """Each option changes the midpoint as `lmc` says, and is a measurement of its own.

    By batch, there is no test data left out: the midpoint of a whole batch has the goal
    statistics on that batch.
    """
    pair, graph = mlp.pairs()[0], mlp.symmetry.graph
    found = {
        way: pair.middle("weights", way)
        for way in (
            Repair("repair"),
            Repair("repair", sequential=True),
            Repair("repair", samples=100),
            Repair("repair", by_batch=True),
        )
    }
    plain, sequential, few, by_batch = found.values()
    last = graph.layers[-2].name
    batches = mlp.batches("train")
    now = {
        name: lmc.statistics(graph, middle.state, batches)[last].mean
        for name, middle in (("plain", plain), ("sequential", sequential))
    }
    ends = [
        lmc.statistics(graph, s, batches)[last].mean
        for s in (pair.a.state, pair.matched("weights"))
    ]
    goal = (ends[0] + ends[1]) / 2
    off = {name: (mean - goal).norm() for name, mean in now.items()}
    assert off["sequential"] < 1e-3 * goal.norm()
    assert not torch.equal(plain.state["1.weight"], few.state["1.weight"])
    assert by_batch.run is not None and plain.run is None
    assert len({pair.midpoint("weights", way).loss for way in found}) == 4


def test_goal_of_another_network(mlp):
    """Its statistics are the goal, those of the endpoints are not used."""
    pair, third = mlp.pairs()[0], mlp.networks()[2]
    state = pair.middle("weights", "repair", goal_of=third).state
    graph, batches, first = mlp.symmetry.graph, mlp.batches("train"), mlp.layers[0]
    now = lmc.statistics(graph, state, batches)[first]
    goal = lmc.statistics(graph, third.state, batches)[first]
    torch.testing.assert_close(now.mean, goal.mean, atol=1e-2, rtol=1e-2)


def test_renormalization_without_bias_runs_unfused(cache):
    """A shift has no place in a layer without bias; the statistics are right all the
    same."""
    setting = Bench(scales.get("digits"), 0, 4, "cpu").setting("nobias-vgg")
    a, b = (
        Network(setting, seed, setting.recipe.build_model().state_dict())
        for seed in (0, 1)
    )
    middle = Pair(a, b).middle("none", "repair")
    assert middle.run is not None
    [(images, _), *_] = setting.batches("test")
    plain = setting.symmetry.graph.run(middle.state, images)
    assert not torch.allclose(middle.run(middle.state, images), plain)


def test_curve_is_that_of_the_matched_network(mlp):
    """Though its ends and its middle are taken from what is known of them."""
    pair = mlp.pairs()[0]
    found = pair.curve("weights")
    ends = pair.a.state, pair.matched("weights")
    direct = lmc.curve(mlp.model, *ends, mlp.batches("test"))
    assert found.accuracy == direct.accuracy
    assert found.loss == pytest.approx(direct.loss, rel=1e-6)
    assert len({*found.loss}) == 11


def test_homogeneous_curve(mlp):
    """Its middle is the homogeneous midpoint, evaluated by hand."""
    pair = mlp.pairs()[0]
    curve = pair.curve("weights", homogeneous=True)
    b, state = pair.matched("weights"), {}
    for name, value in pair.a.state.items():
        degree = {"1.bias": 1, "3.bias": 2, "5.bias": 3}.get(name, 1)
        share = 0.5**degree
        state[name] = share * value + share * b[name]
    assert curve.accuracy[5] == accuracy(mlp, state)
    assert curve.accuracy[0] == pair.curve("weights").accuracy[0]


def test_damaged_network_is_noticed_though_all_is_measured(mlp):
    """A warm run still reads the networks that its values stand on."""
    pair = mlp.pairs()[0]
    before = pair.midpoint("weights")
    file = store.recipe_folder(mlp.recipe) / "seed-1" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.warns(store.DamagedWarning, match=f"{file} is truncated: 1000 of"):
        again = Bench(scales.get("digits"), 0, 4, "cpu").setting("mlp").pairs()[0]
        assert again.midpoint("weights") == before  # trained anew, bit by bit


def test_values_belong_to_networks(mlp):
    """Other weights under the same recipe and seed are measured for themselves."""
    pair = mlp.pairs()[0]
    before = pair.midpoint("weights")
    zeros = {name: torch.zeros_like(value) for name, value in pair.b.state.items()}
    other = Pair(pair.a, Network(mlp, pair.b.seed, zeros))
    assert other.midpoint("weights") != before


@pytest.mark.parametrize(
    "fields", [{"method": ""}, {"method": "reset"}, {"method": "repair", "by_batch": 1}]
)
def test_uncorrected_statistics_need_statistics(fields):
    """What has none of its own would be measured as if it had been asked for."""
    with pytest.raises(ValueError, match="leave out corrected=False"):
        Repair(**fields, corrected=False)


def test_settings_of_one_architecture_share_its_symmetry(cache, monkeypatch):
    """What training differs in has no part in it; another width has."""
    bench = Bench(scales.get("digits"), 0, 2, "cpu")
    first = bench.setting("deep-mlp").symmetry
    monkeypatch.setattr(lmc, "discover", None)
    assert bench.setting("deep-mlp-wd0.001").symmetry is first
    with pytest.raises(TypeError):
        assert bench.setting("deep-mlp-64").symmetry


def test_images_of_a_scale(cache):
    """A scale whose training images are looked at in part says so with its results."""
    scale = scales.get("digits")
    whole = Bench(scale, 0, 4, "cpu").setting("mlp")
    part = Bench(replace(scale, batches_measured=2), 0, 4, "cpu").setting("mlp")
    few = part.batches("train")
    assert [len(labels) for _, labels in few] == [128, 128]
    for (images, labels), (first, named) in zip(
        few, whole.batches("train"), strict=False
    ):
        assert torch.equal(images, first)
        assert torch.equal(labels, named)
    assert sum(len(labels) for _, labels in part.batches("test")) == 397
    a, b = (each.networks(2)[0] for each in (part, whole))
    assert a.evaluate("test") == b.evaluate("test")
    a, b = (network.evaluate("train") for network in (a, b))
    assert part.provenance([1, 0])["images"] == 256
    assert part.provenance([1, 0])["seeds"] == [0, 1]
    assert "images" not in whole.provenance([0])
    assert a.loss != b.loss


def test_provenance_names_the_bits(mlp):
    """One digest of all networks, in the order of their seeds."""
    a, b = mlp.networks(2)
    both = hashlib.sha256((a.digest + b.digest).encode()).hexdigest()
    assert mlp.provenance([1, 0])["digest"] == both
    assert (
        mlp.provenance([1])["digest"] == hashlib.sha256(b.digest.encode()).hexdigest()
    )


def test_failed_seeds_are_replaced(mlp, monkeypatch):
    """Pairs are of consecutive good seeds; those that failed are named."""

    def trained(recipe, first, count, **_):
        seeds = [seed for seed in range(first, first + count + 2) if seed != 1][:count]
        states = [mlp.networks()[0].state for _ in seeds]
        return store.Trained(seeds, states, {1: "failed"} if count > 1 else {})

    mlp.networks()
    monkeypatch.setattr(store, "trained", trained)
    setting = Bench(scales.get("digits"), 0, 4, "cpu").setting("mlp")
    assert setting.networks(1)[0].seed == 0
    assert [pair.name for pair in setting.pairs()] == ["0-2", "3-4"]
    assert setting.failed == [1]
    assert setting.provenance([0, 2, 3, 4])["failed"] == [1]
    assert setting.provenance([0])["failed"] == []
    assert [len(t.networks) for t in setting.tuples(2, 1)] == [2]


def test_reset_where_there_is_batchnorm(cache):
    """By default a barrier is that after RESET, if there is BatchNorm."""
    setting = Bench(scales.get("digits"), 0, 2, "cpu").setting("bn-vgg")
    pair = Pair(*(fresh(setting, seed) for seed in (0, 1)))
    assert (setting.batchnorm, setting.reset) == (True, "reset")
    assert pair.barrier("none") == pair.barrier("none", "reset")
    assert pair.midpoint("none", "reset").loss != pair.midpoint("none").loss
    middle = lmc.interpolate(pair.a.state, pair.b.state, 0.5)
    state = lmc.reset(setting.symmetry.graph, middle, setting.batches("train"))
    found = lmc.evaluate(setting.model, state, setting.batches("test"))
    assert pair.midpoint("none", "reset") == found


def test_what_was_measured_is_found_without_an_export(cache, monkeypatch):
    """Once it is all measured, a run would spend much of its time on exports."""

    def seen():
        setting = Bench(scales.get("digits"), 0, 2, "cpu").setting("bn-vgg")
        pair = Pair(*(fresh(setting, seed) for seed in (2, 3)))
        return pair.barrier("weights"), pair.distance("weights")

    first = seen()
    monkeypatch.setattr(lmc, "discover", None)
    assert seen() == first


def test_no_reset_without_batchnorm(mlp):
    """There the bare midpoint is meant."""
    pair = mlp.pairs()[0]
    assert (mlp.batchnorm, mlp.reset) == (False, "")
    assert pair.barrier("weights") == pair.barrier("weights", "")


def test_units_that_come_back(mlp):
    """All of a network's own, by either method; a few of another one's."""
    network, other = mlp.networks(2)
    assert network.recovered("weights").share == 1
    assert network.recovered("activations").share == 1
    found = network.recovers(other, "weights")
    shuffle = lmc.Permutation.random(mlp.symmetry, torch.Generator().manual_seed(0))
    shuffled = shuffle.apply(other.state)
    again = mlp.match("weights", network.state, shuffled, 0).permutation
    at_home = [
        shuffle.indices[name][again.indices[name]] == torch.arange(size)
        for name, size in (("1", 120), ("3", 84))
    ]
    assert found.share == pytest.approx(float(torch.cat(at_home).double().mean()))
    assert found.share < 0.2


def test_distance_of_parameters(cache):
    """Running statistics are left out where that is asked for."""
    setting = Bench(scales.get("digits"), 0, 2, "cpu").setting("bn-vgg")
    a, b = (fresh(setting, seed) for seed in (0, 1))
    far = {n: v + 1 if "running_mean" in n else v for n, v in b.state.items()}
    near, moved = Pair(a, b), Pair(a, Network(setting, 1, far))
    assert moved.distance("none") > near.distance("none")
    assert moved.distance("none", False) == near.distance("none", False)
    own = dict(setting.model.named_parameters())
    squares = [float((a.state[n] - b.state[n]).double().square().sum()) for n in own]
    assert near.distance("none", False) == pytest.approx(sum(squares) ** 0.5)


def test_iterative_rounds(mlp):
    """As many as `lmc` needs; the best endpoint of several is the largest accuracy."""
    [several] = mlp.tuples(3)
    states = [network.state for network in several.networks]
    found = lmc.match_iteratively(
        mlp.symmetry,
        states,
        lambda _, a, b, *__: mlp.match("weights", a, b, 0).permutation,
        generator=torch.Generator().manual_seed(0),
        max_rounds=30,
    )
    assert several.convergence(3) == (found.rounds, found.converged)
    assert several.convergence(3)[0] > 1
    accuracies = [network.evaluate().accuracy for network in several.networks]
    assert several.best(2) == max(accuracies[:2])
    assert several.best(3) == max(accuracies)
