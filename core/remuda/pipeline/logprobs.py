"""Log probabilities as the protocol writes them (Ollama API, "Log probabilities")."""

from __future__ import annotations

from collections.abc import Sequence

from ..output import TokenLogprob
from ..wire import Logprob, TopLogprob

__all__ = ["wire_logprobs"]


def wire_logprobs(tokens: Sequence[TokenLogprob]) -> list[Logprob] | None:
    """None for none. `bytes` is left out for a token that leaves none."""
    return [
        Logprob(
            token=_text(token.data),
            logprob=token.logprob,
            bytes=list(token.data) or None,
            top_logprobs=[TopLogprob(_text(top.data), top.logprob, list(top.data) or None) for top in token.top]
            or None,
        )
        for token in tokens
    ] or None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
