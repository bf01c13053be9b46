"""Requests and replies about having models: show, copy, delete, pull, push, create (Ollama API, sections 1.4 and
1.11 to 1.13, and "create")."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct, field

from .models import Details

__all__ = [
    "CopyRequest",
    "CreateRequest",
    "DeleteRequest",
    "ProgressResponse",
    "ShowMessage",
    "ShowRequest",
    "ShowResponse",
    "TensorInfo",
    "TransferRequest",
]


class _Named(Struct, frozen=True, kw_only=True):
    """`None` is absent or null. Fields typed `Any` are checked where they are used."""

    model: str | None = None
    name: str | None = None
    """The old name of `model`, which wins."""

    @property
    def asked(self) -> str:
        """The model's name as the client wrote it."""
        return self.model or self.name or ""


class ShowRequest(_Named, frozen=True, kw_only=True):
    system: str | None = None
    template: str | None = None
    verbose: bool | None = None
    options: dict[str, Any] | None = None


class ShowMessage(Struct, frozen=True):
    role: str
    content: str


class TensorInfo(Struct, frozen=True):
    """`shape` as GGUF has it: the fastest dimension first."""

    name: str
    type: str
    shape: list[int]


class ShowResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Empty optional fields are left out, in the protocol's order.

    `model_info` and `projector_info` are JSON objects, ready made: long arrays need not become Python's.
    """

    license: str = ""
    modelfile: str = ""
    parameters: str = ""
    template: str = ""
    system: str = ""
    details: Details
    messages: list[ShowMessage] | None = None
    remote_model: str = ""
    remote_host: str = ""
    model_info: Raw
    projector_info: Raw | None = None
    tensors: list[TensorInfo] | None = None
    capabilities: list[str] | None = None
    modified_at: str
    requires: str = ""


class CopyRequest(Struct, frozen=True, kw_only=True):
    source: str | None = None
    destination: str | None = None


class DeleteRequest(_Named, frozen=True, kw_only=True):
    pass


class TransferRequest(_Named, frozen=True, kw_only=True):
    """Of `/api/pull` and `/api/push`."""

    insecure: bool | None = None
    stream: bool | None = None
    username: str | None = None
    password: str | None = None


class CreateRequest(_Named, frozen=True, kw_only=True):
    base: str | None = field(default=None, name="from")
    files: dict[str, str] | None = None
    """Digests by relative path."""
    adapters: dict[str, str] | None = None
    draft_files: dict[str, str] | None = None
    draft_quantize: str | None = None
    template: str | None = None
    system: str | None = None
    license: Any = None
    parameters: dict[str, Any] | None = None
    messages: list[ShowMessage] | None = None
    renderer: str | None = None
    parser: str | None = None
    requires: str | None = None
    quantize: str | None = None
    quantization: str | None = None
    """The old name of `quantize`, which wins."""
    remote_host: str | None = None
    info: dict[str, Any] | None = None
    stream: bool | None = None


class ProgressResponse(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the streams of pull, push and create, and of an answer that is waited for. Sizes in bytes.

    `position` is where a request stands in its model's queue, 1 for the next one; `upstream` where it is done, if that
    is not here.
    """

    status: str
    digest: str = ""
    total: int = 0
    completed: int = 0
    position: int = 0
    upstream: str = ""
