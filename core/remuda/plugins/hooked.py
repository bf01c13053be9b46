"""One implementation of one hook, and the ways in which it is called."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..errors import RemudaError
from .gauge import Gauge
from .record import Plugin
from .worker import Worker

__all__ = ["Hooked", "discard", "text_of"]

_HERE: Final = Path(__file__).parent


class Hooked:
    def __init__(
        self,
        info: Plugin,
        hook: str,
        function: Callable[..., Any],
        names: tuple[str, ...],
        gauge: Gauge,
        worker: Worker | None,
    ) -> None:
        self.info, self.hook, self.gauge = info, hook, gauge
        self._function, self._names, self._worker = function, names, worker

    @property
    def stuck(self) -> bool:
        """Whether the plugin's thread hangs in something."""
        return self._worker is not None and self._worker.stuck

    def direct(self, given: dict[str, Any]) -> Any:
        """Call it here, with those arguments that it takes. Raises what it raises."""
        return self._function(**{name: given[name] for name in self._names})

    def call(self, given: dict[str, Any], seconds: float) -> Any:
        """Call it in the plugin's thread, if it has one. Raises what it raises, and `worker.Late` and `worker.Busy`."""
        if self._worker is None:
            return self.direct(given)
        return self._worker.call(lambda: self.direct(given), seconds)


def text_of(error: BaseException) -> str:
    """What is told of an error: our own speak for themselves, of others the traceback is wanted, from the plugin on."""
    if isinstance(error, RemudaError):
        return str(error)
    frames = begin = error.__traceback__
    while begin is not None and Path(begin.tb_frame.f_code.co_filename).parent == _HERE:
        begin = begin.tb_next
    return "".join(traceback.format_exception(type(error), error, begin or frames)).rstrip()


def discard(answer: Any) -> None:
    """Nobody will await it, and Python would complain."""
    if inspect.iscoroutine(answer):
        answer.close()
