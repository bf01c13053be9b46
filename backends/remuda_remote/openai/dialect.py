"""The dialect of upstreams of the kind "openai": jobs become requests of OpenAI's API, and its streams events.

An answer always streams, also to a client that wants it whole, so that one that stalls is noticed. Two kinds do not:
one whose format cannot be enforced there (`emulate`), and one that must call a tool; these are looked at as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import anyio.to_thread
import msgspec

from remuda.backend import Embedded, EmbedJob
from remuda.config import RemoteConfig
from remuda.errors import BadRequest, UpstreamError
from remuda.job import Event, Finished, Job, Loaded, Message
from remuda.wire import PsModel, ShowRequest, ShowResponse

from ..client import UpstreamClient
from ..dialect import Answering, Dialect, Listed
from ..faults import Broke, Refused
from ..member import Member
from .embed import embedded
from .emulate import NOTHING, Attempt, Checker, again, asked_in_words, unfenced
from .library import Library, prefix
from .messages import said_messages
from .refusals import learn, meant
from .request import CHAT, Request, demands_call, request_for
from .talk import refusal, said_by
from .wire import Asked

__all__ = ["OpenAIDialect"]

_LARGEST: Final = 256 * 1024 * 1024
"""Of a reply with vectors, in bytes."""
_PROOF_SECONDS: Final = 60.0


class OpenAIDialect(Dialect):
    def __init__(self, member: Member, client: UpstreamClient, remote: RemoteConfig) -> None:
        super().__init__(member, client, remote)
        self._library = Library(member, client)
        self._checker = Checker()
        self._turn = asyncio.Semaphore(1)
        """Of servers that do one thing at a time."""

    async def models(self) -> list[Listed]:
        if not self._turn.locked():  # it would end its answer for us; its answer shows that it is well
            async with self._alone():
                await self._library.look()
        return self._library.listed

    async def loaded(self) -> list[PsModel] | None:
        return self._library.loaded()

    async def prove(self, model: str) -> None:
        asked = Asked(model=model, messages=said_messages([Message("user", "Hi")], thinking=False), max_tokens=1)
        async with self._alone():
            await self.client.ask(
                "POST", prefix(self.member) + CHAT, msgspec.to_builtins(asked), timeout=_PROOF_SECONDS
            )

    async def show(self, request: ShowRequest, model: str) -> ShowResponse:
        await self._known(model)
        return self._library.show(model)

    async def answer(self, job: Job, model: str) -> Answering:
        if job.load_only:
            await self._known(model)
            return _Begun(Loaded(), None)
        if not self._turn.locked():
            await self._library.once()
        events = self._events(job, model)
        try:
            return _Begun(await anext(events), events)
        except StopAsyncIteration:
            raise Broke(self.member.name, "gave no answer") from None
        except BaseException:
            await events.aclose()
            raise

    async def embed(
        self, job: EmbedJob, model: str, options: Mapping[str, Any], keep_alive: float | None, request_id: str
    ) -> Embedded:
        """`options` and `keep_alive` are about loading the model, which is the upstream's own affair."""
        if not job.inputs:
            return Embedded([], 0)
        if not self._turn.locked():
            await self._library.once()
        body = msgspec.json.encode({"model": model, "input": job.inputs})
        request_id = request_id if self._library.flavour.request_ids else ""
        async with self._alone():
            sent = await self.client.send("POST", f"{prefix(self.member)}/embeddings", body, request_id=request_id)
            async with aclosing(sent) as reply:
                if not 200 <= reply.status < 300:
                    raise meant(await refusal(reply, self.member))
                data = await reply.read(_LARGEST)
        return await anyio.to_thread.run_sync(embedded, data, len(job.inputs), self.member.name)

    async def _known(self, model: str) -> None:
        if not self._turn.locked():
            await self._library.check(model)

    @asynccontextmanager
    async def _alone(self) -> AsyncGenerator[None]:
        if not self._library.flavour.one_at_a_time:
            yield
            return
        async with self._turn:
            yield

    async def _events(self, job: Job, model: str) -> AsyncGenerator[Event, None]:
        """Asked again without what the server turns out not to know: each time one thing less."""
        async with self._alone():
            while True:
                try:
                    work = self._attempt(job, model, await self._request(job, model))
                    async with aclosing(work) as events:
                        async for event in events:
                            yield event
                    return
                except _Learned:
                    pass

    def _attempt(self, job: Job, model: str, request: Request) -> AsyncGenerator[Event, None]:
        """Raises `BadRequest` for what cannot be asked, and `_Learned` before the first event."""
        talk = job.prompt is None and not job.suffix
        if job.format is not None and self.member.config.emulate and talk:
            if not request.format or not self._library.flavour.enforces:
                return self._matching(job, model, bound=bool(request.format))
        elif job.format is not None and not request.format:
            remedy = "set its `emulate = true` to have answers checked here" if talk else "nor can raw text be checked"
            raise BadRequest(
                f"upstream '{self.member.name}' cannot do \"format\": nothing there keeps an answer to it; {remedy}"
            )
        return self._calling(job, request) if demands_call(job) else self._streamed(job, request)

    async def _request(self, job: Job, model: str) -> Request:
        library = self._library
        if job.tools and library.props is not None and not library.props.tools:
            raise BadRequest(
                f"upstream '{self.member.name}' cannot do \"tools\": the template of '{job.name}' has no place for them"
            )
        if job.think and library.props is not None and not library.props.thinks:
            raise BadRequest(
                f"upstream '{self.member.name}' cannot do \"think\": '{job.name}' does not support thinking"
            )
        try:
            if job.images:  # megabytes, to be written as text
                return await anyio.to_thread.run_sync(
                    request_for, job, model, self.member, library.flavour, library.learned
                )
            return request_for(job, model, self.member, library.flavour, library.learned)
        except RecursionError:
            raise BadRequest("invalid request: format or tools are nested too deeply") from None

    async def _streamed(self, job: Job, request: Request) -> AsyncGenerator[Event, None]:
        try:
            said = said_by(self.client, self.member, self._library.flavour, request, job)
            async with aclosing(said) as events:
                async for event in events:
                    yield event
        except Refused as refused:
            if learn(refused, request, self._library.learned):
                raise _Learned from None
            raise meant(refused) from None

    async def _whole(self, job: Job, request: Request, before: Finished) -> Attempt:
        attempt = Attempt(finished=before)
        async with aclosing(self._streamed(job, request)) as events:
            async for event in events:
                attempt.take(event)
        return attempt

    async def _calling(self, job: Job, request: Request) -> AsyncGenerator[Event, None]:
        """Raises `UpstreamError` where the call of a tool that was demanded did not come: some servers do not care."""
        attempt = await self._whole(job, request, NOTHING)
        if not attempt.calls:
            cut = "; its answer was cut: raise num_predict" if attempt.finished.done.reason == "length" else ""
            raise UpstreamError(
                f"upstream '{self.member.name}' answered without the call of a tool that was demanded{cut}"
            )
        for event in attempt.events():
            yield event

    async def _matching(self, job: Job, model: str, *, bound: bool) -> AsyncGenerator[Event, None]:
        """An answer that matches its format. `bound`: the server has the format, too, for what that is worth."""
        told, fault, finished = asked_in_words(job, keep=bound), "", NOTHING
        for _ in range(self.remote.repair + 1):
            attempt = await self._whole(told, await self._request(told, model), finished)
            finished, text = attempt.finished, unfenced(attempt.text)
            fault = "" if attempt.calls else await self._checker.fault(job.format, text)
            if not fault:
                attempt.text = text
                for event in attempt.events():
                    yield event
                return
            told = again(told, attempt.text, fault)
        raise UpstreamError(
            f"upstream '{self.member.name}': the model's answer does not match \"format\", however often it was asked "
            f"({self.remote.repair + 1} times): {fault}"
        )


class _Learned(Exception):
    """The server does not know a field of the request, and will be asked without."""


class _Begun:
    """An answer whose first event is here."""

    def __init__(self, first: Event, rest: AsyncGenerator[Event, None] | None) -> None:
        self._first: Event | None = first
        self._rest = rest

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        first, self._first = self._first, None
        if first is not None:
            return first
        if self._rest is None:
            raise StopAsyncIteration
        return await anext(self._rest)

    async def aclose(self) -> None:
        self._first = None
        if self._rest is not None:
            await self._rest.aclose()
