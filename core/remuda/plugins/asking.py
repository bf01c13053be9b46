"""How hooks are called: once at start, for an answer while a request waits, or to be told what is over.

Nothing that a hook does is raised here. A fault is counted and told, and the next implementation is called.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from ..config import PluginsConfig
from ..errors import ConfigError
from ..hookspecs import Receipt
from .answers import shown
from .hooked import Hooked, discard, text_of
from .observer import MOST, Observer
from .telling import Teller
from .worker import Busy, Late

__all__ = ["OBSERVED", "Asker"]

OBSERVED: Final = "remuda_request_finished"
"""The hook of which nobody waits for an answer."""

T = TypeVar("T")


class Asker:
    def __init__(self, limits: PluginsConfig, tell: Teller) -> None:
        self._limits, self._tell = limits, tell
        self._observers: dict[str, Observer] = {}
        self._full: set[str] = set()
        """Plugins whose last receipt found no room."""

    def once(self, each: Hooked, given: dict[str, Any], *, returns: bool = False) -> Any:
        """Call a hook that is called once. None for one that fails, or hangs: it is given up then.

        Without `returns` it has nothing to return, and one that does so is told. Raises `ConfigError` that it raises.
        """
        began = time.perf_counter_ns()
        seconds = self._limits.start_timeout
        try:
            answer = each.call(given, seconds)
        except Busy:
            each.gauge.skipped()
            return None
        except ConfigError:
            each.gauge.left(time.perf_counter_ns() - began)
            raise
        except Late:
            text = f"{each.hook} took more than {seconds:g} s and was given up"
            text = f"{text}\nFix: do slow work elsewhere, or raise plugins.start_timeout"
        except (Exception, SystemExit) as error:
            text = text_of(error)
        else:
            if returns or answer is None:
                each.gauge.succeeded(time.perf_counter_ns() - began)
                return answer
            discard(answer)
            text = f"{each.hook} returned {shown(answer)}\nFix: return nothing: hand over by calling the argument"
        each.gauge.failed(time.perf_counter_ns() - began)
        self._tell.fault(each.info, text, each.hook)
        return None

    def first(
        self, hooked: Sequence[Hooked], given: dict[str, Any], parse: Callable[[Any], T | None], wanted: str
    ) -> T | None:
        """The first answer that `parse` takes. What it takes for None, without being it, is a fault."""
        for each in hooked:
            if each.gauge.admits():
                answer = self._answer(each, given, parse, wanted)
                if answer is not None:
                    return answer
        return None

    def tell(self, hooked: Sequence[Hooked], receipt: Receipt) -> None:
        """Hand the receipt to all of them, each in a thread of its plugin. Returns at once."""
        for each in hooked:
            name = each.info.name
            observer = self._observers.get(name) or self._observers.setdefault(
                name, Observer(name, _weakly(self, each))
            )
            self.hangs(each)
            if observer.put(receipt):
                self._full.discard(name)
                continue
            each.gauge.dropped += 1
            if name not in self._full:
                self._full.add(name)
                self._tell.dropped(each.info, each.hook, MOST)

    def hangs(self, each: Hooked) -> bool:
        """Whether a call of it was given up, or of an observer should have been, and has not come back yet."""
        if each.hook != OBSERVED:
            return each.stuck
        observer = self._observers.get(each.info.name)
        if observer is None or observer.busy <= self._limits.budget:
            return False
        text = f"{each.hook} takes more than {self._limits.budget:g} s (plugins.budget) and holds up its next receipts"
        self._tell.fault(each.info, f"{text}\nFix: do slow work elsewhere", each.hook)
        return True

    def behind(self, seconds: float) -> list[str]:
        """Wait until all receipts are delivered, no longer than so long; to which plugins they are not. Blocking."""
        end = time.monotonic() + seconds
        marks = {name: observer.mark() for name, observer in self._observers.items()}
        return [name for name, mark in marks.items() if not mark.wait(max(0.0, end - time.monotonic()))]

    def deliver(self, each: Hooked, receipt: Receipt) -> None:
        """In the observer's thread."""
        if not each.gauge.admits():
            return
        began = time.perf_counter_ns()
        try:
            discard(each.direct({"receipt": receipt}))
        except BaseException as error:  # the thread is the plugin's, and must go on
            self.failed(each, text_of(error), time.perf_counter_ns() - began)
            return
        took = time.perf_counter_ns() - began
        if took <= self._limits.budget * 1e9:
            each.gauge.succeeded(took)
            return
        text = f"{each.hook} took {took / 1e9:.1f} s, and plugins.budget is {self._limits.budget:g} s"
        self.failed(each, f"{text}\nFix: do slow work elsewhere", took)

    def failed(self, each: Hooked, text: str, ns: int) -> None:
        """Count and tell a fault of a hook that is called again and again."""
        self._tell.fault(each.info, text, each.hook)
        if each.gauge.failed(ns):
            self._tell.rests(each.info, each.hook, self._limits.faults, self._limits.cooldown, text)

    def _answer(self, each: Hooked, given: dict[str, Any], parse: Callable[[Any], T | None], wanted: str) -> T | None:
        began = time.perf_counter_ns()
        budget = self._limits.budget
        try:
            answer = each.call(given, budget)
        except Busy:
            each.gauge.skipped()
            return None
        except Late:
            text = f"{each.hook} took more than {budget:g} s (plugins.budget), and every request waited"
            self.failed(each, f"{text}\nFix: do slow work elsewhere", time.perf_counter_ns() - began)
            return None
        except (Exception, SystemExit) as error:
            self.failed(each, text_of(error), time.perf_counter_ns() - began)
            return None
        took = time.perf_counter_ns() - began
        self._tell.slow(each.info, each.hook, took)
        parsed = None if answer is None else parse(answer)
        if answer is None or parsed is not None:
            each.gauge.succeeded(took)
            return parsed
        self.failed(each, f"{each.hook} returned {shown(answer)}\nFix: return {wanted} or None", took)
        discard(answer)
        return None


def _weakly(asker: Asker, each: Hooked) -> Callable[[Any], None]:
    """The observer's thread must not keep alive what it ends with."""
    reference = weakref.ref(asker)

    def deliver(receipt: Any) -> None:
        if (found := reference()) is not None:
            found.deliver(each, receipt)

    return deliver
