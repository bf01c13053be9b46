"""Values that have the right type and still make no sense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ..errors import BadRequest
from ..model import parse_name
from ..model.ggml import KNOWN_TYPES, known_type
from ..wire import HERE
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
    ("residency", "runner_nice"): (-20, 19),
    ("remote", "attempts"): (1, 100),
    ("remote", "hedge"): (0, 3600),
    ("remote", "probe_interval"): (0.1, 86400),
    ("remote", "failures"): (1, 1000),
    ("remote", "cooldown"): (0.01, 86400),
    ("remote", "max_line"): (1024, 2**30),
    ("remote", "repair"): (0, 10),
    ("plugins", "budget"): (0.01, 600),
    ("plugins", "faults"): (1, 1_000_000),
    ("plugins", "cooldown"): (0.01, 86400),
    ("plugins", "start_timeout"): (0.1, 3600),
}
_UPSTREAM_BOUNDS: Final[dict[str, tuple[float, float]]] = {
    "connect_timeout": (0.01, 600),
    "first_byte_timeout": (0.01, 86400),
    "stall_timeout": (0.01, 86400),
    "weight": (0.001, 1000),
    "parallel": (1, 100_000),
}
_UNSUPPORTED: Final = ("refuse", "ignore")


def faults(config: Config) -> Iterator[tuple[Key, str]]:
    """Each with its key; the sentence begins with it too."""
    for (section, name), (low, high) in _BOUNDS.items():
        value = getattr(getattr(config, section), name)
        if value is not None and not low <= value <= high:
            yield (section, name), f"{section}.{name} is {_short(value)}: it must be from {low} to {high}"
    if config.server.log_level not in _LEVELS:
        key = "server", "log_level"
        yield key, f"{dotted(key)} is {_short(config.server.log_level)}: it must be one of {', '.join(_LEVELS)}"
    yield from _durations(config)
    yield from _names(config)
    yield from _aliases(config)
    yield from _policies(config)
    yield from _model_types(config)
    yield from _upstreams(config)


def _upstreams(config: Config) -> Iterator[tuple[Key, str]]:
    for number, route in enumerate(config.routes):
        if route.upstreams and not config.upstreams:
            key: Key = ("routes", number, "upstreams")
            yield key, f"{dotted(key)}: there are no upstreams"
    for name, upstream in config.upstreams.items():
        for field, (low, high) in _UPSTREAM_BOUNDS.items():
            key = "upstreams", name, field
            if not low <= (value := getattr(upstream, field)) <= high:
                yield key, f"{dotted(key)} is {_short(value)}: it must be from {low} to {high}"
        if upstream.unsupported not in _UNSUPPORTED:
            key = "upstreams", name, "unsupported"
            yield key, f"{dotted(key)} is {_short(upstream.unsupported)}: it must be one of {', '.join(_UNSUPPORTED)}"
        if name.lower() == HERE:
            key = "upstreams", name
            yield key, f"{dotted(key)}: this name is kept for the server itself"
        seen: dict[str | None, str] = {}
        for public in upstream.models:
            key = "upstreams", name, "models", public
            if (other := seen.setdefault(_key(public), public)) != public:
                yield key, f"{dotted(key)} is the same name as {dotted(('upstreams', name, 'models', other))}"
            if _key(public) is None:
                yield key, f"{dotted(key)}: {_short(public)} is not a model's name"
            elif not upstream.models[public].strip():
                yield key, f"{dotted(key)} is empty: it must be the model's name there"


def _policies(config: Config) -> Iterator[tuple[Key, str]]:
    policies: dict[Key, str | None] = {("residency", "policy"): config.residency.policy}
    for number, rule in enumerate(config.residency.models):
        policies["residency", "models", number, "policy"] = rule.policy
    for key, policy in policies.items():
        if policy is not None and policy.split() != [policy]:
            yield key, f"{dotted(key)} is {_short(policy)}: it must be a word"


def _model_types(config: Config) -> Iterator[tuple[Key, str]]:
    for name, model in config.models.items():
        if model.model_type is not None and known_type(model.model_type) is None:
            key: Key = ("models", name, "model_type")
            yield key, f"{dotted(key)} is {_short(model.model_type)}: it must be one of {KNOWN_TYPES}"


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
