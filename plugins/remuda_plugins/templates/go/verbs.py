"""Single values under a verb of `printf`, with its flags, width and precision."""

from __future__ import annotations

from dataclasses import dataclass

from .floats import format_float
from .quoting import can_backquote, quote, quote_rune
from .utf8 import decode, encode

__all__ = ["Flags", "format_bool", "format_bytes", "format_integer", "format_number", "format_string", "pad"]

_BASES = {"v": "d", "d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}
_PREFIXES = {"b": "0b", "x": "0x", "X": "0X"}


@dataclass(slots=True)
class Flags:
    """What stands between `%` and the verb. `sharp_v` and `plus_v` are `#` and `+` of `%#v` and `%+v`."""

    minus: bool = False
    plus: bool = False
    sharp: bool = False
    space: bool = False
    zero: bool = False
    width: int | None = None
    precision: int | None = None
    plus_v: bool = False
    sharp_v: bool = False


def pad(flags: Flags, text: str, *, zeros: bool = True) -> str:
    """Fills up to the width, on the left with zeros if the flags say so and `zeros` allows it."""
    width = flags.width
    if width is None or len(text) >= width:
        return text
    if flags.minus:
        return text.ljust(width)
    return text.rjust(width, "0" if flags.zero and zeros else " ")


def format_bool(flags: Flags, value: bool, verb: str) -> str | None:
    """None for a verb that a bool has no form for; so the functions below."""
    return pad(flags, "true" if value else "false") if verb in "tv" else None


def format_integer(flags: Flags, value: int, verb: str, *, unsigned: bool = False) -> str | None:
    if verb in _BASES:
        if verb == "v" and flags.sharp_v and unsigned:
            return _integer(flags, value, "x", sharp=True)
        return _integer(flags, value, verb, sharp=flags.sharp)
    match verb:
        case "c":
            return pad(flags, "\ufffd" if not _is_code_point(value) else chr(value))
        case "q":
            return pad(flags, quote_rune(value, ascii_only=flags.plus))
        case "U":
            return pad(flags, _unicode(flags, value), zeros=False)
        case _:
            return None


def format_number(flags: Flags, value: float, verb: str) -> str | None:
    """A float."""
    if verb not in "vbgGxXfFeE":
        return None
    precision = 6 if flags.precision is None and verb in "fFeE" else flags.precision
    text = format_float(value, "g" if verb == "v" else verb, precision, sharp=flags.sharp)
    sign, text = (text[0], text[1:]) if text[0] in "+-" else ("+", text)
    shown = sign
    if sign == "+":
        shown = "+" if flags.plus else " " if flags.space else ""
    if not text[0].isdigit():
        shown = "+" if text == "Inf" and not flags.space and sign == "+" else shown
        return pad(flags, shown + text, zeros=False)
    if shown and flags.zero and not flags.minus and flags.width is not None:
        return shown + text.rjust(flags.width - 1, "0")
    return pad(flags, shown + text)


def format_string(flags: Flags, text: str, verb: str) -> str | None:
    if verb not in "vsxXq":
        return None
    if verb in "xX":
        return _hexadecimal(flags, encode(text), verb)
    if flags.precision is not None:
        text = text[: flags.precision]
    if verb == "q" or (verb == "v" and flags.sharp_v):
        raw = flags.sharp and can_backquote(text)
        text = f"`{text}`" if raw else quote(text, ascii_only=flags.plus)
    return pad(flags, text)


def format_bytes(flags: Flags, octets: bytes, verb: str) -> str | None:
    """What a `[]byte` has of its own; under other verbs it is a slice like any."""
    if verb in "xX":
        return _hexadecimal(flags, octets, verb)
    return format_string(flags, decode(octets), verb) if verb in "sq" else None


def _integer(flags: Flags, value: int, verb: str, *, sharp: bool) -> str:
    digits = format(abs(value), _BASES[verb])
    sign = "-" if value < 0 else "+" if flags.plus else " " if flags.space else ""
    if flags.precision is not None:
        if flags.precision == 0 and value == 0:
            return " " * (flags.width or 0)
        digits = digits.rjust(flags.precision, "0")
    elif flags.zero and not flags.minus and flags.width is not None:
        digits = digits.rjust(flags.width - len(sign), "0")
    if sharp:
        base = _BASES[verb]
        digits = _PREFIXES.get(base, "0" if base == "o" and digits[0] != "0" else "") + digits
    return pad(flags, sign + ("0o" if verb == "O" else "") + digits, zeros=False)


def _unicode(flags: Flags, value: int) -> str:
    digits = f"{value % (1 << 64):X}".rjust(max(flags.precision or 0, 4), "0")
    shown = flags.sharp and _is_code_point(value) and chr(value).isprintable()
    return f"U+{digits}" + (f" '{chr(value)}'" if shown else "")


def _is_code_point(value: int) -> bool:
    return 0 <= value <= 0x10FFFF and not 0xD800 <= value <= 0xDFFF


def _hexadecimal(flags: Flags, octets: bytes, verb: str) -> str:
    if flags.precision is not None:
        octets = octets[: flags.precision]
    prefix = "0x" if flags.sharp else ""
    text = octets.hex(" ").replace(" ", " " + prefix) if flags.space else octets.hex()
    text = prefix + text if octets else ""
    return pad(flags, text.upper() if verb == "X" else text)
