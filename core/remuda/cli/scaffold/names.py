"""The one name that a new plugin is given, and what is called after it."""

from __future__ import annotations

import re
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from keyword import iskeyword
from typing import Final

from msgspec import Struct

from ...errors import BadRequest
from ...plugins import Plugins
from .kinds import KINDS

__all__ = ["PluginName", "check_free", "parse_plugin_name"]

_OURS: Final = "remuda"
_LONGEST: Final = 30
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_CLASSES: Final = frozenset({"EngineBackend", "SerialEngine"})
"""Of Remuda's own, those that a new plugin imports."""


class PluginName(Struct, frozen=True):
    """`name` is what people type: the plugin's, its backend's, its model's."""

    name: str

    @property
    def distribution(self) -> str:
        """What is installed: `remuda-my-bot`."""
        return f"{_OURS}-{self.name}"

    @property
    def package(self) -> str:
        """What is imported: `remuda_my_bot`."""
        return self.distribution.replace("-", "_")

    @property
    def stem(self) -> str:
        """What its classes begin with: `MyBot`."""
        return "".join(part.capitalize() for part in self.name.split("-"))


def parse_plugin_name(text: str) -> PluginName:
    """Raises `BadRequest` that says what is wrong with the name, and which one may be meant."""
    if not _NAME.fullmatch(text) or len(text) > _LONGEST or iskeyword(text):
        raise BadRequest(
            f"{text!r} cannot be the name of a plugin: small letters and digits, a letter first, parts joined by "
            f"single hyphens, at most {_LONGEST} characters, and no word of Python's own{_meant(text)}"
        )
    if text.partition("-")[0] == _OURS:
        rest = text.removeprefix(_OURS).lstrip("-")
        raise BadRequest(f"'{_OURS}-' is put before the name by itself{_meant(rest)}")
    return PluginName(text)


def check_free(name: PluginName, kind: str, plugins: Plugins) -> None:
    """Raises `BadRequest` where something that is installed here has the name already."""
    for own in {f"{name.stem}Backend", f"{name.stem}Engine"} & _CLASSES:
        raise _taken(name, f"a class would be called {own}, as one of Remuda's own")
    if name.stem.startswith("Test"):
        raise _taken(name, f"a class would be called {name.stem}Backend, and pytest would take it for a test")
    there = {plugin.name.replace("_", "-"): plugin for plugin in plugins.describe()}
    if (other := there.get(name.name)) is not None:
        owner = f", of {other.distribution}" if other.distribution else ""
        raise _taken(name, f"there is a plugin {other.name!r} already{owner}")
    offers = KINDS[kind].offers
    offered: Collection[str] = getattr(plugins, offers).names() if offers else ()
    if name.name in offered:
        raise _taken(name, f"a plugin offers the {kind} {name.name!r} already")
    try:
        distribution(name.distribution)
    except PackageNotFoundError:
        if find_spec(name.package) is None:
            return
    raise _taken(name, f"{name.distribution} or {name.package} is installed here already")


def _taken(name: PluginName, why: str) -> BadRequest:
    return BadRequest(f"{why}: take another name than {name.name!r}")


def _meant(text: str) -> str:
    """A question whether the nearest good name is meant; empty if there is none."""
    guess = "-".join(re.findall(r"[a-z0-9]+", text.lower()))[:_LONGEST].strip("-")
    good = _NAME.fullmatch(guess) and guess.partition("-")[0] != _OURS and not iskeyword(guess)
    return f"; is {guess!r} meant?" if good else ""
