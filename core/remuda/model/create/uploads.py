"""The files that a new model is made of: what each of them is, and whether it can be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from msgspec import Struct

from ...errors import BadRequest
from ..digest import Digest
from ..ggml import MAGICS, is_ggml, read_ggml
from ..gguf import check_gguf, kind_of
from ..manifest import ADAPTER, DRAFT, GGML, PROJECTOR, Layer, weights_type
from ..store import Pins, Store, disk_errors
from ..weights import WeightsError
from .parts import Part

__all__ = ["Upload", "Uploads", "adapter_part", "arrange", "check_types", "draft_part", "examine"]

_MAGICS: Final = frozenset({b"GGUF", *MAGICS})
_HEAD: Final = 9
"""Bytes by which a file is told: safetensors are a length and an object of JSON."""
_ZIP: Final = b"PK\x03\x04"
_PICKLES: Final = frozenset(bytes([0x80, protocol]) for protocol in range(2, 6))
"""How PyTorch's files begin: archives, and before its version 1.6 pickles by themselves."""
_GGLA: Final = b"algg"
"""Adapters from before GGUF."""
_BESIDE: Final = {"projector": PROJECTOR, "adapter": ADAPTER}
"""Kinds of files that are not the model itself."""
_ONE_ADAPTER: Final = "only one adapter is currently supported"


class Upload(Struct, frozen=True, kw_only=True):
    """A sound file in the store."""

    path: str
    """What the client calls it."""
    digest: Digest
    size: int
    kind: Literal["model", "projector", "adapter"]
    architecture: str
    format: str = "gguf"
    """Or `ggml`."""
    shard: int = 0
    """Which part of a split GGUF it is, counted from 0."""
    shards: int = 1
    """Of how many; 1 if it is whole."""
    rest: tuple[Upload, ...] = ()
    """The other parts, if this is the first part of a split one."""

    @property
    def name(self) -> str:
        """The end of `path`, for messages."""
        return _name(self.path)

    def part(self, media_type: str = "") -> Part:
        """As a layer, of the type that goes with its kind if none is given."""
        own = _BESIDE.get(self.kind) or weights_type(self.format)
        return Part(Layer(media_type=media_type or own, digest=self.digest, size=self.size))


class Uploads(Struct, frozen=True, kw_only=True):
    """What a request brings: the model's own files, an adapter, a model to draft with."""

    files: list[Upload]
    adapters: list[Upload]
    drafts: list[Upload]

    @property
    def count(self) -> int:
        """How many files they are."""
        return sum(1 + len(upload.rest) for upload in (*self.files, *self.adapters, *self.drafts))


def check_types(store: Store, pins: Pins, files: Mapping[str, Digest], *, script: str) -> None:
    """Raises `BadRequest` if one of the files is neither GGUF nor GGML, and says what to do about it; `script` converts
    such files.

    A file is told by its name where that ends as it should, else by its first bytes. All are pinned afterwards.
    """
    heads = {path: _head(store, pins, digest) for path, digest in files.items()}
    for path, head in heads.items():
        if head[:4] == _GGLA:
            raise BadRequest(
                f"{_name(path)!r} is an adapter in the GGLA format, which is not read any more: "
                "convert the original one to GGUF with llama.cpp's convert_lora_to_gguf.py"
            )
        if foreign := _foreign(path, head):
            raise BadRequest(
                f"{_name(path)!r} is {foreign}, which this server does not convert: "
                f"convert it with llama.cpp's {script}, and create the model from the GGUF file"
            )
    others = [path for path, head in heads.items() if head[:4] not in _MAGICS]
    if len(others) == len(heads) and not any(path.endswith(".gguf") for path in heads):
        raise BadRequest("unknown type")
    if others:
        raise BadRequest(f"supplied file was not in GGUF format: {_name(others[0])!r}")


