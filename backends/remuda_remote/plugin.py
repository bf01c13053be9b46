"""Announces the backend "remote". Imported at every start, so it must not import aiohttp."""

from __future__ import annotations

from remuda import hookimpl
from remuda.hookspecs import RegisterFactory

__all__ = ["remuda_register_backends"]


@hookimpl
def remuda_register_backends(register: RegisterFactory) -> None:
    register("remote", "remuda_remote.backend:RemoteBackend", hint="pip install 'remuda[remote]'")
