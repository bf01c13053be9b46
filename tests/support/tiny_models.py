"""Models of a few hundred kilobytes with random weights, in the formats that llama.cpp really loads.

The vocabulary is byte-level BPE: every byte is a token (its id is the byte), so that any text can be tokenized. Tokens
other than printable ASCII have logits of zero: a greedy text is garbage, but printable, and never ends by itself.
The same arguments give the same file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
from gguf import GGUFWriter, TokenType
from numpy.typing import NDArray

__all__ = [
    "MERGED",
    "PIECES",
    "Eye",
    "write_tiny_llama",
    "write_tiny_pieces",
    "write_tiny_projector",
    "write_tiny_vision",
]

Eye = Literal["mlp", "qwen2vl_merger", "gemma3", "idefics3"]
"""How a projector works, by llama.cpp's names. LLaVA's: 16 tokens for an image. Qwen2-VL's: one for each 28 x 28
pixels, between two tags; they stand on a grid and take fewer positions. Gemma 3's: 16 tokens that look at each other in
both directions. Idefics 3's: 4 tokens for the whole, and 4 for each of its tiles of 56 x 56, with text between them."""

MERGED = ("th", "he", "in", "er", " t", " a", "\n\n")
"""Tokens of two bytes, 256 and on: a token is not always a byte."""

PIECES = ("▁t", "he", "▁the", "in", "er", "▁a", "th", "ing", "▁▁")
"""Of SentencePiece's vocabulary, the likeliest to be joined first."""

_FIM = {"pre": "<|fim_prefix|>", "suf": "<|fim_suffix|>", "mid": "<|fim_middle|>"}
_WIDTH, _LAYERS, _HEADS, _FEED = 64, 2, 4, 128
_EYE_WIDTH, _EYE_LAYERS, _EYE_HEADS, _EYE_FEED, _PATCH = 32, 2, 2, 64, 14
_SIDE = {"mlp": 56, "qwen2vl_merger": 56, "gemma3": 112, "idefics3": 56}
_TAGS = {
    "mlp": (),
    "qwen2vl_merger": ("<|vision_start|>", "<|vision_end|>"),
    "gemma3": ("<start_of_image>", "<end_of_image>"),
    "idefics3": (
        "<fake_token_around_image>",
        "<global-img>",
        *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
    ),
}


def write_tiny_llama(
    path: Path, *, chat_template: str = "", fim: bool = False, thinking: bool = False, context_length: int = 2048,
    extra_tokens: Iterable[str] = (), user_tokens: Iterable[str] = (), bos: bool = True, grid: bool = False,
    name: str = "tiny", seed: int = 1,
) -> Path:  # fmt: skip
    """A text model. Its control tokens are `<s>` (beginning), `</s>` (end) and `extra_tokens`, in this order.

    `fim` adds the tokens for a text with a hole, `thinking` `<think>` and `</think>`. Tokens of `user_tokens` have a
    text when they are generated, control tokens have none. `bos` says whether a prompt begins with `<s>`. With `grid`,
    positions are those of Qwen2-VL, where an image takes fewer positions than tokens.
    """
    architecture = "qwen2vl" if grid else "llama"
    control = ["<s>", "</s>", *(_FIM.values() if fim else ()), *extra_tokens]
    user = [*(("<think>", "</think>") if thinking else ()), *user_tokens]
    tokens = [*_byte_names(), *(_byte_name(text) for text in MERGED), *control, *user]
    file = GGUFWriter(path, architecture)
    _add_sizes(file, name, context_length)
    if grid:
        file.add_rope_dimension_sections([2, 3, 3, 0])
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list(tokens)
    normal = len(tokens) - len(control) - len(user)
    file.add_token_types(
        [TokenType.NORMAL] * normal + [TokenType.CONTROL] * len(control) + [TokenType.USER_DEFINED] * len(user)
    )
    file.add_token_merges([" ".join(_byte_name(letter) for letter in text) for text in MERGED])
    file.add_bos_token_id(tokens.index("<s>"))
    file.add_eos_token_id(tokens.index("</s>"))
    file.add_add_bos_token(bos)
    for part, text in _FIM.items() if fim else ():
        file.add_uint32(f"tokenizer.ggml.fim_{part}_token_id", tokens.index(text))
    if chat_template:
        file.add_chat_template(chat_template)
    _add_decoder(file, len(tokens), np.random.default_rng(seed), biased=grid)
    return _written(file, path)


