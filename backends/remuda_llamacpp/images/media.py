"""Images in prompts, through llama.cpp's multimodal library and the model's projector.

`Projector.tokenize`, in the thread that tokenizes, scales an image as the model wants it and says how many places it
takes. `Projector.encode`, in the engine's thread and between two decodes, makes it into embeddings, which the engine
then reads like a stretch of prompt.

Both may run at the same time: tokenizing reads of the library's context what does not change after loading (its
header calls it thread-safe, and its preprocessors are const); encoding uses its graph and its output buffer.
"""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Iterator, Sequence as ListOf
from contextlib import ExitStack

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from remuda.engine import Engine, Media
from remuda.errors import BadRequest, EngineError, LoadFailed
from remuda.sampling import encoded
from remuda.wire.images import MAX_IMAGES, MAX_PIXELS

from .. import _native, log
from ..vocab import LlamaVocabulary
from . import _mtmd
from .pictures import ImageFile

__all__ = ["Chunk", "Picture", "Projector", "Rows", "open_projector"]

_MOST_PIXELS = 4 * MAX_PIXELS
"""Of all images of a prompt: 1.7 GB of memory while they are decoded, free again as soon as they are scaled."""
_NAMES = re.compile(r"(\[img-\d{1,9}\])")
_PROBES = [(width, height) for width in (512, 1024, 2048, 4096) for height in (512, 1024, 2048, 4096)]
_LOG_ERROR = 4


class Rows(Struct, frozen=True):
    """The embeddings of one chunk."""

    values: NDArray[np.float32]
    """One row for each token."""
    positions: NDArray[np.int32]
    """One row for each section of the model's positions: one, or four with M-RoPE."""


class Chunk:
    """What the encoder takes at once: an image, or a tile of one."""

    def __init__(self, chunks: _Chunks, native: _mtmd.Chunk, *, whole: bool) -> None:
        self._chunks: _Chunks | None = chunks
        self.native = native
        """Valid until `release`."""
        self.tokens = _mtmd.chunk_tokens(native)
        self.positions = _mtmd.chunk_positions(native)
        """How far it moves what follows: fewer than `tokens` where positions are those of a grid."""
        self.whole = whole
        """Its tokens look at each other in both directions: they go through one decode."""

    def release(self) -> None:
        """Its pixels are not needed any more."""
        self._chunks = None


class Picture(Struct, frozen=True):
    """The `Media.handle` of one image."""

    tokens: NDArray[np.int32]
    """`Engine.MEDIA` where embeddings stand, and the tokens of the model that some put between tiles."""
    chunks: list[tuple[int, Chunk]]
    """The chunks, and where among `tokens` each begins."""


class _Chunks:
    """The library's own list, freed with the last of our chunks that needs it."""

    def __init__(self) -> None:
        self.native = _mtmd.chunks_new()
        weakref.finalize(self, _mtmd.chunks_free, self.native)

    def __iter__(self) -> Iterator[_mtmd.Chunk]:
        return (_mtmd.chunks_get(self.native, index) for index in range(_mtmd.chunks_size(self.native)))


def open_projector(path: str, model: _native.Model, *, name: str, gpu: bool, threads: int) -> Projector:
    """Load it. Raises `LoadFailed`; nothing is left behind then."""
    params = _mtmd.context_params()
    params.use_gpu, params.n_threads, params.print_timings = gpu, threads, False
    # The first image makes the buffers instead: a dummy one of the largest size would cost seconds and memory.
    params.warmup = False
    _mtmd.log_set(_log, None)
    context = _mtmd.context_new(os.fsencode(path), model, params)
    if not context:
        detail = " ".join(log.last_error().split())
        raise LoadFailed(f"the projector of {name} could not be loaded" + (f" ({detail})" if detail else ""))
    projector = Projector(context, _native.model_embedding(model))
    try:
        if not _mtmd.sees(context):
            raise LoadFailed(f"the projector of {name} is not for images; other media are not supported")
        projector.probe()
    except BaseException:
        projector.close()
        raise
    return projector


