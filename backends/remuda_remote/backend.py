"""The backend "remote": a pool of upstreams, and a dialect for each kind of them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar

from msgspec import structs

from remuda.backend import Embedded, EmbedJob
from remuda.config import Config
from remuda.errors import ConfigError, RemudaError
from remuda.job import Event, Job
from remuda.model import ModelName
from remuda.model.entry import REMOTE
from remuda.remote import Deed, DeedKind, Passage, Passed, Remote, Wanted, hops
from remuda.wire import ALL, HERE, ProgressResponse, PsModel, ShowRequest, ShowResponse, TagsModel, UpstreamState

from .blobs import has_blob, put_blob
from .client import UpstreamClient
from .dialect import Answering, Dialect
from .faults import Fault, Refused
from .listing import all_tags, in_memory
from .manage import manage
from .member import Member, members
from .names import called, said_here
from .ollama.dialect import OllamaDialect
from .openai.dialect import OpenAIDialect
from .pool import Pool
from .relay import Relayed, Returned, relay
from .targets import managed
from .upstream import Upstream

__all__ = ["RemoteBackend"]

_DIALECTS: Final[dict[str, type[Dialect]]] = {"ollama": OllamaDialect, "openai": OpenAIDialect}
_HIDDEN: Final = frozenset({401, 403, 407})
"""Refusals that are about this server's key, and would make a client think of its own."""

T = TypeVar("T")


