"""The promise of a backend whose models live on other servers, its upstreams.

Such a model is not loaded here: no template, no residency, no runner. A request goes to an upstream that has the model,
and its answer comes back: byte for byte where client and upstream speak the same dialect (`Remote.pass_on`), else as a
`Job` and its events (`Remote.answer`). Who may serve what is decided behind this promise, for every way alike.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

from msgspec import Struct

from .backend import Backend, Embedded, EmbedJob, LoadedModel, LoadWish
from .config import Config
from .errors import LoadFailed
from .job import NOBODY, Client, Event, Job
from .model import ModelEntry, ModelName
from .model.entry import REMOTE
from .wire import ProgressResponse, PsModel, ShowRequest, ShowResponse, TagsModel, UpstreamState

__all__ = [
    "EXISTING",
    "HOPS_HEADER",
    "MOST_HOPS",
    "SILENT",
    "Deed",
    "DeedKind",
    "Passage",
    "Passed",
    "Remote",
    "Wanted",
    "hops",
    "remote_entry",
]

HOPS_HEADER: Final = "X-Remuda-Hops"
MOST_HOPS: Final = 8
hops: Final[ContextVar[int]] = ContextVar("remuda_hops", default=0)
"""Through how many servers such as this one the running request came: whoever sends it on says one more. A circle of
upstreams comes to its end by that."""

DeedKind: TypeAlias = Literal["pull", "push", "create", "copy", "delete"]


SILENT: Final = frozenset[DeedKind]({"copy", "delete"})
"""Deeds that are answered with a status and nothing else."""
EXISTING: Final = frozenset[DeedKind]({"copy", "delete", "push"})
"""Deeds to a model that must exist."""


class Wanted(Struct, frozen=True, kw_only=True):
    """Who wants which model."""

    name: ModelName
    """The public name, aliases resolved."""
    asked: tuple[str, ...] = ()
    """Upstreams, by name, that the request wants (`X-Remuda-Upstream`); none named is any of its route."""
    request_id: str = ""
    client: Client = NOBODY
    priority: int = 0
    prefix: bytes = b""
    """What the model will read, or its beginning, in the order in which a conversation grows: whoever served the
    beginning has it in its cache. Never shown or kept."""


class Passage(Struct, frozen=True, kw_only=True):
    """A request of the Ollama API about one model, to be passed on as it came."""

    path: str
    """`/api/generate`, `/api/chat`, `/api/embed`, `/api/embeddings` or `/api/show`."""
    body: bytes
    model: str
    """The model's name as the client typed it, which is also what the answer must call it."""
    whole: bool
    """The client wants all text at once, as far as can be told from its request."""


class Passed(Protocol):
    """The reply to a passage, once its first line, or all of it, is here. Whoever holds it must `aclose` it."""

    upstream: str
    """Which one it was."""
    status: int
    headers: dict[str, str]
    """Those that may reach the client: `Content-Type`, `Retry-After`, and `Content-Length` where it is known."""
    last: bytes
    """The last whole line, or the whole body if it was short: empty before the end, and for long ones."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The body. Of NDJSON whole lines only, of which the last one is a `done: true` or an error: where the upstream
        breaks off, an error line of ours. Of anything else the bytes; raises `UpstreamError` where they break off."""
        ...

    async def aclose(self) -> None:
        """Closes the exchange with the upstream at once where it has not come to its end."""
        ...


class Deed(Struct, frozen=True, kw_only=True):
    """Something to be done to the models of upstreams."""

    kind: DeedKind
    body: bytes
    """The request's body, a JSON object, as the client sent it."""
    upstreams: tuple[str, ...]
    """To each of these, side by side."""
    request_id: str = ""


