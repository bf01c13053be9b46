"""Run as a program by `test_shutdown.py`: `run_server` over a stand-in, for real signals.

Prints its URL, `began` when a request reached the pipeline, `draining` when the drain began, `closed` when the pipeline
was closed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from typing import Any, cast

from remuda.config import Config, ServerConfig
from remuda.pipeline import Pipeline
from remuda.plugins import Plugins
from remuda.server import App, create_app, run_server
from remuda.wire import GenerateResponse


def say(word: str) -> None:
    print(word, flush=True)


def line(text: str = "", *, done: bool = False) -> GenerateResponse:
    return GenerateResponse(model="m", created_at="2026-01-01T00:00:00Z", response=text, done=done)


class StandIn:
    front = None

    def __init__(self, mode: str) -> None:
        self.mode = mode
        self.app: App | None = None

    def start(self) -> None:
        """There is nothing to begin with."""

    async def generate(self, *_: object, **__: object) -> Any:
        if self.mode != "slow":
            say("began")
        if self.mode == "loading":
            await asyncio.Event().wait()
        if self.mode == "blocked":
            while True:
                time.sleep(0.01)  # noqa: ASYNC251 -- a plugin that blocks the loop
        if self.mode == "stubborn":
            await self._drained()
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue
        return self._stream()

    async def _drained(self) -> None:
        assert self.app is not None
        while not self.app.drain.draining:
            await asyncio.sleep(0.01)
        if self.mode != "slow":
            say("draining")

    async def _stream(self) -> AsyncGenerator[GenerateResponse, None]:
        yield line("a")
        if self.mode != "words":
            await self._drained()
            yield line("draining")
        if self.mode in {"forever", "unclosing"}:
            await asyncio.Event().wait()
        yield line(done=True)

    async def close(self) -> None:
        while self.mode == "unclosing":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        say("closed")


def main() -> int:
    mode, drain_timeout = sys.argv[1:]
    config = Config(server=ServerConfig(port=0, drain_timeout=float(drain_timeout)))
    standin = StandIn(mode)
    standin.app = create_app(config, Plugins(), cast(Pipeline, standin))
    return run_server(config, Plugins(), say, app=standin.app)


if __name__ == "__main__":
    sys.exit(main())
