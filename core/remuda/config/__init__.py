"""Settings, decoded once.

Order, later wins: the defaults, the TOML file, the environment (`OLLAMA_*` as the reference server has them), the
command line. An error names the key, and where its value comes from.
"""

from __future__ import annotations

from .address import DEFAULT_PORT, is_loopback, near_host, parse_address, parse_host, url_of
from .decode import decode_table
from .environment import VARIABLES
from .keys import Key, dotted
from .load import Settings, find_file, load_config, load_settings, source_of
from .reload import reloadable
from .structs import (
    Config,
    LimitsConfig,
    MessageConfig,
    ModelConfig,
    PluginsConfig,
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
    "Key",
    "LimitsConfig",
    "MessageConfig",
    "ModelConfig",
    "PluginsConfig",
    "RegistryConfig",
    "RemoteConfig",
    "ResidencyConfig",
    "ResidencyRule",
    "RouteConfig",
    "ServerConfig",
    "Settings",
    "StoreConfig",
    "UpstreamConfig",
    "decode_table",
    "dotted",
    "find_file",
    "is_loopback",
    "load_config",
    "load_settings",
    "near_host",
    "parse_address",
    "parse_host",
    "reloadable",
    "source_of",
    "to_toml",
    "url_of",
]
