"""`/api/tags`, `/api/ps` and `/api/version` on the wire (Ollama API, "List Local Models", "List Running Models")."""

from __future__ import annotations

from msgspec import UNSET, Struct, UnsetType

__all__ = [
    "Details",
    "PsModel",
    "PsResponse",
    "PsWaiting",
    "TagsDetails",
    "TagsModel",
    "TagsResponse",
    "VersionResponse",
]


class Details(Struct, frozen=True, kw_only=True):
    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: list[str] | None = None
    parameter_size: str = ""
    quantization_level: str = ""


class TagsDetails(Details, frozen=True, kw_only=True, omit_defaults=False):
    """Only tags tell the two lengths, in tokens and in dimensions."""

    context_length: int = 0
    embedding_length: int = 0


class TagsModel(Struct, frozen=True, kw_only=True):
    """`digest` is 64 hex digits without a prefix; `size` is in bytes."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: TagsDetails
    capabilities: list[str]
    upstreams: list[str] | UnsetType = UNSET
    """Remuda's addition: which upstreams have it; absent for a model of this server."""


class TagsResponse(Struct, frozen=True):
    models: list[TagsModel]


class PsModel(Struct, frozen=True, kw_only=True):
    """`running` and `waiting` count this moment's requests; they and `state` are Remuda's additions.

    `state` is `loading`, `ready` or `draining`: it leaves once its requests are done.
    """

    name: str
    model: str
    size: int
    digest: str
    details: Details
    expires_at: str
    size_vram: int
    context_length: int
    running: int = 0
    waiting: int = 0
    state: str = "ready"
    upstream: str | UnsetType = UNSET
    """Where it is in memory; absent for this server itself."""


class PsWaiting(Struct, frozen=True, kw_only=True):
    """A request that waits: about how many turns are before it, 1 for the next one, and since how many seconds."""

    model: str
    position: int
    seconds: float


class PsResponse(Struct, frozen=True, omit_defaults=True):
    """`queue`, Remuda's addition, is there when somebody waits."""

    models: list[PsModel]
    queue: list[PsWaiting] = []


class VersionResponse(Struct, frozen=True):
    version: str
