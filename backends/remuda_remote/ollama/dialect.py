"""An upstream of the kind `ollama`, told what a job wants: for where its bytes cannot be passed on as they come."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import msgspec
from msgspec import Struct, structs

from remuda.backend import Embedded, EmbedJob
from remuda.job import Job
from remuda.wire import PsModel, ShowRequest, ShowResponse

from ..client import Reply, said_in
from ..dialect import Answering, Dialect, Listed
from ..faults import Broke, Refused
from ..names import called, said_here
from .events import Answer
from .library import listed, running, shown
from .request import GENERATE, embedding, encoded, weight
from .vectors import embedded, longest

__all__ = ["OllamaDialect"]

_SMALL: Final = 256 * 1024
"""Bytes that are read or written faster than a thread is found for them."""
_MOST_SHOWN: Final = 64 * 1024 * 1024
"""Of a reply of `/api/show`, which may hold a vocabulary."""
_MOST_REFUSED: Final = 1024 * 1024

T = TypeVar("T")


class OllamaDialect(Dialect):
    async def models(self) -> list[Listed]:
        return await self._understood(listed, await self.client.ask("GET", "/api/tags"))

    async def loaded(self) -> list[PsModel] | None:
        try:
            body = await self.client.ask("GET", "/api/ps")
        except Refused as refused:
            if refused.status in {404, 405}:
                return None
            raise
        return await self._understood(running, body)

    async def prove(self, model: str) -> None:
        asked = {"model": model, "prompt": "a", "raw": True, "stream": False, "options": {"num_predict": 1}}
        body = await self.client.ask("POST", GENERATE, asked, timeout=self.member.config.first_byte_timeout)
        if said := said_in(body):
            raise Refused(self.member.name, 500, {}, body, said)
        if not await self._understood(_is_done, body):
            raise Broke(self.member.name, "sent an answer that is not whole")

    async def answer(self, job: Job, model: str) -> Answering:
        model = called(job.name, model)
        asked = (job, model, self.member.name)
        small = weight(job) <= _SMALL
        path, body = encoded(*asked) if small else await anyio.to_thread.run_sync(encoded, *asked)
        reply = await self._sent(path, body, job.request_id, {model: job.name})
        answer = Answer(reply, job, model)
        try:
            await answer.begin()
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def embed(
        self, job: EmbedJob, model: str, options: Mapping[str, Any], keep_alive: float | None, request_id: str
    ) -> Embedded:
        asked = (job, model, options, keep_alive)
        small = sum(map(len, job.inputs)) <= _SMALL
        body = embedding(*asked) if small else await anyio.to_thread.run_sync(embedding, *asked)
        reply = await self._sent("/api/embed", body, request_id)
        try:
            data = await reply.read(longest(len(job.inputs)))
        finally:
            await _close(reply)
        made = await self._understood(embedded, data)
        if len(made.vectors) != len(job.inputs):
            raise Broke(self.member.name, f"sent {len(made.vectors)} vectors for {len(job.inputs)} texts")
        return made

    async def show(self, request: ShowRequest, model: str) -> ShowResponse:
        fields = structs.asdict(request) | {"model": model, "name": None}
        asked = {name: value for name, value in fields.items() if value is not None}
        timeout = self.member.config.stall_timeout
        body = await self.client.ask("POST", "/api/show", asked, limit=_MOST_SHOWN, timeout=timeout)
        return await self._understood(shown, body)

    async def _sent(self, path: str, body: bytes, request_id: str, names: Mapping[str, str] | None = None) -> Reply:
        """The reply if its status is good. Raises `Refused` otherwise; in what that says, `names` there are replaced by
        those that the client knows."""
        reply = await self.client.send("POST", path, body, request_id=request_id)
        if 200 <= reply.status < 300:
            return reply
        try:
            said = await reply.read(_MOST_REFUSED)
        finally:
            await _close(reply)
        raise Refused(self.member.name, reply.status, reply.headers, said, _renamed(said_in(said), names or {}))

    async def _understood(self, read: Callable[[bytes], T], body: bytes) -> T:
        """What `read` makes of a reply; in a thread if that takes long. Raises `Broke` if it makes nothing of it."""
        try:
            return read(body) if len(body) <= _SMALL else await anyio.to_thread.run_sync(read, body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Broke(self.member.name, "sent a reply that is none of the Ollama API") from None


class _Ended(Struct, frozen=True):
    done: Any = False


def _is_done(body: bytes) -> bool:
    return bool(msgspec.json.decode(body, type=_Ended).done)


def _renamed(said: str, names: Mapping[str, str]) -> str:
    for there, here in names.items():
        said = said_here(said, there, here)
    return said


async def _close(reply: Reply) -> None:
    with anyio.CancelScope(shield=True):
        await reply.aclose()
