"""Models based on one that has to be pulled first."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest
from anyio import to_thread
from bad_gguf import make_gguf
from creating import bench, tree
from registry import MODEL, Fault, Registry

from remuda.errors import RemudaError
from remuda.plugins import Plugins

pytestmark = pytest.mark.anyio

SYSTEM = "application/vnd.ollama.image.system"


async def test_the_base_is_pulled_first(tmp_path: Path, plugins: Plugins, no_blocking: None) -> None:
    with Registry() as registry:
        registry.add_model("library/base:latest", {MODEL: make_gguf(), SYSTEM: b"old"})
        name = registry.name("library/base:latest")
        async with bench(tmp_path, plugins) as made:
            lines = await made.create(base=name, parameters={"seed": 1})
            assert lines[0] == "pulling manifest"
            assert lines.count("success") == 1
            assert lines[-1] == "success"
            assert [kind for kind, _ in made.layers()] == ["model", "system", "params"]
            assert made.manifest()["layers"][0]["from"] == name
            asked = len(registry.requests)
            assert (await made.create(base=name, parameters={"seed": 2}))[0].startswith("using existing layer")
            assert len(registry.requests) == asked


async def test_files_are_looked_at_before_anything_is_pulled(tmp_path: Path, plugins: Plugins) -> None:
    with Registry() as registry:
        registry.add_model("library/base:latest", {MODEL: make_gguf()})
        async with bench(tmp_path, plugins) as made:
            adapters = {"a.gguf": await made.upload(b"GGUF")}
            before = tree(made.root)
            with pytest.raises(RemudaError, match="cannot be used"):
                await made.create(base=registry.name("library/base:latest"), adapters=adapters)
            assert tree(made.root) == before
            assert not registry.requests


async def test_a_base_that_the_registry_does_not_have(tmp_path: Path, plugins: Plugins) -> None:
    with Registry() as registry:
        async with bench(tmp_path, plugins) as made:
            with pytest.raises(RemudaError) as caught:
                await made.create(base=registry.name("library/none:latest"))
            assert caught.value.message == "pull model manifest: file does not exist"
            assert tree(made.root) == {}


async def test_a_client_that_leaves_stops_the_pull(tmp_path: Path, plugins: Plugins) -> None:
    with Registry() as registry:
        registry.add_model("library/base:latest", {MODEL: make_gguf() + bytes(2**20)})
        registry.fail("GET blob", Fault(stall=1000))
        async with bench(tmp_path, plugins) as made:
            async with aclosing(made.stream(base=registry.name("library/base:latest"))) as lines:
                async for line in lines:
                    if line.status.startswith("pulling ") and line.digest:
                        await to_thread.run_sync(registry.await_request, "GET blob")
                        break
            await to_thread.run_sync(registry.await_left, "GET blob")
            assert made.store.names() == []
