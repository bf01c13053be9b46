"""The tensors that each type of model has: all of them, by name and shape, as the loaders of ctransformers want them.

Those loaders take memory for what a model should have and fill in what the file brings: a tensor that is not there
would be left as random bytes.

In shapes, fastest dimension first, `E` is the embedding's length, `4E` and `3E` multiples of it, `V` the vocabulary's
size, `C` the context's length, `Q` what Falcon's queries, keys and values take together; `*` is any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

__all__ = ["expected", "owns"]

_Shapes = Mapping[str, str]


class _Family(Struct, frozen=True):
    whole: _Shapes
    """The embedding first."""
    block: str
    """What the names of a block's tensors begin with; `{}` is its number."""
    parts: _Shapes
    optional: _Shapes = {}


def _norm(name: str) -> dict[str, str]:
    return {f"{name}.weight": "E", f"{name}.bias": "E"}


_GPT2: Final = _Family(
    {"model/wte": "E V", "model/wpe": "E C", "model/ln_f/g": "E", "model/ln_f/b": "E"},
    "model/h{}/",
    {
        "ln_1/g": "E", "ln_1/b": "E", "ln_2/g": "E", "ln_2/b": "E",
        "attn/c_attn/w": "E 3E", "attn/c_attn/b": "3E", "attn/c_proj/w": "E E", "attn/c_proj/b": "E",
        "mlp/c_fc/w": "E 4E", "mlp/c_fc/b": "4E", "mlp/c_proj/w": "4E E", "mlp/c_proj/b": "E",
    },
    {"model/lm_head": "E V"},
)  # fmt: skip
_GPTJ: Final = _Family(
    {
        "transformer.wte.weight": "E V", **_norm("transformer.ln_f"), "lm_head.weight": "E V", "lm_head.bias": "V",
    },
    "transformer.h.{}.",
    {
        **_norm("ln_1"),
        "attn.q_proj.weight": "E E", "attn.k_proj.weight": "E E", "attn.v_proj.weight": "E E",
        "attn.out_proj.weight": "E E", "mlp.fc_in.weight": "E 4E", "mlp.fc_in.bias": "4E",
        "mlp.fc_out.weight": "4E E", "mlp.fc_out.bias": "E",
    },
)  # fmt: skip
_NEOX: Final = _Family(
    {"gpt_neox.embed_in.weight": "E V", **_norm("gpt_neox.final_layer_norm"), "embed_out.weight": "E V"},
    "gpt_neox.layers.{}.",
    {
        **_norm("input_layernorm"), **_norm("post_attention_layernorm"),
        "attention.query_key_value.weight": "E 3E", "attention.query_key_value.bias": "3E",
        "attention.dense.weight": "E E", "attention.dense.bias": "E",
        "mlp.dense_h_to_4h.weight": "E 4E", "mlp.dense_h_to_4h.bias": "4E",
        "mlp.dense_4h_to_h.weight": "4E E", "mlp.dense_4h_to_h.bias": "E",
    },
)  # fmt: skip
_MPT: Final = _Family(
    {"transformer.wte.weight": "E V", "transformer.norm_f.weight": "E"},
    "transformer.blocks.{}.",
    {
        "norm_1.weight": "E", "attn.Wqkv.weight": "E 3E", "attn.out_proj.weight": "E E", "norm_2.weight": "E",
        "ffn.up_proj.weight": "E 4E", "ffn.down_proj.weight": "4E E",
    },
)  # fmt: skip
_LLAMA: Final = _Family(
    {"tok_embeddings.weight": "E V", "norm.weight": "E", "output.weight": "E V"},
    "layers.{}.",
    {
        "attention_norm.weight": "E", "attention.wq.weight": "E E", "attention.wk.weight": "E *",
        "attention.wv.weight": "E *", "attention.wo.weight": "E E", "ffn_norm.weight": "E",
        "feed_forward.w1.weight": "E *", "feed_forward.w2.weight": "* E", "feed_forward.w3.weight": "E *",
    },
)  # fmt: skip
_FALCON: Final = _Family(
    {"transformer.word_embeddings.weight": "E V", **_norm("transformer.ln_f"), "lm_head.weight": "E V"},
    "transformer.h.{}.",
    {
        "self_attention.query_key_value.weight": "E Q", "self_attention.dense.weight": "E E",
        "mlp.dense_h_to_4h.weight": "E 4E", "mlp.dense_4h_to_h.weight": "4E E",
    },
)  # fmt: skip
_FALCON_SMALL: Final = _norm("input_layernorm")
_FALCON_LARGE: Final = {**_norm("ln_mlp"), **_norm("ln_attn")}
"""What the blocks of Falcon-7B and of Falcon-40B have beside that."""

_FAMILIES: Final = {
    "gpt2": _GPT2, "starcoder": _GPT2, "gptj": _GPTJ, "gptneox": _NEOX, "dolly-v2": _NEOX, "mpt": _MPT, "replit": _MPT,
    "llama": _LLAMA, "falcon": _FALCON,
}  # fmt: skip


def owns(model_type: str, name: str) -> bool:
    """Whether a tensor of that name may be one of a model of that type."""
    family = _FAMILIES[model_type]
    block = family.block.partition("{}")[0]
    return name in family.whole or name in family.optional or name.startswith(block)


def expected(model_type: str, values: Mapping[str, int | float]) -> tuple[dict[str, tuple[int, ...]], frozenset[str]]:
    """The shapes of all tensors, 0 for any size, and the names of those that may be missing."""
    family = _FAMILIES[model_type]
    width = int(values["embedding_length"])
    sizes = {"E": width, "3E": 3 * width, "4E": 4 * width, "V": int(values["vocab_size"]), "*": 0}
    sizes["C"] = int(values.get("context_length", 0))
    parts = dict(family.parts)
    if model_type == "falcon":
        heads = int(values["attention.head_count"])
        sizes["Q"] = (heads + 2 * int(values["attention.head_count_kv"])) * (width // heads)
        parts |= _FALCON_LARGE if _is_large(values) else _FALCON_SMALL
    shapes = {**family.whole, **family.optional}
    for number in range(int(values["block_count"])):
        shapes |= {family.block.format(number) + name: shape for name, shape in parts.items()}
    found = {name: tuple(sizes[size] for size in shape.split()) for name, shape in shapes.items()}
    return found, frozenset(family.optional)


def _is_large(values: Mapping[str, int | float]) -> bool:
    """Falcon's blocks are told by their number, and only of other numbers by what the file says."""
    return {32: False, 60: True}.get(int(values["block_count"]), values["falcon_type"] == 40)
