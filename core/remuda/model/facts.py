"""What a model says about itself, for `/api/tags`, `/api/ps` and for rendering its prompts."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct, field, structs

from ..wire.models import Details
from .entry import NO_WEIGHTS, ModelEntry, Stored
from .ggml import MAGICS, read_ggml
from .gguf import GGUFHeader, read_header
from .gguf.layout import MAGIC
from .infill import INFILL_KEYS, INFILL_TEXTS, infill_tokens
from .manifest import GGML, weights_type
from .weights import WeightsError

__all__ = ["ModelFacts", "file_digest", "human_count", "read_facts"]

_GGUF = "gguf"
_STARTED: Final = time.time()
"""When a model without weights was last changed, as far as anybody can tell."""
_log = logging.getLogger("remuda.model")
_BOS, _EOS = "tokenizer.ggml.bos_token_id", "tokenizer.ggml.eos_token_id"
_TEMPLATE = "tokenizer.chat_template"

# `general.file_type` of the GGUF specification (llama.cpp's `llama_ftype`).
_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip


class ModelFacts(Struct, frozen=True, kw_only=True):
    """Sizes in bytes, lengths in tokens; empty or 0 where the weights do not say."""

    details: Details
    size: int
    modified: float
    """POSIX time."""
    context_length: int = 0
    embedding_length: int = 0
    capabilities: list[str] = field(default_factory=list[str])
    chat_template: str = ""
    bos_token: str = ""
    eos_token: str = ""
    infill: tuple[str, str, str] | None = None
    """What to write before the text, before what follows the hole, and before the answer, for a text with a hole."""


def read_facts(entry: ModelEntry) -> ModelFacts:
    """Blocking. Raises `WeightsError` when the weights cannot be read and the store does not say what they are."""
    if entry.stored is None:
        return _facts_of_weights(entry)
    try:
        facts = _facts_of_weights(entry)
    except WeightsError as error:
        if not entry.fault:
            _log.warning("the weights of %s cannot be read: %s", entry.name, error)
        # Whoever asks it to complete something shall hear why it cannot be loaded, not that it cannot complete.
        able = [] if entry.fault else ["completion"]
        facts = ModelFacts(details=Details(format=entry.format), size=0, modified=0, capabilities=able)
    return _with_stored(facts, entry.stored)


def _with_stored(facts: ModelFacts, stored: Stored) -> ModelFacts:
    """`facts` with what the store says instead, where it does."""
    config = stored.config
    details = Details(
        parent_model=stored.parent,
        format=config.model_format or facts.details.format,
        family=config.model_family or facts.details.family,
        families=config.model_families or facts.details.families,
        parameter_size=config.model_type or facts.details.parameter_size,
        quantization_level=config.file_type or facts.details.quantization_level,
    )
    return structs.replace(
        facts,
        details=details,
        size=stored.size,
        modified=stored.modified,
        context_length=facts.context_length or config.context_length,
        embedding_length=facts.embedding_length or config.embedding_length,
        capabilities=list(dict.fromkeys((*(config.capabilities or ()), *facts.capabilities))),
    )


def _facts_of_weights(entry: ModelEntry) -> ModelFacts:
    if entry.weights == NO_WEIGHTS:
        return _facts_told(entry, size=0, modified=_STARTED)
    try:
        stat = entry.weights.stat()
    except OSError:
        raise WeightsError("the weights are not there any more") from None
    if entry.format not in {GGML, _GGUF}:
        return _facts_told(entry, size=stat.st_size, modified=stat.st_mtime)
    try:
        return _facts_of_ggml(entry, stat) if entry.format == GGML else _facts_of_gguf(entry, stat)
    except WeightsError:
        _check_format(entry)
        raise


def _facts_told(entry: ModelEntry, *, size: int, modified: float) -> ModelFacts:
    """Of a model whose weights cannot be read here: what whoever offers it says."""
    return ModelFacts(
        details=Details(format=entry.format, family=entry.format, families=[entry.format]),
        size=size,
        modified=modified,
        context_length=entry.context_length,
        capabilities=list(dict.fromkeys(entry.capabilities)) or ["completion"],
    )


def _check_format(entry: ModelEntry) -> None:
    """Raises `WeightsError` for weights outside the store that are GGUF or GGML where the other was said."""
    right = _format_told(entry.weights)
    if entry.stored is None and right not in {"", entry.format}:
        raise WeightsError(
            f"the weights are a {right.upper()} file, not {entry.format.upper()}:"
            f' where the model is configured or registered, say format = "{right}"'
        )


def _format_told(path: Path) -> str:
    """By how the file begins; empty where that is neither GGUF nor GGML."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(MAGIC))
    except OSError:
        return ""
    return _GGUF if magic == MAGIC else GGML if magic in MAGICS else ""


