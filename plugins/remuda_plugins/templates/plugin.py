"""Registers the template engines that come with Remuda."""

from __future__ import annotations

from functools import partial

from remuda import hookimpl
from remuda.hookspecs import RegisterFactory

from .engines import GoEngine, JinjaEngine, template_worker

__all__ = ["remuda_register_templates"]


@hookimpl
def remuda_register_templates(register: RegisterFactory) -> None:
    worker = template_worker()
    register("go", partial(GoEngine, worker))
    register("jinja", partial(JinjaEngine, worker))
