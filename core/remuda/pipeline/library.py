"""The models that there are: listed, shown, copied, deleted, made, pulled and pushed (Ollama API, sections 1.2, 1.4 and
1.11 to 1.13).

Models of the configuration and of plugins can be read here, never changed: their names are taken.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

import anyio.to_thread
from msgspec import structs

from ..errors import BadRequest, ModelNotFound, NotFound, RemudaError
from ..model import Catalog, ModelEntry, ModelName, parse_name
from ..model.catalog import CONFIGURED
from ..model.entry import NO_WEIGHTS, REMOTE
from ..model.manifest import BadManifest
from ..model.source import without_source
from ..model.store import Store
from ..model.transfer import NotInRegistry, Transfers
from ..wire import (
    CopyRequest,
    CreateRequest,
    DeleteRequest,
    Details,
    ProgressResponse,
    ShowRequest,
    ShowResponse,
    TagsDetails,
    TagsModel,
    TagsResponse,
    TransferRequest,
    local_time,
)
from .create import Creator
from .flow import Flow
from .show import show
from .stream import ResponseStream, last, primed

__all__ = ["Library", "of_loaded"]

_log = logging.getLogger("remuda.pipeline")
_MOST_REPEATED: Final = 200
"""Characters of a request's text in an error."""

Progress = ProgressResponse | ResponseStream[ProgressResponse]
"""The last object of the stream if the request says `stream: false`, else the stream, whose first item is ready.
Closing it stops the work, unless somebody else waits for it."""


class Library:
    """Raises `RemudaError`: `BadRequest` for a name that is none or is taken, `NotFound` for an unknown model."""

    def __init__(self, flow: Flow, store: Store, transfers: Transfers, creator: Creator) -> None:
        self._flow, self._catalog, self._store = flow, flow.catalog, store
        self._transfers, self._creator = transfers, creator

    async def tags(self) -> TagsResponse:
        """All models, newest first. One whose weights cannot be read is left out, and logged."""
        return TagsResponse(await anyio.to_thread.run_sync(self._tags))

    async def show(self, request: ShowRequest, upstreams: tuple[str, ...] = ()) -> ShowResponse:
        """Of a model of upstreams what one of them says, one of those named if any are."""
        if self._flow.front is not None:
            entry = await anyio.to_thread.run_sync(self._elsewhere, request.asked)
            if entry is not None:
                return await self._flow.front.show(request, entry.name, upstreams)
        return await show(request, self._catalog, self._flow.abilities, self._flow.template)

    async def copy(self, request: CopyRequest) -> None:
        """Under another name, which may be taken by a model of the store. Weights from outside come into the store."""
        names = request.source or "", request.destination or ""
        source, target = await anyio.to_thread.run_sync(self._copied, *names)
        if source.name.key == target.key:
            return
        if source.stored is not None:
            await anyio.to_thread.run_sync(self._store.copy, source.name, target)
            self._flow.recent.forget()
            return
        wanted = CreateRequest(model=target.full, base=source.name.full)
        await last(self._changing(self._creator.create(wanted)))

    async def delete(self, request: DeleteRequest) -> None:
        """Requests that run with the model go on; after the last of them it leaves the memory, too."""
        try:
            self._flow.herd.dismiss(await anyio.to_thread.run_sync(self._delete, request.asked))
        finally:
            self._flow.recent.forget()

    async def create(self, request: CreateRequest) -> Progress:
        await anyio.to_thread.run_sync(lambda: self._free(parse_name(request.asked)))
        return await _told(self._changing(self._creator.create(request)), request.stream)

    async def pull(self, request: TransferRequest) -> Progress:
        name = await anyio.to_thread.run_sync(self._pulled, request.asked)
        progress = self._transfers.pull(name, insecure=bool(request.insecure))
        return await _told(self._changing(progress), request.stream)

    async def pulled(self, text: str) -> AsyncGenerator[ProgressResponse, None]:
        """The progress of a pull that an answer waits for. Raises `ModelNotFound` if there is no such model."""
        name = await anyio.to_thread.run_sync(self._missed, text)
        try:
            async with aclosing(self._changing(self._transfers.pull(name))) as progress:
                async for line in progress:
                    yield line
        except NotInRegistry:
            raise ModelNotFound(text) from None

    async def push(self, request: TransferRequest) -> Progress:
        name = await anyio.to_thread.run_sync(self._pushed, request.asked)
        return await _told(self._transfers.push(name, insecure=bool(request.insecure)), request.stream)

    async def _changing(
        self, progress: AsyncGenerator[ProgressResponse, None]
    ) -> AsyncGenerator[ProgressResponse, None]:
        """`progress` of what makes a model or replaces one: whoever reads a line of it finds what there is then."""
        try:
            async with aclosing(progress):
                async for line in progress:
                    self._flow.recent.forget()
                    yield line
        finally:
            self._flow.recent.forget()

    def _elsewhere(self, text: str) -> ModelEntry | None:
        """The model of upstreams that `text` stands for, if it does."""
        try:
            entry = self._catalog.find(text)
        except RemudaError:
            return None
        return entry if entry.format == REMOTE else None

    def _tags(self) -> list[TagsModel]:
        tags = [tag for entry in self._catalog.entries() if (tag := _tag(self._catalog, entry)) is not None]
        return [tag for _, tag in sorted(tags, key=lambda pair: pair[0], reverse=True)]

    def _copied(self, source: str, target: str) -> tuple[ModelEntry, ModelName]:
        try:
            entry = self._catalog.find(source)
        except BadRequest:
            raise BadRequest(f'source "{_cut(source)}" is invalid') from None
        except ModelNotFound:
            raise NotFound(f'model "{_cut(source)}" not found') from None
        if entry.format == REMOTE:
            raise NotFound(f'model "{_cut(source)}" not found on this server itself: it is on upstreams')
        try:
            name = parse_name(target)
        except BadRequest:
            raise BadRequest(f'destination "{_cut(target)}" is invalid') from None
        return entry, name if name.key == entry.name.key else self._free(name)

    def _delete(self, text: str) -> ModelName:
        try:
            name = self._named(text)
        except BadRequest as error:
            raise BadRequest(f'name "{_cut(text)}" is invalid' if text.strip() else error.message) from None
        self._refuse(name, "deleted")
        try:
            self._store.delete(name)
        except ModelNotFound:
            raise ModelNotFound(_cut(text)) from None
        return name

    def _free(self, name: ModelName) -> ModelName:
        """`name` as the store writes it, for a model to be made. Raises `BadRequest` if it is taken."""
        self._refuse(name, "replaced")
        return self._store.cased(name)

    def _pulled(self, text: str) -> ModelName:
        return self._free(self._named(text))

    def _pushed(self, text: str) -> ModelName:
        name = self._named(text)
        self._refuse(name, "pushed")
        return name

    def _missed(self, text: str) -> ModelName:
        """The model to be pulled for a request that names it, or an alias of it."""
        name = self._named(text)
        return self._free(self._catalog.alias(name) or name)

    def _named(self, text: str) -> ModelName:
        """The name that `text` has in the store, or would have. `X:local` is X, unless there is a model of that tag.

        An alias has its own name here, not that of its model.
        """
        try:
            return self._catalog.named(text)
        except (ModelNotFound, BadManifest):
            return self._store.cased(parse_name(without_source(text)))

    def _refuse(self, name: ModelName, deed: str) -> None:
        """Raises `BadRequest` if `name` is an alias, or that of a model outside the store."""
        if (target := self._catalog.alias(name)) is not None:
            raise BadRequest(
                f"'{name}' is an alias of '{target}' in the configuration and cannot be {deed}: "
                "use the model's own name, or take the alias out of the configuration"
            )
        if (taken := self._taken(name)) is not None:
            raise BadRequest(_refusal(taken, deed))

    def _taken(self, name: ModelName) -> ModelEntry | None:
        """The model outside the store that answers to `name`; a shipped one steps back for one of the store."""
        fixed = self._catalog.fixed(name)
        if fixed is None or fixed.source == CONFIGURED:
            return fixed
        return fixed if self._store.state(self._store.cased(name)) is None else None


