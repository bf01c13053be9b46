"""Plugins: found, registered, asked. The only module that touches `pm.hook`.

pluggy guards nothing: one entry point that fails to import would stop the server, and an exception in a hook would
stop the hooks after it. So entry points are loaded here one by one and every implementation is called by itself;
what fails is kept with the plugin's name, its traceback and the fix, and the others go on.
"""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import pluggy
from msgspec import Struct, field

from .backend import Backend
from .errors import PluginError, RemudaError
from .hookspecs import Asking, Filter, HookSpecs, OutputFormat, Receipt, TemplateEngine, Usage
from .model.entry import NO_WEIGHTS, ModelEntry
from .model.ggml import KNOWN_TYPES, known_type
from .model.name import parse_name
from .output import ParserKind
from .registry import Offer, Registry
from .wire.keep_alive import LONGEST

if TYPE_CHECKING:
    import click

__all__ = ["ENTRY_POINT_GROUP", "Plugin", "Plugins", "load_plugins"]

ENTRY_POINT_GROUP = "remuda"

_WITH_REQUESTS: Final = frozenset(
    {"remuda_keep_alive", "remuda_priority", "remuda_request_finished", "remuda_select_backend"}
)
"""Hooks called on the event loop while requests are served."""
_SLOW: Final = 0.05
"""Seconds that one of these may take without being named in the log."""
_MOST_URGENT: Final = 1_000_000

_log = logging.getLogger("remuda.plugins")

