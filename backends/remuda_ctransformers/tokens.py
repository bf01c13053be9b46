"""The vocabulary as the file has it: what tokens are written as, and which of them are no text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct

from remuda.model.ggml import GGMLHeader, vocabulary
from remuda.model.gguf import ArrayPlace, GGUFHeader
from remuda.model.gguf.reader import opened

__all__ = ["Tokens", "tokens_of_ggml", "tokens_of_gguf"]

_NORMAL, _USER, _BYTE = 1, 4, 6
"""Kinds of tokens in `tokenizer.ggml.token_type`; all others are no text."""
_BYTE_NAME: Final = re.compile(rb"<0x([0-9A-Fa-f]{2})>")
_SPACE: Final = "▁".encode()
"""How SentencePiece writes a space."""
_SPECIAL: Final = re.compile(rb"<\|?\w[\w-]*\|?>|### (?:End|Instruction:|Response:)")
"""What a word of a text never is in these vocabularies, which keep `<` apart from letters; and Dolly's."""
_LLAMA: Final = {0: b"<unk>", 1: b"<s>", 2: b"</s>"}
"""Its control tokens, of which old files hold no text, or none that is what people write."""
_PIECE: Final = 256
"""Longer than any token. The time that a word takes grows with the square of its length."""
_PIECES: Final = {"llama": 0, "replit": 128}
"""Replit's splitter looks at every part of a text, of every length."""


class Tokens(Struct, frozen=True, kw_only=True):
    texts: list[bytes]
    """By id; of a token that is no text what it is written as."""
    control: frozenset[int]
    """Those that are no text."""
    special: Mapping[bytes, int]
    """Those of them that are recognised where they are written out."""
    begins: bool
    """Whether each text begins with a token of its own."""
    piece: int = 0
    """Bytes that the library may be given at a time; 0 for any number."""


def tokens_of_ggml(path: Path, header: GGMLHeader) -> Tokens:
    """Blocking. Raises `GGMLError`."""
    texts, kind = list(vocabulary(path, header)), header.model_type
    if kind == "mpt":
        texts = [_from_code_points(text) for text in texts]
    elif kind == "replit":
        texts = [text.replace(_SPACE, b" ") for text in texts]
    if kind == "llama":
        control = {token: text for token, text in _LLAMA.items() if token < len(texts)}
    else:
        control = {token: text for token, text in enumerate(texts) if _SPECIAL.fullmatch(text)}
    return Tokens(
        texts=[control.get(token, text) for token, text in enumerate(texts)],
        control=frozenset(control),
        special={text: token for token, text in control.items()},
        begins=kind == "llama",
        piece=_PIECES.get(kind, _PIECE),
    )


def tokens_of_gguf(path: Path) -> Tokens:
    """Blocking. Raises `GGUFError`."""
    with opened(path) as reader:
        header = reader.header()
        place = header.values.get("tokenizer.ggml.tokens")
        names = list(reader.listed_texts(place)) if isinstance(place, ArrayPlace) else []
        kinds = header.values.get("tokenizer.ggml.token_type")
        types: tuple[int, ...] = (
            reader.listed_numbers(kinds) if isinstance(kinds, ArrayPlace) else (_NORMAL,) * len(names)
        )
    pieces = header.text("tokenizer.ggml.model") == "llama"
    texts = [_of_gguf(name, type, pieces=pieces) for name, type in zip(names, types, strict=True)]
    control = frozenset(token for token, type in enumerate(types) if type not in {_NORMAL, _USER, _BYTE})
    return Tokens(
        texts=texts,
        control=control,
        special={names[token]: token for token, type in enumerate(types) if token in control or type == _USER},
        begins=_begins(header, pieces=pieces),
    )


def _begins(header: GGUFHeader, *, pieces: bool) -> bool:
    said = header.values.get("tokenizer.ggml.add_bos_token")
    return said if isinstance(said, bool) else pieces


def _of_gguf(name: bytes, type: int, *, pieces: bool) -> bytes:
    if type == _BYTE and (found := _BYTE_NAME.fullmatch(name)):
        return bytes.fromhex(found[1].decode())
    if type != _NORMAL:
        return name
    return name.replace(_SPACE, b" ") if pieces else _from_stand_ins(name)


def _from_code_points(text: bytes) -> bytes:
    """MPT's files hold each byte as the character of that number."""
    return bytes(ord(character) & 0xFF for character in text.decode("utf-8", "replace"))


def _stand_ins() -> dict[str, int]:
    """GPT-2's: a printable character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES: Final = _stand_ins()


def _from_stand_ins(name: bytes) -> bytes:
    text = name.decode("utf-8", "replace")
    return bytes(_BYTES[character] for character in text) if all(map(_BYTES.__contains__, text)) else name
