"""Plugins: found, registered, asked. The only module that touches `pm.hook`.

pluggy guards nothing: one entry point that fails to import would stop the server, and an exception in a hook would
stop the hooks after it. So entry points are loaded here one by one and every implementation is called by itself;
what fails is kept with the plugin's name, its traceback and the fix, and the others go on.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import pluggy
from msgspec import Struct, field

from .backend import Backend
from .errors import PluginError, RemudaError
from .hookspecs import Filter, HookSpecs, OutputFormat, Receipt, TemplateEngine
from .model.entry import ModelEntry
from .model.name import parse_name
from .output import ParserKind
from .registry import Offer, Registry

if TYPE_CHECKING:
    import click

__all__ = ["ENTRY_POINT_GROUP", "Plugin", "Plugins", "load_plugins"]

ENTRY_POINT_GROUP = "remuda"

_log = logging.getLogger("remuda.plugins")


class Plugin(Struct, kw_only=True):
    """One plugin, for `remuda plugins`. `fault` is the traceback of what went wrong, with the fix in its last line."""

    name: str
    distribution: str = ""
    version: str = ""
    hooks: list[str] = field(default_factory=list[str])
    provides: list[str] = field(default_factory=list[str])
    fault: str = ""


class Plugins:
    """The typed face of all plugins. There is no global one: `load_plugins` or a test makes it."""

    def __init__(self) -> None:
        self._pm = pluggy.PluginManager("remuda")
        self._pm.add_hookspecs(HookSpecs)
        self._plugins: dict[str, Plugin] = {}
        self.backends: Registry[Backend] = Registry("backend")
        self.templates: Registry[TemplateEngine] = Registry("template engine")
        self.formats: Registry[OutputFormat] = Registry("format")
        self.parsers: Registry[ParserKind] = Registry("parser")
        self.filters: Registry[Filter] = Registry("filter")
        self.models: dict[str, ModelEntry] = {}

    def add(self, plugin: object, name: str, *, distribution: str = "", version: str = "") -> Plugin:
        """Register a module or an object with hook implementations, and take what it hands over.

        Never raises for the plugin's faults: they are in the returned `fault`. A plugin with a fault in a name or a
        signature is taken out whole; one that fails inside a hook keeps what it had handed over before.
        """
        info = Plugin(name=name, distribution=distribution, version=version)
        if name in self._plugins:
            info.fault = f"another plugin is named {name!r}: rename one of the two entry points"
            _report(info)
            return info
        self._plugins[name] = info
        try:
            self._pm.register(plugin, name)
            self._pm.check_pending()
        except pluggy.PluginValidationError as error:
            if self._pm.is_registered(plugin):
                self._pm.unregister(plugin)
            self._fail(info, f"{error}\nFix: implement only hooks listed in `remuda.hookspecs`, with their arguments")
            return info
        info.hooks = sorted(caller.name for caller in self._pm.get_hookcallers(plugin) or ())
        self._collect(info)
        return info

    def describe(self) -> list[Plugin]:
        """All plugins, broken ones included, in the order of registration."""
        return list(self._plugins.values())

    def fault(self, name: str, text: str, *, distribution: str = "", version: str = "") -> None:
        """Note what went wrong with a plugin outside a hook; it need not have been added."""
        unknown = Plugin(name=name, distribution=distribution, version=version)
        self._fail(self._plugins.setdefault(name, unknown), text)

    def backend_formats(self) -> dict[str, frozenset[str]]:
        """The weight formats that each backend takes unasked, in order of registration.

        Imports the backends' modules. One that cannot be imported is reported, and takes none.
        """
        formats: dict[str, frozenset[str]] = {}
        for offer in self.backends.offers():
            try:
                formats[offer.name] = getattr(self.backends.resolve(offer.name), "formats", frozenset[str]())
            except Exception as error:
                formats[offer.name] = frozenset()
                self.fault(offer.source, f"{error}\nFix: repair or uninstall the backend {offer.name!r}")
        return formats

    def select_backend(self, model: ModelEntry) -> str | None:
        for info, call in self._each("remuda_select_backend"):
            name = self._guard(info, lambda call=call: call(model=model))
            if isinstance(name, str):
                return name
            if name is not None:
                self._fail(info, f"remuda_select_backend returned {type(name).__name__}\nFix: return a name or None")
        return None

    def routes(self) -> list[tuple[str, Callable[[Any], object]]]:
        """`(plugin name, blueprint maker)` of every plugin."""
        found: list[tuple[str, Callable[[Any], object]]] = []
        for info, call in self._each("remuda_register_routes"):

            def register(make: Callable[[Any], object], *, _name: str = info.name) -> None:
                found.append((_name, make))

            self._guard(info, lambda call=call, register=register: call(register=register))
        return found

    def register_commands(self, cli: click.Group) -> None:
        for info, call in self._each("remuda_register_commands"):
            self._guard(info, lambda call=call: call(cli=cli))

    def request_finished(self, receipt: Receipt) -> None:
        for info, call in self._each("remuda_request_finished"):
            self._guard(info, lambda call=call: call(receipt=receipt))

    def lifespans(self, app: Any) -> list[tuple[str, AbstractAsyncContextManager[None]]]:
        found: list[tuple[str, AbstractAsyncContextManager[None]]] = []
        for info, call in self._each("remuda_lifespan"):
            manager = self._guard(info, lambda call=call: call(app=app))
            if isinstance(manager, AbstractAsyncContextManager):
                found.append((info.name, cast(AbstractAsyncContextManager[None], manager)))
            elif manager is not None:
                text = f"remuda_lifespan returned {type(manager).__name__}"
                self._fail(info, f"{text}\nFix: return an async context manager, as @asynccontextmanager makes")
        return found

    def _collect(self, info: Plugin) -> None:
        def offer(registry: Registry[Any], kind: str) -> Callable[..., None]:
            def register(name: str, factory: str | Callable[..., object], *, hint: str = "") -> None:
                registry.add(Offer(name, factory, hint, info.name))
                info.provides.append(f"{kind} {name}")

            return register

        def model(name: str, weights: Path, *, format: str = "gguf", backend: str | None = None) -> None:
            parsed = parse_name(name)
            if parsed.key in self.models:
                raise PluginError(f"model {name!r} is registered twice: {self.models[parsed.key].source!r} has it too")
            entry = ModelEntry(name=parsed, weights=Path(weights), format=format, backend=backend, source=info.name)
            self.models[parsed.key] = entry
            info.provides.append(f"model {parsed}")

        doors = {
            "remuda_register_backends": offer(self.backends, "backend"),
            "remuda_register_templates": offer(self.templates, "template engine"),
            "remuda_register_formats": offer(self.formats, "format"),
            "remuda_register_parsers": offer(self.parsers, "parser"),
            "remuda_register_filters": offer(self.filters, "filter"),
            "remuda_register_models": model,
        }
        for hook, register in doors.items():
            for owner, call in self._each(hook):
                if owner is info:
                    self._guard(info, lambda call=call, register=register: call(register=register))

    def _each(self, hook: str) -> Iterator[tuple[Plugin, Callable[..., Any]]]:
        """Each implementation of `hook` by itself, last registered first, as pluggy orders them."""
        caller = getattr(self._pm.hook, hook)
        for impl in reversed(caller.get_hookimpls()):
            names = tuple(impl.argnames)
            function = impl.function

            def call(_function: Callable[..., Any] = function, _names: tuple[str, ...] = names, **given: Any) -> Any:
                return _function(**{name: given[name] for name in _names})

            yield self._plugins[impl.plugin_name], call

    def _guard(self, info: Plugin, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except RemudaError as error:
            self._fail(info, f"{error}")
        except Exception:
            self._fail(info, traceback.format_exc().rstrip())
        return None

    def _fail(self, info: Plugin, text: str) -> None:
        if text not in info.fault:
            info.fault = f"{info.fault}\n{text}".strip()
            _report(info)


def load_plugins(found: Iterable[EntryPoint] | None = None, extra: Iterable[tuple[str, object]] = ()) -> Plugins:
    """All plugins of the entry-point group `remuda`, then `extra` ones as `(name, module or object)`."""
    plugins = Plugins()
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP) if found is None else found, key=_builtin_first):
        distribution, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
        try:
            module = cast(ModuleType, point.load())
        except (Exception, SystemExit):
            fix = f"Fix: repair or uninstall {distribution or point.value!r}"
            text = f"{traceback.format_exc().rstrip()}\n{fix}"
            plugins.fault(point.name, text, distribution=distribution, version=version)
            continue
        plugins.add(module, point.name, distribution=distribution, version=version)
    for name, plugin in extra:
        plugins.add(plugin, name)
    return plugins


def _builtin_first(point: EntryPoint) -> tuple[bool, str]:
    return (not (point.dist is not None and point.dist.name == "remuda"), point.name)


def _report(info: Plugin) -> None:
    _log.error("plugin %r (%s): %s", info.name, info.distribution or "no distribution", info.fault)
