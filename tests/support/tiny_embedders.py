"""Tiny models beside those of `tiny_models`: embedders, LoRA adapters, and one whose rows K-quants can hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from numpy.typing import NDArray
from tiny_models import _byte_names

__all__ = ["BERT_WIDTH", "WORDS", "Bert", "write_tiny_adapter", "write_tiny_bert", "write_wide_llama"]

WORDS = ("a", "the", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "##s", "##ly", "ne", "日", "本")
"""What the vocabulary of `write_tiny_bert` holds, beside its special tokens and the letters."""
BERT_WIDTH = 32
_LAYERS, _HEADS, _FEED = 2, 4, 64
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Bert:
    """The weights of a tiny BERT, by their names in the file, and its tokens."""

    def __init__(self, seed: int = 3, context: int = 64) -> None:
        self.context = context
        self.tokens = list(dict.fromkeys([*_SPECIAL, *WORDS, *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]))
        self.layers, self.heads = _LAYERS, _HEADS
        random, wide = np.random.default_rng(seed), BERT_WIDTH
        self.weights: dict[str, NDArray[np.float32]] = {}
        for name, rows in (("token_embd", len(self.tokens)), ("position_embd", context), ("token_types", 2)):
            self.weights[f"{name}.weight"] = _random(random, rows, wide)
        self._norm("token_embd_norm", random)
        for layer in range(_LAYERS):
            block = f"blk.{layer}"
            shapes = {
                "attn_q": (wide, wide),
                "attn_k": (wide, wide),
                "attn_v": (wide, wide),
                "attn_output": (wide, wide),
                "ffn_up": (_FEED, wide),
                "ffn_down": (wide, _FEED),
            }
            for name, shape in shapes.items():
                self.weights[f"{block}.{name}.weight"] = _random(random, *shape) * (1.5 / shape[1] ** 0.5)
                self.weights[f"{block}.{name}.bias"] = _random(random, shape[0]) * np.float32(0.1)
            self._norm(f"{block}.attn_output_norm", random)
            self._norm(f"{block}.layer_output_norm", random)

    def _norm(self, name: str, random: np.random.Generator) -> None:
        self.weights[f"{name}.weight"] = 1 + _random(random, BERT_WIDTH) * np.float32(0.1)
        self.weights[f"{name}.bias"] = _random(random, BERT_WIDTH) * np.float32(0.1)


def write_tiny_bert(path: Path, bert: Bert | None = None, *, pooling: int | None = 1) -> Path:
    """A BERT of 32 dimensions in F32. `pooling` is llama.cpp's number (1 mean, 2 CLS, 4 rank); None says nothing."""
    bert = bert or Bert()
    file = GGUFWriter(path, "bert")
    file.add_name("tiny bert")
    file.add_context_length(bert.context)
    file.add_embedding_length(BERT_WIDTH)
    file.add_block_count(_LAYERS)
    file.add_feed_forward_length(_FEED)
    file.add_head_count(_HEADS)
    file.add_layer_norm_eps(1e-12)
    file.add_causal_attention(False)
    if pooling is not None:
        file.add_uint32("bert.pooling_type", pooling)
    file.add_vocab_size(len(bert.tokens))
    file.add_token_type_count(2)
    file.add_tokenizer_model("bert")
    file.add_tokenizer_pre("default")
    # In the file a word begins with U+2581, and what continues one with nothing.
    phantom = [_phantom(token) for token in bert.tokens]
    file.add_token_list(phantom)
    special = len(_SPECIAL)
    file.add_token_types([TokenType.CONTROL] * special + [TokenType.NORMAL] * (len(phantom) - special))
    for number, name in enumerate(("padding", "unknown", "bos", "seperator", "mask")):
        file.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    for name, weight in bert.weights.items():
        file.add_tensor(name, weight)
    return _written(file, path)


def write_wide_llama(
    path: Path, *, pooling: int | None = None, eos: bool = False, single: bool = False, layers: int = _LAYERS
) -> Path:
    """A llama whose rows are of 256 numbers, as K-quants want them, with the bytes and `<s>`, `</s>` for tokens.

    With `pooling` (llama.cpp's number, 3 is the last token) it is an embedder that looks back only; `eos` puts `</s>`
    behind every text. The weights are F16, or F32 if `single`.
    """
    tokens = [*_byte_names(), "<s>", "</s>", "qq"]
    wide, random = 256, np.random.default_rng(4)
    file = GGUFWriter(path, "llama")
    file.add_name("wide llama")
    file.add_file_type(0 if single else 1)
    file.add_context_length(256)
    file.add_embedding_length(wide)
    file.add_block_count(layers)
    file.add_feed_forward_length(2 * wide)
    file.add_head_count(_HEADS)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(wide // _HEADS)
    file.add_vocab_size(len(tokens))
    if pooling is not None:
        file.add_uint32("llama.pooling_type", pooling)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list(tokens)
    file.add_token_types([TokenType.NORMAL] * 256 + [TokenType.CONTROL] * 2 + [TokenType.NORMAL])
    file.add_token_merges(["q q"])  # none at all is refused
    file.add_bos_token_id(256)
    file.add_eos_token_id(257)
    file.add_add_bos_token(False)
    file.add_add_eos_token(eos)
    shapes = {"token_embd": (len(tokens), wide), "output": (len(tokens), wide)}
    for layer in range(layers):
        shapes |= {f"blk.{layer}.attn_{name}": (wide, wide) for name in ("q", "k", "v", "output")}
        shapes |= {f"blk.{layer}.ffn_{name}": (2 * wide, wide) for name in ("gate", "up")}
        shapes[f"blk.{layer}.ffn_down"] = (wide, 2 * wide)
    for name, shape in shapes.items():
        file.add_tensor(
            f"{name}.weight", (_random(random, *shape) / shape[1] ** 0.5).astype(np.float32 if single else np.float16)
        )
    for name in ("output_norm", *(f"blk.{layer}.{part}_norm" for layer in range(layers) for part in ("attn", "ffn"))):
        file.add_tensor(f"{name}.weight", np.ones(wide, np.float32))
    return _written(file, path)


def write_tiny_adapter(
    path: Path, *, width: int = 64, zero: bool = False, architecture: str = "llama", kind: str = "lora", seed: int = 5
) -> Path:
    """LoRA weights of rank 2 for the queries of `write_tiny_llama`'s models, whose `width` is 64."""
    random = np.random.default_rng(seed)
    file = GGUFWriter(path, architecture)
    file.add_type("adapter")
    file.add_string("adapter.type", kind)
    file.add_float32("adapter.lora.alpha", 4.0)
    for layer in range(_LAYERS):
        name = f"blk.{layer}.attn_q.weight"
        file.add_tensor(f"{name}.lora_a", _random(random, 2, width))
        file.add_tensor(f"{name}.lora_b", _random(random, width, 2) * np.float32(not zero))
    return _written(file, path)


def _phantom(token: str) -> str:
    if token in _SPECIAL:
        return token
    return token.removeprefix("##") if token.startswith("##") else "\u2581" + token


def _random(random: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return random.standard_normal(shape).astype(np.float32)


def _written(file: GGUFWriter, path: Path) -> Path:
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
