"""The process in which chat templates run: `python -P -m remuda_plugins.templates.jinja_worker FD PARENT`.

It knows nothing, holds no file but its socket, and may be killed at any time. The environment is the one that
published chat templates are written for (transformers' `apply_chat_template`): blocks trimmed, `raise_exception`,
`strftime_now`, loop controls, and a `tojson` that keeps text readable.
"""

from __future__ import annotations

import json
import socket
import sys
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn, cast

import msgspec
from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from remuda.runner.confine import die_with_parent, limit_memory
from remuda.runner.frames import pack, receive

from .jinja import Render, Rendered

__all__ = ["main", "render"]

_MEMORY = 512 * 1024 * 1024
_LONGEST_PROMPT = 16 * 1024 * 1024
_LONGEST_ERROR = 500


class _Refused(TemplateError):
    """What a template's own `raise_exception` raises."""


def _raise_exception(message: object) -> NoReturn:
    raise _Refused(str(message))


def _strftime_now(form: str) -> str:
    return datetime.now(UTC).astimezone().strftime(form)


def _tojson(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


@lru_cache(maxsize=32)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    # Jinja's own annotation of `globals` knows only what it puts there itself.
    names: dict[str, Any] = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    cast(dict[str, Any], environment.globals).update(names)
    return environment.from_string(template)


def render(request: Render) -> Rendered:
    """Render, and turn whatever happens into an answer."""
    try:
        prompt = _compiled(request.template).render(request.variables)
    except _Refused as error:
        return Rendered(error=str(error)[:_LONGEST_ERROR])
    except Exception as error:  # a template may raise anything: it is a program
        return Rendered(error=f"{type(error).__name__}: {error}"[:_LONGEST_ERROR])
    if len(prompt) > _LONGEST_PROMPT:
        return Rendered(error=f"the prompt is longer than {_LONGEST_PROMPT} characters")
    return Rendered(prompt=prompt)


def main() -> None:
    die_with_parent(int(sys.argv[2]))
    limit_memory(_MEMORY)
    decoder = msgspec.msgpack.Decoder(Render)
    with socket.socket(fileno=int(sys.argv[1])) as sock:
        for body in receive(sock):
            sock.sendall(pack(render(decoder.decode(body))))


if __name__ == "__main__":
    main()
