"""The plugin without its extra: `pip install remuda` alone must not complain of what nobody asked for."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import sys
sys.modules["aiohttp"] = None  # importing it fails, as where it is not installed
from remuda.errors import ConfigError
from remuda.config import Config
from remuda.pipeline.front import check_upstreams
from remuda.plugins import load_plugins
plugins = load_plugins()
assert plugins.backend_formats()["remote"] == frozenset()
print([plugin.faults for plugin in plugins.describe() if plugin.name == "remote"])
try:
    check_upstreams(plugins, Config())
except ConfigError as error:
    print(error)
"""


def test_it_is_missed_only_where_there_are_upstreams() -> None:
    ran = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "aiohttp" not in ran.stderr
    faults, refusal = ran.stdout.splitlines()
    assert faults == "[[]]"
    assert refusal.startswith("[upstreams] needs the backend 'remote': backend 'remote' is not installed (")
    assert refusal.endswith("install it with: pip install 'remuda[remote]'")