class Projector:
    """Made by `open_projector`."""

    def __init__(self, context: _mtmd.Context, width: int) -> None:
        self._context = context
        self._width = width
        self._grid = _mtmd.uses_grid(context)
        self._whole = _mtmd.uses_whole(context, None)
        self.widest = 0
        """The tokens of the largest image that must go through one decode; 0 where images may be cut."""

    def probe(self) -> None:
        """Find out `widest`."""
        if self._whole:
            most = max(self._places([size]) for size in _PROBES)
            self.widest = most + most // 8  # there may be a shape that takes more than those that were tried

    def close(self) -> None:
        """Free it, before its model."""
        _mtmd.context_free(self._context)

    # --- any thread ---

    def tokenize(
        self, text: str, images: ListOf[bytes], vocabulary: LlamaVocabulary, *, bos: bool, room: int
    ) -> tuple[list[int], list[Media]]:
        """As `Engine.tokenize_media`; all images together may take `room` places."""
        if len(images) > MAX_IMAGES:
            raise BadRequest(f"the prompt holds {len(images)} images; at most {MAX_IMAGES} are allowed")
        parts = _parts(text, len(images))
        files = [ImageFile(data, number) for number, data in enumerate(images, 1)]
        pixels = sum(file.width * file.height for file in files)
        if pixels > _MOST_PIXELS:
            raise BadRequest(f"the images hold {pixels} pixels together; at most {_MOST_PIXELS} are allowed")
        # Counted before anything is decoded and scaled: what is allocated for it is bounded by the context.
        places = self._places([(file.width, file.height) for file in files])
        if places > room:
            raise BadRequest(
                f"the images take {places} places of the context, and at most {room} fit; "
                "send fewer or smaller images, or raise num_ctx"
            )
        tokens, media = self._laid_out(self._chunks(parts, ((file.width, file.height, file.rows()) for file in files)))
        if bos and _native.vocab_adds_bos(vocabulary.handle) and tokens[:1] != [vocabulary.bos]:
            tokens.insert(0, vocabulary.bos)
        return tokens, media

    def _places(self, sizes: ListOf[tuple[int, int]]) -> int:
        """How many tokens images of these sizes take, text between tiles left aside."""
        chunks = self._chunks(list(range(len(sizes))), ((*size, None) for size in sizes))
        return sum(_mtmd.chunk_tokens(chunk) for chunk in chunks if _mtmd.chunk_kind(chunk) != _mtmd.TEXT)

    def _chunks(self, parts: list[bytes | int], images: Iterator[tuple[int, int, bytes | None]]) -> _Chunks:
        """`parts` are texts and numbers of `images`, which are widths, heights and rows."""
        chunks = _Chunks()
        with ExitStack() as undo:
            bitmaps: list[_mtmd.Bitmap] = []
            for index, image in enumerate(images):
                bitmaps.append(_mtmd.bitmap(*image, name=str(index)))
                undo.callback(_mtmd.bitmap_free, bitmaps[-1])
            inputs = [part if isinstance(part, bytes) else bitmaps[part] for part in parts]
            if _mtmd.tokenize(self._context, chunks.native, inputs):
                raise BadRequest("the model cannot take an image of this size or shape; scale it and send it again")
        return chunks

    def _laid_out(self, chunks: _Chunks) -> tuple[list[int], list[Media]]:
        tokens: list[int] = []
        pictures: dict[bytes, list[tuple[int, Chunk]]] = {}
        for native in chunks:
            if _mtmd.chunk_kind(native) == _mtmd.TEXT:
                # Less than nothing: a separator that this model's vocabulary does not have.
                tokens += [token for token in _mtmd.chunk_text(native) if token >= 0]
                continue
            chunk = Chunk(chunks, native, whole=self._whole)
            if chunk.whole and chunk.tokens > self.widest:
                raise BadRequest(f"an image takes {chunk.tokens} tokens, and at most {self.widest} are possible")
            pictures.setdefault(_mtmd.chunk_name(native), []).append((len(tokens), chunk))
            tokens += [Engine.MEDIA] * chunk.tokens
        media: list[Media] = []
        for tiles in pictures.values():
            begin, end = tiles[0][0], tiles[-1][0] + tiles[-1][1].tokens
            inside = np.array(tokens[begin:end], np.int32)
            tokens[begin:end] = [Engine.MEDIA] * (end - begin)
            media.append(Media(end - begin, Picture(inside, [(at - begin, chunk) for at, chunk in tiles])))
        return tokens, media

    # --- the engine's thread ---

    def encode(self, chunk: Chunk, position: int) -> Rows:
        """The embeddings of `chunk`, which begins at `position`. Raises `EngineError`.

        On a CPU this takes up to minutes for a large model, in one piece: running streams wait.
        """
        if _mtmd.encode(self._context, chunk.native):
            raise EngineError(f"an image could not be encoded ({log.last_error()})")
        values = np.ctypeslib.as_array(_mtmd.embeddings(self._context), (chunk.tokens, self._width)).copy()
        if self._grid:
            spots = np.empty((chunk.tokens, 4), np.uint32)
            _mtmd.chunk_grid(chunk.native, position, spots.ctypes.data)
            positions = spots[:, (0, 2, 1, 3)].T.astype(np.int32)  # llama.cpp's sections are t, y, x, z
        else:
            positions = np.arange(position, position + chunk.tokens, dtype=np.int32)[np.newaxis]
        chunk.release()
        return Rows(values, positions)


def _parts(text: str, images: int) -> list[bytes | int]:
    """Texts and numbers of images, in their order in the prompt."""
    names = {f"[img-{index}]": index for index in range(images)}
    parts: list[bytes | int] = []
    words: list[str] = []
    for piece in _NAMES.split(text):
        index = names.pop(piece, None)
        if index is None:
            words.append(piece)
        else:
            parts += [encoded("".join(words)), index]
            words = []
    return [part for part in [*names.values(), *parts, encoded("".join(words))] if part != b""]


_log = _mtmd.log_callback(_LOG_ERROR)
"""Kept for the life of the process: the library holds the pointer.

Errors only: the sizes of the encoder's buffers would be taken for the context's.
"""
