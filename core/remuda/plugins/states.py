"""What the server tells of a plugin, as `/api/plugins` has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..wire import PluginCost, PluginState
from .gauge import Gauge
from .hooked import Hooked
from .record import Plugin, brief

__all__ = ["state_of"]


def state_of(
    info: Plugin, hooked: Sequence[Hooked], filters: Mapping[str, Gauge], hangs: Callable[[Hooked], bool]
) -> PluginState:
    hooks = [_cost(each.hook, each.gauge, stuck=hangs(each)) for each in hooked]  # it may find a fault
    return PluginState(
        name=info.name,
        distribution=info.distribution,
        version=info.version,
        provides=list(info.provides),
        hooks=hooks,
        filters=[_cost(name, gauge) for name, gauge in filters.items()],
        load_seconds=info.load_ns / 1e9,
        disabled=info.disabled,
        fault=brief(info.faults[0]) if info.faults else "",
    )


def _cost(name: str, gauge: Gauge, *, stuck: bool = False) -> PluginCost:
    return PluginCost(
        name=name,
        calls=gauge.calls,
        faults=gauge.faults,
        dropped=gauge.dropped,
        seconds=gauge.ns / 1e9,
        state="stuck" if stuck else gauge.state,
    )
