"""Plugins: found, registered, asked. The only package that touches pluggy's plugin manager.

pluggy guards nothing: one entry point that fails to import would stop the server, and an exception in a hook would
stop the hooks after it. Here each plugin is imported and each implementation of a hook is called by itself, and what
goes wrong is kept with the plugin's name and the fix, while the others go on.

What is not Remuda's own is kept at arm's length as well. Each such plugin has a thread, in which it is imported and
its hooks are called; whoever asks waits no longer than the configuration says (`worker`). Receipts go to a second
thread through a queue (`observer`). What fails again and again is left alone for a while (`gauge`).
"""

from __future__ import annotations

from .gauge import Gauge
from .load import ENTRY_POINT_GROUP, load_plugins
from .manager import Plugins
from .record import Plugin
from .stray import stray

__all__ = ["ENTRY_POINT_GROUP", "Gauge", "Plugin", "Plugins", "load_plugins", "stray"]
