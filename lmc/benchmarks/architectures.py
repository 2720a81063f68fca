"""A table of timm's and Hugging Face's architectures: groups, and what is pinned.

``python -m lmc.benchmarks.architectures`` writes ``lmc/docs/architectures.md``; it goes
on where it was interrupted, and needs no network: weights are random, configurations
small.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lmc.benchmarks import resumable
from lmc.benchmarks.survey import discovered, free_units, recovered
from lmc.symmetry import Symmetry

TABLE = Path(__file__).parents[1] / "docs" / "architectures.md"

HEAD = """\
# Permutation symmetry of timm's and Hugging Face's architectures

Made by `python -m lmc.benchmarks.architectures` with torch {torch}, timm {timm},
transformers {transformers}: random weights, small configurations.  *Groups*, *units*,
*refused*, *difference*, *recovered* and seconds are as in
[torchvision's table](torchvision.md);
experts' products have no float64 kernel, and differ by the rounding of float32.
*Pinned* is the share of rows of weights that no permutation may move although neither
an input nor an output says so, with the reason for most of them.

| model | groups | units | refused | difference | recovered | pinned | export, s | \
discovery, s | certificate, s |
| --- | --: | --: | --: | --: | --- | --- | --: | --: | --: |
"""

TIMM: dict[str, dict[str, Any]] = {
    name: {"size": 64}
    for name in (
        "resnest14d resnest26d seresnet18 resnetblur18 ecaresnet26t skresnet18 "
        "res2net50_14w_8s dla34 dpn48b densenetblur121d vovnet39a hardcorenas_a "
        "efficientnet_lite0 mobilenetv3_small_050 mobilenetv4_conv_small "
        "mnasnet_small ghostnet_050 mobileone_s0 repvgg_a0 repghostnet_050 "
        "cspresnet50 cspdarknet53 nf_resnet26 dm_nfnet_f0 nfnet_l0 "
        "convnext_atto convnextv2_atto convmixer_768_32 resnetv2_50x1_bit "
        "regnetx_002 regnety_002 ese_vovnet19b_dw hrnet_w18_small "
        "inception_next_atto edgenext_xx_small fastvit_t8 starnet_s1 tinynet_e"
    ).split()
} | {
    "cspnext_tiny": {"size": 64},
    "vit_tiny_patch16_224": {"size": 32, "img_size": 32},
    "deit3_small_patch16_224": {"size": 32, "img_size": 32},
    "beit_base_patch16_224": {"size": 32, "img_size": 32, "depth": 2},
    "eva02_tiny_patch14_224": {"size": 28, "img_size": 28},
    "cait_xxs24_224": {"size": 32, "img_size": 32, "depth": 2},
    "xcit_nano_12_p16_224": {"size": 32},
    "mixer_s32_224": {"size": 64, "img_size": 64},
    "gmlp_ti16_224": {"size": 32, "img_size": 32},
    "resmlp_12_224": {"size": 32, "img_size": 32},
    "levit_128s": {"size": 224},
    "tiny_vit_5m_224": {"size": 224},
    "efficientformer_l1": {"size": 224},
    "efficientvit_b0": {"size": 64},
    "efficientvit_m0": {"size": 224},
    "swin_tiny_patch4_window7_224": {"size": 224},
    "swinv2_cr_tiny_224": {"size": 224},
    "maxvit_rmlp_pico_rw_256": {"size": 256},
    "coatnet_pico_rw_224": {"size": 224},
    "poolformer_s12": {"size": 64},
    "mobilevit_xxs": {"size": 64},
    "pvt_v2_b0": {"size": 64},
    "twins_svt_small": {"size": 224},
    "mvitv2_tiny": {"size": 224},
}
"""Names of timm's models, with the size of images and options of the model."""

_TEXT = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = {**_TEXT, "num_key_value_heads": 2, "head_dim": 8}
_EXPERTS = {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
_QWEN_EXPERTS = {
    **_GROUPED,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 20,
}
_DEEPSEEK = {
    **_TEXT,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_group": 2,
    "topk_group": 1,
    "n_shared_experts": 1,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 12,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 6,
    "v_head_dim": 8,
}
_GPT2 = {
    **{name: _TEXT[name] for name in ("vocab_size", "bos_token_id", "eos_token_id")},
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 64,
}
_VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}

HUGGING_FACE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "CausalLM", {**_TEXT, "num_key_value_heads": 4}),
    "llama, grouped queries": ("LlamaConfig", "CausalLM", _GROUPED),
    "mistral": ("MistralConfig", "CausalLM", _GROUPED),
    "qwen2": ("Qwen2Config", "CausalLM", _GROUPED),
    "qwen3": ("Qwen3Config", "CausalLM", _GROUPED),
    "gemma2": ("Gemma2Config", "CausalLM", _GROUPED),
    "phi-3": ("Phi3Config", "CausalLM", _GROUPED),
    "mixtral": ("MixtralConfig", "CausalLM", _EXPERTS),
    "qwen2-moe": ("Qwen2MoeConfig", "CausalLM", _QWEN_EXPERTS),
    "gpt-oss": ("GptOssConfig", "CausalLM", _EXPERTS),
    "deepseek-v3": ("DeepseekV3Config", "CausalLM", _DEEPSEEK),
    "gpt-neox": ("GPTNeoXConfig", "CausalLM", _TEXT),
    "gpt2": ("GPT2Config", "CausalLM", _GPT2),
    "opt": (
        "OPTConfig",
        "CausalLM",
        {**_TEXT, "ffn_dim": 48, "word_embed_proj_dim": 32},
    ),
    "falcon": ("FalconConfig", "CausalLM", _TEXT),
    "gpt-j": ("GPTJConfig", "CausalLM", {**_GPT2, "rotary_dim": 4}),
    "olmo2": ("Olmo2Config", "CausalLM", _GROUPED),
    "granite": ("GraniteConfig", "CausalLM", _GROUPED),
    "stablelm": ("StableLmConfig", "CausalLM", {**_TEXT, "num_key_value_heads": 4}),
    "bert": ("BertConfig", "SequenceClassification", _TEXT),
    "roberta": ("RobertaConfig", "SequenceClassification", _TEXT),
    "distilbert": (
        "DistilBertConfig",
        "SequenceClassification",
        {**_TEXT, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    ),
    "electra": (
        "ElectraConfig",
        "SequenceClassification",
        {**_TEXT, "embedding_size": 32},
    ),
    "vit": ("ViTConfig", "ImageClassification", _VISION),
    "dinov2": ("Dinov2Config", "ImageClassification", _VISION),
}
"""For each family: its configuration, the head, and what makes it small."""


