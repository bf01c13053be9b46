"""Announces the backend "ctransformers". Imported at every start, so it must not load the library."""

from __future__ import annotations

from remuda import hookimpl
from remuda.hookspecs import RegisterFactory

__all__ = ["remuda_register_backends"]


@hookimpl
def remuda_register_backends(register: RegisterFactory) -> None:
    register(
        "ctransformers",
        "remuda_ctransformers.backend:CTransformersBackend",
        hint="pip install 'remuda[ctransformers]'",
    )
