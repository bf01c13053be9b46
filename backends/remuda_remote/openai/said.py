"""The sentence in an error that a server of OpenAI's API sends, whatever its form."""

from __future__ import annotations

import re
from typing import Any, Final, cast

import msgspec

__all__ = ["sentence", "sentence_of", "status_of"]

_LONGEST: Final = 2000
_TRACE: Final = re.compile(r"\s*\n\s*File \".*", re.DOTALL)
"""Where FastAPI's own report of a bad request begins to tell about its source."""
_COMPLAINTS: Final = re.compile(r"'loc': \('body', ([^)]*?),?\), 'msg': (['\"])(.*?)\2")
"""What pydantic complains of, where it is written out as Python does."""
_APOSTROPHE: Final = "'"
_MOST: Final = 3


def sentence(body: bytes) -> str:
    """Of a reply's body; empty if it holds none, such as a page of a proxy."""
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        text = body[:_LONGEST].decode("utf-8", "replace").strip()
        return text if text and "<" not in text and "\n" not in text else ""
    if isinstance(said, dict):
        said = cast(dict[str, Any], said)
        return sentence_of(next((said[key] for key in ("error", "detail", "message") if said.get(key)), ""))
    return sentence_of(said)


def sentence_of(error: Any) -> str:
    """Of what stands under `error`: an object with a message, a text, or FastAPI's list of complaints."""
    if isinstance(error, dict):
        members = cast(dict[str, Any], error)
        error = next((members[key] for key in ("message", "msg", "detail", "error") if members.get(key)), "")
    if isinstance(error, list):
        error = "; ".join(_complaint(each) for each in cast(list[Any], error)[:_MOST])
    if not isinstance(error, str):
        return ""
    complaints = _COMPLAINTS.findall(error)[:_MOST]
    text = "; ".join(f"{place.replace(_APOSTROPHE, '')}: {said}" for place, _, said in complaints)
    return (text or _TRACE.sub("", error).strip())[:_LONGEST]


def status_of(error: Any) -> int:
    """The HTTP status that an error within a stream tells; 500 if it tells none."""
    code = cast(dict[str, Any], error).get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code <= 599 else 500


def _complaint(each: Any) -> str:
    if not isinstance(each, dict):
        return str(each)
    members = cast(dict[str, Any], each)
    where: Any = members.get("loc")
    place = ".".join(str(step) for step in cast(list[Any], where)) if isinstance(where, list) else ""
    said = str(members.get("msg", ""))
    return f"{place}: {said}" if place else said
