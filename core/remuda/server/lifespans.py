"""The lifespans of plugins: each is entered, lived and left in a task of its own.

A task group that is open round the `yield` of a lifespan cancels the task that entered it when something in it fails:
that must not be the server's. And one that does not come back can be left behind.
"""

from __future__ import annotations

import asyncio
import traceback
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

from ..plugins import Plugins

if TYPE_CHECKING:
    from .app import App

__all__ = ["Lifespans"]

_LEAVING: Final = 3.0
"""Seconds that leaving one lifespan may take: the others wait, and the end of the server with them."""


class Lifespans:
    def __init__(self, plugins: Plugins) -> None:
        self._plugins = plugins
        self._entered: list[_Lifespan] = []

    async def enter(self, app: App) -> None:
        """A lifespan that fails or takes too long is reported, and the others go on."""
        for name, manager in await asyncio.to_thread(self._plugins.lifespans, app):
            lifespan = _Lifespan(self._plugins, name, manager)
            if await lifespan.enter():
                self._entered.append(lifespan)

    async def leave(self) -> None:
        """Last entered first."""
        while self._entered:
            await self._entered.pop().leave()


class _Lifespan:
    def __init__(self, plugins: Plugins, name: str, manager: AbstractAsyncContextManager[None]) -> None:
        self._plugins, self._name, self._manager = plugins, name, manager
        self._leaving = asyncio.Event()
        self._inside: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        """Whether it was entered, once that is certain."""
        self._task = asyncio.create_task(self._live(), name=f"remuda-lifespan-{name}")

    async def enter(self) -> bool:
        """Whether it was."""
        seconds = self._plugins.limits.start_timeout
        await asyncio.wait([self._inside], timeout=seconds)
        if not self._inside.done():
            self._give_up("to enter", seconds)
            return False
        return self._inside.result()

    async def leave(self) -> None:
        self._leaving.set()
        await asyncio.wait([self._task], timeout=_LEAVING)
        if not self._task.done():
            self._give_up("to leave", _LEAVING)

    def _give_up(self, what: str, seconds: float) -> None:
        self._leaving.set()  # one that is entered after all is left at once
        self._task.cancel()
        self._tell(f"its remuda_lifespan took more than {seconds:g} s {what}\nFix: do slow work in a task")

    async def _live(self) -> None:
        """Raises nothing: there is nobody whom it would reach, and `sys.exit()` would end the loop."""
        try:
            async with self._manager:
                self._enter_was(True)
                await self._leaving.wait()
        except BaseException:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                self._tell(f"{traceback.format_exc().rstrip()}\nFix: repair its remuda_lifespan")
        finally:
            self._enter_was(False)

    def _enter_was(self, successful: bool) -> None:
        if not self._inside.done():
            self._inside.set_result(successful)

    def _tell(self, text: str) -> None:
        self._plugins.fault(self._name, text)