def examine(store: Store, path: str, digest: Digest, model_type: str = "") -> Upload:
    """Blocking, for a tenth of a second at most. Raises `BadRequest` that names the file and the field at fault.

    `model_type` is what a GGML file shall be, where it need not tell.
    """
    blob, size = store.blob(digest), store.blob_size(digest)
    try:
        if is_ggml(blob):
            kind = read_ggml(blob, model_type).model_type
            return Upload(path=path, digest=digest, size=size, kind="model", architecture=kind, format=GGML)
        header = check_gguf(blob, early=True)
    except WeightsError as error:
        raise BadRequest(f"{_name(path)!r} cannot be used: {error}") from None
    return Upload(
        path=path,
        digest=digest,
        size=size,
        kind=kind_of(header),
        architecture=header.architecture,
        shard=header.shard,
        shards=header.shards,
    )


def arrange(uploads: Sequence[Upload]) -> list[Upload]:
    """The files of one model, the weights first. Raises `BadRequest` if they are not those of one model."""
    kinds = {kind: [upload for upload in uploads if upload.kind == kind] for kind in ("model", *_BESIDE)}
    for kind in ("model", "projector"):
        if len(kinds[kind]) > 1:
            names = ", ".join(repr(upload.name) for upload in kinds[kind][:3])
            raise BadRequest(f"files hold {len(kinds[kind])} {kind}s ({names}); a model has one")
    if not kinds["model"]:
        raise BadRequest(f"files hold no model: {uploads[0].name!r} is {_a(uploads[0].kind)}")
    if len(kinds["adapter"]) > 1:
        raise BadRequest(_ONE_ADAPTER)
    return [*kinds["model"], *kinds["projector"], *kinds["adapter"]]


def adapter_part(uploads: Sequence[Upload], family: str) -> Part:
    """The adapter for a model of that family. Raises `BadRequest` for another thing than one such adapter."""
    if len(uploads) > 1:
        raise BadRequest(_ONE_ADAPTER)
    upload = _whole(uploads[0])
    if upload.kind != "adapter":
        raise BadRequest(f"{upload.name!r} is {_a(upload.kind)}, not an adapter")
    if family and upload.architecture != family:
        raise BadRequest(f"the adapter {upload.name!r} is for {upload.architecture} models, and this one is {family}")
    return upload.part()


def draft_part(uploads: Sequence[Upload]) -> Part:
    """The model to draft with. Raises `BadRequest` for another thing than one model."""
    if len(uploads) > 1:
        raise BadRequest(f"draft_files hold {len(uploads)} files; a model drafts with one")
    upload = _whole(uploads[0])
    if upload.kind != "model":
        raise BadRequest(f"{upload.name!r} is {_a(upload.kind)}, not a model to draft with")
    if upload.format == GGML:
        raise BadRequest(f"{upload.name!r} is in GGML; a model to draft with must be in GGUF")
    return upload.part(DRAFT)


def _whole(upload: Upload) -> Upload:
    if upload.shards > 1:
        raise BadRequest(f"{upload.name!r} is part {upload.shard + 1} of {upload.shards}: join them to one file first")
    return upload


def _head(store: Store, pins: Pins, digest: Digest) -> bytes:
    pins.add(digest)
    with disk_errors(), store.blob(digest).open("rb") as file:
        return file.read(_HEAD)


def _foreign(path: str, head: bytes) -> str:
    """What a file is that can be converted; empty for others."""
    if path.endswith(".safetensors") or (head[:4] not in _MAGICS and head[8:] == b"{"):
        return "in the safetensors format"
    kind = "a zip archive" if head[:4] == _ZIP else "a pickle" if head[:2] in _PICKLES else ""
    return f"{kind}, as PyTorch writes its weights" if kind else ""


def _name(path: str) -> str:
    return path.rpartition("/")[2][:200]


def _a(kind: str) -> str:
    return f"an {kind}" if kind == "adapter" else f"a {kind}"
