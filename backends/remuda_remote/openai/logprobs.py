"""Log probabilities in the two forms that servers send them (OpenAI API, "Chat", and the older "Completions")."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import msgspec
from msgspec import Struct

from remuda.output import TokenLogprob

__all__ = ["token_logprobs"]


class _Top(Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Token(_Top, frozen=True):
    top_logprobs: list[_Top] | None = None


class _Said(Struct, frozen=True):
    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


def token_logprobs(said: Any, most: int) -> list[TokenLogprob]:
    """What a choice says under `logprobs`, with at most `most` of the likeliest tokens each: some servers add the token
    that was taken. Raises `msgspec.ValidationError`."""
    if said is None:
        return []
    told = msgspec.convert(said, _Said)
    if told.content is not None:
        return [_token(each, most) for each in told.content]
    places = zip_longest(told.tokens or (), told.token_logprobs or (), told.top_logprobs or ())
    return [
        TokenLogprob(
            token.encode(),
            logprob,
            _likeliest([TokenLogprob(text.encode(), p) for text, p in (top or {}).items()], most),
        )
        for token, logprob, top in places
        if token is not None and logprob is not None
    ]


def _token(said: _Token, most: int) -> TokenLogprob:
    top = [TokenLogprob(_data(each), each.logprob) for each in said.top_logprobs or ()]
    return TokenLogprob(_data(said), said.logprob, _likeliest(top, most))


def _likeliest(top: list[TokenLogprob], most: int) -> list[TokenLogprob]:
    return sorted(top, key=lambda each: -each.logprob)[:most]


def _data(said: _Top) -> bytes:
    if said.bytes is not None and all(0 <= each <= 255 for each in said.bytes):
        return bytes(said.bytes)
    return said.token.encode("utf-8", "replace")
