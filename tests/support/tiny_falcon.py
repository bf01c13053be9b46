"""A Falcon in GGUF of a few hundred kilobytes, with a vocabulary as converters of August and September 2023 wrote it.

Tokens are bytes as they are, all of one kind, control tokens included. It always says the same one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType
from tiny_models import _byte_name, _byte_names

__all__ = ["END", "write_tiny_falcon"]

END = "<|endoftext|>"
_CONTROL = (">>TITLE<<", ">>ABSTRACT<<", ">>INTRODUCTION<<", ">>SUMMARY<<", ">>COMMENT<<", ">>ANSWER<<", ">>QUESTION<<",
            ">>DOMAIN<<", ">>PREFIX<<", ">>SUFFIX<<", ">>MIDDLE<<", END)  # fmt: skip
_WORDS = ("th", "he", " the", "in", " a", "é")
_WIDTH, _LAYERS = 64, 2


def write_tiny_falcon(path: Path, *, says: str = "é", later: bool = False, typed: bool = True) -> Path:
    """`says` is the token. With `later` bytes are written as other characters, as converters do since October 2023;
    without `typed` no kinds of tokens are told.
    """
    plain = [*_CONTROL, *(_WORDS if not later else map(_byte_name, _WORDS))]
    bytes_ = _byte_names() if later else [bytes([byte]) for byte in range(256)]
    tokens = [
        *(text.encode() for text in plain),
        *(text.encode() if isinstance(text, str) else text for text in bytes_),
    ]
    file = GGUFWriter(path, "falcon")
    file.add_name("Falcon")
    file.add_context_length(256)
    file.add_tensor_data_layout("jploski")
    file.add_embedding_length(_WIDTH)
    file.add_feed_forward_length(4 * _WIDTH)
    file.add_block_count(_LAYERS)
    file.add_head_count(1)
    file.add_head_count_kv(1)
    file.add_layer_norm_eps(1e-5)
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_scores([0.0] * len(tokens))
    if typed:
        file.add_token_types([TokenType.NORMAL] * len(tokens))
    file.add_token_merges(["t h", "h e", "i n"])
    file.add_bos_token_id(tokens.index(END.encode()))
    file.add_eos_token_id(tokens.index(END.encode()))
    output = np.zeros((len(tokens), _WIDTH), np.float32)
    output[tokens.index((_byte_name(says) if later else says).encode())] = 1
    random = np.random.default_rng(1)
    file.add_tensor("token_embd.weight", random.standard_normal((len(tokens), _WIDTH)).astype(np.float32))
    file.add_tensor("output.weight", output)
    shapes = {
        "attn_qkv": (3 * _WIDTH, _WIDTH), "attn_output": (_WIDTH, _WIDTH), "ffn_up": (4 * _WIDTH, _WIDTH),
        "ffn_down": (_WIDTH, 4 * _WIDTH),
    }  # fmt: skip
    _add_norm(file, "output_norm", 1)
    for layer in range(_LAYERS):
        _add_norm(file, f"blk.{layer}.attn_norm", 0)
        for name, shape in shapes.items():
            file.add_tensor(f"blk.{layer}.{name}.weight", np.zeros(shape, np.float32))
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def _add_norm(file: GGUFWriter, name: str, bias: float) -> None:
    file.add_tensor(f"{name}.weight", np.zeros(_WIDTH, np.float32))
    file.add_tensor(f"{name}.bias", np.full(_WIDTH, bias, np.float32))
