"""What a request for a new model asks for, checked as far as that goes without a look at any file.

The rules are those of the protocol (Ollama API, "create"). The sentences that clients of the protocol know are its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from ...errors import BadRequest
from ...wire import CreateRequest, ShowMessage, parse_options
from ..digest import Digest, parse_digest
from ..manifest import ModelConfigFile
from ..name import ModelName, parse_name
from ..parameters import parameter_keep_alive, parameter_model_type
from .overrides import overrides
from .parts import MAX_TEXT

__all__ = ["QUANTIZATIONS", "Recipe", "parse_recipe"]

QUANTIZATIONS: Final = {kind: kind for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_K_S", "Q4_K_M")} | {"Q4_K": "Q4_K_M"}
"""What weights can be quantised to, by the names that a client may write."""

_ROLES: Final = ("system", "user", "assistant")
_MAX_FILES: Final = 1024
_MAX_FILE_NAME: Final = 1024


class Recipe(Struct, frozen=True, kw_only=True):
    """What is empty is left as the base has it."""

    name: ModelName
    base: str = ""
    """The model to begin with, as the client wrote it; if there is one, `files` say nothing."""
    files: dict[str, Digest]
    adapters: dict[str, Digest]
    drafts: dict[str, Digest]
    template: str = ""
    system: str = ""
    licenses: list[str]
    parameters: dict[str, Any]
    """Known ones have values that can be used; whatever else the client sent is kept."""
    messages: list[ShowMessage]
    quantization: str = ""
    """One of the values of `QUANTIZATIONS`."""
    draft_quantization: str = ""
    config: ModelConfigFile
    """Goes before what base and weights say."""

    @property
    def model_type(self) -> str:
        """What kind of model the weights are, if they are GGML; empty if nobody says."""
        return parameter_model_type(self.parameters)

    @property
    def remote(self) -> bool:
        """It names a model of another server and has no weights."""
        return bool(self.config.remote_host)


def parse_recipe(request: CreateRequest) -> Recipe:
    """Raises `BadRequest` that names the field."""
    recipe = Recipe(
        name=parse_name(request.asked),
        base=(request.base or "").strip(),
        files=_files("files", request.files),
        adapters=_files("adapters", request.adapters),
        drafts=_files("draft_files", request.draft_files),
        template=_text("template", request.template),
        system=_text("system", request.system),
        licenses=_licenses(request.license),
        parameters=_parameters(request.parameters or {}),
        messages=_messages(request.messages or []),
        quantization=_quantization(request.quantize or request.quantization),
        draft_quantization=_quantization(request.draft_quantize),
        config=overrides(request),
    )
    if not recipe.base and request.files is None:
        raise BadRequest("neither 'from' or 'files' was specified")
    if recipe.base:
        parse_name(recipe.base)
    if recipe.draft_quantization and not recipe.drafts:
        raise BadRequest("--draft-quantize requires a DRAFT model")
    if recipe.remote:
        _check_remote(recipe)
    return recipe


def _check_remote(recipe: Recipe) -> None:
    if recipe.drafts:
        raise BadRequest("DRAFT cannot be used with remote models")
    if not recipe.base:
        raise BadRequest("remote_host needs from: the model's name there")
    for field, given in (("adapters", recipe.adapters), ("quantize", recipe.quantization)):
        if given:
            raise BadRequest(f"{field} cannot be used with remote models")


def _files(field: str, files: Mapping[str, str] | None) -> dict[str, Digest]:
    files = files or {}
    if len(files) > _MAX_FILES:
        raise BadRequest(f"{field} holds {len(files)} files; at most {_MAX_FILES} make a model")
    if not all(_is_relative(path) for path in files):
        raise BadRequest("file path must be relative")
    return {path: parse_digest(digest) for path, digest in files.items()}


def _is_relative(path: str) -> bool:
    """Whether it is a path under a folder, written without detours. Nothing is ever opened under that name."""
    parts = path.split("/")
    return len(path) <= _MAX_FILE_NAME and path.isprintable() and not {"", ".", ".."}.intersection(parts)


def _text(field: str, text: str | None) -> str:
    if text and len(text.encode()) > MAX_TEXT:
        raise BadRequest(f"{field} is longer than {MAX_TEXT} bytes")
    return text or ""


def _licenses(value: Any) -> list[str]:
    texts = cast(list[Any], value if isinstance(value, list) else [] if value is None else [value])
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest("license must be a string or an array of strings")
    return [_text("license", text) for text in texts if text]


def _messages(messages: list[ShowMessage]) -> list[ShowMessage]:
    for message in messages:
        if message.role not in _ROLES:
            raise BadRequest('message role must be one of "system", "user", or "assistant"')
    _check_size("messages", messages)
    return messages


def _parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Raises `BadRequest` for a known one with a value that cannot be. One text to stop at becomes a list."""
    known, _ = parse_options(parameters)
    parameter_keep_alive(parameters)
    parameter_model_type(parameters)
    kept = {key: value for key, value in parameters.items() if value is not None}
    if "stop" in kept:
        kept["stop"] = list(known["stop"])
    _check_size("parameters", kept)
    return kept


def _check_size(field: str, value: object) -> None:
    try:
        size = len(msgspec.json.encode(value))
    except RecursionError:
        raise BadRequest(f"{field} cannot be kept: they are nested too deeply") from None
    if size > MAX_TEXT:
        raise BadRequest(f"{field} take more than {MAX_TEXT} bytes")


def _quantization(text: str | None) -> str:
    if not text:
        return ""
    kind = QUANTIZATIONS.get(text.upper())
    if kind is None:
        shown = text[:80].upper()
        raise BadRequest(f"unsupported quantization type {shown} - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0")
    return kind
