"""Text made safe for HTML, JavaScript and the query of a URL, as Go does it."""

from __future__ import annotations

import re
from urllib.parse import quote_plus

from .utf8 import encode

__all__ = ["escape_html", "escape_js", "escape_query"]

_HTML = str.maketrans(
    {
        "\0": "\ufffd",
        '"': "&#34;",
        "'": "&#39;",
        "&": "&amp;",
        "<": "&lt;",
        ">": "&gt;",
    }
)
_JS_SPECIAL = re.compile("[\0-\x1f\\\\'\"<>&=\x80-\U0010ffff]")
_JS = {"\\": r"\\", "'": r"\'", '"': r"\""}


def escape_html(text: str) -> str:
    return text.translate(_HTML)


def escape_js(text: str) -> str:
    return _JS_SPECIAL.sub(_js, text)


def escape_query(text: str) -> str:
    return quote_plus(encode(text))


def _js(found: re.Match[str]) -> str:
    char = found[0]
    if char in _JS:
        return _JS[char]
    shown = ord(char) >= 0x80 and (char.isprintable() or "\udc80" <= char <= "\udcff")
    return char if shown else f"\\u{ord(char):04X}"