class Remote(Backend):
    formats = frozenset({REMOTE})

    async def load(self, model: ModelEntry, wish: LoadWish) -> LoadedModel:
        raise LoadFailed(f"model '{model.name}' is on other servers: it is not loaded here")

    @abstractmethod
    def configure(self, config: Config) -> None:
        """Take over upstreams, routes and limits. Called before `start`, and again when a running server reads its
        configuration anew: requests that have begun go on. Raises `ConfigError`, having changed nothing."""

    @abstractmethod
    def start(self) -> None:
        """Begin to watch the upstreams. Nothing waits for it or fails with it."""

    @abstractmethod
    def offers(self, name: ModelName) -> bool:
        """Whether an upstream, up or not, has the model as far as is known. Looks nowhere; any thread may ask."""

    @abstractmethod
    async def look(self, name: ModelName) -> bool:
        """As `offers`, after asking upstreams that were not asked for a while. Raises `Unavailable` where one that may
        have it has never said what it has."""

    @abstractmethod
    def speaks(self, wanted: Wanted, kind: str) -> bool:
        """Whether all upstreams that could serve it are of that kind."""

    @abstractmethod
    async def pass_on(self, wanted: Wanted, passage: Passage) -> Passed:
        """The reply of an upstream of the kind `ollama`, an error of its own included. Cancelling it, and closing the
        reply, closes the exchange with the upstream at once.

        Raises `BadRequest` for `wanted.asked` outside the model's route; `UpstreamError`, `Unavailable`, `ServerBusy`.
        """

    @abstractmethod
    def answer(self, wanted: Wanted, job: Job) -> AsyncGenerator[Event, None]:
        """The events of a job, `Finished` last; of one that only loads, unloads or renders `Loaded` or `Rendered`.

        Raises `BadRequest` that names the upstream and the field for what that upstream cannot do, else as `pass_on`.
        Closing it stops the work there.
        """

    @abstractmethod
    async def embed(
        self, wanted: Wanted, job: EmbedJob, options: Mapping[str, Any], keep_alive: float | None
    ) -> Embedded:
        """One vector for each input. `job.limit` is not known here and is 0; `options` are those that the request gave.
        Raises as `answer`."""

    @abstractmethod
    async def show(self, wanted: Wanted, request: ShowRequest) -> ShowResponse:
        """From an upstream that has the model."""

    @abstractmethod
    async def tags(self) -> list[TagsModel]:
        """The models of all upstreams, each once under its public name, with `upstreams` set. Those of upstreams that
        do not answer are as they were last seen."""

    @abstractmethod
    async def ps(self) -> list[PsModel]:
        """What upstreams have in memory, for each upstream, with `upstream` set."""

    @abstractmethod
    def states(self) -> list[UpstreamState]:
        """All upstreams, in the order of the configuration."""

    @abstractmethod
    def managed(self, kind: DeedKind, name: ModelName | None, asked: tuple[str, ...], *, here: bool) -> tuple[str, ...]:
        """Which upstreams a deed goes to; none is this server itself.

        `name` is the model that must exist for it (of copy and delete), or that will; `here` says that this server has
        it. Raises `BadRequest` for unknown upstreams, for models that they may not serve, and where several could be
        meant.
        """

    @abstractmethod
    def manage(self, deed: Deed) -> AsyncGenerator[ProgressResponse, None]:
        """The progress of all, each line with `upstream` set; one that only succeeds or fails gives one line with the
        status `success`. Raises, once all have ended, an error that names the upstreams that failed."""

    @abstractmethod
    async def has_blob(self, digest: str, upstreams: tuple[str, ...]) -> bool:
        """Whether each of them has the blob (`sha256:...`). Raises `UpstreamError`."""

    @abstractmethod
    async def put_blob(
        self, digest: str, size: int | None, pieces: Callable[[], AsyncIterator[bytes]], upstreams: tuple[str, ...]
    ) -> None:
        """Bring a blob to each of them, a few pieces at a time. Raises `UpstreamError`, `BadRequest`."""


def remote_entry(name: ModelName) -> ModelEntry:
    """A model of upstreams in the catalog's terms. It has no files."""
    return ModelEntry(name=name, weights=Path(), format=REMOTE, backend=REMOTE, source="upstreams")
