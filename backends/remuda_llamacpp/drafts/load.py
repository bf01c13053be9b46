"""From the file of a draft model to one that guesses for a loaded model, or to a sentence that says why not."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any, Final

from remuda.errors import LoadFailed, OutOfMemory

from .. import _native, log
from ..sizes import DRAFT_STRETCH
from ..vocab import LlamaVocabulary
from .model import DraftModel

__all__ = ["open_draft"]

_WITHOUT: Final = "set draft_num_predict to 0 to go without it"
_PADDING: Final = 128
"""Tokens that one vocabulary may have more than the other, as llama.cpp allows: models of one family, such as Qwen 2.5,
differ in what fills up the last rows of a matrix."""
_SAMPLE: Final = 1000
"""Tokens of two vocabularies that are compared, about."""


def open_draft(
    path: str,
    model: _native.Model,
    model_params: Any,
    context_params: Any,
    *,
    name: str,
    length: int,
    most: int,
) -> DraftModel:
    """Load it. Raises `LoadFailed`; nothing is left behind then.

    `name` is that of `model`, which drafts are for, and `length` how many tokens a text of it may have. `most`: the
    longest draft. Both kinds of parameters are those of `model`; what a draft model needs otherwise is changed in them.
    """
    sizes: dict[str, int] = {}
    with log.apart(sizes), ExitStack() as undo:
        draft = _native.model_load(os.fsencode(path), model_params)
        if not draft:
            raise _failed(name, "llama.cpp refused the weights")
        undo.callback(_native.model_free, draft)
        vocabulary = _shared_vocabulary(name, model, draft)
        _check_kind(name, draft)
        trained = _native.model_trained_context(draft)
        # A context has never less room than this, and a text that has no room left goes on with its newer half.
        room = max(min(length, trained) if trained > 0 else length, 2 * DRAFT_STRETCH)
        context_params.n_ctx = room
        context_params.n_seq_max = context_params.n_outputs_max = 1
        context_params.n_batch = context_params.n_ubatch = DRAFT_STRETCH
        context = _native.context_new(draft, context_params)
        if not context:
            raise _failed(name, f"no context of {room} tokens could be made")
        undo.callback(_native.context_free, context)
        if _native.context_memory(context) is None:
            raise _misfit(name, "it cannot continue a text")
        undo.pop_all()
    return DraftModel(draft, context, vocabulary=vocabulary, room=room, most=most, sizes=sizes)


def _shared_vocabulary(name: str, model: _native.Model, draft: _native.Model) -> int:
    """How many tokens both have. Raises `LoadFailed` if they are not the same ones."""
    ours, theirs = (_native.model_vocab(each) for each in (model, draft))
    one, other = LlamaVocabulary(ours), LlamaVocabulary(theirs)
    if abs(one.size - other.size) > _PADDING:
        raise _misfit(name, f"its vocabulary has {other.size} tokens, that of the model {one.size}")
    if (one.bos, _native.vocab_eos(ours)) != (other.bos, _native.vocab_eos(theirs)):
        raise _misfit(name, "its texts begin or end with another token")
    shared = min(one.size, other.size)
    for token in range(0, shared, max(1, shared // _SAMPLE)):
        if one.spelled(token) != other.spelled(token):
            raise _misfit(name, f"token {token} of its vocabulary is not that of the model")
    return shared


def _check_kind(name: str, draft: _native.Model) -> None:
    if _native.model_is_recurrent(draft) or _native.model_is_hybrid(draft):
        raise _misfit(name, "it is recurrent, and cannot take back a guess that was wrong")
    if _native.model_has_encoder(draft) or _native.model_is_diffusion(draft):
        raise _misfit(name, "it does not write one token after another")


def _misfit(name: str, fault: str) -> LoadFailed:
    return LoadFailed(f"the draft model of {name} does not fit it: {fault}; {_WITHOUT}")


def _failed(name: str, sentence: str) -> LoadFailed:
    detail = f" ({error})" if (error := log.last_error()) else ""
    kind = OutOfMemory if log.out_of_memory() else LoadFailed
    return kind(f"the draft model of {name} could not be loaded: {sentence}{detail}; {_WITHOUT}")
