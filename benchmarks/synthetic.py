"""Models in any precision whose weights are all zero: for measuring memory, which does not ask what is in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, TokenType

__all__ = ["write_llama"]

_WIDTH, _HEADS, _HEADS_KV, _FEED, _LAYERS, _VOCABULARY = 1024, 16, 4, 2816, 8, 32_000


def write_llama(path: Path, kind: str, output: str = "", *, context: int = 32_768, layers: int = _LAYERS) -> Path:
    """A llama with matrices of the type `kind`, and of `output` where logits are made. 90 MB in Q4_0, 310 in F16."""
    file = GGUFWriter(path, "llama")
    file.add_context_length(context)
    file.add_embedding_length(_WIDTH)
    file.add_block_count(layers)
    file.add_feed_forward_length(_FEED)
    file.add_head_count(_HEADS)
    file.add_head_count_kv(_HEADS_KV)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(_WIDTH // _HEADS)
    file.add_vocab_size(_VOCABULARY)
    _add_vocabulary(file)
    _add_matrix(file, "token_embd", _VOCABULARY, _WIDTH, kind)
    _add_matrix(file, "output", _VOCABULARY, _WIDTH, output or kind)
    file.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    cached = _WIDTH // _HEADS * _HEADS_KV
    shapes = {
        "attn_q": (_WIDTH, _WIDTH),
        "attn_k": (cached, _WIDTH),
        "attn_v": (cached, _WIDTH),
        "attn_output": (_WIDTH, _WIDTH),
        "ffn_gate": (_FEED, _WIDTH),
        "ffn_up": (_FEED, _WIDTH),
        "ffn_down": (_WIDTH, _FEED),
    }
    for layer in range(layers):
        for name, (rows, columns) in shapes.items():
            _add_matrix(file, f"blk.{layer}.{name}", rows, columns, kind)
        for name in ("attn_norm", "ffn_norm"):
            file.add_tensor(f"blk.{layer}.{name}.weight", np.ones(_WIDTH, np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def _add_vocabulary(file: GGUFWriter) -> None:
    """Printable bytes and made-up words."""
    letters = [chr(byte) for byte in range(0x21, 0x7F)]
    words = [f"word{number}" for number in range(_VOCABULARY - len(letters) - 2)]
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list([*letters, *words, "<s>", "</s>"])
    file.add_token_types([TokenType.NORMAL] * (_VOCABULARY - 2) + [TokenType.CONTROL] * 2)
    file.add_token_merges(["t h"])
    file.add_bos_token_id(_VOCABULARY - 2)
    file.add_eos_token_id(_VOCABULARY - 1)


def _add_matrix(file: GGUFWriter, name: str, rows: int, columns: int, kind: str) -> None:
    form = GGMLQuantizationType[kind]
    block, size = GGML_QUANT_SIZES[form]
    file.add_tensor(f"{name}.weight", np.zeros((rows, columns // block * size), np.uint8), raw_dtype=form)
