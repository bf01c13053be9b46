"""Models of upstreams: which requests are for them, and the ways that such requests go.

A request of the protocol whose model lives on upstreams that all speak the protocol too is passed on unread
(`passing`), unless a filter wants to look inside. All others become jobs, like those for models of this machine
(`answer`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import anyio.to_thread
import msgspec
from msgspec import Raw, Struct

from ..backend import Done, Embedded, EmbedJob
from ..config import Config
from ..errors import BadRequest, ConfigError, ModelNotFound, PluginError, RemudaError, Unavailable, UpstreamError
from ..hookspecs import Asking
from ..job import Client, Event, Job
from ..model import Catalog, ModelEntry, ModelName, parse_name
from ..model.entry import REMOTE
from ..model.source import without_source
from ..plugins import Plugins
from ..remote import EXISTING, Deed, DeedKind, Passage, Passed, Remote, Wanted, remote_entry
from ..wire import ProgressResponse, PsModel, ShowRequest, ShowResponse, TagsModel, UpstreamState
from .account import Account, Accounts
from .fields import asking_of

__all__ = ["Front", "check_upstreams"]

_FRESH: Final = 1.0
"""Seconds for which it holds where a name leads."""
_MOST_KNOWN: Final = 10_000
_LONGEST_NAME: Final = 1024
_PREFIX: Final = 16 * 1024
"""Bytes of a request by which its conversation is known again."""
_BIG: Final = 256 * 1024
"""Bytes from which looking into a body would be felt by the streams beside it."""
_FILTERED: Final = frozenset({"/api/generate", "/api/chat"})
"""Requests that filters see, and whose answers are streams unless they say otherwise."""
_TOLD: Final = _FILTERED | {"/api/embed", "/api/embeddings"}
"""Requests that receipts tell of."""
_KIND: Final = "ollama"


_ABSENT: Final = Raw(b"")


class _Head(Struct, frozen=True):
    """As much of a request as has to be known to send it on."""

    model: str | None = None
    stream: bool | None = None
    system: Raw = _ABSENT
    messages: Raw = _ABSENT
    prompt: Raw = _ABSENT
    input: Raw = _ABSENT


class _Last(Struct, frozen=True):
    """As much of the end of an answer as a receipt needs."""

    done_reason: str = ""
    error: str = ""
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    cached_tokens: int = 0
    eval_count: int = 0
    eval_duration: int = 0


_HEAD: Final = msgspec.json.Decoder(_Head)
_LAST: Final = msgspec.json.Decoder(_Last)


class Front:
    """Made where the configuration has upstreams. It is the catalog's `elsewhere`."""

    def __init__(self, config: Config, plugins: Plugins, catalog: Catalog, accounts: Accounts) -> None:
        """Raises `ConfigError`."""
        self._plugins, self._catalog, self._accounts = plugins, catalog, accounts
        self.config = config
        self._remote = _backend(plugins, config)
        self._remote.configure(config)
        self._known: dict[str, tuple[float, ModelName | None]] = {}
        catalog.elsewhere = self

    def start(self) -> None:
        self._remote.start()

    def configure(self, config: Config) -> None:
        """Raises `ConfigError`, having changed nothing."""
        self._remote.configure(config)
        self.config = config
        self._known.clear()

    def routed(self, name: ModelName) -> bool:
        return self._route(name) == REMOTE

    def find(self, name: ModelName) -> ModelEntry | None:
        if self._route(name) not in {None, REMOTE} or not self._remote.offers(name):
            return None
        return remote_entry(name)

    async def look(self, text: str) -> bool:
        """Whether upstreams turn out to have the model, asked once more. Raises `Unavailable` where that cannot be
        known."""
        try:
            name = parse_name(text)
        except BadRequest:
            return False
        name = self._catalog.alias(name) or name
        if self._route(name) not in {None, REMOTE}:
            return False
        return await self._remote.look(name)

    @asynccontextmanager
    async def passing(
        self, path: str, body: bytes, asked: tuple[str, ...], request_id: str, client: Client
    ) -> AsyncGenerator[Passed | None, None]:
        """The reply to a request that can be passed on as it is, begun; None for every other request.

        Raises `RemudaError`. Whoever cannot hand on the reply raises `RequestCancelled` inside.
        """
        if path in _FILTERED and self._plugins.filters.offers():
            yield None
            return
        head = await asyncio.to_thread(_decoded, body) if len(body) >= _BIG else _decoded(body)
        typed = (head.model or "") if head is not None else ""
        name = await self._place(typed) if typed else None
        if head is None or name is None:
            yield None
            return
        asking = asking_of(request_id, path, typed, client)
        wanted = self._wanted(asking, name, asked, _prefix(head))
        if not self._remote.speaks(wanted, _KIND):
            yield None
            return
        whole = path in _FILTERED and head.stream is False
        passage = Passage(path=path, body=body, model=typed, whole=whole)
        if path not in _TOLD:
            async with aclosing(await self._pass_on(wanted, passage)) as passed:
                yield passed
            return
        with self._accounts.opened(request_id, path, typed, name) as account:
            account.backend = REMOTE
            async with aclosing(await self._pass_on(wanted, passage)) as passed:
                yield passed
                _tell(account, passed)

    def answer(self, job: Job) -> AsyncGenerator[Event, None]:
        return self._remote.answer(self._of_job(job), job)

    async def embed(
        self,
        asking: Asking,
        name: ModelName,
        asked: tuple[str, ...],
        job: EmbedJob,
        options: Mapping[str, Any],
        keep_alive: float | None,
    ) -> Embedded:
        """As `Remote.embed`."""
        prefix = "".join(job.inputs[:1]).encode("utf-8", "replace")[:_PREFIX]
        wanted = self._wanted(asking, name, asked, prefix)
        return await self._remote.embed(wanted, job, options, keep_alive)

    async def show(self, request: ShowRequest, name: ModelName, asked: tuple[str, ...]) -> ShowResponse:
        """As `Remote.show`."""
        return await self._remote.show(Wanted(name=name, asked=asked), request)

    async def tags(self, local: list[TagsModel]) -> list[TagsModel]:
        """`local`, and of the models of upstreams those that a request would lead to, newest first."""
        names = {model.name.lower() for model in local}
        found = [model for model in await self._remote.tags() if self._leads_there(model.name, names)]
        hidden = {model.name.lower() for model in found}
        kept = [model for model in local if model.name.lower() not in hidden]
        return sorted([*kept, *found], key=_modified, reverse=True) if found else local

    async def ps(self) -> list[PsModel]:
        """As `Remote.ps`."""
        return await self._remote.ps()

    def states(self) -> list[UpstreamState]:
        """As `Remote.states`."""
        return self._remote.states()

    async def has_blob(self, digest: str, upstreams: tuple[str, ...]) -> bool:
        """As `Remote.has_blob`."""
        return await self._remote.has_blob(digest, upstreams)

    async def put_blob(
        self, digest: str, size: int | None, pieces: Callable[[], AsyncIterator[bytes]], upstreams: tuple[str, ...]
    ) -> None:
        """As `Remote.put_blob`."""
        await self._remote.put_blob(digest, size, pieces, upstreams)

    async def managed(self, kind: DeedKind, text: str, asked: tuple[str, ...]) -> tuple[str, ...]:
        """Which upstreams a deed goes to, by the name of the model it is about; none is this server itself.

        Raises `BadRequest`.
        """
        try:
            name = parse_name(without_source(text))
        except RemudaError:
            name = None
        here = name is None or await anyio.to_thread.run_sync(self._catalog.here, name) is not None
        if name is not None and not here and kind in EXISTING:
            with suppress(Unavailable):
                await self._remote.look(name)
        return self._remote.managed(kind, name, asked, here=here)

    def manage(self, deed: Deed) -> AsyncGenerator[ProgressResponse, None]:
        """As `Remote.manage`."""
        self._known.clear()
        return self._remote.manage(deed)

    def _leads_there(self, text: str, local: set[str]) -> bool:
        """Whether a request for that model of upstreams would get it; `local` are the names of those here."""
        try:
            route = self._route(parse_name(text))
        except BadRequest:
            return False
        return route == REMOTE or (route is None and text.lower() not in local)

    async def _pass_on(self, wanted: Wanted, passage: Passage) -> Passed:
        try:
            return await self._remote.pass_on(wanted, passage)
        except ModelNotFound:
            raise ModelNotFound(passage.model) from None

    def _route(self, name: ModelName) -> str | None:
        """The backend that the route table gives the model; None where it is silent."""
        text = str(name)
        return next((route.backend for route in self.config.routes if route.matches(text)), None)

    async def _place(self, text: str) -> ModelName | None:
        """The model of upstreams that `text` stands for; None for all others, and for what is no name."""
        now = time.monotonic()
        known = self._known.get(text)
        if known is not None and known[0] > now:
            return known[1]
        name = await anyio.to_thread.run_sync(self._placed, text)
        if name is None and await self.look(text):
            name = await anyio.to_thread.run_sync(self._placed, text)
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        if len(text) <= _LONGEST_NAME:
            self._known[text] = now + _FRESH, name
        return name

    def _placed(self, text: str) -> ModelName | None:
        try:
            entry = self._catalog.find(text)
        except RemudaError:
            return None
        return entry.name if entry.format == REMOTE else None

    def _of_job(self, job: Job) -> Wanted:
        parts = [job.prompt or "", *(message.content for message in job.messages)]
        asking = asking_of(job.request_id, job.endpoint, job.name, job.client)
        prefix = "\0".join(parts).encode("utf-8", "replace")[:_PREFIX]
        return self._wanted(asking, job.entry.name, job.upstreams, prefix)

    def _wanted(self, asking: Asking, name: ModelName, asked: tuple[str, ...], prefix: bytes) -> Wanted:
        return Wanted(
            name=name,
            asked=asked,
            request_id=asking.request_id,
            client=Client(asking.address, asking.key),
            priority=self._plugins.priority(asking),
            prefix=prefix,
        )


