"""Announces the backend "remote". Imported at every start, so it must not import aiohttp."""

from __future__ import annotations

from typing import Any

from remuda import Backend, hookimpl
from remuda.errors import PluginError
from remuda.hookspecs import RegisterFactory

__all__ = ["remuda_register_backends"]


@hookimpl
def remuda_register_backends(register: RegisterFactory) -> None:
    # The class by its name would be imported at every start, to ask for its formats: it has none.
    register("remote", _backend)


def _backend(settings: dict[str, Any]) -> Backend:
    """Called where there are upstreams. Raises `PluginError` where aiohttp is not installed."""
    try:
        from .backend import RemoteBackend
    except ImportError as error:
        told = f"backend 'remote' is not installed ({error}); install it with: pip install 'remuda[remote]'"
        raise PluginError(told) from error
    return RemoteBackend(settings)