class RemoteBackend(Remote):
    def __init__(self, settings: dict[str, Any] | None = None) -> None:
        super().__init__(settings)
        self._config = Config()
        self._pool = Pool(self._made)

    def configure(self, config: Config) -> None:
        """Raises `ConfigError`, also for routes that name an upstream that is not there."""
        found = members(config)
        _check_names(config, found)
        before, self._config = self._config, config
        try:
            self._pool.configure(config, found)
        except BaseException:
            self._config = before
            raise

    def start(self) -> None:
        self._pool.start()

    def offers(self, name: ModelName) -> bool:
        return self._pool.offers(name)

    async def look(self, name: ModelName) -> bool:
        # Servers that are each other's upstreams would wait for each other.
        return self._pool.offers(name) if hops.get() else await self._pool.look(name)

    def speaks(self, wanted: Wanted, kind: str) -> bool:
        return all(upstream.member.kind == kind for upstream in self._pool.candidates(wanted))

    async def pass_on(self, wanted: Wanted, passage: Passage) -> Passed:
        async def attempt(upstream: Upstream, there: str) -> Relayed:
            return await relay(upstream, there, passage, wanted.request_id)

        try:
            lease = await self._pool.run(wanted, attempt)
        except RemudaError as error:
            refused = error.__cause__
            if isinstance(refused, Refused) and refused.said and refused.status not in _HIDDEN:
                return Returned(refused)
            raise
        lease.value.lease = lease
        return lease.value

    async def answer(self, wanted: Wanted, job: Job) -> AsyncGenerator[Event, None]:
        async def attempt(upstream: Upstream, there: str) -> Answering:
            return await upstream.dialect.answer(job, there)

        lease = await self._pool.run(wanted, attempt)
        async with aclosing(lease):
            try:
                async for event in lease.value:
                    yield event
            except Fault as fault:
                lease.failed(fault)
                raise fault.error() from None

    async def embed(
        self, wanted: Wanted, job: EmbedJob, options: Mapping[str, Any], keep_alive: float | None
    ) -> Embedded:
        async def attempt(upstream: Upstream, there: str) -> _Whole[Embedded]:
            return _Whole(await upstream.dialect.embed(job, there, options, keep_alive, wanted.request_id))

        async with aclosing(await self._pool.run(wanted, attempt)) as lease:
            return lease.value.value

    async def show(self, wanted: Wanted, request: ShowRequest) -> ShowResponse:
        async def attempt(upstream: Upstream, there: str) -> _Whole[ShowResponse]:
            return _Whole(await upstream.dialect.show(request, there))

        async with aclosing(await self._pool.run(wanted, attempt)) as lease:
            there, shown = lease.offer.there, lease.value.value
            if called(request.asked, there) != there:
                return shown
            return structs.replace(shown, modelfile=said_here(shown.modelfile, there, request.asked))

    async def tags(self) -> list[TagsModel]:
        await self._refresh()
        return all_tags(self._pool.upstreams, lambda name: self._pool.candidates(Wanted(name=name)))

    async def ps(self) -> list[PsModel]:
        await self._refresh()
        return in_memory(self._pool.upstreams)

    def states(self) -> list[UpstreamState]:
        return [self._state(upstream) for upstream in self._pool.upstreams]

    def managed(self, kind: DeedKind, name: ModelName | None, asked: tuple[str, ...], *, here: bool) -> tuple[str, ...]:
        return managed(
            kind,
            name,
            asked,
            here=here,
            upstreams=self._pool.upstreams,
            manage=self._config.remote.manage,
            route=self._pool.route(name) if name is not None else (),
        )

    async def manage(self, deed: Deed) -> AsyncGenerator[ProgressResponse, None]:
        with self._pool.kept(deed.upstreams) as upstreams:
            work = manage(deed, upstreams, route=self._pool.route, done=self._pool.renew)
            async with aclosing(work) as lines:
                async for line in lines:
                    yield line

    async def has_blob(self, digest: str, upstreams: tuple[str, ...]) -> bool:
        with self._pool.kept(upstreams) as there:
            return await has_blob(digest, there, upstreams)

    async def put_blob(
        self, digest: str, size: int | None, pieces: Callable[[], AsyncIterator[bytes]], upstreams: tuple[str, ...]
    ) -> None:
        with self._pool.kept(upstreams) as there:
            await put_blob(digest, size, pieces, there, upstreams)

    async def close(self) -> None:
        await self._pool.close()

    async def _refresh(self) -> None:
        if not hops.get():
            await self._pool.refresh()

    def _state(self, upstream: Upstream) -> UpstreamState:
        offers = upstream.offers
        return UpstreamState(
            name=upstream.name,
            kind=upstream.member.kind,
            state=upstream.state(time.monotonic()),
            running=upstream.running,
            waiting=self._pool.waiting(upstream),
            models=sorted(str(offer.name) for offer in offers.values()),
            loaded=sorted(str(offers[key].name) for key in upstream.loaded if key in offers),
            requests=upstream.requests,
            failures=upstream.failures,
            error=upstream.error,
        )

    def _made(self, member: Member) -> Upstream:
        remote = self._config.remote
        client = UpstreamClient(member, max_line=remote.max_line)
        return Upstream(member, client, _DIALECTS[member.kind](member, client, remote))


class _Whole(Generic[T]):
    """An answer that came in one piece: nothing is left to be closed."""

    def __init__(self, value: T) -> None:
        self.value = value

    async def aclose(self) -> None:
        return


def _check_names(config: Config, found: Iterable[Member]) -> None:
    """Of routes and of `remote.manage`. Raises `ConfigError`."""
    known = {name for member in found for name in (member.name, member.group)}
    if HERE in known:
        raise ConfigError(f"upstreams.{HERE}: this name is kept for the server itself")
    named = {f"routes[{number}].upstreams": route.upstreams for number, route in enumerate(config.routes)}
    for key, names in {**named, "remote.manage": tuple({*config.remote.manage} - {ALL, HERE})}.items():
        for name in names:
            if name not in known:
                raise ConfigError(f"{key}: there is no upstream {name!r}; there are: {', '.join(sorted(known))}")
    for number, route in enumerate(config.routes):
        if route.upstreams and route.backend != REMOTE:
            raise ConfigError(f"routes[{number}].upstreams: they need the backend {REMOTE!r}, not {route.backend!r}")
