"""The vocabulary as the file has it: what tokens are written as, which of them are no text, and which end one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence as ListOf
from pathlib import Path
from typing import Final

from msgspec import Struct

from remuda.model.ggml import GGMLHeader, vocabulary
from remuda.model.gguf import ArrayPlace, GGUFError, GGUFHeader
from remuda.model.gguf.reader import opened

__all__ = ["Tokens", "tokens_of_ggml", "tokens_of_gguf"]

_NORMAL, _UNKNOWN, _CONTROL, _USER, _BYTE = 1, 2, 3, 4, 6
"""Kinds of tokens in `tokenizer.ggml.token_type`."""
_TEXTS: Final = frozenset({_NORMAL, _USER, _BYTE})
_RECOGNISED: Final = frozenset({_UNKNOWN, _CONTROL, _USER})
"""Kinds of tokens that a text may write out."""
_BYTE_NAME: Final = re.compile(rb"<0x([0-9A-Fa-f]{2})>")
_SPACE: Final = "▁".encode()
"""How SentencePiece writes a space."""
_SPECIAL: Final = re.compile(rb"<\|?\w[\w-]*\|?>|>>[A-Z]+<<|### (?:End|Instruction:|Response:)")
"""What a word of a text never is in these vocabularies, which keep brackets apart from letters; and Dolly's."""
_ENDS: Final = frozenset(
    {
        b"</s>", b"<|endoftext|>", b"<|end_of_text|>", b"<|im_end|>", b"<|end|>", b"<|end_of_turn|>", b"<end_of_turn>",
        b"<|eot_id|>", b"<|EOT|>", b"### End",
    }
)  # fmt: skip
"""What ends an answer where a vocabulary has it as a token of its own; files name one such token at most."""
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
    """Those that are recognised where they are written out."""
    ends: frozenset[int]
    """Those that end a text, beside what the library knows."""
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
        control = _special(texts)
    return Tokens(
        texts=[control.get(token, text) for token, text in enumerate(texts)],
        control=frozenset(control),
        special={text: token for token, text in control.items()},
        ends=_ends(control),
        begins=kind == "llama",
        piece=_PIECES.get(kind, _PIECE),
    )


def tokens_of_gguf(path: Path) -> Tokens:
    """Blocking. Raises `GGUFError`."""
    with opened(path) as reader:
        header = reader.header()
        place, kinds = (header.values.get(f"tokenizer.ggml.{key}") for key in ("tokens", "token_type"))
        if not isinstance(place, ArrayPlace) or not isinstance(kinds, ArrayPlace):
            raise GGUFError("it has no vocabulary, or does not say what kinds of tokens there are in it")
        names: list[bytes] = list(reader.listed_texts(place))
        types: tuple[int, ...] = reader.listed_numbers(kinds)
    if header.text("tokenizer.ggml.model") == "llama":
        return _of_pieces(header, names, types)
    return _of_words(header, names)


def _of_pieces(header: GGUFHeader, names: ListOf[bytes], types: ListOf[int]) -> Tokens:
    """SentencePiece's."""
    control = {token: names[token] for token, type in enumerate(types) if type not in _TEXTS}
    begins = header.values.get("tokenizer.ggml.add_bos_token")
    return Tokens(
        texts=[_piece(name, type) for name, type in zip(names, types, strict=True)],
        control=frozenset(control),
        special={names[token]: token for token, type in enumerate(types) if type in _RECOGNISED and names[token]},
        ends=_ends(control),
        begins=begins if isinstance(begins, bool) else True,
    )


def _of_words(header: GGUFHeader, names: ListOf[bytes]) -> Tokens:
    """Falcon's: written as they are, and all of one kind. Later files write bytes as other characters."""
    if not any(b" " in name for name in names):
        raise GGUFError(
            "its vocabulary is written as files of this kind have it since October 2023, which is newer than"
            " ctransformers"
        )
    control = _special(names)
    for key in ("bos", "eos"):
        token = header.values.get(f"tokenizer.ggml.{key}_token_id")
        if isinstance(token, int) and 0 <= token < len(names):
            control[token] = names[token]
    return Tokens(
        texts=list(names),
        control=frozenset(control),
        special={text: token for token, text in control.items() if text},
        ends=_ends(control),
        begins=False,
        piece=_PIECE,
    )


def _special(texts: ListOf[bytes]) -> dict[int, bytes]:
    return {token: text for token, text in enumerate(texts) if _SPECIAL.fullmatch(text)}


def _ends(control: Mapping[int, bytes]) -> frozenset[int]:
    return frozenset(token for token, text in control.items() if text in _ENDS)


def _piece(name: bytes, type: int) -> bytes:
    if type == _BYTE and (found := _BYTE_NAME.fullmatch(name)):
        return bytes.fromhex(found[1].decode())
    return name.replace(_SPACE, b" ") if type == _NORMAL else name


def _from_code_points(text: bytes) -> bytes:
    """MPT's files hold each byte as the character of that number."""
    return bytes(ord(character) & 0xFF for character in text.decode("utf-8", "replace"))
