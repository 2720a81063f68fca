"""Free units of torchvision's classifiers, against counts worked out by hand.

One model of each family.  A count is an upper bound by construction: every row of the
weights that feeds no input, output, kernel or position is counted once for all that are
tied to it, so that nothing free can be left out of it.  Channels in attention heads and
in groups of convolutions count beside the heads and groups.
"""

import json
from collections import Counter

import pytest
import torchvision

from lmc import Matching, Permutation
from lmc.benchmarks import survey
from lmc.discovery import discover


def vgg11():
    """All rows but the logits'."""
    return 64 + 128 + 2 * 256 + 4 * 512 + 2 * 4096


def squeezenet1_1():
    """Of each fire module: squeeze, then two expansions side by side."""
    fires = [(16, 64)] * 2 + [(32, 128)] * 2 + [(48, 192)] * 2 + [(64, 256)] * 2
    return 64 + sum(squeeze + 2 * expand for squeeze, expand in fires)


def resnet18():
    """A stage's stream once, and inside each of its two blocks as many.

    The first stage's stream is that of the stem.
    """
    return sum(width * (1 + 2) for width in (64, 128, 256, 512))


def resnext50_32x4d():
    """The stem; of each stage the stream; in each block 32 groups, channels before
    and after the grouped convolution."""
    stages = [(3, 128, 256), (4, 256, 512), (6, 512, 1024), (3, 1024, 2048)]
    return 64 + sum(
        stream + blocks * (32 + 2 * width) for blocks, width, stream in stages
    )


def densenet121():
    """The stem; in each layer 4 * 32 and 32; of each transition the half."""
    layers, width, total = (6, 12, 24, 16), 64, 64
    for number, count in enumerate(layers):
        total += count * (128 + 32)
        width += 32 * count
        if number < 3:
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


def mobilenet_v2():
    """Expanded channels are tied through the depthwise convolution.

    The first block has no expansion: its depthwise convolution is the stem's.
    """
    stages = [(24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)]
    width, total = 16, 32 + 16 + 1280
    for out, blocks in stages:
        total += out + 6 * width + (blocks - 1) * 6 * out
        width = out
    return total


def efficientnet_b0():
    """As MobileNetV2, with a squeeze to a quarter of each block's input."""
    stages = [(24, 2), (40, 2), (80, 3), (112, 3), (192, 4), (320, 1)]
    width, total = 16, 32 + 32 // 4 + 16 + 1280
    for out, blocks in stages:
        inputs = [width] + [out] * (blocks - 1)
        total += out + sum(6 * x + x // 4 for x in inputs)
        width = out
    return total


def regnet_y_400mf():
    """In each block: groups of 8, channels before and after, and the squeeze."""
    stages = [(48, 1), (104, 3), (208, 6), (440, 6)]
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


def convnext_tiny():
    """Of each stage the stream, and in each block four times as many."""
    stages = [(96, 3), (192, 3), (384, 9), (768, 3)]
    return sum(width * (1 + 4 * blocks) for width, blocks in stages)


def vit_b_16():
    """The stream; in each of 12 blocks: heads, queries with keys, values, the MLP."""
    return 768 + 12 * (12 + 768 + 768 + 4 * 768)


def swin_t():
    """Of each stage the stream, tied over the four patches that are merged; in each
    block heads of 32 channels, queries with keys, values, the MLP."""
    stages = [(96, 2), (192, 2), (384, 6), (768, 2)]
    return sum(
        width + blocks * (width // 32 + width + width + 4 * width)
        for width, blocks in stages
    )


def maxvit_t():
    """The stem's two convolutions; of each stage the stream; in each layer a block of
    convolutions (expansion 4, squeeze to a quarter of the output) and two of attention
    with an MLP each; a hidden layer before the logits."""
    stages = [(64, 2), (128, 2), (256, 5), (512, 2)]
    attention = sum(b * 2 * (w // 32 + w + w + 4 * w) for w, b in stages)
    convolutions = sum(w + b * (4 * w + w // 4) for w, b in stages)
    return 64 + 64 + convolutions + attention + 512


# The units are the same at every size; these are the smallest at which each runs.
SIZES = {
    **dict.fromkeys((squeezenet1_1, googlenet), 64),
    **dict.fromkeys((vgg11, resnet18, resnext50_32x4d, densenet121), 32),
    **dict.fromkeys((mobilenet_v2, efficientnet_b0, regnet_y_400mf), 32),
    **dict.fromkeys((shufflenet_v2_x0_5, convnext_tiny, swin_t), 32),
    **{vit_b_16: 32, maxvit_t: 224},
}


@pytest.mark.parametrize("count", SIZES, ids=lambda count: count.__name__)
def test_units_are_as_many_as_by_hand(count):
    """No refused operation, every free unit found, and certified."""
    size = SIZES[count]
    options = {"image_size": size} if count is vit_b_16 else {}
    model, images = survey.classifier(count.__name__, **options)
    symmetry = discover(model, images[..., :size, :size].clone())
    assert symmetry.refused == ()
    assert survey.free_units(symmetry) == count()
    assert symmetry.certificate.relative_difference <= 1e-9


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

    done = survey.Row("squeezenet1_1", 1, 7, 0, 0.0, 3, False, 1.0, 1.0)
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
    assert all(count.__name__ in names for count in SIZES)
