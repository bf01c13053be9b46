"""What others may build on, one line for each name: `python tests/support/api_record.py` writes it down.

`public_api.txt` beside the test that reads it is the record. A line that changes or goes there may break somebody's
plugin: that is to be seen in a change, and said in its message.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["MODULES", "RECORD", "record"]

RECORD = Path(__file__).parents[1] / "architecture" / "public_api.txt"
MODULES = ("remuda", "remuda.errors", "remuda.hookspecs", "remuda.sampling", "remuda.testing")
OTHERS = {
    "remuda.config": ("Config", "ModelConfig", "ServerConfig"),
    "remuda.model": ("parse_name",),
    "remuda.pipeline": ("Pipeline",),
    "remuda.plugins": ("ENTRY_POINT_GROUP", "load_plugins"),
    "remuda.runner": ("EngineBackend", "on_load_progress"),
    "remuda.wire": ("Options", "Tool", "parse_options"),
}
"""Of these modules the documentation tells strangers to import these names, and no more."""


def record() -> str:
    """Every public name with its signature; each line stands for itself, so that a difference shows what changed."""
    lines: list[str] = []
    seen: set[int] = set()
    for module, names in [*((name, ()) for name in MODULES), *OTHERS.items()]:
        found = importlib.import_module(module)
        for name in sorted(names or found.__all__):
            thing = getattr(found, name)
            if not inspect.isclass(thing) or id(thing) not in seen:
                lines += _lines(f"{module}.{name}", thing)
            seen.add(id(thing))
    return "\n".join(lines) + "\n"


def _lines(path: str, thing: Any) -> Iterator[str]:
    if not inspect.isclass(thing):
        yield f"{path}{_signature(thing)}" if inspect.isfunction(thing) else path
        return
    bases = ", ".join(base.__name__ for base in thing.__bases__ if base is not object)
    yield f"{path}({bases})"
    if issubclass(thing, msgspec.Struct):
        notes = {name: note for kind in reversed(thing.__mro__) for name, note in _annotations(kind).items()}
        for field in msgspec.structs.fields(thing):
            yield f"{path}.{field.name}: {notes[field.name]}{_default(field)}"
    else:
        for name, note in _annotations(thing).items():
            if not name.startswith("_"):
                yield f"{path}.{name}: {note}"
    shown = {"__call__"} if getattr(thing, "_is_protocol", False) else {"__init__", "__call__"}
    for name, member in sorted(vars(thing).items()):
        function = getattr(member, "__func__", member)
        if name.startswith("_") and name not in shown:
            continue
        if isinstance(member, property):
            yield f"{path}.{name}: {inspect.get_annotations(member.fget).get('return', '')}"
        elif inspect.isfunction(function):
            yield f"{path}.{name}{_signature(function)}{_first_only(function)}"


def _annotations(kind: type) -> dict[str, str]:
    return {name: str(note) for name, note in vars(kind).get("__annotations__", {}).items()}


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return " = ..."
    return "" if field.required else f" = {field.default!r}"


def _first_only(function: Any) -> str:
    """Of a hook whether the first answer is taken, which is a part of its promise."""
    return " (first result)" if getattr(function, "remuda_spec", {}).get("firstresult") else ""


def _signature(function: Any) -> str:
    """As it is written: annotations are texts already, and are shown without quotes."""
    signature = inspect.signature(function)
    given = [each.replace(annotation=_plain(each.annotation)) for each in signature.parameters.values()]
    plain = signature.replace(parameters=given, return_annotation=_plain(signature.return_annotation))
    return f"{' async' if inspect.iscoroutinefunction(function) else ''}{plain}"


class _Plain(str):
    __slots__ = ()
    __repr__ = str.__str__


def _plain(annotation: Any) -> Any:
    return _Plain(annotation) if isinstance(annotation, str) else annotation


if __name__ == "__main__":
    RECORD.write_text(record(), "utf-8")
