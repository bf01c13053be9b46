"""What a request says about a new model's configuration: its renderer and parser, its looks, where it really is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import urlsplit

from ...errors import BadRequest
from ...wire import CreateRequest
from ..manifest import ModelConfigFile

__all__ = ["overrides"]

_TEXTS: Final = {
    "model_family": "model_family",
    "base_name": "base_name",
    "quantization_level": "file_type",
    "parameter_size": "model_type",
}
"""Keys of `info`, each with the field that it fills."""
_NUMBERS: Final = ("context_length", "embedding_length")
_MAX_TEXT: Final = 1024
_MAX_CAPABILITIES: Final = 64
_MAX_NUMBER: Final = 2**53
_PORTS: Final = {"http": 80, "https": 443}


def overrides(request: CreateRequest) -> ModelConfigFile:
    """Only what the request says is filled. Raises `BadRequest` that names the field."""
    fields = _info(request.info or {})
    for name in ("renderer", "parser", "requires"):
        fields[name] = _short(name, getattr(request, name) or "")
    if request.remote_host:
        fields["remote_host"] = _remote(request.remote_host)
        fields["remote_model"] = (request.base or "").strip()
    return ModelConfigFile(**fields)


def _info(info: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, name in _TEXTS.items():
        value = info.get(key)
        if value is not None and not isinstance(value, str):
            raise BadRequest(f'info field "{key}" must be a string')
        fields[name] = _short(f'info field "{key}"', value or "")
    if fields["model_family"]:
        fields["model_families"] = [fields["model_family"]]
    for key in _NUMBERS:
        fields[key] = _number(key, info.get(key))
    fields["capabilities"] = _capabilities(info.get("capabilities"))
    return fields


def _number(key: str, value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRequest(f'info field "{key}" must be a number')
    if not (0 <= value <= _MAX_NUMBER and value == int(value)):
        raise BadRequest(f'info field "{key}" must be a non-negative integer')
    return int(value)


def _capabilities(value: Any) -> list[str] | None:
    if value is None:
        return None
    texts = cast(list[Any], value if isinstance(value, list) else [None])
    if not all(isinstance(text, str) for text in texts) or len(texts) > _MAX_CAPABILITIES:
        raise BadRequest(f'info field "capabilities" must be an array of at most {_MAX_CAPABILITIES} strings')
    return [_short('info field "capabilities"', text) for text in texts] or None


def _short(field: str, text: str) -> str:
    if len(text) > _MAX_TEXT:
        raise BadRequest(f"{field} is longer than {_MAX_TEXT} characters")
    return text


def _remote(text: str) -> str:
    """Scheme, host and port of the server that `text` means."""
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadRequest("bad remote") from None
    rest = (parts.username, parts.password, parts.path.strip("/"), parts.query, parts.fragment)
    if parts.scheme not in _PORTS or not host or any(rest) or not host.isprintable() or len(text) > _MAX_TEXT:
        raise BadRequest("bad remote")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port or _PORTS[parts.scheme]}"
