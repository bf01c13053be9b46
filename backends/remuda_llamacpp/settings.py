"""The backend's table of the configuration, checked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from msgspec import Struct

from remuda.errors import LoadFailed

from . import _native

__all__ = ["Settings", "read_settings"]

_FLASH = {"auto": -1, "false": 0, "0": 0, "true": 1, "1": 1}


class Settings(Struct, frozen=True, kw_only=True):
    """How the context is made."""

    flash: int = 1
    """llama.cpp's own number: -1 is its choice, 0 off, 1 on."""
    kv_type: int = 1
    """The ggml type of cached keys and values."""
    prefix_reuse: bool = True
    """Go on from beginnings of prompts that are computed already."""
    prefix_disk: bool = True
    """Save them when they must go from memory."""
    prefix_folder: Path
    """Where."""
    prefix_bytes: int = 4 * 2**30
    """How large the folder may become."""
    prefix_days: float = 7.0
    """How long a state that nobody needs stays there."""
    draft: bool = True
    """Guess tokens ahead where that pays."""
    fast: bool = False
    """Hold weights of types that are slow to multiply in a faster one."""
    weights_folder: Path
    """Where such weights are kept."""
    weights_bytes: int = 16 * 2**30
    """How large the folder may become."""
    weights_days: float = 30.0
    """How long a file that nobody loads stays there."""


def read_settings(table: dict[str, Any]) -> Settings:
    """Raises `LoadFailed` naming the key, its value and what is allowed. Unknown keys are someone else's."""
    flash = table.get("flash_attention")
    if flash is None:
        flash = True
    if str(flash).lower() not in _FLASH:
        raise LoadFailed(f'flash_attention is {flash!r}; it must be "auto", true or false')
    kind = table.get("kv_cache_type") or "f16"
    if kind not in _native.KV_TYPES:
        raise LoadFailed(f"kv_cache_type is {kind!r}; it must be one of {', '.join(_native.KV_TYPES)}")
    settings = Settings(
        flash=_FLASH[str(flash).lower()],
        kv_type=_native.KV_TYPES[kind],
        prefix_reuse=_switch(table, "prefix_reuse"),
        prefix_disk=_switch(table, "prefix_disk"),
        prefix_folder=_folder(table, "prefix_folder", "prefixes"),
        prefix_bytes=int(_number(table, "prefix_bytes", 4 * 2**30)),
        prefix_days=_number(table, "prefix_days", 7.0),
        draft=_switch(table, "draft"),
        fast=_fast(table),
        weights_folder=_folder(table, "weights_folder", "weights"),
        weights_bytes=int(_number(table, "weights_bytes", 16 * 2**30)),
        weights_days=_number(table, "weights_days", 30.0),
    )
    if settings.flash == 0 and kind != "f16":
        raise LoadFailed(f"kv_cache_type {kind!r} needs flash attention; set flash_attention to true, or use f16")
    return settings


def _switch(table: dict[str, Any], key: str) -> bool:
    value = table.get(key, True)
    if not isinstance(value, bool):
        raise LoadFailed(f"{key} is {value!r}; it must be true or false")
    return value


def _number(table: dict[str, Any], key: str, default: float) -> float:
    value = table.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 2**62:
        raise LoadFailed(f"{key} is {value!r}; it must be a number above 0")
    return value


def _fast(table: dict[str, Any]) -> bool:
    value = table.get("weights", "exact")
    if value not in ("exact", "fast"):
        raise LoadFailed(f'weights is {value!r}; it must be "exact" or "fast"')
    return value == "fast"


def _folder(table: dict[str, Any], key: str, usual: str) -> Path:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise LoadFailed(f"{key} is {value!r}; it must be the path of a folder")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(value or f"{cache}/remuda/{usual}").expanduser().absolute()
