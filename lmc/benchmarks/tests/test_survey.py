"""Free units of torchvision's classifiers, against counts worked out by hand.

One model of each family, by what its layers are; the parameters' defaults are those of
the model in torchvision, and large ones are discovered narrower and with fewer layers.
A count is an upper bound by construction: every row of the weights that feeds no input,
output, kernel or position is counted once for all that are tied to it, so that nothing
free can be left out of it.  Channels in attention heads and in groups of convolutions
count beside the heads and groups.
"""

import json
from collections import Counter

import pytest
import torch
import torchvision
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import Bottleneck
from torchvision.models.vgg import make_layers

from lmc import Matching, Permutation
from lmc.benchmarks import survey
from lmc.discovery import discover


def vgg11(convolutions=(64, 128, 256, 256, 512, 512, 512, 512), hidden=(4096, 4096)):
    """All rows but the logits'."""
    return sum(convolutions) + sum(hidden)


def squeezenet1_1():
    """Of each fire module: squeeze, then two expansions side by side."""
    fires = [(16, 64)] * 2 + [(32, 128)] * 2 + [(48, 192)] * 2 + [(64, 256)] * 2
    return 64 + sum(squeeze + 2 * expand for squeeze, expand in fires)


def resnet18():
    """A stage's stream once, and inside each of its two blocks as many.

    The first stage's stream is that of the stem.
    """
    return sum(width * (1 + 2) for width in (64, 128, 256, 512))


def resnext50_32x4d(blocks=(3, 4, 6, 3), groups=32, width=128):
    """The stem; of each stage the stream; in each block groups, channels before
    and after the grouped convolution."""
    return 64 + sum(
        (256 << stage) + count * (groups + 2 * (width << stage))
        for stage, count in enumerate(blocks)
    )


def densenet121(layers=(6, 12, 24, 16), growth=32, width=64):
    """The stem; in each layer four times the growth and it; of each transition half."""
    total = width
    for number, count in enumerate(layers, 1):
        total += count * (4 * growth + growth)
        width += growth * count
        if number < len(layers):
            width //= 2
            total += width
    return total


