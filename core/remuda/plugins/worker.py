"""A thread in which a plugin's code runs, so that whoever asks can stop waiting.

Python cannot end a thread. One that does not come back is left behind, and what its plugin is asked meanwhile is
refused at once, for as long as that lasts. It is a daemon: it does not keep the process from ending.

Nothing helps against what never lets go of the interpreter's lock, such as a regular expression that backtracks
without end: only a process of its own would.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

__all__ = ["Busy", "Late", "Worker"]

T = TypeVar("T")


class Late(Exception):
    """It did not come back in time."""


class Busy(Exception):
    """Something that it was asked before has not come back yet."""


class _Task:
    def __init__(self, function: Callable[[], Any], context: Context) -> None:
        self.function, self.context = function, context
        self.ended: SimpleQueue[None] = SimpleQueue()
        """Gets one item when it has ended."""
        self.over = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self.context.run(self.function)
        except BaseException as error:  # whatever it is, it belongs to whoever asked
            self.error = error


class _State:
    """What caller and thread share. The thread holds nothing else, so that a forgotten worker ends it."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self.turn = threading.Lock()
        """Held from before a task is handed over until it has ended."""
        self.lock = threading.Lock()
        self.late = False
        """The task under way has been given up."""
        self.thread: threading.Thread | None = None


class Worker:
    """One plugin's. May be asked from any thread; one thing is done at a time."""

    def __init__(self, name: str) -> None:
        self._name = f"remuda-plugin-{name}"
        self._state = _State()
        weakref.finalize(self, self._state.tasks.put, None).atexit = False

    @property
    def stuck(self) -> bool:
        """Whether something that was given up still runs."""
        return self._state.late

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """`function()`, in the thread and in the caller's context.

        Raises what it raises, as a `RuntimeError` where that is no `Exception` (`sys.exit()`, the panic of an extension
        module); `Late` when it takes longer than `seconds`, and `Busy` when it cannot even begin.
        """
        state = self._state
        if threading.current_thread() is state.thread:
            return function()
        if state.late or not (state.turn.acquire(blocking=False) or state.turn.acquire(timeout=seconds)):
            raise Busy
        if state.thread is None:
            state.thread = threading.Thread(target=_work, args=(state,), name=self._name, daemon=True)
            state.thread.start()
        task = _Task(function, copy_context())
        state.tasks.put(task)
        try:
            task.ended.get(timeout=seconds)
        except Empty:
            with state.lock:
                if not task.over:  # it may have ended this very moment
                    state.late = True
                    raise Late from None
        if isinstance(task.error, Exception):
            raise task.error
        if task.error is not None:
            raise RuntimeError(f"it raised {type(task.error).__name__}: {task.error}") from task.error
        return cast(T, task.result)


def _work(state: _State) -> None:
    while (task := state.tasks.get()) is not None:
        task.run()
        with state.lock:
            task.over, state.late = True, False
            task.ended.put(None)
            state.turn.release()
        del task
