"""What each token stands for in bytes, from a `tokenizer.json`.

Two ways to write a vocabulary are known. Byte-level ones (GPT-2's, Llama 3's, Qwen's) write each byte as a printable
character of its own. SentencePiece's (Llama 2's, Mistral's, Gemma's) write text as it is, a space as "▁", and single
bytes as `<0x0A>`. In both, tokens that were added later are written as they are; those marked special are no text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from remuda.errors import LoadFailed

__all__ = ["Words", "read_words"]

_SPACE: Final = "▁"
_BYTE: Final = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_MOST: Final = 2**24
"""Tokens that a vocabulary may have."""


class _Added(Struct, frozen=True):
    id: int
    content: str
    special: bool = False


class _Model(Struct, frozen=True):
    type: str = "BPE"
    vocab: Any = None
    """By name, or for a model of the type Unigram a list of names and how likely they are."""


class _File(Struct, frozen=True):
    model: _Model
    added_tokens: list[_Added] = []
    decoder: Any = None


class Words(Struct, frozen=True, kw_only=True):
    texts: list[bytes]
    """By id; of a token that is no text what it is written as, empty where there is no token of that id."""
    control: frozenset[int]
    """Those that are no text."""
    ids: Mapping[str, int]
    """Of added tokens, by what they are written as."""


def read_words(data: bytes) -> Words:
    """Raises `LoadFailed` for what is no such file, and for a vocabulary of another kind."""
    try:
        file = msgspec.json.decode(data, type=_File)
        names = dict(_names(file.model))
    except (ValueError, TypeError, RecursionError) as error:  # `msgspec` raises ValueErrors
        raise LoadFailed(f"tokenizer.json makes no sense ({error}): download it again") from None
    added = {token.id: token for token in file.added_tokens}
    ids = names.keys() | added.keys()
    if not ids or min(ids) < 0 or max(ids) >= _MOST:
        raise LoadFailed("tokenizer.json has no tokens, or ids that are none: download it again")
    bytes_of = _bytes_of(set(_kinds(file.decoder)))
    texts = [b""] * (max(ids) + 1)
    for id, name in names.items():
        texts[id] = bytes_of(name)
    for id, token in added.items():
        texts[id] = token.content.encode("utf-8", "replace")
    holes = {id for id in range(len(texts)) if id not in ids}
    return Words(
        texts=texts,
        control=frozenset(holes | {id for id, token in added.items() if token.special}),
        ids={token.content: id for id, token in added.items()},
    )


def _names(model: _Model) -> Iterator[tuple[int, str]]:
    """Raises `ValueError` or `TypeError` for a vocabulary that is laid out in no known way."""
    if model.type == "Unigram":
        for id, (name, _) in enumerate(msgspec.convert(model.vocab, list[tuple[str, float]])):
            yield id, name
    else:
        for name, id in msgspec.convert(model.vocab, dict[str, int]).items():
            yield id, name


def _kinds(decoder: Any) -> Iterator[str]:
    """The types of a decoder and of those that it is put together from; `Replace:` and what that replaces."""
    if not isinstance(decoder, dict):
        return
    known = cast(dict[str, Any], decoder)
    yield str(known.get("type"))
    pattern = known.get("pattern")
    if isinstance(pattern, dict):
        yield f"Replace:{cast(dict[str, Any], pattern).get('String')}"
    inner = known.get("decoders")
    for each in cast(list[Any], inner) if isinstance(inner, list) else []:
        yield from _kinds(each)


def _bytes_of(kinds: set[str]) -> Callable[[str], bytes]:
    if "ByteLevel" in kinds:
        return _from_characters
    if kinds & {"ByteFallback", "Metaspace", f"Replace:{_SPACE}"}:
        return _from_piece
    told = ", ".join(sorted(kinds)) or "none"
    raise LoadFailed(
        "tokenizer.json has a vocabulary that is neither byte-level nor SentencePiece's "
        f"(its decoder: {told}); models with another one cannot be served"
    )


def _printable() -> dict[str, int]:
    """Byte-level vocabularies' characters and their bytes: those that can be printed stand for themselves, the others
    are counted from 256 on (GPT-2's `bytes_to_unicode`)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_CHARACTERS: Final = _printable()


def _from_characters(name: str) -> bytes:
    try:
        return bytes(_CHARACTERS[character] for character in name)
    except KeyError:  # a token that was put into the vocabulary as text
        return name.encode("utf-8", "replace")


def _from_piece(name: str) -> bytes:
    if found := _BYTE.fullmatch(name):
        return bytes.fromhex(found[1])
    return name.replace(_SPACE, " ").encode("utf-8", "replace")