def write_tiny_pieces(
    path: Path, *, context_length: int = 512, lacks_bytes: bool = False, name: str = "tiny", seed: int = 1
) -> Path:
    """A llama whose vocabulary is SentencePiece's: what libraries of 2023 read as well.

    Its tokens are `<unk>`, `<s>`, `</s>`, a token for each byte, printable ASCII, with `▁` for the space, and
    `PIECES`. Greedy texts consist of the latter two. With `lacks_bytes` the tokens for bytes are called otherwise, but
    for the line feed: characters beyond ASCII have no tokens then.
    """
    letters = ["▁", *map(chr, range(33, 127))]
    named = "<b{:02X}>" if lacks_bytes else "<0x{:02X}>"
    tokens = ["<unk>", "<s>", "</s>", *(named.format(byte) for byte in range(256)), *letters, *PIECES]
    tokens[3 + ord("\n")] = "<0x0A>"
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    file = GGUFWriter(path, "llama")
    _add_sizes(file, name, context_length)
    file.add_vocab_size(len(tokens))
    file.add_tokenizer_model("llama")
    file.add_token_list(tokens)
    file.add_token_scores([0.0] * 259 + [-1000.0] * len(letters) + [float(-rank) for rank in range(len(PIECES))])
    file.add_token_types([*types, *[TokenType.NORMAL] * (len(tokens) - len(types))])
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_unk_token_id(0)
    spoken = range(259, len(tokens))
    _add_decoder(file, len(tokens), np.random.default_rng(seed), biased=False, spoken=spoken)
    return _written(file, path)


def write_tiny_projector(path: Path, *, eye: Eye = "mlp", width: int = _WIDTH, seed: int = 2) -> Path:
    """What makes images readable to `write_tiny_llama`'s models. Another `width` makes one that does not fit them."""
    file = GGUFWriter(path, "clip")
    file.add_bool("clip.has_vision_encoder", True)
    file.add_bool("clip.use_gelu", True)
    file.add_string("clip.projector_type", eye)
    sizes = {
        "image_size": _SIDE[eye],
        "preproc_image_size": 2 * _SIDE[eye],
        "patch_size": _PATCH,
        "embedding_length": _EYE_WIDTH,
        "feed_forward_length": _EYE_FEED,
        "block_count": _EYE_LAYERS,
        "projection_dim": width,
        "attention.head_count": _EYE_HEADS,
        "projector.scale_factor": 2,
    }
    for key, size in sizes.items():
        file.add_uint32(f"clip.vision.{key}", size)
    file.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    file.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    file.add_array("clip.vision.image_std", [0.25, 0.25, 0.25])
    random = np.random.default_rng(seed)
    _add_encoder(file, random, eye)
    _add_projection(file, random, eye, width)
    return _written(file, path)


def write_tiny_vision(folder: Path, *, chat_template: str = "", eye: Eye = "mlp") -> tuple[Path, Path]:
    """A text model and the projector that fits it."""
    model = write_tiny_llama(
        folder / "model.gguf", chat_template=chat_template, grid=eye == "qwen2vl_merger", extra_tokens=_TAGS[eye]
    )
    return model, write_tiny_projector(folder / "projector.gguf", eye=eye)


