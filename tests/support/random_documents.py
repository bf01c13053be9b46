"""Whether a grammar allows a text, and random JSON that it allows, as a model that knows nothing would write it."""

from __future__ import annotations

import random

import llguidance

__all__ = ["DeadEnd", "accepts", "random_document"]

_TOKENIZER = llguidance.LLTokenizer("byte")
_STRUCTURE = b'}]",:ntf'
_LIKELY = b'}]{[",:ntfalse0123456789.- '
_PATIENCE = 5000


class DeadEnd(Exception):
    """The grammar allowed a beginning that nothing was found to complete; `args` hold it and the engine's words."""


def accepts(grammar: str, text: str) -> bool:
    """Whether the whole of `text` matches."""
    matcher = llguidance.LLMatcher(_TOKENIZER, grammar, log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return all(matcher.consume_token(byte) for byte in text.encode()) and matcher.is_accepting()


def random_document(grammar: str, rng: random.Random, length: int) -> bytes:
    """A text that the grammar accepts: random for `length` bytes, then brought to its end."""
    matcher = llguidance.LLMatcher(_TOKENIZER, grammar, log_level=0)
    text = bytearray()
    in_string = escaped = False
    while True:
        done = len(text) >= length
        if matcher.is_accepting() and done:
            return bytes(text)
        bias = matcher.compute_logit_bias()
        allowed = [byte for byte in range(256) if bias[byte]]
        if not allowed and matcher.is_accepting():
            return bytes(text)
        if not allowed or len(text) > length + _PATIENCE:
            raise DeadEnd(bytes(text[:2000]), matcher.get_error()[:500])
        byte = _ending(allowed, rng, in_string) if done else _any(allowed, rng)
        text.append(byte)
        if not matcher.consume_token(byte):
            raise DeadEnd(bytes(text[:2000]), matcher.get_error()[:500])
        in_string ^= byte == ord('"') and not escaped
        escaped = in_string and byte == ord("\\") and not escaped


def _any(allowed: list[int], rng: random.Random) -> int:
    # What holds a document together is rare among all bytes: without a hand it would be one long string.
    likely = [byte for byte in allowed if byte in _LIKELY]
    return rng.choice(likely if likely and rng.random() < 0.7 else allowed)


def _ending(allowed: list[int], rng: random.Random, in_string: bool) -> int:
    for byte in b'"' if in_string else _STRUCTURE:
        if byte in allowed:
            return byte
    dull = [byte for byte in allowed if byte not in b" \n\t[{" or in_string]
    return rng.choice(dull or allowed)
