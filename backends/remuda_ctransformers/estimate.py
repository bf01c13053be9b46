"""What a model will hold in memory, from its file alone."""

from __future__ import annotations

from typing import Final

from remuda.backend import Estimate, LoadWish
from remuda.errors import LoadFailed
from remuda.model import ModelEntry
from remuda.model.ggml import read_ggml
from remuda.model.gguf import read_header

from .sizes import Sizes, contexts, sizes_of_ggml, sizes_of_gguf

__all__ = ["estimate"]

_PROCESS: Final = 48 * 2**20
"""Bytes of Python, the runner, numpy and the library."""


def estimate(model: ModelEntry, wish: LoadWish) -> Estimate:
    """With as many contexts as there is room for at this moment. Blocking; never raises for what a file holds."""
    try:
        sizes = _sizes(model)
    except LoadFailed:  # loading it will say why
        return Estimate(memory=_PROCESS)
    context = sizes.plan(wish.context, wish.options.num_batch).context
    mmap = wish.options.use_mmap is not False
    count = contexts(sizes, context, wish.parallel, mmap=mmap)
    mapped = sizes.weights if mmap and sizes.is_llama else 0
    return Estimate(memory=_PROCESS + sizes.all(context, count, mmap=mmap), mapped=mapped)


def _sizes(model: ModelEntry) -> Sizes:
    if model.format == "gguf":
        return sizes_of_gguf(read_header(model.weights)[0])
    return sizes_of_ggml(read_ggml(model.weights, model.model_type or ""))
