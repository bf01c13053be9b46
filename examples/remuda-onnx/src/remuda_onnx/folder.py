"""A model's folder, as Hugging Face's libraries write it: what lies beside the weights, or in the folder above them.

    smollm2/
    ├── config.json              what the model is, and how long its context may be
    ├── generation_config.json   which tokens end a text
    ├── tokenizer.json           its vocabulary
    ├── tokenizer_config.json    its chat template, and what its tokens are called
    ├── chat_template.jinja      the template, where it has a file of its own
    └── onnx/
        ├── model.onnx           the graph
        └── model.onnx_data      weights that the graph says are in another file

Only the vocabulary must be there. Files are not trusted: they are read up to a size, and decoded into what follows.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Final, TypeVar

import msgspec
from msgspec import Struct, field

from remuda.errors import LoadFailed

from .graph import Graph

__all__ = ["TOKENIZER", "Folder", "check_external", "external_size"]

TOKENIZER: Final = "tokenizer.json"
_SMALL, _LARGE = 16 * 2**20, 256 * 2**20
"""Bytes that a file of settings, and one with a vocabulary, may have."""

T = TypeVar("T")


class _Config(Struct, frozen=True):
    """Of `config.json`. Lengths in tokens; models call it by different names."""

    max_position_embeddings: int | None = None
    n_positions: int | None = None
    n_ctx: int | None = None
    max_seq_len: int | None = None
    eos_token_id: int | list[int] | None = None


class _Generation(Struct, frozen=True):
    """Of `generation_config.json`."""

    eos_token_id: int | list[int] | None = None


class _Token(Struct, frozen=True):
    content: str


class _Named(Struct, frozen=True):
    name: str
    template: str


class _Words(Struct, frozen=True):
    """Of `tokenizer_config.json`."""

    chat_template: str | list[_Named] | None = None
    bos_token: str | _Token | None = None
    eos_token: str | _Token | None = None


class Folder(Struct, frozen=True, kw_only=True):
    """What the files beside the weights say; empty or 0 where they do not."""

    weights: Path
    tokenizer: Path
    context: int = 0
    """Tokens that the model was trained for."""
    ends: list[int] = field(default_factory=list[int])
    """Tokens that end a text."""
    bos_token: str = ""
    eos_token: str = ""
    chat_template: str = ""
    """In Jinja."""

    @classmethod
    def of(cls, weights: Path) -> Folder:
        """Blocking. Raises `LoadFailed` that names the file which is missing or makes no sense."""
        tokenizer = _find(weights, TOKENIZER)
        if tokenizer is None:
            raise LoadFailed(
                f"there is no {TOKENIZER} beside {weights.name} or in the folder above it: "
                "download the model's whole repository, not the .onnx file alone"
            )
        config = _read(weights, "config.json", _Config)
        generation = _read(weights, "generation_config.json", _Generation)
        words = _read(weights, "tokenizer_config.json", _Words)
        lengths = (config.max_position_embeddings, config.n_positions, config.n_ctx, config.max_seq_len)
        return cls(
            weights=weights,
            tokenizer=tokenizer,
            context=max(0, next((length for length in lengths if length), 0)),
            ends=[*_ids(generation.eos_token_id), *_ids(config.eos_token_id)],
            bos_token=_content(words.bos_token),
            eos_token=_content(words.eos_token),
            chat_template=_template(weights, words),
        )

    def vocabulary(self) -> bytes:
        """The file `tokenizer.json`. Blocking. Raises `LoadFailed`."""
        return _bytes(self.tokenizer, _LARGE)


def check_external(weights: Path, graph: Graph) -> None:
    """Raises `LoadFailed` where weights are to be had from outside the model's folder, or from a file that is not
    whole.

    It is the names in the graph that are not trusted. A link in the folder may lead anywhere: whoever made it has
    access to this machine, and the hub's own client makes nothing but links.
    """
    for external in graph.external.values():
        path = PurePosixPath(external.location)
        if path.is_absolute() or ".." in path.parts or not path.parts or set("\\:\0") & set(external.location):
            raise LoadFailed(
                f"{weights.name} takes weights from {path.name!r}, outside its own folder, and is not to be trusted: "
                "download the model from its publisher"
            )
        size = _size(weights.parent / path)
        if size is None:
            raise LoadFailed(
                f"{path.name}, with weights of {weights.name}, is missing: download it into the same folder"
            )
        if size < external.end:
            raise LoadFailed(f"{path.name} has {size} bytes and not {external.end} or more: download it again")


def external_size(weights: Path, graph: Graph) -> int:
    """Bytes of all other files that the weights are in, as far as they are there."""
    return sum(_size(weights.parent / location) or 0 for location in graph.external)


def _find(weights: Path, name: str) -> Path | None:
    for folder in (weights.parent, weights.parent.parent):
        if (folder / name).is_file():
            return folder / name
    return None


def _read(weights: Path, name: str, kind: type[T]) -> T:
    """The file as `kind`; with nothing in it where there is none."""
    path = _find(weights, name)
    if path is None:
        return kind()
    try:
        return msgspec.json.decode(_bytes(path, _SMALL), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise LoadFailed(f"{name} makes no sense ({error}): download it again") from None


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise LoadFailed(f"{path.name} cannot be read: {type(error).__name__}") from None
    if len(data) > most:
        raise LoadFailed(f"{path.name} is larger than any such file should be ({most >> 20} MiB)")
    return data


def _template(weights: Path, words: _Words) -> str:
    """That of a conversation. Of several the one named `default`."""
    if (path := _find(weights, "chat_template.jinja")) is not None:
        return _bytes(path, _SMALL).decode("utf-8", "replace")
    if isinstance(words.chat_template, list):
        return next((named.template for named in words.chat_template if named.name == "default"), "")
    return words.chat_template or ""


def _ids(value: int | list[int] | None) -> list[int]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _content(token: str | _Token | None) -> str:
    return token.content if isinstance(token, _Token) else token or ""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size if path.is_file() else None
    except (OSError, ValueError):
        return None
