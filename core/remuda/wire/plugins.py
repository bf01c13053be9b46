"""`/api/plugins` on the wire: what extends this server, and how that goes. Remuda's own."""

from __future__ import annotations

from msgspec import Struct, field

__all__ = ["PluginCost", "PluginState", "PluginsResponse"]


class PluginCost(Struct, frozen=True, kw_only=True):
    """What one hook or one filter of a plugin has cost since the start."""

    name: str
    calls: int = 0
    faults: int = 0
    """Calls that failed or took too long."""
    dropped: int = 0
    """Calls that were due and not made, because it was left alone, or receipts that found no room."""
    seconds: float = 0.0
    """Time spent in it."""
    state: str = "working"
    """`working`, `resting` (left alone after faults), `trying` (the next call decides) or `stuck` (a call hangs)."""


class PluginState(Struct, frozen=True, kw_only=True):
    """One plugin at this moment."""

    name: str
    distribution: str = ""
    """The package that it came with; empty for a single file."""
    version: str = ""
    provides: list[str] = field(default_factory=list[str])
    """What it has handed over, such as `backend steam`."""
    hooks: list[PluginCost] = field(default_factory=list[PluginCost])
    filters: list[PluginCost] = field(default_factory=list[PluginCost])
    load_seconds: float = 0.0
    """What importing it and calling the hooks that hand things over took."""
    disabled: bool = False
    """The configuration leaves it out."""
    fault: str = ""
    """What went wrong first, and the fix; empty while all is well."""


class PluginsResponse(Struct, frozen=True):
    """In the order of registration."""

    plugins: list[PluginState]
