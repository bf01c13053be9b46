"""Which settings a running server takes over when its file changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from msgspec import Struct, structs

from .keys import Key, dotted, replaced
from .structs import Config

__all__ = ["LIVE", "reloadable"]

LIVE: Final = frozenset({
    "server.log_level",
    "limits.keep_alive",
    "limits.queue",
    "limits.queue_timeout",
    "routes",
    "residency.max_loaded",
    "residency.policy",
    "residency.models",
    "residency.memory_reserve",
    "residency.gpu_overhead",
    "residency.load_timeout",
    "residency.stall_timeout",
    "residency.quarantine",
    "upstreams",
    "remote.manage",
    "remote.attempts",
    "remote.hedge",
    "remote.probe_interval",
    "remote.failures",
    "remote.cooldown",
    "remote.affinity",
    "remote.max_line",
    "remote.repair",
    "aliases",
})  # fmt: skip
"""What acts without a restart."""


def reloadable(old: Config, new: Config) -> tuple[Config, list[str], list[str]]:
    """The settings to go on with: `old`, and of `new` what acts at once; then the keys that changed and act now, and
    those that changed and wait for a restart."""
    config = old
    now: list[str] = []
    later: list[str] = []
    for key, value in _changes(old, new):
        name = dotted(key)
        if name in LIVE:
            config = replaced(config, key, value)
            now.append(name)
        else:
            later.append(name)
    return config, now, later


def _changes(old: Config, new: Config) -> Iterator[tuple[Key, Any]]:
    """Field by field of each section, and name by name of models and backends."""
    for field in structs.fields(new):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if isinstance(after, Struct):
            parts = structs.asdict(before), structs.asdict(after)
        elif field.name in {"models", "backends"}:
            parts = before, after
        else:
            if before != after:
                yield (field.name,), after
            continue
        for name in dict.fromkeys((*parts[0], *parts[1])):
            if parts[0].get(name) != parts[1].get(name):
                yield (field.name, name), parts[1].get(name)