T = TypeVar("T")


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
        self._failed: set[tuple[str, str]] = set()
        self._slow: set[tuple[str, str]] = set()
        """Plugins and their hooks that were reported. Once is enough: some are called with every request."""
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
        if self._pm.is_registered(plugin):
            known = self._pm.get_name(plugin)
            self._fail(info, f"it is the plugin {known!r} once more\nFix: take one of the two entry points away")
            return info
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
        return self._first("remuda_select_backend", _name, "a name", model=model)

    def keep_alive(self, usage: Usage) -> float | None:
        """Seconds that a model stays, `math.inf` for ever; None if no plugin says."""
        return self._first("remuda_keep_alive", _seconds, "seconds from 0 on, math.inf for ever,", usage=usage)

    def priority(self, asking: Asking) -> int:
        """How urgent a request is; 0 if no plugin says."""
        wanted = f"a whole number from {-_MOST_URGENT} to {_MOST_URGENT}"
        return self._first("remuda_priority", _priority, wanted, asking=asking) or 0

    def routes(self) -> list[tuple[str, Callable[[Any], object]]]:
        """`(plugin name, blueprint maker)` of every plugin."""
        found: list[tuple[str, Callable[[Any], object]]] = []
        for info, call in self._each("remuda_register_routes"):

            def register(make: Callable[[Any], object], *, _name: str = info.name) -> None:
                found.append((_name, make))

            call(register=register)
        return found

    def register_commands(self, cli: click.Group) -> None:
        for _, call in self._each("remuda_register_commands"):
            call(cli=cli)

    def request_finished(self, receipt: Receipt) -> None:
        for _, call in self._each("remuda_request_finished"):
            call(receipt=receipt)

    def lifespans(self, app: Any) -> list[tuple[str, AbstractAsyncContextManager[None]]]:
        found: list[tuple[str, AbstractAsyncContextManager[None]]] = []
        for info, call in self._each("remuda_lifespan"):
            manager = call(app=app)
            if isinstance(manager, AbstractAsyncContextManager):
                found.append((info.name, cast(AbstractAsyncContextManager[None], manager)))
            elif manager is not None:
                text = f"remuda_lifespan returned {type(manager).__name__}"
                fix = "Fix: return an async context manager, as @asynccontextmanager makes"
                self._fail(info, f"{text}\n{fix}", "remuda_lifespan")
        return found

    def _collect(self, info: Plugin) -> None:
        def offer(registry: Registry[Any], kind: str) -> Callable[..., None]:
            def register(name: str, factory: str | Callable[..., object], *, hint: str = "") -> None:
                registry.add(Offer(name, factory, hint, info.name))
                info.provides.append(f"{kind} {name}")

            return register

        def model(
            name: str,
            weights: Path | None = None,
            *,
            format: str = "gguf",
            model_type: str | None = None,
            backend: str | None = None,
            capabilities: Sequence[str] = (),
            context_length: int = 0,
        ) -> None:
            parsed = parse_name(name)
            if parsed.key in self.models:
                raise PluginError(f"model {name!r} is registered twice: {self.models[parsed.key].source!r} has it too")
            if model_type is not None and known_type(model_type) is None:
                raise PluginError(f"model {name!r}: model_type is {model_type!r}; it must be one of {KNOWN_TYPES}")
            entry = ModelEntry(
                name=parsed,
                weights=NO_WEIGHTS if weights is None else Path(weights),
                format=format,
                model_type=model_type,
                backend=backend,
                capabilities=tuple(capabilities),
                context_length=context_length,
                source=info.name,
            )
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
                    call(register=register)

    def _first(self, hook: str, parse: Callable[[Any], T | None], wanted: str, **given: Any) -> T | None:
        """The first answer that `parse` takes. What it takes for None, without being it, is reported."""
        for info, call in self._each(hook):
            answer = call(**given)
            if answer is None:
                continue
            if (parsed := parse(answer)) is not None:
                return parsed
            shown = str(answer) if isinstance(answer, float) else type(answer).__name__
            self._fail(info, f"{hook} returned {shown}\nFix: return {wanted} or None", hook)
        return None

    def _each(self, hook: str) -> Iterator[tuple[Plugin, Callable[..., Any]]]:
        """Each implementation of `hook` by itself, last registered first, as pluggy orders them.

        Calling one never raises: what goes wrong is reported, and it returns None.
        """
        caller = getattr(self._pm.hook, hook)
        for impl in reversed(caller.get_hookimpls()):
            info, names, function = self._plugins[impl.plugin_name], tuple(impl.argnames), impl.function

            def call(
                _info: Plugin = info,
                _names: tuple[str, ...] = names,
                _function: Callable[..., Any] = function,
                **given: Any,
            ) -> Any:
                return self._guard(_info, hook, lambda: _function(**{name: given[name] for name in _names}))

            yield info, call

    def _guard(self, info: Plugin, hook: str, call: Callable[[], Any]) -> Any:
        begin = time.monotonic()
        try:
            try:
                return call()
            finally:
                self._watch(info, hook, time.monotonic() - begin)
        except RemudaError as error:
            self._fail(info, f"{error}", hook)
        except Exception:
            self._fail(info, traceback.format_exc().rstrip(), hook)
        return None

    def _watch(self, info: Plugin, hook: str, took: float) -> None:
        if took > _SLOW and hook in _WITH_REQUESTS and (info.name, hook) not in self._slow:
            self._slow.add((info.name, hook))
            text = "plugin %r: %s took %.0f ms, and every request waited. Fix: do slow work elsewhere"
            _log.warning(text, info.name, hook, took * 1000)

    def _fail(self, info: Plugin, text: str, hook: str = "") -> None:
        """Of each hook only the first failure counts; nor does what was told before."""
        if (info.name, hook) in self._failed or text in info.fault:
            return
        if hook:
            self._failed.add((info.name, hook))
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


def _name(answer: Any) -> str | None:
    return answer if isinstance(answer, str) else None


def _seconds(answer: Any) -> float | None:
    """None for what is no number of seconds."""
    if isinstance(answer, bool) or not isinstance(answer, (int, float)) or not answer >= 0:
        return None
    return float(answer) if answer <= LONGEST else math.inf


def _priority(answer: Any) -> int | None:
    whole = isinstance(answer, int) and not isinstance(answer, bool)
    return int(answer) if whole and abs(answer) <= _MOST_URGENT else None
