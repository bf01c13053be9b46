"""Values that have the right type and still make no sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ..errors import BadRequest
from ..model import parse_name
from ..wire.keep_alive import parse_keep_alive
from .keys import Key, dotted
from .structs import Config

__all__ = ["faults"]

_LEVELS: Final = ("debug", "info", "warning", "error")

_BOUNDS: Final[dict[tuple[str, str], tuple[float, float]]] = {
    ("server", "port"): (0, 65535),
    ("server", "max_body"): (1024, 2**40),
    ("server", "drain_timeout"): (0, 86400),
    ("server", "write_timeout"): (0.01, 86400),
    ("limits", "context"): (4, 2**31 - 1),
    ("limits", "parallel"): (1, 256),
    ("limits", "queue"): (1, 1_000_000),
    ("limits", "queue_timeout"): (0, 86400),
    ("limits", "template_timeout"): (0.01, 600),
    ("limits", "format_timeout"): (0.01, 600),
    ("limits", "repeat"): (0, 2**31 - 1),
    ("registry", "stall_timeout"): (0.1, 3600),
    ("registry", "retries"): (1, 100),
    ("residency", "max_loaded"): (0, 10_000),
    ("residency", "memory_reserve"): (0, 2**50),
    ("residency", "gpu_overhead"): (0, 2**50),
    ("residency", "stall_timeout"): (0.1, 86400),
    ("residency", "quarantine"): (0, 86400),
    ("residency", "runner_memory"): (0, 2**50),
}


def faults(config: Config) -> Iterator[tuple[Key, str]]:
    """Each with its key; the sentence begins with it too."""
    for (section, name), (low, high) in _BOUNDS.items():
        value = getattr(getattr(config, section), name)
        if not low <= value <= high:
            yield (section, name), f"{section}.{name} is {_short(value)}: it must be from {low} to {high}"
    if config.server.log_level not in _LEVELS:
        key = "server", "log_level"
        yield key, f"{dotted(key)} is {_short(config.server.log_level)}: it must be one of {', '.join(_LEVELS)}"
    yield from _durations(config)
    yield from _names(config)
    yield from _aliases(config)
    yield from _policies(config)


def _policies(config: Config) -> Iterator[tuple[Key, str]]:
    policies: dict[Key, str | None] = {("residency", "policy"): config.residency.policy}
    for number, rule in enumerate(config.residency.models):
        policies["residency", "models", number, "policy"] = rule.policy
    for key, policy in policies.items():
        if policy is not None and policy.split() != [policy]:
            yield key, f"{dotted(key)} is {_short(policy)}: it must be a word"


def _durations(config: Config) -> Iterator[tuple[Key, str]]:
    durations: dict[Key, float | str | None] = {
        ("limits", "keep_alive"): config.limits.keep_alive,
        ("residency", "load_timeout"): config.residency.load_timeout,
    }
    for number, rule in enumerate(config.residency.models):
        durations["residency", "models", number, "keep_alive"] = rule.keep_alive
    for key, value in durations.items():
        try:
            parse_keep_alive(value)
        except BadRequest:
            yield key, f'{dotted(key)} is {_short(value)}: it must be seconds or a duration such as "5m" or "1h30m"'


def _names(config: Config) -> Iterator[tuple[Key, str]]:
    """Whatever must be a model's name."""
    names: dict[Key, str] = {("models", name): name for name in config.models}
    names |= {("residency", "preload", number): name for number, name in enumerate(config.residency.preload)}
    for alias, target in config.aliases.items():
        names["aliases", alias] = alias if _key(alias) is None else target
    if config.server.ready_model:
        names["server", "ready_model"] = config.server.ready_model
    for key, name in names.items():
        if _key(name) is None:
            yield key, f"{dotted(key)}: {_short(name)} is not a model's name"


def _aliases(config: Config) -> Iterator[tuple[Key, str]]:
    configured = {_key(name): name for name in config.models}
    known: dict[str, str] = {}
    for alias in config.aliases:
        name, key = _key(alias), ("aliases", alias)
        if name in configured:
            yield key, f"{dotted(key)} is the name of {dotted(('models', configured[name]))} already"
        elif name in known:
            yield key, f"{dotted(key)} is the same name as {dotted(('aliases', known[name]))}"
        if name is not None:
            known[name] = alias
    for alias, target in config.aliases.items():
        if (other := known.get(_key(target) or "")) is not None:
            key = "aliases", alias
            yield key, f"{dotted(key)} leads to {dotted(('aliases', other))}: it must lead to a model"


def _key(name: str) -> str | None:
    """What two spellings of a name have in common; None for what is no name."""
    try:
        return parse_name(name).key
    except BadRequest:
        return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
