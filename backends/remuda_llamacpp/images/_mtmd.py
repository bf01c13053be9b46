"""The part of llama.cpp's multimodal library that the engine uses, typed: as `_native`, for libmtmd.

Imported only where a model has a projector: a llama.cpp may be built without this library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib import import_module
from typing import Any, NewType

from .. import _native

__all__ = ["Bitmap", "Chunk", "Chunks", "Context"]

Context = NewType("Context", int)
Bitmap = NewType("Bitmap", int)
Chunks = NewType("Chunks", int)
Chunk = NewType("Chunk", int)
"""Lives as long as the `Chunks` that it came from."""

_llama: Any = import_module("llama_cpp.llama_cpp")
_mtmd: Any = import_module("llama_cpp.mtmd_cpp")
_pointer: Any = ctypes.POINTER
_part_pointer: Any = _pointer(_mtmd.mtmd_input_part)
_spot_pointer: Any = _pointer(_mtmd.mtmd_decoder_pos)

TEXT: int = _mtmd.MTMD_INPUT_CHUNK_TYPE_TEXT

# --- context ---
context_params: Callable[[], Any] = _mtmd.mtmd_context_params_default
context_new: Callable[[bytes, _native.Model, Any], Context | None] = _mtmd.mtmd_init_from_file
context_free: Callable[[Context], None] = _mtmd.mtmd_free
sees: Callable[[Context], bool] = _mtmd.mtmd_support_vision
uses_grid: Callable[[Context], bool] = _mtmd.mtmd_decode_use_mrope
uses_whole: Callable[[Context, None], bool] = _mtmd.mtmd_decode_use_non_causal
log_set: Callable[[Any, None], None] = _mtmd.mtmd_log_set

# --- images ---
_bitmap: Callable[[int, int, Any], Bitmap] = _mtmd.mtmd_bitmap_init
bitmap_free: Callable[[Bitmap], None] = _mtmd.mtmd_bitmap_free
_bitmap_name: Callable[[Bitmap, bytes], None] = _mtmd.mtmd_bitmap_set_id

# --- prompts ---
chunks_new: Callable[[], Chunks] = _mtmd.mtmd_input_chunks_init
chunks_free: Callable[[Chunks], None] = _mtmd.mtmd_input_chunks_free
chunks_size: Callable[[Chunks], int] = _mtmd.mtmd_input_chunks_size
chunks_get: Callable[[Chunks, int], Chunk] = _mtmd.mtmd_input_chunks_get
chunk_kind: Callable[[Chunk], int] = _mtmd.mtmd_input_chunk_get_type
chunk_name: Callable[[Chunk], bytes] = _mtmd.mtmd_input_chunk_get_id
chunk_tokens: Callable[[Chunk], int] = _mtmd.mtmd_input_chunk_get_n_tokens
chunk_positions: Callable[[Chunk], int] = _mtmd.mtmd_input_chunk_get_n_pos
encode: Callable[[Context, Chunk], int] = _mtmd.mtmd_encode_chunk
embeddings: Callable[[Context], Any] = _mtmd.mtmd_get_output_embd
_tokenize: Callable[[Context, Chunks, Any, int, bool], int] = _mtmd.mtmd_tokenize_from_parts
_chunk_text: Callable[[Chunk, Any], Any] = _mtmd.mtmd_input_chunk_get_tokens_text
_chunk_image: Callable[[Chunk], int] = _mtmd.mtmd_input_chunk_get_tokens_image
_grid: Callable[[int, int, Any], None] = _mtmd.mtmd_helper_image_get_decoder_pos


def log_callback(wanted: int) -> Any:
    """A callback for `log_set` that gives what is of the level `wanted` to llama.cpp's own callback.

    To be kept for as long as it is set.
    """
    kind: Any = _llama.llama_log_callback

    def take(level: int, text: bytes | None, _data: Any) -> None:
        if level == wanted:
            present, data = kind(), ctypes.c_void_p()
            _llama.llama_log_get(ctypes.byref(present), ctypes.byref(data))
            present(level, text, data)

    return kind(take)


def bitmap(width: int, height: int, rows: bytes | None, *, name: str) -> Bitmap:
    """Of rows of RGB, which are copied. Without any, it can be tokenized, to learn its size, but not encoded."""
    data = None if rows is None else ctypes.cast(ctypes.c_char_p(rows), ctypes.POINTER(ctypes.c_uint8))
    made = _bitmap(width, height, data)
    _bitmap_name(made, name.encode())
    return made


def tokenize(context: Context, chunks: Chunks, parts: list[bytes | Bitmap]) -> int:
    """Fill `chunks` with texts and images in turn; not 0 if that failed. Special tokens are recognised in texts.

    Part by part, and not as one text with markers: nothing that a user writes can stand for an image.
    """
    texts: list[Any] = []
    inputs: list[Any] = []
    for part in parts:
        if isinstance(part, bytes):
            texts.append(_mtmd.mtmd_input_text(text=part, text_len=len(part), add_special=False, parse_special=True))
            inputs.append(_mtmd.mtmd_input_part(text=ctypes.pointer(texts[-1])))
        else:
            inputs.append(_mtmd.mtmd_input_part(bitmap=part))
    pointers = (_part_pointer * len(inputs))(*map(ctypes.pointer, inputs))
    return _tokenize(context, chunks, pointers, len(inputs), False)


def chunk_text(chunk: Chunk) -> list[int]:
    """The tokens of a chunk of text."""
    count = ctypes.c_size_t(0)
    tokens = _chunk_text(chunk, ctypes.byref(count))
    return tokens[: count.value]


def chunk_grid(chunk: Chunk, position: int, into: int) -> None:
    """Write where each token of an image stands that begins at `position`: four uint32 (t, x, y, z), at `into`."""
    _grid(_chunk_image(chunk), position, ctypes.cast(into, _spot_pointer))