def timm_model(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a model of timm with random weights, and two images."""
    import timm  # type: ignore[import-not-found]

    options = dict(TIMM[name])
    size = options.pop("size")
    model = timm.create_model(name, pretrained=False, **options).eval()
    generator = torch.Generator().manual_seed(0)
    return model, (torch.randn(2, 3, size, size, generator=generator),)


class Logits(nn.Module):
    """A model of Hugging Face that returns its logits alone."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.model(inputs).logits
        return logits


def hugging_face_model(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a small model of a family with random weights, and two samples."""
    import transformers  # type: ignore[import-not-found]

    config, head, options = HUGGING_FACE[name]
    model = getattr(transformers, f"AutoModelFor{head}").from_config(
        getattr(transformers, config)(**options)
    )
    model.config.use_cache = False
    generator = torch.Generator().manual_seed(0)
    if head == "ImageClassification":
        inputs = torch.randn(2, 3, 32, 32, generator=generator)
    else:
        inputs = torch.randint(3, 50, (2, 7), generator=generator)
    return Logits(model).eval(), (inputs,)


MODELS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    **{name: partial(timm_model, name) for name in TIMM},
    **{name: partial(hugging_face_model, name) for name in HUGGING_FACE},
}


def pinned_rows(symmetry: Symmetry) -> tuple[float, str]:
    """Return the share of rows of weights that are pinned inside, and why most are.

    Rows are the positions on the first axis of tensors with at least two axes, without
    those that are a position in an input or the output.
    """
    rows = {
        name: shape[0]
        for name, shape in symmetry.shapes.items()
        if len(shape) > 1 and name in symmetry.graph.parameters
    }
    reasons: Counter[str] = Counter()
    for entry in symmetry.pinned:
        if entry.name in rows and entry.axis == 0:
            if entry.reason.startswith("position in the model's"):
                rows[entry.name] -= entry.size
            else:
                reasons[entry.reason.partition(" (node")[0]] += entry.size
    total = sum(rows.values())
    most = reasons.most_common(1)
    return sum(reasons.values()) / max(total, 1), most[0][0] if most else ""


@dataclass(frozen=True)
class Row(resumable.Row):
    """What was found for one model."""

    groups: int
    units: int
    refused: tuple[str, ...]
    difference: float
    recovered: bool
    pinned: float
    reason: str
    export: float
    discovery: float
    certificate: float

    def line(self) -> str:
        """Write a row of the table."""
        refused = ", ".join(self.refused) or "0"
        pinned = f"{self.pinned:.0%}" + (f": {self.reason}" if self.reason else "")
        return (
            f"| {self.model} | {self.groups} | {self.units:,} | {refused} | "
            f"{self.difference:.0e} | {'yes' if self.recovered else 'no'} | {pinned} | "
            f"{self.export:.1f} | {self.discovery:.1f} | {self.certificate:.1f} |"
        )


def survey(name: str) -> Row:
    """Discover, certify and match one model."""
    torch.manual_seed(0)  # layers draw their weights from the global generator
    model, inputs = MODELS[name]()
    found = discovered(model, inputs)
    symmetry = found.symmetry
    share, reason = pinned_rows(symmetry)
    return Row(
        name,
        len(symmetry.groups),
        free_units(symmetry),
        tuple(sorted({entry.partition(" (")[0] for entry in symmetry.refused})),
        found.certificate.relative_difference,
        recovered(symmetry, model.state_dict())[0],
        share,
        reason,
        found.export,
        found.discovery,
        found.certifying,
    )


def head(rows: Sequence[Row]) -> str:
    """What the table is of, and how it was made."""
    import timm
    import transformers

    return HEAD.format(
        torch=torch.__version__.partition("+")[0],
        timm=timm.__version__,
        transformers=transformers.__version__,
    )


def main(given: Sequence[str] | None = None) -> None:
    """Survey all models that the table lacks; write it."""
    chosen, out = resumable.arguments(
        "python -m lmc.benchmarks.architectures", __doc__, TABLE, given
    )
    resumable.fill(out, chosen or [*MODELS], survey, Row, head)


if __name__ == "__main__":
    main()
