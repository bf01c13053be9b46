"""Uploads under another ASGI server, whose messages come otherwise than Hypercorn's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from anyio import to_thread
from stored import blobs_in

from remuda.config import Config
from remuda.model import Digest
from remuda.model.store import Store
from remuda.pipeline import Pipeline
from remuda.plugins import Plugins
from remuda.server import create_app

from .conftest import StandIn

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

DATA = b"weights" * 1000
REST = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


def piece(data: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


async def upload(store: Store, messages: list[dict[str, Any]], length: int | None) -> int:
    """The status of the reply; 0 for none."""
    app = await to_thread.run_sync(create_app, Config(), Plugins(), cast(Pipeline, StandIn(store)))
    path = f"/api/blobs/{Digest.of(DATA)}"
    headers = [(b"host", b"localhost")]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "headers": headers}
    coming, sent = iter([*messages, GONE]), list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        return next(coming)

    async def send(message: Any) -> None:
        sent.append(message)

    await app({**scope, "raw_path": path.encode(), "query_string": b""}, receive, send)
    return sent[0]["status"] if sent else 0


@pytest.mark.parametrize(
    ("messages", "length", "status"),
    [
        pytest.param([piece(DATA, more=False)], len(DATA), 201, id="all in the last message"),
        pytest.param([piece(DATA[:9], more=True), piece(DATA[9:], more=False)], None, 201, id="no length"),
        pytest.param([piece(b"", more=True), piece(DATA, more=True), REST], None, 201, id="an empty piece"),
        pytest.param([piece(DATA, more=False)], len(DATA) + 1, 400, id="less than declared"),
        pytest.param([piece(DATA + b"x", more=False)], len(DATA), 400, id="more than declared"),
        pytest.param([piece(DATA, more=True)], len(DATA) + 1, 0, id="cut"),
        pytest.param([], len(DATA), 0, id="cut at once"),
    ],
)
async def test_upload(tmp_path: Path, messages: list[dict[str, Any]], length: int | None, status: int) -> None:
    store = Store(tmp_path / "models")
    assert await upload(store, messages, length) == status
    there = await to_thread.run_sync(blobs_in, store)
    assert there == ({f"sha256-{Digest.of(DATA).hex}"} if status == 201 else set())
