"""What a plugin's template engine or output format answers, looked at: whoever asked is told whose fault a fault is."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar

from msgspec import Struct

from ..errors import PluginError, RemudaError
from ..registry import Registry

__all__ = ["answered"]

T = TypeVar("T")
_log = logging.getLogger("remuda.pipeline")


async def answered(registry: Registry[Any], name: str, what: str, kind: type[T], ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives, which asks the thing of that `name`; `what` is the method, for the message.

    Raises `PluginError` that names the plugin for an answer that is no `kind`, and for what it raises but for errors of
    Remuda's own.
    """
    try:
        asked: object = ask()
        answer: object = await asked if isawaitable(asked) else _Plain(asked)
    except RemudaError:
        raise
    except Exception as error:
        _log.exception("%s of %r failed", what, name)
        told = f"{_whose(registry, name, what)} raised {type(error).__name__}"
        raise PluginError(f"{told}; the server's log has the details") from error
    if isinstance(answer, _Plain):
        told = f"{_whose(registry, name, what)} returned {type(answer.value).__name__}"
        raise PluginError(f"{told} at once: it must be `async def`")
    if not isinstance(answer, kind):
        told = f"{_whose(registry, name, what)} returned {type(answer).__name__}"
        raise PluginError(f"{told}: it must return {kind.__name__}")
    return answer


class _Plain(Struct, frozen=True):
    """An answer that cannot be awaited."""

    value: object


def _whose(registry: Registry[Any], name: str, what: str) -> str:
    source = next((offer.source for offer in registry.offers() if offer.name == name), "")
    return f"`{what}` of {name!r} of the plugin {source!r}"
