"""A live server with a real store, asked as any client asks it, whose every error is searched for paths."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import msgspec
from registry import MODEL, Registry
from stored import put_model

from remuda.config import Config, LimitsConfig, ModelConfig, RegistryConfig, StoreConfig
from remuda.model.store import Store
from remuda.plugins import Plugins
from remuda.testing import LiveServer, Script

__all__ = ["LibraryRig", "library_config", "served"]

PATH = re.compile(r"""(?:^|[\s"'(=:])/[\w.-]+""")
"""An absolute path: nothing of the kind may get out."""


class LibraryRig:
    def __init__(self, config: Config, plugins: Plugins) -> None:
        self.server = LiveServer(config, plugins).start()
        self.store: Store = self.server.pipeline.store
        self.http = httpx.Client(base_url=self.server.url, timeout=20, event_hooks={"response": [self._look]})
        self.typed = ""
        """What the client itself put into its request, and may read again."""

    def _look(self, reply: httpx.Response) -> None:
        if reply.status_code >= 400:
            self.check(json.loads(reply.read())["error"])

    def check(self, error: str) -> str:
        own = error.replace(self.typed, "") if self.typed else error
        assert not PATH.search(own), error
        assert str(self.store.root) not in error
        return error

    def post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.http.post(path, json=body)

    def lines(self, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
        reply = self.post(path, body)
        assert reply.status_code == 200, reply.text
        lines = [json.loads(text) for text in reply.content.splitlines()]
        for line in lines:
            self.check(line.get("error", ""))
        return lines

    def names(self) -> set[str]:
        return {model["name"] for model in self.http.get("/api/tags").json()["models"]}

    def put(self, name: str, script: Script | None = None) -> None:
        weights = msgspec.json.encode(script or Script(pieces=["a", "b"]))
        put_model(self.store, name, [("model", weights)], model_format="scripted")


def library_config(folder: Path, **fields: Any) -> Config:
    """With one model, `mine:latest`, whose weights are a script outside the store."""
    weights = folder / "script.json"
    weights.write_bytes(msgspec.json.encode(Script(pieces=["a"])))
    return Config(
        store=StoreConfig(path=str(folder / "models")),
        registry=RegistryConfig(key=str(folder / "key"), retries=1),
        models={"mine": ModelConfig(path=str(weights), format="scripted")},
        limits=LimitsConfig(context=256),
        **fields,
    )


def served(registry: Registry, name: str = "library/tiny:latest", script: Script | None = None) -> str:
    """The name of a model that the registry has and that can be asked."""
    config = msgspec.json.encode({"model_format": "scripted"})
    registry.add_model(name, {MODEL: msgspec.json.encode(script or Script(pieces=["a", "b"]))}, config)
    return registry.name(name)