def googlenet():
    """Every convolution's rows: each goes its own way until it is concatenated.

    The auxiliary classifiers take no part in evaluation mode.
    """
    stem = 64 + 64 + 192
    # 1x1, 3x3 reduced, 3x3, "5x5" reduced, "5x5", behind the pooling.
    modules = [
        *((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
        *((192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64)),
        *((128, 128, 256, 24, 64, 64), (112, 144, 288, 32, 64, 64)),
        *((256, 160, 320, 32, 128, 128), (256, 160, 320, 32, 128, 128)),
        (384, 192, 384, 48, 128, 128),
    ]
    return stem + sum(map(sum, modules))


def mobilenet_v2(
    stages=((24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)),
):
    """Expanded channels are tied through the depthwise convolution.

    The first block has no expansion: its depthwise convolution is the stem's.
    """
    width, total = 16, 32 + 16 + 1280
    for out, blocks in stages:
        total += out + 6 * width + (blocks - 1) * 6 * out
        width = out
    return total


def efficientnet_b0(
    stages=((24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)),
):
    """As MobileNetV2, with a squeeze to a quarter of each block's input.

    The last layer is four times as wide as the one before.
    """
    width, total = 16, 32 + 32 // 4 + 16 + 4 * stages[-1][0]
    for out, blocks in stages:
        inputs = [width] + [out] * (blocks - 1)
        total += out + sum(6 * x + x // 4 for x in inputs)
        width = out
    return total


def regnet_y_400mf(stages=((48, 1), (104, 3), (208, 6), (440, 6))):
    """In each block: groups of 8, channels before and after, and the squeeze."""
    width, total = 32, 32
    for out, blocks in stages:
        inputs = [width] + [out] * (blocks - 1)
        total += out + sum(out // 8 + 2 * out + round(x / 4) for x in inputs)
        width = out
    return total


def shufflenet_v2_x0_5():
    """Rows of dense convolutions that another row shares its way with.

    Half of a stage's channels pass a block as they are, the other half are read by it;
    then both are shuffled.  Two rows of a convolution may be exchanged if the same
    blocks read them, and a row that is read by blocks of its own may not move.
    """
    total = 24 + 1024
    for width, blocks in ((48, 4), (96, 8), (192, 4)):
        half = width // 2
        total += half * blocks  # inside each block
        # Of each channel: the branch that made it, and the blocks that read it.
        made = [(branch, set()) for branch in ("left", 0) for _ in range(half)]
        rows = list(made)
        for block in range(1, blocks):
            made = [made[i % 2 * half + i // 2] for i in range(width)]  # the shuffle
            for _, readers in made[half:]:
                readers.add(block)
            rows += (new := [(block, set()) for _ in range(half)])
            made = made[:half] + new
        ways = Counter((branch, frozenset(readers)) for branch, readers in rows)
        total += sum(count for count in ways.values() if count > 1)
    return total


def convnext_tiny(stages=((96, 3), (192, 3), (384, 9), (768, 3))):
    """Of each stage the stream, and in each block four times as many."""
    return sum(width * (1 + 4 * blocks) for width, blocks in stages)


def vit_b_16(layers=12, heads=12, width=768, hidden=4 * 768):
    """The stream; in each block: heads, queries with keys, values, the MLP."""
    return width + layers * (heads + width + width + hidden)


def swin_t(stages=((96, 2), (192, 2), (384, 6), (768, 2)), head=32):
    """Of each stage the stream, tied over the four patches that are merged; in each
    block heads of so many channels, queries with keys, values, the MLP."""
    return sum(
        width + blocks * (width // head + width + width + 4 * width)
        for width, blocks in stages
    )


def maxvit_t(stages=((64, 2), (128, 2), (256, 5), (512, 2)), stem=64, head=32):
    """The stem's two convolutions; of each stage the stream; in each layer a block of
    convolutions (expansion 4, squeeze to a quarter of the output) and two of attention
    with an MLP each; a hidden layer before the logits."""
    attention = sum(b * 2 * (w // head + w + w + 4 * w) for w, b in stages)
    convolutions = sum(w + b * (4 * w + w // 4) for w, b in stages)
    return stem + stem + convolutions + attention + stages[-1][0]


def narrow_vgg():
    """Its hidden layers have a hundred million weights, whatever its convolutions."""
    with torch.device("meta"):
        model = models.VGG(nn.Identity(), init_weights=False)
    model.features = make_layers([8, "M", 16, 24, "M"])
    for number, layer in enumerate((24 * 49, 20, 12)):
        model.classifier[3 * number] = nn.Linear(layer, (20, 12, 5)[number])
    return model


COUNTS = {
    count.__name__: count
    for count in (
        *(vgg11, squeezenet1_1, resnet18, resnext50_32x4d, densenet121, googlenet),
        *(mobilenet_v2, efficientnet_b0, regnet_y_400mf, shufflenet_v2_x0_5),
        *(convnext_tiny, vit_b_16, swin_t, maxvit_t),
    )
}

STAGES = {"stages": ((16, 1), (32, 2))}
"""Widths, and numbers of blocks, of small models."""

SMALL = {
    "vgg11": (narrow_vgg, {"convolutions": (8, 16, 24), "hidden": (20, 12)}),
    "resnext50_32x4d": (
        lambda: models.ResNet(Bottleneck, [1, 2, 1, 1], groups=4, width_per_group=8),
        {"blocks": (1, 2, 1, 1), "groups": 4, "width": 32},
    ),
    "densenet121": (
        lambda: models.DenseNet(8, (2, 3), 16),
        {"layers": (2, 3), "growth": 8, "width": 16},
    ),
    "mobilenet_v2": (
        lambda: models.MobileNetV2(
            inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 1, 2]]
        ),
        {"stages": ((24, 2), (32, 1))},
    ),
    "efficientnet_b0": (
        lambda: models.EfficientNet(
            [
                MBConvConfig(1, 3, 1, 32, 16, 1),
                MBConvConfig(6, 3, 2, 16, 24, 2),
                MBConvConfig(6, 5, 2, 24, 40, 1),
            ],
            dropout=0.2,
        ),
        {"stages": ((24, 2), (40, 1))},
    ),
    "regnet_y_400mf": (
        lambda: models.RegNet(
            BlockParams([1, 2], [16, 32], [8, 8], [1.0, 1.0], [2, 2], se_ratio=0.25)
        ),
        STAGES,
    ),
    "convnext_tiny": (
        lambda: models.ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 2)]),
        STAGES,
    ),
    "vit_b_16": (
        lambda: models.VisionTransformer(32, 16, 2, 4, 32, 48),
        {"layers": 2, "heads": 4, "width": 32, "hidden": 48},
    ),
    "swin_t": (
        lambda: models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [7, 7]),
        {"stages": ((16, 2), (32, 2)), "head": 8},
    ),
    "maxvit_t": (
        lambda: models.MaxVit((32, 32), 16, 2, [16, 32], [1, 2], 8, 0.2),
        {**STAGES, "stem": 16, "head": 8},
    ),
}
"""Small models of the families of large ones, and what their counts take."""


@pytest.mark.parametrize("name", COUNTS)
def test_units_are_as_many_as_by_hand(name):
    """No refused operation, every free unit found, and certified."""
    make, given = SMALL.get(name, (lambda: survey.classifier(name)[0], {}))
    # The units are the same at every size; these are the smallest at which each runs.
    size = 64 if name in ("squeezenet1_1", "googlenet") else 32
    symmetry = discover(make().eval(), torch.randn(2, 3, size, size))
    assert symmetry.refused == ()
    assert survey.free_units(symmetry) == COUNTS[name](**given)
    assert symmetry.certificate.relative_difference <= 1e-9


def test_the_table_has_the_counts_of_the_whole_models():
    lines = survey.TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    units = {model: cells[1] for model, *cells in rows}
    assert {name: units[name] for name in COUNTS} == {
        name: f"{count():,}" for name, count in COUNTS.items()
    }


def test_survey_writes_a_row(tmp_path, capsys):
    """A table of one small model; what was done before is not done again."""
    table = tmp_path / "docs" / "table.md"
    survey.main(["squeezenet1_1", "--out", str(table)])
    (row,) = table.read_text().splitlines()[-1:]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[0] == "squeezenet1_1"
    assert cells[2] == f"{squeezenet1_1():,}"
    assert cells[3] == "0"
    assert float(cells[4]) <= 1e-9
    assert cells[5] == "yes"
    assert not table.with_suffix(".jsonl").exists()
    assert "1/1 squeezenet1_1" in capsys.readouterr().err

    done = survey.Row("squeezenet1_1", 1, 7, 0, 0.0, 3, False, 1.0, 1.0, 1.0, 1.0)
    table.with_suffix(".jsonl").write_text(json.dumps(vars(done)) + "\n")
    survey.main(["squeezenet1_1", "--out", str(table)])
    assert "| 7 |" in table.read_text()
    assert capsys.readouterr().err == ""


def test_what_is_not_recovered_is_said_so(monkeypatch):
    """A matching that leaves everything in its place finds no planted permutation."""
    model, images = survey.classifier("squeezenet1_1")
    symmetry = discover(model, images[..., :64, :64].clone())
    assert survey.recovered(symmetry, model.state_dict())[0]
    nothing = Matching(Permutation.identity(symmetry), 0.0, (0.0,), 0, 0.0)
    monkeypatch.setattr(survey, "weight_matching", lambda *_, **__: nothing)
    assert not survey.recovered(symmetry, model.state_dict())[0]


def test_the_list_is_all_of_torchvision():
    """80 classifiers."""
    names = torchvision.models.list_models(module=torchvision.models)
    assert len(names) == 80
    assert {*COUNTS} <= {*names}
