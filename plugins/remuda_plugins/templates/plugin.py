"""Registers the template engines that come with Remuda."""

from __future__ import annotations

from remuda import hookimpl
from remuda.hookspecs import RegisterFactory

__all__ = ["remuda_register_templates"]


@hookimpl
def remuda_register_templates(register: RegisterFactory) -> None:
    register("jinja", "remuda_plugins.templates.jinja:JinjaEngine")
