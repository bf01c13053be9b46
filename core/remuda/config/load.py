"""The settings read from where they are, each value knowing where it comes from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from ..errors import ConfigError
from .check import faults
from .decode import decode
from .environment import Override, idle_variables, overrides
from .keys import Key, dotted, has, leaves, replaced, showable
from .structs import Config

__all__ = ["DEFAULT", "Settings", "find_file", "load_config", "load_settings", "source_of"]

DEFAULT: Final = "default"
"""The source of a value that nobody set."""

_OPTIONS: Final[dict[str, Key]] = {
    "--host": ("server", "host"),
    "--port": ("server", "port"),
    "--plugins-dir": ("plugins", "dir"),
}


class Settings(Struct, frozen=True, kw_only=True):
    """What `load_settings` read."""

    config: Config
    sources: dict[str, str]
    """For every key, written as `keys.dotted` does: `DEFAULT`, `file PATH`, a variable or an option."""
    file: Path | None
    """The file that was read."""
    idle: tuple[str, ...] = ()
    """A sentence for each variable of the environment that has no effect, although it looks as if it should."""

    def values(self, *, changed: bool = False) -> dict[str, Any]:
        """Every value by its key as in `sources`, secrets not shown; with `changed` those that somebody set."""
        values = {dotted(key): showable(key, value) for key, value in leaves(self.config, Config)}
        return {key: value for key, value in values.items() if not changed or self.sources[key] != DEFAULT}


def find_file(given: Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
    """The configuration file: the one `given`, or that `REMUDA_CONFIG` names, whether it is there or not; else the
    first of `remuda.toml` here and in `$XDG_CONFIG_HOME/remuda` (`~/.config/remuda`) that is there."""
    environ = os.environ if environ is None else environ
    if given is not None:
        return given
    if named := environ.get("REMUDA_CONFIG"):
        return Path(named)
    home = environ.get("XDG_CONFIG_HOME", "")
    folder = home if os.path.isabs(home) else os.path.expanduser("~/.config")
    places = (Path("remuda.toml"), Path(folder) / "remuda" / "remuda.toml")
    return next((place for place in places if os.path.isfile(place)), None)


def load_settings(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    options: Mapping[str, str | int | None] | None = None,
) -> Settings:
    """Read the file, if any, the environment and the options of the command line (`--host`, `--port`,
    `--plugins-dir`; None is unset).

    Raises `ConfigError` that names the key, and the file, the variable or the option.
    """
    environ = os.environ if environ is None else environ
    document: dict[str, Any] = {}
    config = Config()
    if path is not None:
        document = _read(path)
        try:
            config = decode(document)
        except ConfigError as error:
            raise ConfigError(f"{error} (file {path})") from None
    given = [*overrides(environ, config), *_given(options or {})]
    config = _overridden(config, given)
    sources = {dotted(key): f"file {path}" if has(document, key) else DEFAULT for key, _ in leaves(config, Config)}
    for each in given:
        name = dotted(each.key)
        sources[name] = f"{sources[name]} and {each.source}" if each.added else each.source
    for key, message in faults(config):
        source = sources.get(dotted(key), f"file {path}")
        raise ConfigError(message if source == DEFAULT else f"{message} ({source})")
    return Settings(config=config, sources=sources, file=path, idle=tuple(idle_variables(environ)))


def load_config(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """As `load_settings`, for those who do not ask where a value comes from."""
    return load_settings(path, environ).config


def source_of(sources: Mapping[str, str], key: Key) -> str:
    """Where the value of `key`, or else what is nearest round it, comes from; empty if nobody set it."""
    for length in range(len(key), 0, -1):
        source = sources.get(dotted(key[:length]))
        if source is not None:
            return "" if source == DEFAULT else source
    return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"the configuration file {path} is not TOML: {error}") from None


def _given(options: Mapping[str, str | int | None]) -> Iterator[Override]:
    for option, value in options.items():
        if value is not None:
            yield Override(_OPTIONS[option], value, option)


def _overridden(config: Config, given: Iterable[Override]) -> Config:
    for each in given:
        config = replaced(config, each.key, each.value)
    return config
