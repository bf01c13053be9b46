"""From a `LoadSpec` to a decoder and its vocabulary, or to a sentence that says why not.

What can be known from the files is looked at before ONNX Runtime sees them: what it says of a fault is meant for the
author of a graph.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from msgspec import Struct

from remuda.engine import LoadSpec
from remuda.errors import EngineError, LoadFailed, OutOfMemory
from remuda.runner.cores import available_cores

from .decoder import Decoder
from .folder import Folder, check_external, external_size
from .graph import read_graph
from .native import Session, Stop
from .ports import ports_of
from .vocabulary import OnnxVocabulary

__all__ = ["MICRO_BATCH", "Loaded", "load"]

MICRO_BATCH: Final = 64
"""Prompt tokens at a time, where nobody says otherwise: a second's work for a model of a billion weights."""
_LARGEST: Final = 512


class Loaded(Struct, frozen=True, kw_only=True):
    decoder: Decoder
    vocabulary: OnnxVocabulary
    context: int
    """Tokens per sequence."""
    micro_batch: int
    weights: int
    """Bytes."""
    cell: int
    """Bytes that each token of a text takes."""


def load(spec: LoadSpec, progress: Callable[[float], None]) -> Loaded:
    """`progress` is told how much is done, 0 to 1. Raises `LoadFailed`."""
    try:
        if spec.adapters or spec.projector:
            what = "applies no adapters" if spec.adapters else "reads no images: leave the projector out"
            raise LoadFailed(f"this engine {what}")
        return _load(Path(spec.weights), spec, progress)
    except LoadFailed as error:
        kind = OutOfMemory if isinstance(error, OutOfMemory) else LoadFailed
        raise kind(f"{spec.name} could not be loaded: {error}") from None


def _load(path: Path, spec: LoadSpec, progress: Callable[[float], None]) -> Loaded:
    graph = read_graph(path)
    ports = ports_of(graph, path.name)
    check_external(path, graph)
    folder = Folder.of(path)
    vocabulary = OnnxVocabulary(folder.vocabulary(), folder.ends, folder.eos_token)
    progress(0.1)
    decoder = Decoder(Session(path, _threads(spec.options.num_thread)), ports)
    progress(0.9)
    vocabulary.shrink(_tried(decoder, path.name))
    return Loaded(
        decoder=decoder,
        vocabulary=vocabulary,
        context=min(spec.context, folder.context) if folder.context else spec.context,
        micro_batch=min(spec.options.num_batch or MICRO_BATCH, _LARGEST),
        weights=path.stat().st_size + external_size(path, graph),
        cell=ports.cell,
    )


def _tried(decoder: Decoder, file: str) -> int:
    """How many logits it gives. Two tokens are computed: a request is not to find out that this cannot be done."""
    try:
        _, cache = decoder.evaluate([0], decoder.empty, Stop())
        logits, _ = decoder.evaluate([0], cache, Stop())
    except LoadFailed:
        raise
    except EngineError as error:
        raise LoadFailed(f"{file} cannot be computed with: {error}") from None
    if not np.isfinite(logits).all():
        raise LoadFailed(f"{file} gives no numbers to choose a token by: its weights may be damaged, download it again")
    return len(logits)


def _threads(wished: int) -> int:
    """Never more than there are cores, and one less unless that is wished for: the server needs some, too."""
    cores = available_cores()
    return min(wished, cores) if wished else max(1, cores - 1)
