"""Filters round the flow: each may look at a request and at every event of its answer, and change them."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ..errors import PluginError, RemudaError
from ..hookspecs import Filter
from ..job import Event, Job
from ..plugins import Plugins
from ..registry import Offer

__all__ = ["filtered"]

_log = logging.getLogger("remuda.pipeline")
_Proceed = Callable[[Job], AsyncGenerator[Event, None]]


def filtered(plugins: Plugins, proceed: _Proceed) -> _Proceed:
    """`proceed` inside all filters; the one registered first stands outermost.

    Raises `PluginError` for one that cannot be made: without it, what it should keep back would pass.
    """
    for offer in reversed(plugins.filters.offers()):
        proceed = _wrapped(offer.name, _made(plugins, offer), proceed)
    return proceed


def _made(plugins: Plugins, offer: Offer) -> Filter:
    try:
        return plugins.filters.get(offer.name)
    except PluginError:
        raise
    except Exception as error:
        text = (
            f"the filter {offer.name!r} of plugin {offer.source!r} could not be made: {type(error).__name__}: {error}"
        )
        raise PluginError(text) from error


def _wrapped(name: str, filter: Filter, proceed: _Proceed) -> _Proceed:
    async def run(job: Job) -> AsyncGenerator[Event, None]:
        try:
            async with aclosing(filter.wrap(job, proceed)) as events:
                async for event in events:
                    yield event
        except RemudaError:
            raise
        except Exception as error:
            _log.exception("request %s: filter %r failed", job.request_id, name)
            raise PluginError(f"the filter {name!r} failed: {type(error).__name__}") from error

    return run
