"""Matchers say what the published protocol is, and "A" is what is known of it."""

import inspect

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

import lmc
from claims.measure.matchers import MATCHERS
from claims.measure.published import activation_matching_a
from lmc.models import MLP, VGG
from lmc.tests.networks import randomized


def networks(make, shape):
    """Groups, two networks of random values and some batches."""
    a, b = (randomized(make(), seed).eval() for seed in (0, 1))
    generator = torch.Generator().manual_seed(5)
    batches = [(torch.rand(n, *shape, generator=generator), None) for n in (8, 5)]
    states = [
        {
            n: v.float() if v.is_floating_point() else v
            for n, v in m.state_dict().items()
        }
        for m in (a, b)
    ]
    return lmc.discover(make().eval(), batches[0][0]), *states, batches


def correlations(x, y, center):
    """From deviations from a center each, in numpy."""
    dx, dy = x - center(x), y - center(y)
    size = np.sqrt(np.outer((dx**2).sum(0), (dy**2).sum(0)))
    return np.divide(dx.T @ dy, size, where=size > 0, out=np.zeros_like(size))


def test_linear_layers_are_matched_as_by_correlation():
    """Without pixels there is no bug: all samples count alike."""
    symmetry, a, b, batches = networks(lambda: MLP((6, 9, 3)), (6,))
    found = activation_matching_a(symmetry, a, b, batches).permutation
    right = lmc.activation_matching(symmetry, a, b, batches, average="samples")
    for name, indices in right.permutation.indices.items():
        assert torch.equal(found.indices[name], indices)


def test_convolutions_are_centered_wrongly():
    """By sums over pixels and images, divided by the number of images."""
    symmetry, a, b, batches = networks(lambda: VGG((8,), in_channels=1), (1, 8, 8))
    images = torch.cat([x for x, _ in batches])
    [(name, group)] = symmetry.groups.items()
    weight, bias = f"{name}.weight", f"{name}.bias"
    units = [
        torch.conv2d(images, s[weight], s[bias], padding=1).relu().movedim(1, -1)
        for s in (a, b)
    ]
    pixels = units[0].shape[1] * units[0].shape[2]
    x, y = (u.reshape(-1, group.size).double().numpy() for u in units)
    wrong = correlations(x, y, lambda z: pixels * z.mean(0))
    found = activation_matching_a(symmetry, a, b, batches)
    order = linear_sum_assignment(wrong, maximize=True)[1]
    best = wrong[np.arange(len(order)), order].sum()
    assert found.objective == pytest.approx(best, abs=1e-4)
    right = correlations(x, y, lambda z: z.mean(0))
    assert abs(wrong - right).max() > 0.1


def test_dead_units_correlate_with_nothing():
    """A deviation of zero is no error."""
    symmetry, a, b, batches = networks(lambda: MLP((6, 9, 3)), (6,))
    a["1.weight"][2], a["1.bias"][2] = 0, -1
    assert np.isfinite(activation_matching_a(symmetry, a, b, batches).objective)


@pytest.mark.parametrize("method", MATCHERS)
def test_new_defaults_of_the_library_change_no_claim(method, monkeypatch):
    """Everything that a function of the library lets one choose is chosen here."""
    if method.startswith("ste") or method == "activations-a":
        return
    name = method.split("-")[0].removesuffix("s") + "_matching"
    name = {"activation_matching": name, "weight_matching": name}[name]
    function, seen = getattr(lmc, name), {}
    monkeypatch.setattr(lmc, name, lambda *a, **options: seen.update(options))
    symmetry, a, b, batches = networks(lambda: MLP((6, 9, 3)), (6,))
    MATCHERS[method](symmetry, batches, a, b, 0)
    chosen = {
        option.name
        for option in inspect.signature(function).parameters.values()
        if option.kind is option.KEYWORD_ONLY
    }
    assert {*seen} == chosen
    if method == "weights":
        assert (seen["start"], seen["dtype"]) == ("identity", torch.float64)
    if method == "activations":
        assert (seen["average"], seen["dtype"]) == ("batches", torch.float64)
