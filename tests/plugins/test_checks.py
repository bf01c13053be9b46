"""What can be seen to be wrong with a plugin's hooks: told with what is meant and the fix."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from remuda import hookimpl
from remuda.plugins import Plugins


async def _coroutine(usage: Any) -> float:
    return 1.0


async def _asynchronous(app: Any) -> Any:
    yield


def _generator(usage: Any) -> Any:
    yield 1.0


def _bare(register: Any) -> None:
    pass


def test_a_hook_of_another_version_may_be_optional() -> None:
    class Plugin:
        @hookimpl(optionalhook=True)
        def remuda_of_the_future(self, anything: Any) -> None: ...

        @hookimpl
        def remuda_keep_alive(self) -> float:
            return 1.0

    info = Plugins().add(Plugin(), "modern")
    assert (info.fault, info.hooks) == ("", ["remuda_keep_alive"])


def test_one_that_cannot_even_be_looked_at_is_told() -> None:
    class Opaque:
        def __dir__(self) -> list[str]:
            raise ValueError("no")

    info = Plugins().add(Opaque(), "opaque")
    assert info.fault.endswith("ValueError: no\nFix: repair or uninstall the plugin")


@pytest.mark.parametrize(
    ("hook", "function", "said", "fix"),
    [
        (
            "remuda_register_backend",
            hookimpl(lambda register: None),
            "there is no hook remuda_register_backend: is remuda_register_backends meant?",
            "give the function the name of a hook",
        ),
        ("remuda_zzz", hookimpl(lambda: None), "there is no hook remuda_zzz: there are remuda_configure,", "the name"),
        ("on_start", hookimpl(lambda: None), "there is no hook on_start: there are ", "the name of a hook"),
        ("remuda_keep_alive", hookimpl(_coroutine), "remuda_keep_alive is `async def`", "a plain `def`"),
        ("remuda_keep_alive", hookimpl(_generator), "remuda_keep_alive has a `yield`", "use `return`"),
        ("remuda_lifespan", hookimpl(_asynchronous), "remuda_lifespan has a `yield`", "put @asynccontextmanager"),
        ("remuda_register_backends", _bare, "remuda_register_backends is not marked as a hook", "put @remuda.hookimpl"),
        (
            "remuda_keep_alive",
            hookimpl(lambda use: 1.0),
            "remuda_keep_alive takes an argument 'use' that the hook does not have",
            "take no others than: usage",
        ),
        (
            "remuda_keep_alive",
            hookimpl(lambda self, usage: 1.0),
            "remuda_keep_alive takes an argument 'self' that the hook does not have",
            "let the entry point name an object of the class, not the class",
        ),
        (
            "remuda_keep_alive",
            partial(lambda usage: 1.0),
            "remuda_keep_alive is a partial and no function",
            "plain `def`",
        ),
        ("remuda_keep_alive", hookimpl(wrapper=True)(lambda: None), "is a hook wrapper", "leave out `wrapper=True`"),
    ],
)
def test_a_wrong_hook_is_told_with_the_fix_and_its_plugin_is_left_out(
    hook: str, function: Any, said: str, fix: str, caplog: pytest.LogCaptureFixture
) -> None:
    plugins = Plugins()
    good = hookimpl(lambda register: register("mine", dict))
    info = plugins.add(SimpleNamespace(**{hook: function, "remuda_register_parsers": good}), "wrong")
    assert said in info.fault
    assert info.fault.splitlines()[-1].startswith("Fix: ")
    assert fix in info.fault.splitlines()[-1]
    assert (info.hooks, info.provides, plugins.parsers.names()) == ([], [], [])
    assert caplog.records[0].getMessage().startswith("plugin 'wrong' (no distribution): ")
    next_one = plugins.add(SimpleNamespace(remuda_register_parsers=good), "next")
    assert (next_one.fault, next_one.provides) == ("", ["parser mine"])


def test_arguments_may_be_left_out_and_others_have_a_default() -> None:
    plugins = Plugins()
    plugin = SimpleNamespace(remuda_priority=hookimpl(lambda *, asking, more=3: more))
    assert plugins.add(plugin, "more").fault == ""


@pytest.mark.parametrize(
    ("name", "factory"), [("", dict), (3, dict), ("mine", 3), ("mine", "module"), ("mine", ":Class"), ("mine", None)]
)
def test_what_is_registered_must_be_a_name_and_a_factory(name: Any, factory: Any) -> None:
    plugins = Plugins()
    plugin = SimpleNamespace(remuda_register_backends=hookimpl(lambda register: register(name, factory)))
    info = plugins.add(plugin, "wrong")
    assert f"the backend {name!r} is registered with {factory!r}\nFix: register a name and a factory" in info.fault
    assert plugins.backends.names() == []


def test_hooks_that_hand_over_return_nothing() -> None:
    plugins = Plugins()
    info = plugins.add(SimpleNamespace(remuda_register_backends=hookimpl(lambda: ["steam"])), "wrong")
    assert info.fault.startswith("remuda_register_backends returned list\nFix: return nothing")


def test_a_door_is_closed_once_the_hook_is_over() -> None:
    kept: list[Any] = []

    def keep(register: Any) -> None:
        kept.append(register)

    plugins = Plugins()
    plugins.add(SimpleNamespace(remuda_register_backends=hookimpl(keep)), "keeper")
    with pytest.raises(Exception, match="called too late\nFix: call it before the hook returns"):
        kept[0]("late", dict)
    assert plugins.backends.names() == []


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("backends", "the backend 'mine' of plugin 'wrong' is a dict and no remuda.Backend"),
        ("templates", "the template engine 'mine' of plugin 'wrong' is a dict and no remuda.TemplateEngine"),
        ("formats", "the format 'mine' of plugin 'wrong' is a dict and no remuda.OutputFormat"),
        ("parsers", "the parser 'mine' of plugin 'wrong' is a dict and no remuda.ParserKind"),
        ("filters", "the filter 'mine' of plugin 'wrong' is a dict and no remuda.Filter"),
    ],
)
def test_what_a_factory_makes_is_checked_when_it_is_made(kind: str, wanted: str) -> None:
    plugins = Plugins()
    hook = hookimpl(lambda register: register("mine", dict))
    assert plugins.add(SimpleNamespace(**{f"remuda_register_{kind}": hook}), "wrong").fault == ""
    with pytest.raises(Exception, match=wanted):
        getattr(plugins, kind).get("mine")
