"""The backend's table of the configuration, checked."""

from __future__ import annotations

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
    settings = Settings(flash=_FLASH[str(flash).lower()], kv_type=_native.KV_TYPES[kind])
    if settings.flash == 0 and kind != "f16":
        raise LoadFailed(f"kv_cache_type {kind!r} needs flash attention; set flash_attention to true, or use f16")
    return settings
