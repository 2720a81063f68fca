"""The networks of the papers: parameter counts by hand, norms against numpy."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from lmc import discover
from lmc.models import MLP, VGG, FixupResNet, LinearNet, ResNet
from lmc.models.norm import ChannelLayerNorm
from lmc.tests.networks import normal, randomized

VGG16 = (64, 64, "M", 128, 128, "M", *[256] * 3, "M", *[512] * 3, "M", *[512] * 3, "M")


def count(model: nn.Module) -> int:
    """Number of trainable values."""
    return sum(parameter.numel() for parameter in model.parameters())


def test_resnet20_has_its_published_size():
    """ResNet20 for CIFAR-10 has 272,474 parameters with its classifier."""
    assert count(ResNet((16, 32, 64), (3, 3, 3), in_channels=3, norm="bn")) == 272_474


def test_vgg16_has_the_size_derived_by_hand():
    """VGG16's 13 convolutions (14,714,688 values) and 512 x 10 + 10 classifier."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    convolutions = sum(9 * c * after + after for c, after in pairwise(widths))
    assert convolutions == 14_714_688
    assert count(VGG(VGG16, in_channels=3)) == convolutions + 5_130 == 14_719_818


@pytest.mark.parametrize(("norm", "added"), [("bn", 2 * 4_224), ("ln", 2 * 4_224)])
def test_norms_of_vgg16_add_scale_and_shift(norm, added):
    """Both norms add two values for each of VGG16's 4,224 channels."""
    assert count(VGG(VGG16, in_channels=3, norm=norm)) == 14_719_818 + added


def test_mlp_has_the_size_derived_by_hand():
    """784-120-84-10: 94,200 + 10,164 + 850 values."""
    assert count(MLP((784, 120, 84, 10))) == 105_214
    assert count(MLP((784, 120, 84, 10), bias=False)) == 105_214 - 120 - 84 - 10


@pytest.mark.parametrize("model", [VGG, ResNet])
def test_networks_without_bias_have_none(model):
    """bias=False reaches every convolution and the classifier."""
    assert not [name for name in model(bias=False).state_dict() if "bias" in name]


def test_batch_norm_replaces_the_biases_of_a_resnet():
    """A ResNet's convolutions have no bias before BatchNorm, but its classifier has."""
    names = ResNet(norm="bn").state_dict()
    assert "classifier.bias" in names and "stem.bias" not in names
    assert not [name for name in names if "conv" in name and "bias" in name]


def test_block_convolutions_are_those_inside_the_blocks():
    """Not the stem, the shortcuts or the classifier."""
    model = ResNet((4, 8), (1, 1))
    convolutions = {
        name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)
    }
    assert set(model.block_convolutions()) == convolutions - {
        "stem",
        "blocks.1.shortcut.0",
    }


@pytest.mark.parametrize(
    "model",
    [MLP((64, 5, 3)), VGG((4, "M", 6), 3), ResNet((4, 8), (1, 1), 3, norm="ln")],
)
def test_images_become_logits(model):
    """N x 1 x 8 x 8 images give N x classes logits."""
    assert model.eval()(torch.zeros(2, 1, 8, 8)).shape == (2, 3)


def test_mlp_has_no_nonlinearity_behind_the_logits():
    """Logits are W relu(V x + b) + c and may be negative."""
    model = randomized(MLP((4, 5, 3))).double()
    v, b, w, c = (value.numpy() for value in model.state_dict().values())
    x = normal(6, 4)
    logits = np.maximum(x.numpy() @ v.T + b, 0) @ w.T + c
    assert (logits < 0).any()
    np.testing.assert_allclose(model(x).detach().numpy(), logits, rtol=1e-12)


