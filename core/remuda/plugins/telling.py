"""Faults told: in the log, and with the plugin for whoever looks later; each thing once."""

from __future__ import annotations

import logging
from typing import Final

from .record import Plugin, brief

__all__ = ["Teller"]

_SLOW: Final = 0.05
"""Seconds that a hook may hold up the event loop without being named in the log."""

_log = logging.getLogger("remuda.plugins")


class Teller:
    """Some hooks are called with every request: once is enough."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str, str]] = set()

    def fault(self, info: Plugin, text: str, what: str = "") -> None:
        """`what` is a hook or a filter: of each only the first fault counts. Nor does what was told before."""
        text = text if "Fix: " in text else f"{text}\nFix: repair or uninstall the plugin"
        known = bool(what) and not self._once(info, what, "fault")
        if known or any(text in fault for fault in info.faults):
            return
        info.faults.append(text)
        _log.error("plugin %r (%s): %s", info.name, info.distribution or info.file or "no distribution", text)

    def rests(self, info: Plugin, what: str, faults: int, cooldown: float, last: str) -> None:
        """`what` is left alone from now on. `last` is its last fault."""
        text = "plugin %r: %s failed %d times in a row and is left alone for %g s; the last time: %s"
        _log.error(text, info.name, what, faults, cooldown, brief(last))

    def slow(self, info: Plugin, hook: str, ns: int) -> None:
        """`hook` held up the event loop for so long."""
        if ns > _SLOW * 1e9 and self._once(info, hook, "slow"):
            text = "plugin %r: %s took %.0f ms, and every request waited. Fix: do slow work elsewhere"
            _log.warning(text, info.name, hook, ns / 1e6)

    def dropped(self, info: Plugin, hook: str, most: int) -> None:
        """A receipt was dropped, the first since there was room."""
        text = "plugin %r: %d receipts wait for %s, and more are dropped. Fix: do slow work elsewhere"
        _log.warning(text, info.name, most, hook)

    def _once(self, info: Plugin, what: str, kind: str) -> bool:
        key = (info.name, what, kind)
        if key in self._told:
            return False
        self._told.add(key)
        return True
