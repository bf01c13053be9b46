"""What an upstream tells of its models, as lists and one by one. A field that it lacks, or has otherwise than anybody
expects, costs that field; a model without a name is left out; the others stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec
from msgspec import Raw, Struct, structs

from remuda.wire import Details, PsModel, ShowMessage, ShowResponse, TagsDetails, TagsModel, TensorInfo

from ..dialect import LONGEST_NAME, MOST_MODELS, Listed
from .plain import count, text, texts, time

__all__ = ["listed", "running", "shown"]

_NONE: Final = "0" * 64
_HEX: Final = frozenset("0123456789abcdef")
_STATES: Final = frozenset({"loading", "ready", "draining"})


class _Models(Struct, frozen=True):
    models: list[Any] | None = None


class _Shown(Struct, frozen=True, kw_only=True):
    license: Any = None
    modelfile: Any = None
    parameters: Any = None
    template: Any = None
    system: Any = None
    details: Any = None
    messages: Any = None
    remote_model: Any = None
    remote_host: Any = None
    model_info: Raw = Raw(b"{}")
    projector_info: Raw = Raw(b"")
    tensors: Any = None
    capabilities: Any = None
    modified_at: Any = None
    requires: Any = None


def listed(body: bytes) -> list[Listed]:
    """The models of `/api/tags`. Raises `msgspec.DecodeError` for what is no such reply."""
    return [
        Listed(
            there=name,
            tag=TagsModel(
                name=name,
                model=name,
                modified_at=time(model.get("modified_at")),
                size=count(model.get("size")),
                digest=_digest(model.get("digest")),
                details=_tags_details(model.get("details")),
                capabilities=texts(model.get("capabilities")),
            ),
        )
        for name, model in _models(body)
    ]


def running(body: bytes) -> list[PsModel]:
    """The models of `/api/ps`. Raises as `listed`."""
    return [
        PsModel(
            name=name,
            model=name,
            size=count(model.get("size")),
            digest=_digest(model.get("digest")),
            details=_details(model.get("details")),
            expires_at=time(model.get("expires_at")),
            size_vram=count(model.get("size_vram")),
            context_length=count(model.get("context_length")),
            running=count(model.get("running")),
            waiting=count(model.get("waiting")),
            state=state if (state := text(model.get("state"))) in _STATES else "ready",
        )
        for name, model in _models(body)
    ]


def shown(body: bytes) -> ShowResponse:
    """The reply of `/api/show`. Raises as `listed`. Takes some milliseconds for each ten megabytes."""
    said = msgspec.json.decode(body, type=_Shown)
    return ShowResponse(
        license=_long(said.license),
        modelfile=_long(said.modelfile),
        parameters=_long(said.parameters),
        template=_long(said.template),
        system=_long(said.system),
        details=_details(said.details),
        messages=_converted(said.messages, list[ShowMessage]),
        remote_model=text(said.remote_model),
        remote_host=text(said.remote_host),
        model_info=said.model_info if _is_object(said.model_info) else Raw(b"{}"),
        projector_info=said.projector_info if _is_object(said.projector_info) else None,
        tensors=_converted(said.tensors, list[TensorInfo]),
        capabilities=texts(said.capabilities) or None,
        modified_at=time(said.modified_at),
        requires=text(said.requires),
    )


def _models(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    models = msgspec.json.decode(body, type=_Models).models or []
    for model in models[:MOST_MODELS]:
        if isinstance(model, dict):
            fields = cast(dict[str, Any], model)
            name = fields.get("name") or fields.get("model")
            if isinstance(name, str) and len(name) <= LONGEST_NAME:
                yield name, fields


def _digest(value: Any) -> str:
    digits = text(value).removeprefix("sha256:").lower()
    return digits if len(digits) == len(_NONE) and _HEX.issuperset(digits) else _NONE


def _details(value: Any) -> Details:
    said = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    return Details(
        parent_model=text(said.get("parent_model")),
        format=text(said.get("format")),
        family=text(said.get("family")),
        families=texts(said.get("families")) or None,
        parameter_size=text(said.get("parameter_size")),
        quantization_level=text(said.get("quantization_level")),
    )


def _tags_details(value: Any) -> TagsDetails:
    said = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    return TagsDetails(
        **structs.asdict(_details(said)),
        context_length=count(said.get("context_length")),
        embedding_length=count(said.get("embedding_length")),
    )


def _long(value: Any) -> str:
    """Texts that may be as long as they are; licenses were once a list of them."""
    if isinstance(value, list):
        return "\n".join(text for text in cast(list[Any], value) if isinstance(text, str))
    return value if isinstance(value, str) else ""


def _converted(value: Any, type: Any) -> Any:
    try:
        return msgspec.convert(value, type) or None
    except msgspec.ValidationError:
        return None


def _is_object(raw: Raw) -> bool:
    return bytes(raw).lstrip()[:1] == b"{"
