"""Jinja chat templates, rendered in a process of their own.

A model's template is somebody else's program. The sandbox keeps it from the interpreter, but neither from looping
for ever nor from asking for a gigabyte, so it runs where it can be killed: in a child with little memory, under a
deadline. The child is started with the first prompt and again after it was killed; prompts go through one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from remuda.errors import BadRequest, EngineError
from remuda.runner.frames import FrameError, pack
from remuda.runner.process import Child

__all__ = ["JinjaEngine", "Render", "Rendered"]

_START_TIMEOUT = 20.0
"""Seconds for the child to come up: a busy machine must not be taken for a bad template."""


class Render(Struct, frozen=True):
    """Down to the child. An empty template asks only for an answer."""

    template: str
    variables: dict[str, Any]


class Rendered(Struct, frozen=True):
    """Up from the child: a prompt, or what is wrong with the template."""

    prompt: str = ""
    error: str = ""


_RENDERED = msgspec.msgpack.Decoder(Rendered)


class JinjaEngine:
    """A `remuda.TemplateEngine`."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[Rendered] | None = None

    async def render(self, template: str, variables: Mapping[str, Any], *, timeout: float) -> str:
        async with self._turn:
            child = await self._ready()
            try:
                async with asyncio.timeout(timeout):
                    rendered = await self._ask(child, Render(template, dict(variables)))
            except TimeoutError:
                await self._drop()
                raise BadRequest(f"the model's prompt template did not finish within {timeout:g} s") from None
            except asyncio.CancelledError:
                await self._drop()
                raise
            except EngineError:
                await self._drop()
                raise BadRequest("the model's prompt template needs more memory than a template may have") from None
        if rendered.error:
            raise BadRequest(f"the model's prompt template failed: {rendered.error}")
        return rendered.prompt

    async def close(self) -> None:
        await self._drop()

    async def _ready(self) -> Child:
        if self._child is None or not self._child.connected:
            await self._drop()
            self._child = Child(self._frame, self._gone)
            try:
                await self._child.start("remuda_plugins.templates.jinja_worker")
                async with asyncio.timeout(_START_TIMEOUT):
                    await self._ask(self._child, Render("", {}))
            except (EngineError, TimeoutError):
                words = self._child.last_words
                await self._drop()
                raise EngineError(f"the process that renders prompt templates did not start: {words}") from None
            except BaseException:
                await self._drop()
                raise
        return self._child

    async def _ask(self, child: Child, render: Render) -> Rendered:
        self._answer = asyncio.get_running_loop().create_future()
        child.send(pack(render))
        return await self._answer

    async def _drop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            await asyncio.shield(child.close())

    def _frame(self, body: bytes) -> None:
        try:
            rendered = _RENDERED.decode(body)
        except msgspec.DecodeError as error:
            raise FrameError(str(error)) from None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(rendered)

    def _gone(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(EngineError("the process that renders prompt templates ended"))
