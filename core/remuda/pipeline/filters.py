"""Filters round the flow: each may look at a request and at every event of its answer, and change them.

A filter may be there to keep something back. So one that is out of order, or cannot be made, lets nothing pass:
requests are refused with an error that names it, unless it says of itself that it is `optional`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from ..errors import PluginError, RemudaError
from ..hookspecs import Filter
from ..job import Event, Job
from ..plugins import Plugins
from ..registry import Offer
from .filtering import FilterFault, Passage, Proceed, separate

__all__ = ["filtered"]

_log = logging.getLogger("remuda.pipeline")


def filtered(plugins: Plugins, proceed: Proceed) -> Proceed:
    """`proceed` inside all filters; the one registered first stands outermost."""
    offers = plugins.filters.offers()
    if not offers:
        return proceed
    inside = proceed

    def apart(job: Job) -> AsyncGenerator[Event, None]:
        return inside(separate(job))

    proceed = apart
    for offer in reversed(offers):
        try:
            made = plugins.filters.get(offer.name)
        except Exception as error:
            plugins.fault(offer.source, str(error))
            proceed = _refusing(str(error).partition("\n")[0])
        else:
            proceed = _Guard(plugins, offer, made, proceed).run
    return proceed


class _Guard:
    """A filter, and what is known of its faults."""

    def __init__(self, plugins: Plugins, offer: Offer, filter: Filter, proceed: Proceed) -> None:
        self._plugins, self._offer, self._filter, self._proceed = plugins, offer, filter, proceed
        self._gauge = plugins.filter_gauge(offer)
        self._optional = getattr(filter, "optional", False) is True
        self._name = f"the filter {offer.name!r} of plugin {offer.source!r}"

    async def run(self, job: Job) -> AsyncGenerator[Event, None]:
        if not self._gauge.admits():
            if not self._optional:
                text = f"{self._name} failed several times in a row: what it should see is refused for a while"
                raise PluginError(f"{text}; 'remuda plugins {self._offer.source}' tells more")
            async with aclosing(self._proceed(job)) as events:
                async for event in events:
                    yield event
            return
        passage = Passage(self._filter, self._proceed, job, self._plugins.limits.budget)
        try:
            async with aclosing(passage.events()) as events:
                async for event in events:
                    yield event
        except RemudaError:  # a refusal, or what the work behind says
            self._gauge.succeeded(passage.own_ns)
            raise
        except FilterFault as fault:
            text = str(fault)
            self._plugins.filter_failed(self._offer, f"{self._name}: {text}", passage.own_ns)
            raise PluginError(f"{self._name} failed: {text.partition(chr(10))[0]}") from fault
        except Exception as error:
            if error is passage.behind:
                self._gauge.succeeded(passage.own_ns)
                raise
            _log.exception("request %s: %s failed", job.request_id, self._name)
            text = f"{self._name} raised {type(error).__name__}: {error}\nFix: repair or uninstall the plugin"
            self._plugins.filter_failed(self._offer, text, passage.own_ns)
            raise PluginError(f"{self._name} failed: {type(error).__name__}") from error
        except BaseException:  # the client left
            self._gauge.left(passage.own_ns)
            raise
        self._gauge.succeeded(passage.own_ns)


def _refusing(text: str) -> Proceed:
    async def run(job: Job) -> AsyncGenerator[Event, None]:
        raise PluginError(f"{text}; what it should see is refused")
        yield

    return run