def _facts_of_gguf(entry: ModelEntry, stat: os.stat_result) -> ModelFacts:
    header, tokens = read_header(entry.weights, (_BOS, _EOS, *INFILL_KEYS), INFILL_TEXTS)
    family = header.architecture
    return ModelFacts(
        details=Details(
            format=entry.format,
            family=family,
            families=[family] if family else None,
            parameter_size=human_count(header.parameters),
            quantization_level=_FILE_TYPES.get(header.number("general.file_type"), "unknown"),
        ),
        size=stat.st_size,
        modified=stat.st_mtime,
        context_length=header.of_architecture("context_length"),
        embedding_length=header.of_architecture("embedding_length"),
        capabilities=_capabilities(header, entry),
        chat_template=header.text(_TEMPLATE),
        bos_token=tokens.get(_BOS, ""),
        eos_token=tokens.get(_EOS, ""),
        infill=infill_tokens(tokens),
    )


def _facts_of_ggml(entry: ModelEntry, stat: os.stat_result) -> ModelFacts:
    header = read_ggml(entry.weights, entry.model_type or "", INFILL_TEXTS)
    return ModelFacts(
        details=Details(
            format=GGML,
            family=header.model_type,
            families=[header.model_type],
            parameter_size=human_count(header.parameters),
            quantization_level=_FILE_TYPES.get(header.file_type, "unknown"),
        ),
        size=stat.st_size,
        modified=stat.st_mtime,
        context_length=header.context_length,
        embedding_length=header.embedding_length,
        capabilities=["completion"],
        infill=infill_tokens({text: text for text in header.found}),
    )


def file_digest(entry: ModelEntry) -> str:
    """64 hex digits that stand for a model outside a store: the SHA-256 of name-independent facts about its weights.

    Of one without weights: of its name and of what is said of it. Blocking: reads the whole file.
    """
    if entry.weights == NO_WEIGHTS:
        said = (entry.name.key, entry.source, entry.format, entry.backend, entry.capabilities, entry.context_length)
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()
    with Path(entry.weights).open("rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    layer = {"mediaType": weights_type(entry.format), "digest": f"sha256:{weights}"}
    return hashlib.sha256(msgspec.json.encode({"schemaVersion": 2, "layers": [layer]})).hexdigest()


def human_count(number: int) -> str:
    """Parameters as the protocol writes them: `1.2B`, `134.52M`, `260K`."""
    if number >= 10**9:
        return _trim(f"{number / 10**9:.1f}", number % 10**9 == 0) + "B"
    if number >= 10**6:
        return _trim(f"{number / 10**6:.2f}", number % 10**6 == 0) + "M"
    return f"{number / 1000:.0f}K" if number >= 1000 else str(number)


def _trim(text: str, whole: bool) -> str:
    return text.partition(".")[0] if whole else text


def _capabilities(header: GGUFHeader, entry: ModelEntry) -> list[str]:
    """In the protocol's order (Ollama API, "Capabilities"), from the headers alone."""
    found = ["embedding" if f"{header.architecture}.pooling_type" in header.values else "completion"]
    found += [name for name in ("vision", "audio") if f"{header.architecture}.{name}.block_count" in header.values]
    if entry.projector is not None:
        projector, _ = read_header(entry.projector)
        for name in ("vision", "audio"):
            if projector.values.get(f"clip.has_{name}_encoder") is True and name not in found:
                found.append(name)
    return found
