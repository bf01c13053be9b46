"""The typed face of all plugins: what the server asks, each question as one method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import pluggy

from ..config import Config, dotted
from ..errors import ConfigError, PluginError
from ..hookspecs import Asking, HookSpecs, Receipt, Usage
from ..model.entry import ModelEntry
from ..registry import Offer
from ..wire import PluginState
from . import offers
from .answers import MOST_URGENT, backend_name, seconds, urgency
from .asking import OBSERVED, Asker
from .checks import ARGUMENTS, check, names_of
from .doors import Door, factory_door, model_door
from .gauge import Gauge
from .hooked import Hooked, text_of
from .places import culprit, place_of
from .record import Plugin
from .settings import Reader, located
from .states import state_of
from .telling import Teller
from .worker import Busy, Late, Worker

if TYPE_CHECKING:
    import click

__all__ = ["Plugins"]

_CONFIGURE: Final = "remuda_configure"
T = TypeVar("T")


class Plugins:
    """There is no global one: `load_plugins` or a test makes it. Of `config` only `[plugins]` counts."""

    def __init__(self, config: Config | None = None, sources: Mapping[str, str] | None = None) -> None:
        """`sources` is `Settings.sources`: where values come from, for the messages."""
        self._config, self._sources = config or Config(), sources or {}
        self.limits = self._config.plugins
        self.folder: Path | None = None
        """Where the plugins that are single files lie."""
        self._pm = pluggy.PluginManager("remuda")
        self._pm.add_hookspecs(HookSpecs)
        self._plugins: dict[str, Plugin] = {}
        self._workers: dict[str, Worker] = {}
        self._implementations: dict[tuple[str, str], Hooked] = {}
        self._hooked: dict[str, tuple[Hooked, ...]] = dict.fromkeys(ARGUMENTS, ())
        """Of each hook the implementations, in the order in which they are called: last registered first."""
        self._filter_gauges: dict[str, Gauge] = {}
        self._tell = Teller()
        self._ask = Asker(self.limits, self._tell)
        self.backends = offers.backends(self.at_start)
        self.templates = offers.templates(self.at_start)
        self.formats = offers.formats(self.at_start)
        self.parsers = offers.parsers(self.at_start)
        self.filters = offers.filters(self.at_start)
        self.models: dict[str, ModelEntry] = {}

    def add(self, plugin: object, name: str, *, distribution: str = "", version: str = "", file: str = "") -> Plugin:
        """Register a module or an object with hook implementations, and take what it hands over.

        Never raises for the plugin's faults: they are in the returned `fault`. A plugin with a fault in a name or a
        signature, or in `remuda_configure`, is taken out whole; one that fails inside another hook keeps what it had
        handed over before. Raises `ConfigError` for settings that the plugin refuses.
        """
        return self.load(lambda: plugin, name, distribution=distribution, version=version, file=file)

    def load(
        self, find: Callable[[], object], name: str, *, distribution: str = "", version: str = "", file: str = ""
    ) -> Plugin:
        """As `add`, for a plugin that `find` has to import."""
        info = Plugin(name=name, distribution=distribution, version=version, file=file)
        if name in self._plugins:
            which = "the file" if file else "one of the two entry points"
            self._tell.fault(info, f"another plugin is named {name!r}\nFix: rename {which}")
            info.name = file or f"{name} ({distribution or 'again'})"
            self._plugins[info.name] = info
            return info
        self._plugins[name] = info
        began = time.perf_counter_ns()
        try:
            plugin = self.at_start(name, find)
        except Exception as error:
            text = text_of(error)
            fix = f"repair or uninstall {distribution or file or name!r}"
            self._tell.fault(info, text if "\nFix: " in text else f"{text}\nFix: {fix}")
        else:
            self._take(plugin, info)
        info.load_ns = time.perf_counter_ns() - began
        return info

    def leave_out(self, name: str, *, distribution: str = "", version: str = "", file: str = "") -> None:
        """List a plugin that the configuration disables."""
        info = Plugin(name=name, distribution=distribution, version=version, file=file, disabled=True)
        self._plugins.setdefault(name, info)

    def describe(self) -> list[Plugin]:
        """All plugins, broken and disabled ones included, in the order of registration."""
        return list(self._plugins.values())

    def states(self) -> list[PluginState]:
        """As `describe`, with what each has cost until now."""
        plugins = self._plugins.values()
        return [state_of(info, self._of(info), self._filters_of(info), self._ask.hangs) for info in plugins]

    def fault(self, name: str, text: str, *, distribution: str = "", version: str = "") -> None:
        """Note what went wrong with a plugin outside a hook; it need not have been added."""
        unknown = Plugin(name=name, distribution=distribution, version=version)
        self._tell.fault(self._plugins.setdefault(name, unknown), text)

    def at_start(self, name: str, function: Callable[[], T]) -> T:
        """`function()`, which runs code of the plugin of that name: in its thread, unless it is Remuda's own.

        Raises what it raises, as an `Exception` in any case; `PluginError` when it is given up.
        """
        info = self._plugins.get(name)
        timeout = self.limits.start_timeout
        try:
            return function() if info is None or info.own else self._worker(info).call(function, timeout)
        except Late:
            text = f"the plugin {name!r} took more than {timeout:g} s to start and was given up"
            raise PluginError(f"{text}\nFix: do slow work elsewhere, or raise plugins.start_timeout") from None
        except Busy:
            raise PluginError(f"the plugin {name!r} hangs\nFix: repair or uninstall it") from None
        except SystemExit as error:
            raise RuntimeError(f"the plugin {name!r} raised SystemExit: {error}") from error

    @property
    def has_others(self) -> bool:
        """Whether there are plugins that are not Remuda's own."""
        return any(not info.own for info in self._plugins.values())

    def held_up(self, frame: FrameType | None, seconds: float) -> None:
        """Tell of the plugin, if it is one, whose code the event loop has been in for so long. For any thread."""
        found = culprit(frame, {info.name: info.place for info in list(self._plugins.values()) if info.place})
        if found is not None:
            name, where = found
            text = f"{where} has held up the event loop for {seconds:.1f} s, and everybody waits"
            fix = "Fix: do slow work in a thread: anyio.to_thread.run_sync"
            self._tell.fault(self._plugins[name], f"{text}\n{fix}", "event loop")

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
                missing = offer.hint if isinstance(error.__cause__, ImportError) else ""
                self.fault(
                    offer.source, f"{error}\nFix: {missing or f'repair or uninstall the backend {offer.name!r}'}"
                )
        return formats

    def select_backend(self, model: ModelEntry) -> str | None:
        return self._first("remuda_select_backend", {"model": model}, backend_name, "a name")

    def keep_alive(self, usage: Usage) -> float | None:
        """Seconds that a model stays, `math.inf` for ever; None if no plugin says."""
        return self._first("remuda_keep_alive", {"usage": usage}, seconds, "seconds from 0 on, math.inf for ever,")

    def priority(self, asking: Asking) -> int:
        """How urgent a request is; 0 if no plugin says."""
        wanted = f"a whole number from {-MOST_URGENT} to {MOST_URGENT}"
        return self._first("remuda_priority", {"asking": asking}, urgency, wanted) or 0

    def request_finished(self, receipt: Receipt) -> None:
        """Returns at once: observers are called in threads of their own."""
        if hooked := self._hooked[OBSERVED]:
            self._ask.tell(hooked, receipt)

    def settle(self, seconds: float) -> bool:
        """Wait until observers have all receipts, no longer than so long; whether they have. Blocking."""
        return not self.behind(seconds)

    def behind(self, seconds: float) -> list[str]:
        """As `settle`: the names of the plugins that have not."""
        return self._ask.behind(seconds)

    def routes(self) -> list[tuple[str, Callable[[Any], object]]]:
        """`(plugin name, blueprint maker)` of every plugin. A maker that hangs raises `PluginError`."""
        found: list[tuple[str, Callable[[Any], object]]] = []
        for each in self._hooked["remuda_register_routes"]:
            door, name = Door(), each.info.name

            def register(make: Callable[[Any], object], *, _door: Door = door, _name: str = name) -> None:
                _door.check()
                found.append((_name, lambda pipeline: self.at_start(_name, lambda: make(pipeline))))

            self._ask.once(each, {"register": register})
            door.open = False
        return found

    def register_commands(self, cli: click.Group) -> None:
        for each in self._hooked["remuda_register_commands"]:
            self._ask.once(each, {"cli": cli})

    def lifespans(self, app: Any) -> list[tuple[str, AbstractAsyncContextManager[None]]]:
        """Blocking, for no longer than each hook may take."""
        found: list[tuple[str, AbstractAsyncContextManager[None]]] = []
        for each in self._hooked["remuda_lifespan"]:
            manager = self._ask.once(each, {"app": app}, returns=True)
            if isinstance(manager, AbstractAsyncContextManager):
                found.append((each.info.name, cast(AbstractAsyncContextManager[None], manager)))
            elif manager is not None:
                text = f"remuda_lifespan returned {type(manager).__name__}"
                fix = "Fix: return an async context manager, as @asynccontextmanager makes"
                each.gauge.faults += 1
                self._tell.fault(each.info, f"{text}\n{fix}", each.hook)
        return found

    def filter_gauge(self, offer: Offer) -> Gauge:
        """What counts the calls and the faults of a filter, and says when it is left alone."""
        return self._filter_gauges.setdefault(offer.name, self._gauge())

    def filter_failed(self, offer: Offer, text: str, ns: int) -> None:
        """Count and tell a fault of a filter."""
        info, what = self._plugins[offer.source], f"the filter {offer.name!r}"
        self._tell.fault(info, text, what)
        if self.filter_gauge(offer).failed(ns):
            self._tell.rests(info, what, self.limits.faults, self.limits.cooldown, text)

    def _take(self, plugin: object, info: Plugin) -> None:
        if self._pm.is_registered(plugin):
            known = self._pm.get_name(plugin)
            self._tell.fault(info, f"it is the plugin {known!r} once more\nFix: take one of the two entry points away")
            return
        try:
            fault = self.at_start(info.name, lambda: check(plugin))
        except Exception as error:
            fault = text_of(error)
        if not fault:
            try:
                self._pm.register(plugin, info.name)
                self._pm.check_pending()
            except Exception as error:
                fault = f"{error}\nFix: implement only hooks listed in `remuda.hookspecs`, with their arguments"
        if fault:
            if self._pm.is_registered(plugin):
                self._pm.unregister(plugin)
            self._tell.fault(info, fault)
            return
        info.place = "" if info.own else place_of(plugin)
        found = self._pm.get_hookcallers(plugin) or ()
        info.hooks = sorted(caller.name for caller in found if caller.name in ARGUMENTS)  # others are optional
        for hook in info.hooks:
            self._order(hook)
        self._configure(info)
        if info.faults:
            self._pm.unregister(plugin)
            for hook in info.hooks:
                self._order(hook)
            return
        self._collect(info)

    def _order(self, hook: str) -> None:
        """Take over from pluggy in which order a hook's implementations are called."""
        found: list[Hooked] = []
        for impl in reversed(getattr(self._pm.hook, hook).get_hookimpls()):
            key = impl.plugin_name, hook
            if key not in self._implementations:
                info = self._plugins[impl.plugin_name]
                worker = None if info.own else self._worker(info)
                names = names_of(impl.function, hook)
                self._implementations[key] = Hooked(info, hook, impl.function, names, self._gauge(), worker)
            found.append(self._implementations[key])
        self._hooked[hook] = tuple(found)

    def _configure(self, info: Plugin) -> None:
        """Raises `ConfigError`: a plugin's own settings are as binding as all others."""
        reader = Reader(info.name, self._config, self._sources)
        each = self._implementations.get((info.name, _CONFIGURE))
        if each is not None:
            try:
                self._ask.once(each, {"settings": reader})
            except ConfigError as error:
                raise reader.refused(error) from None
        if reader.error is not None:
            raise reader.error
        if info.name in self.limits.settings and not reader.used and not info.faults:
            key = "plugins", "settings", info.name
            text = f"{dotted(key)}: the plugin {info.name!r} takes no settings: take the table away"
            raise located(text, key, self._sources)

    def _collect(self, info: Plugin) -> None:
        door = Door()
        doors = {
            "remuda_register_backends": factory_door(door, info, self.backends, "backend"),
            "remuda_register_templates": factory_door(door, info, self.templates, "template engine"),
            "remuda_register_formats": factory_door(door, info, self.formats, "format"),
            "remuda_register_parsers": factory_door(door, info, self.parsers, "parser"),
            "remuda_register_filters": factory_door(door, info, self.filters, "filter"),
            "remuda_register_models": model_door(door, info, self.models),
        }
        for hook, register in doors.items():
            if (each := self._implementations.get((info.name, hook))) is not None:
                self._ask.once(each, {"register": register})
        door.open = False

    def _first(self, hook: str, given: dict[str, Any], parse: Callable[[Any], T | None], wanted: str) -> T | None:
        hooked = self._hooked[hook]
        return self._ask.first(hooked, given, parse, wanted) if hooked else None

    def _worker(self, info: Plugin) -> Worker:
        if info.name not in self._workers:
            self._workers[info.name] = Worker(info.name)
        return self._workers[info.name]

    def _gauge(self) -> Gauge:
        return Gauge(self.limits.faults, self.limits.cooldown)

    def _of(self, info: Plugin) -> list[Hooked]:
        found = (self._implementations.get((info.name, hook)) for hook in info.hooks)
        return [each for each in found if each is not None]

    def _filters_of(self, info: Plugin) -> dict[str, Gauge]:
        return {offer.name: self.filter_gauge(offer) for offer in self.filters.offers() if offer.source == info.name}
