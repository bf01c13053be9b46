"""Floating-point numbers as Go's `strconv` and `fmt` write them."""

from __future__ import annotations

import math

__all__ = ["format_float"]

_USUAL_DIGITS = 6


def format_float(value: float, verb: str, precision: int | None = None, *, sharp: bool = False) -> str:
    """The number in one of the forms `e E f F g G b x X`, with a `-` or nothing before it.

    Without a precision as many digits as tell it from every other number. `sharp` is the flag `#`: a decimal point in
    any case, and the zeros that `g` would drop. What is no number is `NaN`, `+Inf` or `-Inf`.
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    text = _unsigned(abs(value), verb, precision)
    if sharp and verb != "b":
        text = _with_point(text, verb, precision)
    return sign + text


def _unsigned(value: float, verb: str, precision: int | None) -> str:
    match verb:
        case "b":
            return _binary(value)
        case "x" | "X":
            text = _hexadecimal(value, precision)
        case "f" | "F":
            text = _positional(*_digits(value)) if precision is None else f"{value:.{precision}f}"
        case "e" | "E":
            text = _scientific(*_digits(value)) if precision is None else f"{value:.{precision}e}"
        case _:
            text = _general(value, precision)
    return text.upper() if verb in "EGX" else text


def _digits(value: float, precision: int | None = None) -> tuple[str, int]:
    """The significant digits without trailing zeros, and the power of ten of the first."""
    text = repr(value) if precision is None else f"{value:.{precision - 1}e}"
    mantissa, _, exponent = text.partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    power = int(exponent or 0) + len(digits) - len(fraction) - 1
    return digits.rstrip("0") or "0", power if digits else 0


def _general(value: float, precision: int | None) -> str:
    limit = _USUAL_DIGITS if precision is None else max(precision, 1)
    digits, power = _digits(value, None if precision is None else limit)
    return _scientific(digits, power) if power < -4 or power >= limit else _positional(digits, power)


def _scientific(digits: str, power: int) -> str:
    point = "." if digits[1:] else ""
    return f"{digits[0]}{point}{digits[1:]}e{'-' if power < 0 else '+'}{abs(power):02d}"


def _positional(digits: str, power: int) -> str:
    if power < 0:
        return "0." + "0" * (-power - 1) + digits
    whole = digits[: power + 1].ljust(power + 1, "0")
    return f"{whole}.{digits[power + 1 :]}" if digits[power + 1 :] else whole


def _binary(value: float) -> str:
    mantissa, exponent = _parts(value)
    return f"{mantissa}p{exponent:+d}"


def _parts(value: float) -> tuple[int, int]:
    """Mantissa and exponent of two as they are stored, the mantissa a whole number."""
    exponent = max(math.frexp(value)[1] - 53, -1074) if value else -1074
    return int(math.ldexp(value, -exponent)), exponent


def _hexadecimal(value: float, precision: int | None) -> str:
    mantissa, exponent = math.frexp(value)
    bits = int(math.ldexp(mantissa, 53))  # 1 in front, 52 bits behind it
    exponent = exponent - 1 if value else 0
    if precision is not None and precision < 13:
        drop = 52 - 4 * precision
        bits, rest = bits >> drop, bits & ((1 << drop) - 1)
        half = 1 << (drop - 1)
        bits += rest > half or (rest == half and bits & 1)
        bits <<= drop
        if bits >> 53:
            bits >>= 1
            exponent += 1
    fraction = f"{bits & ((1 << 52) - 1):013x}"
    fraction = fraction.rstrip("0") if precision is None else fraction.ljust(precision, "0")[:precision]
    point = "." if fraction else ""
    return f"0x{bits >> 52}{point}{fraction}p{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _with_point(text: str, verb: str, precision: int | None) -> str:
    mark = "p" if verb in "xX" else "e"
    mark = mark.upper() if verb.isupper() else mark
    head, found, tail = text.partition(mark)
    wanted = 0
    if verb in "gGx":
        wanted = _USUAL_DIGITS if precision is None else precision
    shown = len(head.replace(".", "").lstrip("0"))
    if "." not in head:
        shown += head == "0"
        head += "."
    return head + "0" * (wanted - shown) + found + tail