def _add_sizes(file: GGUFWriter, name: str, context_length: int) -> None:
    file.add_name(name)
    file.add_context_length(context_length)
    file.add_embedding_length(_WIDTH)
    file.add_block_count(_LAYERS)
    file.add_feed_forward_length(_FEED)
    file.add_head_count(_HEADS)
    file.add_head_count_kv(_HEADS // 2)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(_WIDTH // _HEADS)


def _add_decoder(
    file: GGUFWriter, vocabulary: int, random: np.random.Generator, *, biased: bool,
    spoken: Iterable[int] = range(32, 127),
) -> None:  # fmt: skip
    half, ids = _WIDTH // 2, [*spoken]
    output = np.zeros((vocabulary, _WIDTH), np.float32)
    output[ids] = random.standard_normal((len(ids), _WIDTH)) * 0.3
    file.add_tensor("token_embd.weight", _matrix(random, vocabulary, _WIDTH, scale=1.0))
    file.add_tensor("output.weight", output.astype(np.float16))
    file.add_tensor("output_norm.weight", _ones(_WIDTH))
    for layer in range(_LAYERS):
        block = f"blk.{layer}"
        shapes = {
            "attn_q": (_WIDTH, _WIDTH),
            "attn_k": (half, _WIDTH),
            "attn_v": (half, _WIDTH),
            "attn_output": (_WIDTH, _WIDTH),
            "ffn_gate": (_FEED, _WIDTH),
            "ffn_up": (_FEED, _WIDTH),
            "ffn_down": (_WIDTH, _FEED),
        }
        for name, shape in shapes.items():
            file.add_tensor(f"{block}.{name}.weight", _matrix(random, *shape))
        for name in ("attn_norm", "ffn_norm"):
            file.add_tensor(f"{block}.{name}.weight", _ones(_WIDTH))
        for name in ("attn_q", "attn_k", "attn_v") if biased else ():
            file.add_tensor(f"{block}.{name}.bias", _vector(random, shapes[name][0]))


def _add_encoder(file: GGUFWriter, random: np.random.Generator, eye: Eye) -> None:
    wide, patches = _EYE_WIDTH, (_SIDE[eye] // _PATCH) ** 2
    for name in ("v.patch_embd.weight", *(("v.patch_embd.weight.1",) if eye == "qwen2vl_merger" else ())):
        kernel = random.standard_normal((wide, 3, _PATCH, _PATCH)) / _PATCH
        file.add_tensor(name, kernel.astype(np.float16))
    if eye == "mlp":
        file.add_tensor("v.class_embd", _vector(random, wide))
        _add_norm(file, "v.pre_ln", wide)
        patches += 1
    else:
        _add_norm(file, "v.post_ln", wide)
    if eye != "qwen2vl_merger":
        file.add_tensor("v.position_embd.weight", _matrix(random, patches, wide).astype(np.float32))
    for layer in range(_EYE_LAYERS):
        block = f"v.blk.{layer}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            _add_linear(file, f"{block}.{name}", random, wide, wide)
        # Under each other's names: so were they in the files that these models were published in.
        _add_linear(file, f"{block}.ffn_down", random, _EYE_FEED, wide)
        _add_linear(file, f"{block}.ffn_up", random, wide, _EYE_FEED)
        _add_norm(file, f"{block}.ln1", wide)
        _add_norm(file, f"{block}.ln2", wide)


def _add_projection(file: GGUFWriter, random: np.random.Generator, eye: Eye, width: int) -> None:
    wide = _EYE_WIDTH
    if eye == "gemma3":
        file.add_tensor("mm.soft_emb_norm.weight", _ones(wide))
        file.add_tensor("mm.input_projection.weight", _matrix(random, wide, width, scale=2 / wide**0.5))
    elif eye == "idefics3":
        file.add_tensor("mm.model.fc.weight", _matrix(random, width, wide * 4))
    else:
        merged = wide * 4 if eye == "qwen2vl_merger" else wide
        _add_linear(file, "mm.0", random, merged, merged)
        _add_linear(file, "mm.2", random, width, merged)


def _add_linear(file: GGUFWriter, name: str, random: np.random.Generator, rows: int, columns: int) -> None:
    file.add_tensor(f"{name}.weight", _matrix(random, rows, columns))
    file.add_tensor(f"{name}.bias", _vector(random, rows))


def _add_norm(file: GGUFWriter, name: str, width: int) -> None:
    file.add_tensor(f"{name}.weight", _ones(width))
    file.add_tensor(f"{name}.bias", np.zeros(width, np.float32))


def _matrix(random: np.random.Generator, rows: int, columns: int, *, scale: float = 0.0) -> NDArray[np.float16]:
    """Large enough that what comes in decides what comes out."""
    return (random.standard_normal((rows, columns)) * (scale or 2 / columns**0.5)).astype(np.float16)


def _vector(random: np.random.Generator, width: int) -> NDArray[np.float32]:
    return (random.standard_normal(width) * 0.1).astype(np.float32)


def _ones(width: int) -> NDArray[np.float32]:
    return np.ones(width, np.float32)


def _written(file: GGUFWriter, path: Path) -> Path:
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path


def _byte_names() -> list[str]:
    """GPT-2's printable stand-ins for the bytes, in the bytes' order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    names = {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}
    return [names[byte] for byte in range(256)]


def _byte_name(text: str) -> str:
    names = _byte_names()
    return "".join(names[byte] for byte in text.encode())
