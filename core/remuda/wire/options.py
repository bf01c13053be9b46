"""The `options` of a request: every one, its type, its default, its range, and whether it acts.

One table drives the parser, the documentation and the tests. Types and defaults are those of the protocol
(Ollama API, "Options"); ranges are Remuda's own, so that nothing absurd reaches an engine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast

from msgspec import Struct, structs

from ..errors import BadRequest

__all__ = ["ALIASES", "RULES", "OptionRule", "Options", "merge_options", "parse_options"]

_INT31 = 2**31 - 1
_MAX_STOPS = 64
_MAX_STOP_LENGTH = 4096


class Options(Struct, frozen=True, kw_only=True):
    """Options after defaults, with the protocol's names. `None` means "let the engine choose"."""

    num_ctx: int | None = None
    num_batch: int | None = None
    num_gpu: int = -1
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int = 0
    draft_num_predict: int | None = None
    num_keep: int = 4
    seed: int = -1
    num_predict: int = -1
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.0
    typical_p: float = 1.0
    repeat_last_n: int = 64
    temperature: float = 0.8
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()


class OptionRule(Struct, frozen=True):
    """One row of the table. `acts` is "load" or "sampling"."""

    name: str
    kind: Literal["integer", "float32", "boolean", "strings"]
    low: float
    high: float
    acts: Literal["load", "sampling"]
    meaning: str


RULES: tuple[OptionRule, ...] = (
    OptionRule(
        "num_ctx",
        "integer",
        0,
        _INT31,
        "load",
        "context of each sequence in tokens; 0 is the default, never above what the model was trained for",
    ),
    OptionRule("num_batch", "integer", 1, 65536, "load", "most prompt tokens read in one step"),
    OptionRule("num_gpu", "integer", -1, 10_000, "load", "layers on a GPU; -1 is all that fit, 0 none"),
    OptionRule("main_gpu", "integer", 0, 1024, "load", "the GPU to use"),
    OptionRule("use_mmap", "boolean", 0, 1, "load", "map the weights into memory instead of reading them"),
    OptionRule("num_thread", "integer", 0, 1024, "load", "compute threads; 0 is chosen by the engine"),
    OptionRule(
        "draft_num_predict",
        "integer",
        0,
        1024,
        "load",
        "most tokens that a draft model guesses at a time, never over 16; 0 goes without it",
    ),
    OptionRule(
        "num_keep",
        "integer",
        -1,
        _INT31,
        "sampling",
        "prompt tokens kept when older ones are forgotten; -1 keeps all of the prompt",
    ),
    OptionRule("seed", "integer", -(2**63), 2**63 - 1, "sampling", "-1 is random; the low 32 bits of any other"),
    OptionRule(
        "num_predict",
        "integer",
        -2,
        _INT31,
        "sampling",
        "most tokens to generate; negative is until the end, bounded by ten contexts; 0 reads the prompt only",
    ),
    OptionRule("top_k", "integer", -1, _INT31, "sampling", "keep the k likeliest tokens; 0 and -1 keep all"),
    OptionRule("top_p", "float32", 0, 1, "sampling", "keep the likeliest tokens that make up this probability"),
    OptionRule(
        "min_p", "float32", 0, 1, "sampling", "drop tokens under this fraction of the likeliest one's probability"
    ),
    OptionRule("typical_p", "float32", 0, 1, "sampling", "locally typical sampling; 1 is off"),
    OptionRule(
        "repeat_last_n",
        "integer",
        -1,
        _INT31,
        "sampling",
        "how many last tokens the penalties look at; 0 is off, -1 the whole context",
    ),
    OptionRule("temperature", "float32", 0, 100, "sampling", "0 always takes the likeliest token"),
    OptionRule("repeat_penalty", "float32", 0.01, 100, "sampling", "above 1 makes repeated tokens less likely"),
    OptionRule("presence_penalty", "float32", -100, 100, "sampling", "taken off the logit of each token seen"),
    OptionRule("frequency_penalty", "float32", -100, 100, "sampling", "taken off once for each time a token was seen"),
    OptionRule(
        "stop",
        "strings",
        0,
        _MAX_STOPS,
        "sampling",
        "texts that end the answer and are not part of it; one string or a list",
    ),
)
"""`low` and `high` are inclusive; for `stop`, `high` is the number of texts."""

ALIASES = {"max_tokens": "num_predict"}
"""Other names that published guides use; the name proper wins when both are given."""

_BY_NAME = {rule.name: rule for rule in RULES}


def parse_options(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Check one set of options. Returns the values given (proper names only) and the unknown names.

    `null` counts as not given. Integers accept any JSON number and drop its fraction.
    Raises `BadRequest` that names the option, the value's fault and the range.
    """
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for name, value in raw.items():
        proper = ALIASES.get(name, name)
        rule = _BY_NAME.get(proper)
        if rule is None:
            unknown.append(name)
        elif value is not None and (proper == name or raw.get(proper) is None):
            values[proper] = _check(rule, name, value)
    return values, unknown


def merge_options(layers: Iterable[Mapping[str, Any]]) -> Options:
    """Defaults below, then each layer of checked values over the one before, key by key."""
    options = Options()
    for layer in layers:
        options = structs.replace(options, **layer)
    return options


def _check(rule: OptionRule, name: str, value: Any) -> Any:
    if rule.kind == "strings":
        return _strings(rule, name, value)
    if rule.kind == "boolean":
        if not isinstance(value, bool):
            raise BadRequest(f'option "{name}" must be of type boolean')
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadRequest(f'option "{name}" must be of type {rule.kind}')
    if not math.isfinite(value):
        raise BadRequest(f'option "{name}" must be a finite number from {_range(rule)}')
    number = math.trunc(value) if rule.kind == "integer" else float(value)
    if not rule.low <= number <= rule.high:
        raise BadRequest(f'option "{name}" is {value}, out of range: it must be from {_range(rule)}')
    return number


def _strings(rule: OptionRule, name: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        raise BadRequest(f'option "{name}" must be of type array')
    texts = cast(list[Any], value)
    if not all(isinstance(text, str) for text in texts):
        raise BadRequest(f'option "{name}" must be of an array of strings')
    if len(texts) > rule.high or any(len(text) > _MAX_STOP_LENGTH for text in texts):
        raise BadRequest(f'option "{name}" may hold at most {rule.high:.0f} texts of {_MAX_STOP_LENGTH} characters')
    return tuple(text for text in texts if text)


def _range(rule: OptionRule) -> str:
    return f"{rule.low:.0f} to {rule.high:.0f}" if rule.kind == "integer" else f"{rule.low:g} to {rule.high:g}"
