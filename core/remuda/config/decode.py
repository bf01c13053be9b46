"""From a parsed TOML document to Structs. msgspec would do it, but says of an error neither which model nor which route
it is in."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import Struct, structs

from ..errors import ConfigError
from .keys import Key, dotted, is_struct
from .structs import Config

__all__ = ["decode", "decode_table"]

T = TypeVar("T", bound=Struct)


def decode(document: Mapping[str, Any]) -> Config:
    """Raises `ConfigError`, which begins with the key, for keys that do not exist and for values of a wrong type."""
    return _struct(document, Config, ())


def decode_table(table: Mapping[str, Any], kind: type[T], key: Key) -> T:
    """As `decode`, for the table at `key`, whose Struct may be anybody's: what that refuses itself is told as well."""
    return _struct(table, kind, key)


def _value(value: Any, kind: Any, key: Key) -> Any:
    kind = _alone(value, kind)
    if is_struct(kind):
        return _struct(value, kind, key)
    origin, of = get_origin(kind), get_args(kind)
    if origin is dict and of[0] is str:
        return {name: _value(each, of[1], (*key, name)) for name, each in _table(value, key).items()}
    if origin is list or (origin is tuple and of[1:] == (...,)):
        if not isinstance(value, list):
            raise ConfigError(f"{dotted(key)} must be a list")
        members = [_value(each, of[0], (*key, number)) for number, each in enumerate(cast(list[Any], value))]
        return members if origin is list else tuple(members)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{dotted(key)}: {error}") from None


def _alone(value: Any, kind: Any) -> Any:
    """The Struct of `Struct | None` for a table: nothing else there takes one, and its keys are to be told by name."""
    found = [each for each in get_args(kind) if is_struct(each)] if get_origin(kind) in {Union, UnionType} else []
    return found[0] if len(found) == 1 and isinstance(value, dict) else kind


def _struct(value: Any, kind: type[T], key: Key) -> T:
    table = _table(value, key)
    fields = {field.encode_name: field for field in structs.fields(kind)}
    for name in table:
        if name not in fields:
            raise ConfigError(_unknown(name, list(fields), key))
    for name, field in fields.items():
        if field.required and name not in table:
            raise ConfigError(f"{dotted((*key, name))} is missing")
    values = {fields[name].name: _value(each, fields[name].type, (*key, name)) for name, each in table.items()}
    try:
        return kind(**values)
    except (ValueError, TypeError) as error:  # from its `__post_init__`, for values that make no sense together
        raise ConfigError(f"{dotted(key)}: {error}") from None


def _table(value: Any, key: Key) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{dotted(key)} must be a table")
    return cast(dict[str, Any], value)


def _unknown(name: str, known: list[str], key: Key) -> str:
    close = get_close_matches(name, known, 1)
    there = f"there are {', '.join(known)}" if known else "there is none"
    advice = f"is {dotted((*key, close[0]))} meant?" if close else there
    return f"{dotted((*key, name))} is not a setting: {advice}"
