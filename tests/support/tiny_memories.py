"""Tiny models whose texts are the same to the byte, however they are computed, one for each kind of memory.

Their weights are random, as those of `tiny_models`, and so is their vocabulary: every byte is a token. But they are in
Q4_1, of which llama.cpp multiplies each row by itself. In F16 a single row is summed in another order than several
together, and one greedy token in some thousands differs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quants
from numpy.typing import NDArray
from tiny_models import _byte_names

__all__ = ["BOS", "EOS", "write_exact_llama", "write_tiny_hybrid", "write_tiny_mamba", "write_tiny_window"]

BOS, EOS = 256, 257
_WIDTH, _LAYERS, _HEADS, _FEED = 64, 2, 2, 128
_INNER, _STATE, _KERNEL, _RANK = 2 * _WIDTH, 8, 4, 4


def write_exact_llama(path: Path, *, ends: bool = False, context_length: int = 2048, seed: int = 1) -> Path:
    """With `ends`, `</s>` is as likely as any letter, so that greedy texts end by themselves sooner or later."""
    file, random = _begin(path, "llama", context_length), np.random.default_rng(seed)
    _attention(file)
    file.add_layer_norm_rms_eps(1e-5)
    for layer in range(_LAYERS):
        _block(file, layer, random)
        _norms(file, f"blk.{layer}.ffn_norm")
    _ends(file, random, ends=ends)
    return _written(file, path)


def write_tiny_window(path: Path, *, window: int, seed: int = 1) -> Path:
    """Command R7B in small: every other layer looks back at `window` tokens only."""
    file, random = _begin(path, "cohere2", 2048), np.random.default_rng(seed)
    _attention(file)
    file.add_sliding_window(window)
    file.add_sliding_window_pattern([True, False] * (_LAYERS // 2))
    file.add_layer_norm_eps(1e-5)
    file.add_logit_scale(1.0)
    for layer in range(_LAYERS):
        _block(file, layer, random)
    # Its embeddings are its output as well.
    table = np.zeros((EOS + 1, _WIDTH))
    table[32:127] = random.standard_normal((95, _WIDTH)) * 0.1
    _matrix(file, "token_embd", table)
    _norms(file, "output_norm")
    return _written(file, path)


def write_tiny_mamba(path: Path, *, seed: int = 1) -> Path:
    """Its memory is a running state, which can't be cut back."""
    file, random = _begin(path, "mamba", 2048), np.random.default_rng(seed)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_feed_forward_length(0)
    file.add_head_count(0)
    file.add_ssm_conv_kernel(_KERNEL)
    file.add_ssm_inner_size(_INNER)
    file.add_ssm_state_size(_STATE)
    file.add_ssm_time_step_rank(_RANK)
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        _norms(file, f"{block}.attn_norm")
        shapes = {"ssm_in": (2 * _INNER, _WIDTH), "ssm_x": (_RANK + 2 * _STATE, _INNER), "ssm_out": (_WIDTH, _INNER)}
        for name, shape in shapes.items():
            _matrix(file, f"{block}.{name}", _random(random, *shape))
        singles = {
            "ssm_conv1d.weight": random.standard_normal((_INNER, _KERNEL)) * 0.5,
            "ssm_conv1d.bias": random.standard_normal(_INNER) * 0.1,
            "ssm_dt.weight": random.standard_normal((_INNER, _RANK)) * 0.3,
            "ssm_dt.bias": random.uniform(-4, -1, _INNER),
            "ssm_a": -np.tile(np.arange(1, _STATE + 1), (_INNER, 1)),
            "ssm_d": np.ones(_INNER),
        }
        for name, values in singles.items():
            file.add_tensor(f"{block}.{name}", values.astype(np.float32))
    _ends(file, random, ends=False)
    return _written(file, path)


