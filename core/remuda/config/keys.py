"""Keys: the way to one value of the settings, and how it is written: `residency.stall_timeout`,
`models."name:tag".path`, `routes[2].backend`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias, TypeVar, cast, get_args, get_origin

from msgspec import Struct, structs

__all__ = [
    "HIDDEN",
    "Key",
    "children",
    "dotted",
    "has",
    "is_struct",
    "is_table",
    "key_part",
    "leaves",
    "quoted",
    "replaced",
    "showable",
]

Key: TypeAlias = tuple[str | int, ...]
"""Names of fields, keys of tables and positions in lists, from the top."""

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_BY_NAME: Final = {"models", "aliases"}
"""Tables whose keys are names of models, which are quoted whatever they look like."""
_SECRET: Final = re.compile(r"key|token|secret|credential|passw|passphrase|auth(?!or)|cookie", re.IGNORECASE)
"""In the names of settings that only a plugin, or a backend, knows: what they hold may be one."""
HIDDEN: Final = "(not shown)"
"""Stands for a value that may be a secret."""
T = TypeVar("T")


def dotted(key: Key) -> str:
    """A key as people write it."""
    text = ""
    for number, part in enumerate(key):
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + key_part(part, quote=number == 1 and key[0] in _BY_NAME)
    return text


def key_part(text: str, *, quote: bool = False) -> str:
    """One key of a table, in quotes where TOML needs them."""
    return text if not quote and _BARE.fullmatch(text) else quoted(text)


def quoted(text: str) -> str:
    """A TOML string. JSON's escapes are TOML's too; half a surrogate pair, which neither can hold, becomes `?`."""
    valid = text.encode("utf-8", "replace").decode()
    return json.dumps(valid, ensure_ascii=False).replace("\x7f", "\\u007f")


def children(value: Any, kind: Any) -> Iterator[tuple[str | int, Any, Any]]:
    """Of a table or a list of tables what is in it: field, key or position, value, declared type."""
    if isinstance(value, Struct):
        for field in structs.fields(value):
            yield field.name, getattr(value, field.name), field.type
    elif isinstance(value, dict):
        of = get_args(kind)[1]
        for name, member in cast(dict[str, Any], value).items():
            yield name, member, of
    else:
        for number, member in enumerate(value):
            yield number, member, get_args(kind)[0]


def is_table(kind: Any) -> bool:
    """Whether values of that declared type are tables, or lists of tables, and not single values."""
    origin = get_origin(kind)
    return origin is dict or is_struct(get_args(kind)[0] if origin is tuple else kind)


def is_struct(kind: Any) -> bool:
    """Whether values of that declared type are Structs."""
    return isinstance(kind, type) and issubclass(kind, Struct)


def leaves(value: Any, kind: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every single value with its key, in the order of the Structs; a table with nothing in it counts as one."""
    for part, member, of in children(value, kind):
        if is_table(of) and member:
            yield from leaves(member, of, (*key, part))
        else:
            yield (*key, part), member


def showable(key: Key, value: Any) -> Any:
    """`value`, with what stands for it where it, or something in it, may be a secret."""
    if len(key) > 3 and key[0] == "upstreams" and key[2] == "headers":
        return HIDDEN
    if key[:2] == ("plugins", "settings"):
        return _without_secrets(key[3:], value)
    return _without_secrets(key[2:], value) if key[:1] == ("backends",) else value


def _without_secrets(names: Key, value: Any) -> Any:
    """`value`, which stands under these names in a table that only a plugin knows."""
    if any(isinstance(name, str) and _SECRET.search(name) for name in names):
        return HIDDEN
    if isinstance(value, dict):
        table = cast(dict[str, Any], value)
        return {name: _without_secrets((name,), each) for name, each in table.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets((), each) for each in cast(list[Any], value)]
    return value


def has(raw: Any, key: Key) -> bool:
    """Whether a document, as parsed, says anything about `key`."""
    for part in key:
        if isinstance(part, str):
            if part not in raw:
                return False
        elif part >= len(raw):
            return False
        raw = raw[part]
    return True


def replaced(value: T, key: Key, new: Any) -> T:
    """A copy of a Struct with one value, or one value of a table in it, replaced."""
    if not key:
        return new
    head, *rest = key
    assert isinstance(head, str)
    if isinstance(value, Struct):
        return structs.replace(value, **{head: replaced(getattr(value, head), tuple(rest), new)})
    table = cast(dict[str, Any], value)
    return cast(T, {**table, head: replaced(table.get(head, {}), tuple(rest), new)})
