"""What is known of one plugin."""

from __future__ import annotations

from msgspec import Struct, field

from ..errors import without_paths

__all__ = ["OWN", "Plugin", "brief"]

OWN = "remuda"
"""The distribution whose plugins are Remuda's own."""


class Plugin(Struct, kw_only=True, eq=False):
    """One plugin, broken and disabled ones included."""

    name: str
    distribution: str = ""
    """The package that it came with; empty for a single file."""
    version: str = ""
    file: str = ""
    """The name of the file, for a plugin that is one."""
    hooks: list[str] = field(default_factory=list[str])
    """Those that it implements."""
    provides: list[str] = field(default_factory=list[str])
    """What it has handed over, such as `backend steam`."""
    disabled: bool = False
    """The configuration leaves it out."""
    load_ns: int = 0
    """What importing it and calling the hooks that hand things over took."""
    place: str = ""
    """The folder or the file of its code, as far as known. Never shown to a client."""
    faults: list[str] = field(default_factory=list[str])
    """What went wrong: a sentence or a traceback each, with the fix in its last line."""

    @property
    def own(self) -> bool:
        """Whether it is Remuda's own."""
        return self.distribution == OWN

    @property
    def fault(self) -> str:
        """All that went wrong; empty if nothing did."""
        return "\n".join(self.faults)


def brief(fault: str) -> str:
    """What went wrong and the fix, in one line, without traceback and paths."""
    lines = [line.strip(" |") for line in fault.splitlines() if line.strip(" |+-")]  # the frame of exception groups
    fixes = [line for line in lines if line.startswith("Fix: ")]
    said = next((line for line in reversed(lines) if not line.startswith("Fix: ")), "")
    text = "; ".join([said, *fixes[-1:]])
    return without_paths(text.encode("utf-8", "replace").decode())