def write_tiny_hybrid(path: Path, *, seed: int = 1) -> Path:
    """LFM2 in small: the first layer has a running state, the second one looks back at everything."""
    file, random = _begin(path, "lfm2", 2048), np.random.default_rng(seed)
    _attention(file, kv_heads=[0, _HEADS // 2])
    file.add_layer_norm_rms_eps(1e-5)
    file.add_shortconv_l_cache(_KERNEL)
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        if layer == 0:
            _matrix(file, f"{block}.shortconv.in_proj", _random(random, 3 * _WIDTH, _WIDTH))
            _matrix(file, f"{block}.shortconv.out_proj", _random(random, _WIDTH, _WIDTH))
            kernel = random.standard_normal((_WIDTH, _KERNEL)) * 0.5
            file.add_tensor(f"{block}.shortconv.conv.weight", kernel.astype(np.float32))
        _block(file, layer, random, attends=layer > 0)
        _norms(file, f"{block}.ffn_norm")
    for name in ("attn_q_norm", "attn_k_norm"):
        file.add_tensor(f"blk.1.{name}.weight", np.ones(_WIDTH // _HEADS, np.float32))
    _ends(file, random, ends=False, norm="token_embd_norm")
    return _written(file, path)


def _begin(path: Path, architecture: str, context_length: int) -> GGUFWriter:
    tokens = [*_byte_names(), "<s>", "</s>", "qq"]
    file = GGUFWriter(path, architecture)
    file.add_name("tiny")
    file.add_context_length(context_length)
    file.add_embedding_length(_WIDTH)
    file.add_block_count(_LAYERS)
    file.add_vocab_size(EOS + 1)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list(tokens[: EOS + 1])
    file.add_token_types([TokenType.NORMAL] * BOS + [TokenType.CONTROL] * 2)
    file.add_token_merges(["q q"])  # none at all is refused
    file.add_bos_token_id(BOS)
    file.add_eos_token_id(EOS)
    file.add_add_bos_token(True)
    return file


def _attention(file: GGUFWriter, kv_heads: list[int] | int = _HEADS // 2) -> None:
    file.add_feed_forward_length(_FEED)
    file.add_head_count(_HEADS)
    file.add_head_count_kv(kv_heads)
    file.add_rope_dimension_count(_WIDTH // _HEADS)


def _block(file: GGUFWriter, layer: int, random: np.random.Generator, *, attends: bool = True) -> None:
    shapes = {
        "attn_q": (_WIDTH, _WIDTH),
        "attn_k": (_WIDTH // 2, _WIDTH),
        "attn_v": (_WIDTH // 2, _WIDTH),
        "attn_output": (_WIDTH, _WIDTH),
        "ffn_gate": (_FEED, _WIDTH),
        "ffn_up": (_FEED, _WIDTH),
        "ffn_down": (_WIDTH, _FEED),
    }
    for name, shape in shapes.items():
        if attends or not name.startswith("attn"):
            _matrix(file, f"blk.{layer}.{name}", _random(random, *shape))
    _norms(file, f"blk.{layer}.attn_norm")


def _ends(file: GGUFWriter, random: np.random.Generator, *, ends: bool, norm: str = "output_norm") -> None:
    """What is before the first block and behind the last one. Tokens with a row of zeros are never the likeliest."""
    output = np.zeros((EOS + 1, _WIDTH))
    output[32:127] = random.standard_normal((95, _WIDTH)) * 0.3
    if ends:
        output[EOS] = random.standard_normal(_WIDTH) * 0.3
    _matrix(file, "token_embd", random.standard_normal((EOS + 1, _WIDTH)))
    _matrix(file, "output", output)
    _norms(file, norm)


def _random(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """Large enough that what comes in decides what comes out."""
    return random.standard_normal((rows, columns)) * (2 / columns**0.5)


def _matrix(file: GGUFWriter, name: str, values: NDArray[np.float64]) -> None:
    kind = GGMLQuantizationType.Q4_1
    file.add_tensor(f"{name}.weight", quants.quantize(values.astype(np.float32), kind), raw_dtype=kind)


def _norms(file: GGUFWriter, name: str) -> None:
    file.add_tensor(f"{name}.weight", np.ones(_WIDTH, np.float32))


def _written(file: GGUFWriter, path: Path) -> Path:
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