def of_loaded(catalog: Catalog, entry: ModelEntry) -> tuple[Details, int, str]:
    """Details, bytes of weights and digest of a model that is in memory, although its files may be gone by now: of what
    cannot be read any more only the format. Blocking."""
    try:
        facts = catalog.facts(entry)
        return facts.details, facts.size, catalog.digest(entry)
    except RemudaError:
        return Details(format=entry.format), 0, ""


def _tag(catalog: Catalog, entry: ModelEntry) -> tuple[int, TagsModel] | None:
    try:
        facts, digest = catalog.facts(entry), catalog.digest(entry)
    except RemudaError as error:
        _log.warning("%s is not listed: %s", entry.name, error)
        return None
    details = TagsDetails(
        **structs.asdict(facts.details),
        context_length=facts.context_length,
        embedding_length=facts.embedding_length,
    )
    return int(facts.modified), TagsModel(
        name=str(entry.name),
        model=str(entry.name),
        modified_at=local_time(facts.modified),
        size=facts.size,
        digest=digest,
        details=details,
        capabilities=facts.capabilities,
    )


def _refusal(taken: ModelEntry, deed: str) -> str:
    configured = taken.source == CONFIGURED
    owner = "the configuration" if configured else f"the plugin {taken.source!r}"
    advice = {
        "deleted": "take it out of the configuration" if configured else "uninstall the plugin",
        "replaced": "choose another name",
        "pushed": "its weights are not here"
        if taken.weights == NO_WEIGHTS
        else "copy it to a name of your own and push that",
    }
    return f"model '{taken.name}' is offered by {owner} and cannot be {deed}: {advice[deed]}"


def _cut(text: str) -> str:
    """What a client typed, short enough to be repeated to it."""
    return text if len(text) <= _MOST_REPEATED else f"{text[:_MOST_REPEATED]}..."


async def _told(stream: AsyncGenerator[ProgressResponse, None], wanted: bool | None) -> Progress:
    return await (last(stream) if wanted is False else primed(stream))
