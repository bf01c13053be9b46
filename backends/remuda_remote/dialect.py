"""What an upstream of one kind speaks. One object for each upstream; every method may raise a `Fault`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from remuda.backend import Embedded, EmbedJob
from remuda.config import RemoteConfig
from remuda.job import Event, Job
from remuda.wire import PsModel, ShowRequest, ShowResponse, TagsModel

from .client import UpstreamClient
from .member import Member

__all__ = ["LONGEST_NAME", "MOST_MODELS", "Answering", "Dialect", "Listed"]

MOST_MODELS: Final = 10_000
"""Of one upstream; what it lists beyond that is left out."""
LONGEST_NAME: Final = 512
"""Characters of a model's name there; one with more is left out."""


class Listed(Struct, frozen=True, kw_only=True):
    """A model that an upstream says it has."""

    there: str
    """Its name as the upstream writes it."""
    tag: TagsModel
    """What `/api/tags` says of it; `name` and `model` are replaced by its public name."""


class Answering(Protocol):
    """The events of a job, of which the first is here. Must be closed, read or not."""

    def __aiter__(self) -> AsyncIterator[Event]:
        """Raises `Fault` where the upstream breaks off."""
        ...

    async def aclose(self) -> None: ...


class Dialect(ABC):
    def __init__(self, member: Member, client: UpstreamClient, remote: RemoteConfig) -> None:
        self.member, self.client, self.remote = member, client, remote

    @abstractmethod
    async def models(self) -> list[Listed]:
        """All models it has. This is also the cheap probe: it raises where the upstream is not well."""

    @abstractmethod
    async def loaded(self) -> list[PsModel] | None:
        """What it has in memory, by its own names; None if it does not say."""

    @abstractmethod
    async def prove(self, model: str) -> None:
        """Have it write one token with its model of that name."""

    @abstractmethod
    async def answer(self, job: Job, model: str) -> Answering:
        """Begin to answer with its model of that name; returns with the first event. Cancelling leaves nothing behind.

        Raises `BadRequest` naming the upstream and the field for what it cannot do.
        """

    @abstractmethod
    async def embed(
        self, job: EmbedJob, model: str, options: Mapping[str, Any], keep_alive: float | None, request_id: str
    ) -> Embedded:
        """`options` are those that the request gave."""

    @abstractmethod
    async def show(self, request: ShowRequest, model: str) -> ShowResponse:
        """What it says of its model of that name."""
