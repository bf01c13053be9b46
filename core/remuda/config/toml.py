"""Settings written as a TOML file that says of each value where it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, time
from typing import Any, cast, get_args

from .keys import Key, children, dotted, is_table, key_part, quoted, showable
from .load import DEFAULT, Settings
from .structs import Config

__all__ = ["to_toml"]


def to_toml(settings: Settings, *, changed: bool = False) -> str:
    """All values, or with `changed` those that somebody set. To read the text gives the same settings again,
    but for secrets, which are not shown."""
    tables = _tables(settings.config, Config, (), settings.sources, changed, header="")
    return "\n".join("".join(f"{line}\n" for line in table) for table in tables)


def _tables(
    value: Any, kind: Any, key: Key, sources: dict[str, str], changed: bool, *, header: str, kept: bool = False
) -> Iterator[list[str]]:
    """The lines of a table, then those of the tables in it. `kept` ones are there although nothing is in them."""
    members = list(children(value, kind))
    lines = [header] if header else []
    for name, member, of in members:
        source = "" if is_table(of) else sources[dotted((*key, name))]
        if source and not (changed and source == DEFAULT):
            lines.append(_line(key_part(str(name), quote=key == ("aliases",)), showable((*key, name), member), source))
    if kept or len(lines) > bool(header):
        yield lines
    for name, member, of in members:
        inner = (*key, name)
        path = dotted(tuple(part for part in inner if isinstance(part, str)))
        if is_table(of) and isinstance(member, tuple):
            for number, each in enumerate(cast(tuple[Any, ...], member)):
                of_each = get_args(of)[0]
                yield from _tables(each, of_each, (*inner, number), sources, changed, header=f"[[{path}]]", kept=True)
        elif is_table(of):
            kept_inside = isinstance(value, dict)
            yield from _tables(member, of, inner, sources, changed, header=f"[{path}]", kept=kept_inside)


def _line(name: str, value: Any, source: str) -> str:
    if value is None:
        return f"# {name} is not set"
    where = "".join(letter if letter.isprintable() else "?" for letter in source)
    return f"{name} = {_inline(value)}  # {where}"


def _inline(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_inline, cast(list[Any], value)))}]"
    if isinstance(value, dict):
        pairs = cast(dict[str, Any], value).items()
        return "{" + ", ".join(f"{key_part(name)} = {_inline(each)}" for name, each in pairs) + "}"
    return value.isoformat() if isinstance(value, (date, time)) else repr(value)
