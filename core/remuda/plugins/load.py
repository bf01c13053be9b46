"""All plugins that there are: those of installed packages, and the single files of a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from fnmatch import fnmatchcase
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Final

from msgspec import Struct

from ..config import Config, Key, PluginsConfig, dotted
from .folder import files, load_file
from .manager import Plugins
from .record import OWN
from .settings import located

__all__ = ["ENTRY_POINT_GROUP", "load_plugins"]

ENTRY_POINT_GROUP: Final = "remuda"


class _Found(Struct, frozen=True):
    """A plugin that could be loaded."""

    name: str
    load: Callable[[], object]
    distribution: str = ""
    version: str = ""
    file: str = ""


def load_plugins(
    found: Iterable[EntryPoint] | None = None,
    extra: Iterable[tuple[str, object]] = (),
    *,
    config: Config | None = None,
    sources: Mapping[str, str] | None = None,
) -> Plugins:
    """The plugins of the entry-point group `remuda`, those of the folder, then `extra` as `(name, module or object)`.

    Remuda's own come first, then those that `plugins.order` names. `sources` is `Settings.sources`, for the messages.
    Raises `ConfigError` for settings that make no sense, those that a plugin reads included; no fault of a plugin
    raises.
    """
    config, sources = config or Config(), sources or {}
    plugins = Plugins(config, sources)
    points = _points(plugins) if found is None else found
    candidates = [_installed(point) for point in sorted(points, key=lambda point: point.name)]
    if config.plugins.dir:
        folder = Path(config.plugins.dir).expanduser().absolute()
        try:
            paths = files(folder)
        except Exception as error:
            raise located(str(error), ("plugins", "dir"), sources) from None
        plugins.folder = folder
        candidates += [
            _Found(_shown(path.stem), lambda path=path: load_file(path), file=_shown(path.name)) for path in paths
        ]
    candidates += [_Found(name, lambda plugin=plugin: plugin) for name, plugin in extra]
    names = [each.name for each in candidates]
    for key, name in _named(config.plugins):
        if name not in names:
            raise located(f"{dotted(key)}: no plugin is named {name!r}: {_advice(name, names)}", key[:2], sources)
    for each in sorted(candidates, key=lambda each: _rank(each, config.plugins)):
        made = {"distribution": each.distribution, "version": each.version, "file": each.file}
        if _is_left_out(each, config.plugins):
            plugins.leave_out(each.name, **made)
        else:
            plugins.load(each.load, each.name, **made)
    return plugins


def _points(plugins: Plugins) -> list[EntryPoint]:
    """Those of installed packages. One package whose own cannot be read is a fault of that package, and no more."""
    try:
        return list(entry_points(group=ENTRY_POINT_GROUP))
    except Exception:
        found: dict[str, list[EntryPoint]] = {}
        for distribution in distributions():
            name = str(distribution.name or "a package without a name")
            try:
                points = [point for point in distribution.entry_points if point.group == ENTRY_POINT_GROUP]
            except Exception as error:
                text = f"its entry_points.txt cannot be read: {type(error).__name__}: {error}"
                plugins.fault(name, f"{text}\nFix: repair or uninstall {name!r}", distribution=name)
            else:
                found.setdefault(name.lower().replace("_", "-"), points)  # the first on the path counts
        return [point for points in found.values() for point in points]


def _installed(point: EntryPoint) -> _Found:
    # Both are None for what an interrupted `pip uninstall` has left.
    distribution, version = (point.dist.name or "", point.dist.version or "") if point.dist else ("", "")
    return _Found(point.name, point.load, distribution, version)


def _shown(name: str) -> str:
    """The name of a file as text, whatever bytes it is made of."""
    return name.encode("utf-8", "replace").decode()


def _rank(each: _Found, config: PluginsConfig) -> tuple[int, int]:
    if each.distribution == OWN:
        return 0, 0
    return (1, config.order.index(each.name)) if each.name in config.order else (2, 0)


def _is_left_out(each: _Found, config: PluginsConfig) -> bool:
    if any(fnmatchcase(each.name, glob) for glob in config.disable):
        return True
    return each.distribution != OWN and not any(fnmatchcase(each.name, glob) for glob in config.enable)


def _named(config: PluginsConfig) -> Iterator[tuple[Key, str]]:
    """The names in the settings that must be plugins; globs, which an order cannot be made of, may match nothing."""
    for field in ("enable", "disable", "order"):
        for number, name in enumerate(getattr(config, field)):
            if field == "order" or not set(name) & set("*?["):
                yield ("plugins", field, number), name
    for name in config.settings:
        yield ("plugins", "settings", name), name


def _advice(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, 1)
    return f"is {close[0]} meant?" if close else f"there are {', '.join(names) or 'none'}"
