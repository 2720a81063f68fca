"""What is measured depends on networks' bits alone."""

import io
from dataclasses import astuple, replace

import pytest
import safetensors.torch
import torch

from claims.measure import MATCHERS, Bench, Network, Pair, Repair, Several, architecture
from claims.measure.architecture import Images, digest_of
from claims.measure.expansion import predicted_loss
from claims.measure.features import (
    MEASURES,
    activation_size,
    at_midpoint,
    fresh,
    in_network,
)
from claims.measure.partial import permuted_curve, preserved, without_biases
from claims.measure.pruned import PRUNERS, Pruned
from claims.measure.singular import (
    aligned,
    large_directions,
    spectral_difference,
    third_barriers,
)
from claims.measure.weights import deviation_spread, distance_to_start, mismatch
from fixtures import scales, store
from fixtures.states import canonical

CPU = torch.device("cpu")

FEW = replace(scales.get("digits"), batches_measured=2)
"""The scale with 256 images of each split, as so much is measured so often."""

NETWORKS = {
    "evaluation": lambda n: astuple(n.evaluate()),
    "recovery": lambda n: n.recovered("weights"),
    "sizes": activation_size,
    "directions": large_directions,
    "start": distance_to_start,
    "spread": deviation_spread,
    **{name: lambda n, m=name: in_network(n, m) for name in MEASURES},
    **{
        name: lambda n, p=name: astuple(Pruned(n, p, 0.8).evaluate(renormalized=True))
        for name in PRUNERS
        if name != "wood-fisher"  # which takes the gradients of diagonal Fisher
    },
}
PAIRS = {
    "curve": lambda p: astuple(p.curve("activations")),
    "homogeneous": lambda p: astuple(p.curve("weights", homogeneous=True)),
    "barrier": lambda p: p.barrier("weights"),
    "distance": lambda p: p.distance("weights", False),
    "mismatch": lambda p: mismatch(p, "weights"),
    "permuted": lambda p: permuted_curve(p, "weights"),
    "preserved": lambda p: preserved(p, "weights", 2, "rescale"),
    "biases": lambda p: without_biases(p, "weights"),
    "alignment": lambda p: aligned(p, "weights"),
    "spectra": spectral_difference,
    "expansion": lambda p: predicted_loss(p, "weights"),
    "midpoint": lambda p: at_midpoint(p, "scale-after", "weights", "repair"),
    **{
        f"by {name}": lambda p, m=name: astuple(p.midpoint(m))
        for name in MATCHERS
        if not name.startswith("ste")
    },
    **{
        str(how): lambda p, r=how: astuple(p.midpoint("activations", r))
        for how in (
            Repair("repair"),
            Repair("rescale", sequential=True),
            Repair("repair", by_batch=True),
            Repair("rescale-average", corrected=False, samples=100),
        )
    },
}
SEVERAL = {
    "average": lambda s: astuple(s.average("sequential", 3, "repair")),
    "rounds": lambda s: s.convergence(3),
    "third": lambda s: third_barriers(s, "weights"),
}


def loaded(state):
    """As read from a file."""
    return safetensors.torch.load(safetensors.torch.save(state))


def copied(state):
    """As pickled and read again, in memory that begins elsewhere."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file)


def last(state):
    """In channels_last, as training leaves it."""
    return {
        name: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in state.items()
    }


def awry(state):
    """With strides that PyTorch calls contiguous and that shapes do not give."""
    found = {}
    for name, value in state.items():
        strides = list(value.stride())
        for axis, size in enumerate(value.shape):
            strides[axis] = 1 if size == 1 else strides[axis]
        found[name] = value.as_strided(value.shape, strides)
    return found


@pytest.fixture(scope="module")
def states():
    """Three networks of few convolutions, the first of one channel."""
    setting = Bench(FEW, 0, 3, "cpu").setting("plain-vgg-half")
    return [fresh(setting, seed).state for seed in range(3)]


@pytest.fixture(scope="module")
def measured(states, tmp_path_factory):
    """Everything, of networks as they were made."""
    return everything(states, tmp_path_factory.mktemp("first"))


def everything(states, folder, threads=1):
    """Measure all kinds of measures in a new store."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LMC_CACHE", str(folder))
            setting = Bench(FEW, 0, 3, "cpu").setting("plain-vgg-half")
            some = [
                Network(setting, seed, canonical(state, CPU))
                for seed, state in enumerate(states)
            ]
            found = {name: of(some[0]) for name, of in NETWORKS.items()}
            found |= {name: of(Pair(*some[:2])) for name, of in PAIRS.items()}
            return found | {name: of(Several(some)) for name, of in SEVERAL.items()}
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("way", [loaded, copied, last, awry])
def test_strides_change_nothing(states, measured, tmp_path, way):
    """Loaded, copied, in channels_last: equal bits give equal values, all of them."""
    others = [way(state) for state in states]
    assert [digest_of(o) for o in others] == [digest_of(s) for s in states]
    assert everything(others, tmp_path) == measured


def test_threads_change_nothing(states, measured, tmp_path):
    """All is measured on one thread, however many there are."""
    assert everything(states, tmp_path, threads=2) == measured


def test_strides_are_those_of_the_shape(states):
    """Also where PyTorch sees no difference."""
    for way in (loaded, copied, last, awry):
        for name, value in canonical(way(states[0]), CPU).items():
            assert value.stride() == torch.empty(value.shape).stride(), name
            assert torch.equal(value, states[0][name])
    first = next(iter(states[0]))
    assert awry(states[0])[first].stride() != states[0][first].stride()


def test_networks_of_a_setting_are_canonical(states, monkeypatch, tmp_path):
    """What the store gives in other strides, a setting gives in these."""
    monkeypatch.setenv("LMC_CACHE", str(tmp_path))
    given = store.Trained([0, 1], [last(states[0]), awry(states[1])], {})
    monkeypatch.setattr(store, "trained", lambda *_, **__: given)
    setting = Bench(FEW, 0, 2, "cpu").setting("plain-vgg-half")
    for network in setting.networks():
        for value in network.state.values():
            assert value.stride() == torch.empty(value.shape).stride()


def test_images_have_our_layout():
    """Whatever layout a data set has."""
    x = torch.rand(4, 1, 8, 8)
    for given in (x, x.contiguous(memory_format=torch.channels_last)):
        assert architecture._in_order(given).stride() == (64, 64, 8, 1)
    for given in (x.expand(4, 3, 8, 8), torch.rand(4, 3, 8, 8)):
        assert architecture._in_order(given).stride() == (192, 1, 24, 3)


@pytest.mark.parametrize("library", ["np", "scipy"])
def test_libraries_are_in_the_key(states, monkeypatch, tmp_path, library):
    """Another version of NumPy or SciPy measures anew."""
    monkeypatch.setenv("LMC_CACHE", str(tmp_path))
    setting = Bench(FEW, 0, 2, "cpu").setting("plain-vgg-half")
    asked = []
    for version in ("1", "1", "2"):
        module = getattr(architecture, library)
        monkeypatch.setattr(module, "__version__", version)
        setting.measured("test", {}, lambda: asked.append(1) or {"x": torch.ones(1)})
    assert len(asked) == 2


def test_a_gpu_measures_in_float32_as_cpus_do(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    Images(torch.device("cpu"), None)
    assert torch.backends.cudnn.allow_tf32
    Images(torch.device("cuda"), None)
    assert not torch.backends.cudnn.allow_tf32
