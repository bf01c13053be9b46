"""A pool of upstreams of which only the answers are made up: no HTTP, and a clock that goes when it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from remuda.config import Config
from remuda.job import Client
from remuda.model import parse_name
from remuda.remote import Wanted
from remuda.wire import Details, PsModel, TagsDetails, TagsModel
from remuda_remote.dialect import Listed
from remuda_remote.faults import Broke, Fault, Refused, TooSlow
from remuda_remote.member import Member, members
from remuda_remote.pool import Lease, Pool
from remuda_remote.upstream import Upstream

__all__ = ["Answer", "Pools", "Server", "broke", "listed", "ps", "refused", "slow", "spin", "upstreams", "wanted"]


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """What one upstream says, as its dialect would tell it."""

    def __init__(self, *models: str) -> None:
        self.has = list(models)
        self.memory: list[str] | None = []
        self.fault: Exception | None = None
        self.proof: Exception | None = None
        self.probes = self.proofs = 0
        self.open: asyncio.Event | None = None
        """Probes wait for it."""
        self.closed = False

    async def models(self) -> list[Listed]:
        self.probes += 1
        if self.open is not None:
            await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return [listed(name) for name in self.has]

    async def loaded(self) -> list[PsModel] | None:
        return None if self.memory is None else [ps(name) for name in self.memory]

    async def prove(self, model: str) -> None:
        self.proofs += 1
        if self.proof is not None:
            raise self.proof

    async def close(self) -> None:
        self.closed = True


class Answer:
    """What an attempt gives."""

    def __init__(self, upstream: str) -> None:
        self.upstream, self.closed = upstream, 0

    async def aclose(self) -> None:
        self.closed += 1


class Pools:
    """A pool, its servers by the names of their upstreams, and what was attempted where."""

    def __init__(
        self,
        settings: dict[str, Any],
        servers: dict[str, Server] | None = None,
        *,
        clock: Callable[[], float] | None = None,
        **models: Sequence[str],
    ) -> None:
        """`models` of each upstream, which it has listed already. Those of `servers` have listed nothing. `clock`
        instead of `time`."""
        self.time = Time()
        self.made: list[Upstream] = []
        self.servers = dict(servers or {})
        self.attempts: list[str] = []
        self.pool = Pool(self._make, clock or self.time)
        self.configure(settings)
        for name, has in models.items():
            self[name].learn([listed(model) for model in has], None)

    def __getitem__(self, name: str) -> Upstream:
        return next(upstream for upstream in self.pool.upstreams if upstream.name == name)

    def configure(self, settings: dict[str, Any]) -> None:
        config = msgspec.convert(settings, Config)
        self.pool.configure(config, members(config, {}))

    def _make(self, member: Member) -> Upstream:
        server = self.servers.setdefault(member.name, Server())
        upstream = Upstream(member, server, server)
        self.made.append(upstream)
        return upstream

    async def run(self, want: Wanted, *outcomes: Callable[[], Any] | Exception | None) -> Lease[Answer]:
        """Each attempt has the next outcome: an exception, something to await, or None for an answer at once."""
        left = list(outcomes)

        async def attempt(upstream: Upstream, there: str) -> Answer:
            self.attempts.append(f"{upstream.name}:{there}")
            match left.pop(0) if left else None:
                case Exception() as fault:
                    raise fault
                case None:
                    pass
                case wait:
                    await wait()
            return Answer(upstream.name)

        return await self.pool.run(want, attempt)

    async def once(self, want: Wanted, *outcomes: Any) -> str:
        """A whole request: who served it."""
        lease = await self.run(want, *outcomes)
        await lease.aclose()
        return lease.upstream.name

    @property
    def running(self) -> dict[str, int]:
        return {upstream.name: upstream.running for upstream in self.pool.upstreams}


def upstreams(*names: str, **settings: Any) -> dict[str, dict[str, Any]]:
    return {name: {"url": f"http://{name}.test:11434", **settings} for name in names}


def wanted(
    name: str = "m", *, asked: tuple[str, ...] = (), prefix: bytes = b"", client: str = "", priority: int = 0
) -> Wanted:
    return Wanted(name=parse_name(name), asked=asked, prefix=prefix, client=Client(client), priority=priority)


def listed(name: str) -> Listed:
    tag = TagsModel(
        name=name, model=name, modified_at="", size=1, digest="0" * 64, details=TagsDetails(), capabilities=[]
    )
    return Listed(there=name, tag=tag)


def ps(name: str) -> PsModel:
    return PsModel(
        name=name, model=name, size=1, digest="", details=Details(), expires_at="", size_vram=0, context_length=0
    )


def broke(upstream: str = "a") -> Fault:
    return Broke(upstream, "broke off")


def slow(upstream: str = "a") -> Fault:
    return TooSlow(upstream, "was too slow")


def refused(status: int, said: str = "no", after: str | None = None, upstream: str = "a") -> Refused:
    headers = {} if after is None else {"retry-after": after}
    return Refused(upstream, status, headers, b'{"error":"%s"}' % said.encode(), said)


async def spin(times: int = 20) -> None:
    """Lets everything happen that waits for nothing outside."""
    for _ in range(times):
        await asyncio.sleep(0)