def test_channel_layer_norm_is_over_channels_at_each_pixel():
    """Mean and biased variance are those of one pixel's channels, eps 1e-5."""
    layer = randomized(ChannelLayerNorm(3)).double()
    x = normal(2, 3, 4, 5)
    expected = np.empty(x.shape)
    for n, h, w in np.ndindex(2, 4, 5):
        pixel = x[n, :, h, w].numpy()
        unit = (pixel - pixel.mean()) / np.sqrt(pixel.var() + 1e-5)
        expected[n, :, h, w] = (
            layer.weight.detach().numpy() * unit + layer.bias.detach().numpy()
        )
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-10)


def test_unknown_norm_is_refused():
    """The error names the choices."""
    with pytest.raises(
        ValueError, match=r"unknown norm 'gn': choose None, 'bn' or 'ln'"
    ):
        VGG((4,), norm="gn")


def test_resnet_needs_a_block_count_for_each_width():
    """Two widths and three block counts name different stages."""
    with pytest.raises(ValueError, match=r"same stages, got 2 widths and 3 block"):
        ResNet((4, 8), (1, 1, 1))


def test_mlp_needs_an_input_and_an_output():
    """A single width is no network."""
    with pytest.raises(ValueError, match=r"input and the output width, got \(64,\)"):
        MLP((64,))


def test_fixup_starts_as_a_constant_and_scales_its_first_convolutions():
    """The second convolutions and the classifier are zero (Fixup, section 3)."""
    torch.manual_seed(0)
    model = FixupResNet((32, 64), (2, 2))
    assert model(torch.randn(3, 1, 8, 8)).abs().max() == 0
    for index, fan_out in ((1, 32 * 9), (3, 64 * 9)):
        block = model.blocks[index]
        assert block.conv2.weight.abs().max() == 0
        expected = (2 / fan_out) ** 0.5 * 4**-0.5
        assert block.conv1.weight.std().item() == pytest.approx(expected, rel=0.03)


def test_fixup_block_by_hand():
    """Its formula in numpy, on images of one pixel where a convolution is a product."""
    model = randomized(FixupResNet((3,), (1,), in_channels=2).double())
    block, x = model.blocks[0], normal(5, 2, 1, 1)
    weight = {n: p.detach().numpy() for n, p in block.named_parameters()}
    centre = [weight[f"conv{i}.weight"][:, :, 1, 1] for i in (1, 2)]
    stem = model.stem.weight.detach().numpy()[:, :, 1, 1]
    h = np.maximum(x[:, :, 0, 0].numpy() @ stem.T + model.bias1.item(), 0)
    shifted = h + weight["bias1a"]
    inner = np.maximum(shifted @ centre[0].T + weight["bias1b"], 0)
    branch = (inner + weight["bias2a"]) @ centre[1].T * weight["scale"]
    out = np.maximum(branch + weight["bias2b"] + shifted, 0) + model.bias2.item()
    logits = out @ model.classifier.weight.detach().numpy().T
    logits += model.classifier.bias.detach().numpy()
    np.testing.assert_allclose(model(x).detach().numpy(), logits, rtol=1e-12)


@pytest.mark.parametrize("residual", [False, True])
def test_linear_nets_are_products_of_matrices(residual):
    """With residual connections each factor is the identity plus the layer."""
    model = randomized(LinearNet(4, 5, 3, 2, residual).double())
    x = normal(6, 3)
    h = x @ model.first.weight.T + model.first.bias
    for layer in model.hidden:
        h = (h if residual else 0) + h @ layer.weight.T + layer.bias
    torch.testing.assert_close(model(x), h @ model.last.weight.T + model.last.bias)
    sizes = [group.size for group in discover(model, x).groups.values()]
    assert sizes == ([5] if residual else [5, 5, 5])


def test_impossible_linear_nets_and_fixups_are_refused():
    """The message says what is possible."""
    with pytest.raises(ValueError, match="at least 2: got 1"):
        LinearNet(depth=1)
    with pytest.raises(ValueError, match="got 1 widths and 2 block counts"):
        FixupResNet((4,), (1, 1))
