"""Asks an upstream again and again what it has, which also tells how it is."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from remuda.wire import PsModel

from .faults import Broke, Fault, Refused, TooSlow
from .upstream import Upstream

if TYPE_CHECKING:
    from .dialect import Listed

__all__ = ["Watch"]

_log = logging.getLogger("remuda.remote")
_PATIENCE: Final = 5.0
"""Seconds for each question."""
_SOON: Final = 2.0
"""Seconds to the next probe of one that has failed and is not left alone yet."""
_JITTER: Final = 0.1
_NO_KEY: Final = frozenset({401, 403, 407})


class Watch:
    """One upstream's probes, of which never two run at a time."""

    def __init__(
        self,
        upstream: Upstream,
        interval: Callable[[], float],
        news: Callable[[Upstream], None],
        clock: Callable[[], float],
    ) -> None:
        """`interval` in seconds; `news` is told after each probe."""
        self._upstream, self._interval, self._news, self._clock = upstream, interval, news, clock
        self._ended = -math.inf
        self.busy = True
        """A probe has begun, or is about to."""
        self._complained = False
        self._wake = asyncio.Event()
        self._probed = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._run(), name=f"watch {upstream.name}")

    @property
    def age(self) -> float:
        """Seconds since the last probe ended."""
        return self._clock() - self._ended

    def again(self) -> asyncio.Future[None]:
        """Probe at once, unless that is being done. Done when the probe has ended; must not be cancelled."""
        if not self.busy:
            self._wake.set()
        return self._probed

    def stop(self) -> asyncio.Task[None]:
        """The task that ends now; it must be waited for."""
        self._task.cancel()
        return self._task

    async def _run(self) -> None:
        try:
            while True:
                self._wake.clear()
                self.busy = True
                await self._probe()
                self.busy, self._ended = False, self._clock()
                probed, self._probed = self._probed, asyncio.get_running_loop().create_future()
                probed.set_result(None)
                self._news(self._upstream)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pause()):
                        await self._wake.wait()
        finally:
            self._probed.set_result(None)

    def _pause(self) -> float:
        usual = self._interval() * random.uniform(1 - _JITTER, 1 + _JITTER)
        if self._upstream.breaker.silent:
            usual = min(usual, _SOON)
        cooldown = self._upstream.breaker.wait(self._clock())
        return min(usual, cooldown) if cooldown else usual

    async def _probe(self) -> None:
        upstream, breaker = self._upstream, self._upstream.breaker
        trial = breaker.begin(self._clock())
        try:
            listed = await self._models()
            loaded = await self._loaded()
            proved = await self._proved() if breaker.health(self._clock()) != "up" else False
        except Fault as fault:
            self._failed(fault, trial)
        except Exception as error:
            _log.debug("the probe of upstream '%s' failed", upstream.name, exc_info=error)
            self._failed(Broke(upstream.name, f"could not be probed: {type(error).__name__}"), trial)
        except BaseException:
            breaker.abandoned(trial)
            raise
        else:
            self._complained = False
            upstream.learn(listed, loaded)
            if breaker.probe_passed(trial, proved=proved):
                upstream.back()
            elif not breaker.row:
                upstream.error = ""

    async def _models(self) -> Sequence[Listed]:
        async with self._bounded(_PATIENCE):
            return await self._upstream.dialect.models()

    async def _loaded(self) -> Sequence[PsModel] | None:
        async with self._bounded(_PATIENCE):
            return await self._upstream.dialect.loaded()

    async def _proved(self) -> bool:
        config = self._upstream.member.config
        if not config.probe_model:
            return False
        try:
            async with self._bounded(config.first_byte_timeout):
                await self._upstream.dialect.prove(config.probe_model)
        except Fault as fault:
            fault.counts = True  # whatever it is, it has not proved that it can write
            raise
        return True

    @asynccontextmanager
    async def _bounded(self, seconds: float) -> AsyncGenerator[None, None]:
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise TooSlow(self._upstream.name, f"did not answer a probe within {seconds:g} s") from None

    def _failed(self, fault: Fault, trial: int) -> None:
        upstream, breaker, now = self._upstream, self._upstream.breaker, self._clock()
        counts = fault.counts or (isinstance(fault, Refused) and fault.status in _NO_KEY)
        upstream.error = str(fault)
        fell = counts and breaker.probe_failed(now, trial)
        if not counts:
            breaker.abandoned(trial)
            upstream.recall()
        if fell:
            upstream.down(now)
        elif not self._complained and not (counts and upstream.heard):
            _log.warning("%s, so it is not known what it has", fault)
        self._complained = True