def check_upstreams(plugins: Plugins, config: Config) -> None:
    """Raises `ConfigError` for upstreams that a server would refuse to start with."""
    _backend(plugins, config).configure(config)


def _backend(plugins: Plugins, config: Config) -> Remote:
    """Raises `ConfigError` where there is no such backend."""
    try:
        made = plugins.backends.get(REMOTE, config.backends.get(REMOTE, {}))
    except (BadRequest, PluginError) as error:
        raise ConfigError(f"[upstreams] needs the backend 'remote': {error}") from None
    if not isinstance(made, Remote):
        raise ConfigError(f"[upstreams] needs a backend 'remote' that reaches upstreams; {type(made).__name__} is none")
    return made


def _decoded(body: bytes) -> _Head | None:
    """None for what is not as the protocol has it: whoever reads it whole will say what is wrong."""
    try:
        return _HEAD.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _prefix(head: _Head) -> bytes:
    parts = (head.system, head.messages, head.prompt, head.input)
    return b"".join(bytes(memoryview(part)[:_PREFIX]) for part in parts)[:_PREFIX]


def _modified(model: TagsModel) -> float:
    try:
        return datetime.fromisoformat(model.modified_at).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _tell(account: Account, passed: Passed) -> None:
    """The receipt of an answer that nobody here has read."""
    account.status = passed.status
    try:
        last = _LAST.decode(passed.last)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    account.load_ns = last.load_duration
    if last.error and account.status == HTTPStatus.OK:
        account.status = UpstreamError.status
    account.done = Done(
        reason=last.error or last.done_reason,
        prompt_tokens=last.prompt_eval_count,
        cached_tokens=last.cached_tokens,
        prompt_ns=last.prompt_eval_duration,
        output_tokens=last.eval_count,
        output_ns=last.eval_duration,
    )
