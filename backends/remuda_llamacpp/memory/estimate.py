"""What a model will hold in memory, from the metadata of its files: `docs/explanation/memory.md` tells how.

`load` decides how a context is made; this follows it, and knows llama.cpp's own rounding. Nothing is allocated by the
numbers of a file, and whatever they say, an estimate comes out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from remuda.backend import Estimate, LoadWish
from remuda.model import ModelEntry
from remuda.model.gguf import GGUFError, read_header
from remuda.model.gguf.layout import by_name

from ..sizes import (
    DRAFT_MOST,
    DRAFT_STRETCH,
    EMBED_MOST,
    EMBED_ROOM,
    EMBED_ROOM_GPU,
    STRETCH,
    STRETCH_GPU,
    model_guesses,
)
from .anatomy import Anatomy, read_anatomy

__all__ = ["Plan", "estimate", "plan", "weigh"]

_MIB: Final = 2**20
_PROCESS: Final = 54 * _MIB
"""Python, the runner and llama.cpp's libraries."""
_TOKEN, _MERGE = 200, 180
"""Bytes that a token, and a rule to join tokens, take in llama.cpp's vocabulary."""
_PAD: Final = 256
"""What the cells of a sequence are rounded up to."""
_FLOAT: Final = 4
_MULTIMODAL: Final = 9 * _MIB
"""llama.cpp's library for images, and numpy."""
_ANY_SIZE: Final = ("kimivl", "lightonocr", "pixtral", "qwen", "youtuvl")
"""How the kinds of projectors begin that take an image as large as it is."""
_USUAL_SIDE, _MAX_SIDE = 1024, 2**20
"""Pixels of what they may be expected to get; and more than any image has."""
_MOST: Final = 2**62


class Plan(Struct, frozen=True, kw_only=True):
    """The context that `load` will make."""

    cells: int
    """Tokens in the cache of one sequence."""
    streams: int
    """Such caches."""
    sequences: int
    batch: int
    """Tokens in the largest decode."""
    outputs: int
    """Rows of logits, which embedders have too."""
    cache: str
    """The type of cached keys and values."""
    flash: bool


def estimate(model: ModelEntry, wish: LoadWish, settings: dict[str, Any], *, gpu: bool) -> Estimate:
    """`settings` are the backend's; `gpu` says whether there is one. Blocking; never raises for what a file holds."""
    extra = sum(_file_size(path) for path in model.adapters) + _projector(model.projector)
    needed = _weighed(model.weights, wish, settings, gpu=gpu, extra=extra)
    if model.draft is None or settings.get("draft") is False or not model_guesses(wish.options):
        return needed
    options = structs.replace(wish.options, num_batch=DRAFT_STRETCH)
    wish = structs.replace(wish, parallel=1, options=options)
    draft = _weighed(model.draft, wish, {**settings, "draft": False}, gpu=gpu)
    return Estimate(
        memory=min(needed.memory + draft.memory - _PROCESS, _MOST),
        mapped=min(needed.mapped + draft.mapped, _MOST),
        gpu=min(needed.gpu + draft.gpu, _MOST),
    )


