"""Whether a graph is a decoder as optimum and transformers.js have them, and what its cache looks like. Pure.

Inputs are `input_ids`, and as far as the model has them `attention_mask`, `position_ids` and `num_logits_to_keep`; and
for each layer `past_key_values.N.key` and `.value`, which come out again as `present.N.key` and `.value`, longer by
what was computed. A cache has the shape (batch, heads, tokens, numbers). The other output is `logits`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from remuda.errors import LoadFailed

from .graph import Graph, Port

__all__ = ["IDS", "KEEP", "LOGITS", "MASK", "POSITIONS", "CachePort", "Ports", "ports_of"]

IDS: Final = "input_ids"
MASK: Final = "attention_mask"
POSITIONS: Final = "position_ids"
KEEP: Final = "num_logits_to_keep"
"""Of how many tokens, from the end, logits are wanted."""
LOGITS: Final = "logits"
_PAST, _PRESENT = "past_key_values.", "present."
_BRANCH: Final = "use_cache_branch"

_FLOAT, _INT64, _FLOAT16 = 1, 7, 10
_BYTES: Final = {_FLOAT: 4, _FLOAT16: 2}
_NUMPY: Final = {_FLOAT: "float32", _FLOAT16: "float16"}
_EXPORT: Final = "export the model again with optimum (optimum-cli export onnx --task text-generation-with-past)"


class CachePort(Struct, frozen=True):
    """Keys or values of one layer."""

    past: str
    present: str
    heads: int
    width: int
    dtype: str
    """The name that numpy has for the type of its numbers."""
    cell: int
    """Bytes for each token."""


class Ports(Struct, frozen=True, kw_only=True):
    caches: tuple[CachePort, ...]
    optional: frozenset[str]
    """Which of `MASK`, `POSITIONS` and `KEEP` there are."""
    vocabulary: int | None
    """How many logits there are for each token; None if the file does not say."""

    @property
    def cell(self) -> int:
        """Bytes that a token takes in all caches together."""
        return sum(cache.cell for cache in self.caches)


def ports_of(graph: Graph, file: str) -> Ports:
    """Raises `LoadFailed` that names `file` and what about it cannot be served."""
    inputs, outputs = graph.inputs, graph.outputs
    if _BRANCH in inputs:
        # In its branch with a past no token is kept from seeing those behind it, as that was for one token only.
        raise LoadFailed(f"{file} is of an older kind, with the input {_BRANCH!r}: {_EXPORT}")
    pasts = [name for name in inputs if name.startswith(_PAST)]
    _check_named(graph, pasts, file)
    for name in (IDS, MASK, POSITIONS, KEEP):
        if name in inputs and inputs[name].type != _INT64:
            raise LoadFailed(f"{file} has an input {name!r} that takes no 64-bit integers: {_EXPORT}")
    logits = outputs[LOGITS]
    if logits.type not in _BYTES or len(logits.shape) != 3:
        raise LoadFailed(f"{file} has logits of another type or shape than a decoder's: {_EXPORT}")
    return Ports(
        caches=tuple(_cache(name, graph, file) for name in pasts),
        optional=frozenset({MASK, POSITIONS, KEEP} & inputs.keys()),
        vocabulary=logits.shape[-1],
    )


def _check_named(graph: Graph, pasts: list[str], file: str) -> None:
    """Raises `LoadFailed` where an input or an output that is needed is missing, or one is not known."""
    inputs, outputs = graph.inputs, graph.outputs
    if LOGITS not in outputs or IDS not in inputs:
        told = f"inputs {_listed(inputs)}; outputs {_listed(outputs)}"
        raise LoadFailed(f"{file} is no decoder: it lacks {IDS!r} or {LOGITS!r} ({told})")
    if not pasts:
        raise LoadFailed(f"{file} keeps nothing of what it has read (no {_PAST}...): {_EXPORT}")
    unknown = inputs.keys() - {IDS, MASK, POSITIONS, KEEP, *pasts}
    if unknown:
        raise LoadFailed(f"{file} wants inputs that this engine does not know: {_listed(unknown)}")


def _cache(past: str, graph: Graph, file: str) -> CachePort:
    present = _PRESENT + past.removeprefix(_PAST)
    if present not in graph.outputs:
        raise LoadFailed(f"{file} has the input {past!r} without the output {present!r}: {_EXPORT}")
    port: Port = graph.inputs[past]
    if port.type not in _BYTES:
        raise LoadFailed(f"{file} keeps {past!r} in numbers of another type than float32 or float16: {_EXPORT}")
    match port.shape:
        case (_, int(heads), None, int(width)) if heads > 0 and width > 0:
            return CachePort(past, present, heads, width, _NUMPY[port.type], heads * width * _BYTES[port.type])
        case _:
            raise LoadFailed(f"{file} has {past!r} in another shape than (batch, heads, tokens, numbers): {_EXPORT}")


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:6]) + (", ..." if len(found) > 6 else "")
