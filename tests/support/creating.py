"""Models made without a server: a store in a folder, what comes of a request in one call, and the store read as another
program would read it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from anyio import Path as AsyncPath, sleep_forever, to_thread
from bad_gguf import make_gguf
from pulling import policy_of

from remuda import hookimpl
from remuda.backend import LoadedModel, LoadWish, Quantizes
from remuda.config import Config, LimitsConfig, RouteConfig
from remuda.errors import LoadFailed
from remuda.hookspecs import RegisterFactory
from remuda.model import Catalog, ModelEntry
from remuda.model.store import Store
from remuda.model.transfer import Transfers
from remuda.pipeline.create import Creator
from remuda.plugins import Plugins
from remuda.wire import CreateRequest, ProgressResponse, decode

__all__ = ["ROUNDED", "Bench", "Rounder", "RounderPlugin", "bench", "tree"]

IMAGE = "application/vnd.ollama.image."


class _Plain(Transfers):
    """Over plain http: that is what the tests' registries speak."""

    def pull(self, name: Any, *, insecure: bool = False) -> AsyncGenerator[ProgressResponse, None]:
        return super().pull(name, insecure=True)


class Bench:
    """A store in `folder`, and requests to make models in it."""

    def __init__(
        self, folder: Path, plugins: Plugins, entries: Iterable[ModelEntry] = (), config: Config | None = None
    ):
        self.root = folder / "models"
        self.store = Store(self.root)
        self.catalog = Catalog(entries, self.store, parsers=frozenset(plugins.parsers.names()))
        self.transfers = _Plain(self.store, policy_of(folder))
        config = config or Config(limits=LimitsConfig(template_timeout=30))
        self.creator = Creator(self.catalog, self.transfers, plugins, config)

    async def upload(self, data: bytes) -> str:
        """Its digest."""
        digest, _ = await to_thread.run_sync(self.store.put, data)
        return str(digest)

    async def find(self, name: str = "made") -> ModelEntry:
        return await to_thread.run_sync(self.catalog.find, name)

    def stream(self, **fields: Any) -> AsyncGenerator[ProgressResponse, None]:
        """Progress of a request of these fields; `base` is `from`."""
        if "base" in fields:
            fields["from"] = fields.pop("base")
        return self.creator.create(decode(msgspec.json.encode({"model": "made", **fields}), CreateRequest))

    async def events(self, **fields: Any) -> list[ProgressResponse]:
        async with aclosing(self.stream(**fields)) as lines:
            return [line async for line in lines]

    async def create(self, **fields: Any) -> list[str]:
        """The lines of progress that have no bytes to count."""
        return [event.status for event in await self.events(**fields)]

    def manifest(self, name: str = "made", tag: str = "latest") -> dict[str, Any]:
        path = self.root / "manifests" / "registry.ollama.ai" / "library" / name / tag
        return json.loads(path.read_bytes())

    def layers(self, name: str = "made") -> list[tuple[str, bytes]]:
        """Of each layer the last word of its type and its content; they are checked for their digest and size."""
        return [(layer["mediaType"].removeprefix(IMAGE), self._blob(layer)) for layer in self.manifest(name)["layers"]]

    def texts(self, name: str = "made") -> dict[str, str]:
        """All layers but those of weights."""
        return {kind: data.decode() for kind, data in self.layers(name) if not data.startswith(b"GGUF")}

    def config(self, name: str = "made") -> dict[str, Any]:
        config = self.manifest(name)["config"]
        assert config["mediaType"] == "application/vnd.docker.container.image.v1+json"
        return json.loads(self._blob(config))

    def _blob(self, layer: dict[str, Any]) -> bytes:
        data = (self.root / "blobs" / layer["digest"].replace(":", "-")).read_bytes()
        assert layer["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
        assert layer["size"] == len(data)
        return data


class Rounder(Quantizes):
    """A backend that quantises whatever it gets into `output`, of which it writes half before it yields.

    Then it raises `fault` if there is one, or `waits` for ever. `asked` is what it got, `running` what has not ended.
    """

    output: ClassVar[bytes]
    fault: ClassVar[Exception | None]
    waits: ClassVar[bool]
    asked: ClassVar[list[tuple[bytes, str]]]
    running: ClassVar[int]

    @classmethod
    def reset(cls) -> None:
        cls.output, cls.fault, cls.waits, cls.asked, cls.running = make_gguf(), None, False, [], 0

    async def load(self, model: ModelEntry, wish: LoadWish) -> LoadedModel:
        raise LoadFailed("it only quantises")

    async def quantize(self, source: Path, target: Path, kind: str) -> AsyncGenerator[tuple[int, int], None]:
        total = len(self.output)
        Rounder.running += 1
        try:
            self.asked.append((await AsyncPath(source).read_bytes(), kind))
            await AsyncPath(target).write_bytes(self.output[: total // 2])
            yield total // 2, total
            if self.waits:
                await sleep_forever()
            if self.fault is not None:
                raise self.fault
            await AsyncPath(target).write_bytes(self.output)
            yield total, total
        finally:
            Rounder.running -= 1


class RounderPlugin:
    @hookimpl
    def remuda_register_backends(self, register: RegisterFactory) -> None:
        register("rounder", Rounder)


ROUNDED = Config(limits=LimitsConfig(template_timeout=30), routes=(RouteConfig(model="*", backend="rounder"),))
"""Everything goes to `Rounder`, which `RounderPlugin` registers."""


@asynccontextmanager
async def bench(
    folder: Path, plugins: Plugins, *entries: ModelEntry, config: Config | None = None
) -> AsyncGenerator[Bench, None]:
    """Closed with the processes that `plugins` began."""
    made = Bench(folder, plugins, entries, config)
    try:
        yield made
    finally:
        await made.transfers.close()
        closers: list[Callable[[], Any]] = [
            each.close for each in (*plugins.templates.made(), *plugins.backends.made())
        ]
        for close in closers:
            await close()


def tree(folder: Path) -> dict[str, str]:
    """The files below `folder` but for locks and memories, with a hash of each."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("remuda")
    }
