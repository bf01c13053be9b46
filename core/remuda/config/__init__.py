"""Settings, decoded once.

Order, later wins: the defaults, the TOML file, the environment (`OLLAMA_*` as the reference server has them), the
command line. An error names the key, and where its value comes from.
"""

from __future__ import annotations

from .address import DEFAULT_PORT, is_loopback, near_host, parse_address, parse_host, url_of
from .environment import VARIABLES
from .keys import dotted
from .load import Settings, find_file, load_config, load_settings
from .reload import reloadable
from .structs import (
    Config,
    LimitsConfig,
    MessageConfig,
    ModelConfig,
    RegistryConfig,
    RemoteConfig,
    ResidencyConfig,
    ResidencyRule,
    RouteConfig,
    ServerConfig,
    StoreConfig,
    UpstreamConfig,
)
from .toml import to_toml

__all__ = [
    "DEFAULT_PORT",
    "VARIABLES",
    "Config",
    "LimitsConfig",
    "MessageConfig",
    "ModelConfig",
    "RegistryConfig",
    "RemoteConfig",
    "ResidencyConfig",
    "ResidencyRule",
    "RouteConfig",
    "ServerConfig",
    "Settings",
    "StoreConfig",
    "UpstreamConfig",
    "dotted",
    "find_file",
    "is_loopback",
    "load_config",
    "load_settings",
    "near_host",
    "parse_address",
    "parse_host",
    "reloadable",
    "to_toml",
    "url_of",
]