def _weighed(path: Path, wish: LoadWish, settings: dict[str, Any], *, gpu: bool, extra: int = 0) -> Estimate:
    """With a process of its own."""
    fast = settings.get("weights") == "fast" and not (gpu and wish.options.num_gpu != 0)
    try:
        anatomy = read_anatomy(path, fast=fast)
    except GGUFError:
        anatomy = None
    if anatomy is None:
        size = _file_size(path)
        return Estimate(memory=size + size // 10 + extra + _PROCESS, mapped=size)
    return weigh(anatomy, wish, settings, gpu=gpu, extra=extra)


def weigh(anatomy: Anatomy, wish: LoadWish, settings: dict[str, Any], *, gpu: bool = False, extra: int = 0) -> Estimate:
    """`extra` bytes are those of the projector and of adapters."""
    layers, planned = len(anatomy.layers) + 1, plan(anatomy, wish, settings, gpu=gpu)
    away = (layers if wish.options.num_gpu < 0 else min(wish.options.num_gpu, layers)) if gpu else 0
    output = planned.outputs * _FLOAT * (anatomy.vocabulary + (anatomy.width if anatomy.embeds else 0))
    process = _PROCESS + anatomy.vocabulary * _TOKEN + anatomy.merges * _MERGE + output
    cache, compute = _cache(anatomy, planned), _compute(anatomy, planned)
    moved = (anatomy.weights - anatomy.embedding) * away // layers
    here = anatomy.weights - moved
    mapped = 0 if wish.options.use_mmap is False else max(0, here - anatomy.repacked * (layers - away) // layers)
    held = here + cache - cache * away // layers
    if away:
        on_gpu = moved + cache * away // layers + compute + extra
        return Estimate(memory=min(process + held, _MOST), mapped=min(mapped, _MOST), gpu=min(on_gpu, _MOST))
    return Estimate(memory=min(process + held + compute + extra, _MOST), mapped=min(mapped, _MOST))


def plan(anatomy: Anatomy, wish: LoadWish, settings: dict[str, Any], *, gpu: bool = False) -> Plan:
    """As `load` does it."""
    on_gpu, given = gpu and wish.options.num_gpu != 0, wish.options.num_batch
    length = max(1, min(wish.context, anatomy.trained) if anatomy.trained else wish.context)
    if anatomy.embeds:
        room = EMBED_ROOM_GPU if on_gpu else EMBED_ROOM
        batch = _up(max(min(given or room, EMBED_ROOM_GPU), length), EMBED_MOST)
        # One cache for all texts; and logits are kept for each token, although nobody wants them.
        cells, streams, sequences, outputs = _up(batch, _PAD), 1, EMBED_MOST, batch
    else:
        streams = sequences = max(1, wish.parallel)
        outputs = streams if settings.get("draft") is False else max(streams, 1 + DRAFT_MOST)
        stretch = STRETCH_GPU if on_gpu else STRETCH
        cells = _up(length, _PAD)
        batch = min(max(given or stretch + stretch // 4, outputs), cells * streams)
    return Plan(
        cells=cells,
        streams=streams,
        sequences=sequences,
        batch=batch,
        outputs=outputs,
        cache=str(settings.get("kv_cache_type") or "f16"),
        flash=str(settings.get("flash_attention")).lower() not in {"false", "0"},
    )


def _cache(anatomy: Anatomy, planned: Plan) -> int:
    """Keys and values of all cells, and the states of recurrent layers."""
    cells = planned.cells * planned.streams
    tokens = sum(_row(layer.keys, planned) + _row(layer.values, planned) for layer in anatomy.layers)
    return cells * tokens + planned.sequences * _FLOAT * sum(layer.state for layer in anatomy.layers)


def _compute(anatomy: Anatomy, planned: Plan) -> int:
    """The buffer that llama.cpp computes in: the widest place of a layer, and what says which token sees which."""
    seen = planned.cells if _keeps_keys(anatomy) else planned.batch
    mask = planned.batch * seen * (2 if planned.flash else _FLOAT)
    wide = planned.batch * _FLOAT * anatomy.floats
    if not planned.flash:
        wide = max(wide, planned.batch * _FLOAT * (anatomy.heads * seen + anatomy.width))
    logits = 0 if anatomy.embeds else planned.outputs * _FLOAT * (anatomy.vocabulary + anatomy.width)
    return max(max(wide, logits) + mask, _shift(anatomy, planned))


def _shift(anatomy: Anatomy, planned: Plan) -> int:
    """What it takes to forget the older half of a text: cached keys that are not floats are made so, all at a time."""
    if anatomy.embeds or planned.cache == "f16":
        return 0
    return 2 * planned.cells * planned.streams * _FLOAT * max((layer.keys for layer in anatomy.layers), default=0)


def _keeps_keys(anatomy: Anatomy) -> bool:
    return any(layer.keys for layer in anatomy.layers)


def _row(numbers: int, planned: Plan) -> int:
    """Bytes of so many numbers in the cache."""
    form = by_name(planned.cache.upper()) or by_name("F16")
    assert form is not None
    return -(-numbers // form.block) * form.size


def _projector(path: Path | None) -> int:
    """Its library and weights, and what one image takes while it is encoded."""
    if path is None:
        return 0
    try:
        header, _ = read_header(path)
    except GGUFError:
        return _file_size(path) + _MULTIMODAL
    width, feed, side, patch = (
        min(max(header.of_architecture(f"vision.{key}"), 0), _MAX_SIDE)
        for key in ("embedding_length", "feed_forward_length", "image_size", "patch_size")
    )
    if header.text("clip.projector_type").startswith(_ANY_SIZE):
        side = max(side, _USUAL_SIDE)
    patches = (side // max(patch, 1)) ** 2
    return _file_size(path) + _MULTIMODAL + patches * _FLOAT * (4 * width + 2 * feed)


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
