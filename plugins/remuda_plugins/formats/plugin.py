"""Registers the output formats that come with Remuda."""

from __future__ import annotations

from remuda import hookimpl
from remuda.hookspecs import RegisterFactory

__all__ = ["remuda_register_formats"]


@hookimpl
def remuda_register_formats(register: RegisterFactory) -> None:
    register("json", "remuda_plugins.formats.compiled:JsonFormat")
    register("json_schema", "remuda_plugins.formats.compiled:SchemaFormat")
    for name in ("regex", "lark", "gbnf"):
        register(name, "remuda_plugins.formats.compiled:GrammarFormat")
