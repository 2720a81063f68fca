"""Models of timm and Hugging Face: free units against counts worked out by hand.

Channels inside heads count beside the heads.  `rotary` keys and queries stay in their
order inside a head, as the table of angles tells their channels apart.
"""

import importlib.util

import pytest
import torch
from torch import nn

from lmc.benchmarks import architectures
from lmc.benchmarks.survey import free_units
from lmc.discovery import discover

STREAM, HEADS, HIDDEN, LAYERS = 32, 4, 48, 2


def llama():
    """Of each layer: heads, values inside them, the gated hidden units."""
    return STREAM + LAYERS * (HEADS + STREAM + HIDDEN)


def grouped_queries():
    """Two blocks of two heads each, with one head of values, whose channels count."""
    return STREAM + LAYERS * (2 + 4 + STREAM // 2 + HIDDEN)


def gpt2():
    """Queries with keys as well; four times as many hidden units."""
    return STREAM + LAYERS * (HEADS + 2 * STREAM + 4 * STREAM)


def bert():
    """The same with the hidden units of the configuration, and a pooler's."""
    return STREAM + LAYERS * (HEADS + 2 * STREAM + HIDDEN) + STREAM


def vit():
    """The same without a pooler."""
    return STREAM + LAYERS * (HEADS + 2 * STREAM + HIDDEN)


def gpt_neox():
    """A quarter of a head's channels is rotated; six of eight are free."""
    return STREAM + LAYERS * (HEADS + HEADS * 6 + STREAM + HIDDEN)


def gpt_j():
    """Half of a head's channels is rotated; four times as many hidden units."""
    return STREAM + LAYERS * (HEADS + HEADS * 4 + STREAM + 4 * STREAM)


def experts(count, width, shared=0):
    """As with grouped queries, and in place of one gated layer several, with units."""
    inside = count + count * width + shared
    return STREAM + LAYERS * (2 + 4 + STREAM // 2 + inside)


def mixtral():
    """Four experts with hidden units of their own."""
    return experts(4, HIDDEN)


def qwen2_moe():
    """Half as wide, beside one expert that all tokens go to."""
    return experts(4, 24, shared=20)


HUGGING_FACE = {
    "llama": llama,
    "llama, grouped queries": grouped_queries,
    "qwen3": grouped_queries,
    "gemma2": grouped_queries,
    "phi-3": grouped_queries,
    "mixtral": mixtral,
    "gpt-oss": mixtral,
    "qwen2-moe": qwen2_moe,
    "gpt2": gpt2,
    "bert": bert,
    "vit": vit,
    "gpt-neox": gpt_neox,
    "gpt-j": gpt_j,
}


def repvgg_a0():
    """The stem; of each stage its stream, that of the first the first block's."""
    return 48 + 48 + 96 + 192 + 1280


def resnest14d():
    """Two halves of the channels in each of four blocks, and the channels in them.

    The stem's three convolutions; in a block the squeeze and the stream's outputs, and
    the two halves with half of the block's width in each, in the convolution before.
    Behind it a channel of one half is summed with one of the other: as many pairs.
    """
    blocks = [(64, 32, 256), (128, 64, 512), (256, 128, 1024), (512, 256, 2048)]
    return 32 + 32 + 64 + sum(s + out + 2 + 2 * width for width, s, out in blocks)


TIMM = {"repvgg_a0": repvgg_a0, "resnest14d": resnest14d}


def needs(package):
    """Skip without a package."""
    return pytest.mark.skipif(
        importlib.util.find_spec(package) is None,
        reason=f"needs {package}: pip install '.[architectures]'",
    )


@needs("transformers")
@pytest.mark.parametrize("name", HUGGING_FACE)
def test_units_of_a_language_or_vision_model(name):
    """No refused operation, every free unit found, and certified."""
    model, inputs = architectures.hugging_face_model(name)
    symmetry = discover(model, *inputs)
    assert symmetry.refused == ()
    assert free_units(symmetry) == HUGGING_FACE[name]()
    coarse = bool(symmetry.certificate.coarse)  # experts, in float32
    assert symmetry.certificate.relative_difference <= (1e-5 if coarse else 1e-9)
    unsure = {p.name for p in symmetry.pinned if "may be free" in p.reason}
    # Norms that all heads share hide that the angles tell apart Qwen3's keys as well.
    keys = [f"model.model.layers.{i}.self_attn.k_proj.weight" for i in range(LAYERS)]
    assert unsure == (set(keys) if name == "qwen3" else set())


@needs("transformers")
def test_experts_are_chosen_within_chosen_groups():
    """DeepSeek's two groups of four experts, each with units of its own.

    Its keys are written into an empty tensor, piece by piece, and `pinned` says so.
    """
    model, inputs = architectures.hugging_face_model("deepseek-v3")
    symmetry = discover(model, *inputs)
    assert symmetry.refused == ()
    routed = {
        group.name: (group.size, group.copies)
        for group in symmetry.groups.values()
        if any("mlp.experts" in site.name for site in group.sites)
    }
    assert sorted(routed.values()) == [(2, 1), (4, 2), (24, 8), (32, 1)]
    assert symmetry.certificate.relative_difference <= 1e-5
    heads = {p.reason for p in symmetry.pinned if "kv_b_proj" in p.name}
    assert any("may be free: written into another tensor" in r for r in heads)


@needs("timm")
@pytest.mark.parametrize("name", TIMM)
def test_units_of_an_image_model(name):
    """The same for timm's."""
    model, inputs = architectures.timm_model(name)
    symmetry = discover(model, *inputs)
    assert symmetry.refused == ()
    assert free_units(symmetry) == TIMM[name]()
    assert symmetry.certificate.relative_difference <= 1e-9


@needs("timm")
@needs("transformers")
def test_a_model_has_a_row(tmp_path):
    """Groups, units, refused operations, and a planted permutation."""
    table = tmp_path / "table.md"
    architectures.main(["gpt2", "--out", str(table)])
    cells = [cell.strip() for cell in table.read_text().splitlines()[-1].split("|")]
    assert cells[1:5] == ["gpt2", "9", str(gpt2()), "0"]
    assert cells[6] == "yes"


def test_pinned_rows_leave_out_inputs_and_outputs():
    """Of 4 + 3 + 2 rows two are logits, and three of seven are pinned by a sum."""

    class Pinned(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 4), nn.Linear(4, 3)
            self.last = nn.Linear(3, 2)

        def forward(self, x):
            return self.last(self.b(self.a(x).relu()).cumsum(1))

    symmetry = discover(Pinned().eval(), torch.randn(2, 5))
    share, reason = architectures.pinned_rows(symmetry)
    assert share == pytest.approx(3 / 7)
    assert reason == "no rule for aten.cumsum.default"


def test_the_table_has_all_models_and_each_was_recovered():
    lines = architectures.TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    found = {model: cells[4] for model, *cells in rows[2:]}
    assert found == dict.fromkeys(architectures.MODELS, "yes")
