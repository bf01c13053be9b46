"""Built-in plugins that are not engines. Each is registered through the same door as a stranger's."""

from __future__ import annotations

__all__: list[str] = []
