"""What a running server takes over from a changed file."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from remuda.config import Config, ModelConfig, ResidencyRule, RouteConfig, UpstreamConfig, reloadable
from remuda.config.keys import dotted, leaves, replaced

LIVE: dict[str, Any] = {
    "server.log_level": "debug",
    "limits.keep_alive": "1h",
    "limits.queue": 7,
    "limits.queue_timeout": 7.0,
    "routes": (RouteConfig(model="*", backend="b"),),
    "residency.max_loaded": 7,
    "residency.policy": "adaptive",
    "residency.models": (ResidencyRule(model="*"),),
    "residency.memory_reserve": 7,
    "residency.gpu_overhead": 7,
    "residency.load_timeout": "7m",
    "residency.stall_timeout": 7.0,
    "residency.quarantine": 7.0,
    "upstreams": {"a": UpstreamConfig(url="http://a")},
    "remote.manage": ("a",),
    "remote.attempts": 7,
    "remote.hedge": 7.0,
    "remote.probe_interval": 7.0,
    "remote.failures": 7,
    "remote.cooldown": 7.0,
    "remote.affinity": False,
    "remote.max_line": 7000,
    "remote.repair": 7,
    "aliases": {"a": "b"},
}


@pytest.mark.parametrize("key", LIVE)
def test_this_acts_at_once(key: str) -> None:
    old, new = Config(), replaced(Config(), tuple(key.split(".")), LIVE[key])
    assert reloadable(old, new) == (new, [key], [])
    assert reloadable(new, old) == (old, [key], [])


@pytest.mark.parametrize("key", [key for key, _ in leaves(Config(), Config) if dotted(key) not in LIVE], ids=dotted)
def test_everything_else_waits_for_a_restart(key: Any) -> None:
    changed = {(name,): {"x": {}} for name in ("models", "backends")}.get(key, "changed")
    old, new = Config(), replaced(Config(), key, changed)
    name = dotted((*key, "x") if isinstance(changed, dict) else key)
    assert reloadable(old, new) == (old, [], [name])


def test_both_at_once() -> None:
    a, b, c = (ModelConfig(path=name) for name in "abc")
    old = Config(models={"a": a, "b": b}, backends={"x": {"y": 1}})
    new = structs.replace(Config(), models={"a": c, "c": c}, aliases={"b": "c"}, go_template=True)
    config, now, later = reloadable(old, new)
    assert config == structs.replace(old, aliases={"b": "c"})
    assert now == ["aliases"]
    assert later == ['models."a"', 'models."b"', 'models."c"', "go_template", "backends.x"]


def test_nothing_changed() -> None:
    config = Config(models={"a": ModelConfig(path="a")})
    assert reloadable(config, structs.replace(config)) == (config, [], [])
