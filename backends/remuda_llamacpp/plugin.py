"""Announces the backend "llamacpp". Imported at every start, so it must not import llama.cpp."""

from __future__ import annotations

from remuda import hookimpl
from remuda.hookspecs import RegisterFactory

__all__ = ["remuda_register_backends"]


@hookimpl
def remuda_register_backends(register: RegisterFactory) -> None:
    register("llamacpp", "remuda_llamacpp.backend:LlamaCppBackend", hint="pip install 'remuda[llamacpp]'")
