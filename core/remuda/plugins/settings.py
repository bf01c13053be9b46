"""A plugin's own settings: the table `[plugins.settings.NAME]`, decoded into the plugin's own Struct."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from msgspec import Struct

from ..config import Config, Key, decode_table, dotted, source_of
from ..errors import ConfigError, PluginError

__all__ = ["Reader", "located"]

T = TypeVar("T", bound=Struct)


class Reader:
    """What `remuda_configure` is called with. An error of the settings is kept: the hook may have caught it."""

    def __init__(self, name: str, config: Config, sources: Mapping[str, str]) -> None:
        self._key: Key = ("plugins", "settings", name)
        self._table: dict[str, Any] = config.plugins.settings.get(name, {})
        self._sources = sources
        self.used = False
        self.error: ConfigError | None = None

    def __call__(self, kind: type[T]) -> T:
        self.used = True
        if not (isinstance(kind, type) and issubclass(kind, Struct)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise PluginError(f"settings are asked for as {kind!r}\nFix: ask for them as a subclass of msgspec.Struct")
        try:
            return decode_table(self._table, kind, self._key)
        except ConfigError as error:
            self.error = located(str(error), self._key, self._sources)
            raise self.error from None

    def refused(self, error: ConfigError) -> ConfigError:
        """What to raise for an error that the hook raised: values that make no sense to the plugin."""
        if self.error is not None:
            return self.error
        key = dotted(self._key)
        text = str(error)
        return located(text if text.startswith(key) else f"{key}: {text}", self._key, self._sources)


def located(text: str, key: Key, sources: Mapping[str, str]) -> ConfigError:
    """The error, with where the value comes from. `text` begins with the key, or one inside it."""
    inside = next((each for each in sources if text.startswith((f"{each} ", f"{each}:"))), "")
    source = source_of(sources, key) if not inside else sources[inside]
    if not source:
        under = f"{dotted(key)}."
        source = next((sources[each] for each in sources if each.startswith(under)), "")
    return ConfigError(f"{text} ({source})" if source and source != "default" else text)
