"""What `/api/show` tells, in sections under headings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, cast

from msgspec import Struct

from ..model.facts import human_count
from .replies import Shown
from .tables import columns

__all__ = ["sections"]

_LINES: Final = 2
"""Of a long text."""
_ITEMS: Final = 3
"""Of a long array."""


class _Section(Struct, frozen=True):
    title: str
    rows: Sequence[Sequence[str]]


def sections(shown: Shown, *, verbose: bool = False) -> str:
    """Those that have something to say. `verbose` adds what the weights say of themselves, and their tensors."""
    every = [
        _Section("Model", list(_model(shown))),
        _Section("Capabilities", [(name,) for name in shown.capabilities or ()]),
        _Section("Projector", list(_projector(shown.projector_info or {}))),
        _Section("Parameters", [line.split(None, 1) for line in shown.parameters.splitlines() if line.strip()]),
    ]
    if verbose:
        info = shown.model_info or {}
        every += [
            _Section("Metadata", [(key, _value(info[key])) for key in sorted(info)]),
            _Section("Tensors", [(each.name, each.type, str(each.shape)) for each in shown.tensors or ()]),
        ]
    every += [
        _Section("System", [(line,) for line in _beginning(shown.system)]),
        _Section("License", [(line,) for line in _beginning(shown.license)]),
    ]
    return "\n".join(_written(section) for section in every if section.rows)


def _model(shown: Shown) -> Iterator[tuple[str, str]]:
    info, details = shown.model_info or {}, shown.details
    architecture = str(info.get("general.architecture", ""))
    rows = (
        ("Remote model", shown.remote_model),
        ("Remote URL", shown.remote_host),
        ("architecture", architecture or (details.family if details else "")),
        ("parameters", (details.parameter_size if details else "") or _count(info)),
        ("context length", info.get(f"{architecture}.context_length")),
        ("embedding length", info.get(f"{architecture}.embedding_length")),
        ("quantization", details.quantization_level if details else ""),
        ("requires", shown.requires),
    )
    return ((name, str(value)) for name, value in rows if value)


def _projector(info: dict[str, Any]) -> Iterator[tuple[str, str]]:
    architecture = str(info.get("general.architecture", ""))
    rows = (
        ("architecture", architecture),
        ("parameters", _count(info)),
        ("embedding length", info.get(f"{architecture}.vision.embedding_length")),
        ("dimensions", info.get(f"{architecture}.vision.projection_dim")),
    )
    return ((name, str(value)) for name, value in rows if value)


def _count(info: dict[str, Any]) -> str:
    count = info.get("general.parameter_count")
    return human_count(count) if isinstance(count, int) else ""


def _value(value: Any) -> str:
    if not isinstance(value, list):
        return str(value)
    items = cast(list[Any], value)
    more = f", ...+{len(items) - _ITEMS} more" if len(items) > _ITEMS else ""
    return f"[{', '.join(map(str, items[:_ITEMS]))}{more}]"


def _beginning(text: str) -> Iterable[str]:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines if len(lines) <= _LINES else [*lines[:_LINES], "..."]


def _written(section: _Section) -> str:
    return f"  {section.title}\n" + "".join(f"    {line}\n" for line in columns(section.rows))
