"""A plugin looked over before anything of it is called: what can be seen to be wrong is told with the fix."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final, cast

from ..hookspecs import HookSpecs

__all__ = ["ARGUMENTS", "check", "names_of"]

_PREFIX: Final = "remuda_"
_MARK: Final = "remuda_impl"
"""What `hookimpl` leaves on a function."""
ARGUMENTS: Final[dict[str, frozenset[str]]] = {
    name: frozenset(inspect.signature(hook).parameters) - {"self"}
    for name, hook in vars(HookSpecs).items()
    if name.startswith(_PREFIX)
}
"""The arguments of each hook."""


def check(plugin: object) -> str:
    """What is wrong with the plugin's hooks; empty if nothing is."""
    return "\n".join(text for name, found in _callables(plugin) if (text := _fault(name, found)))


def names_of(function: Callable[..., Any], hook: str) -> tuple[str, ...]:
    """The arguments of the hook that the function takes."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return tuple(each.name for each in parameters if each.kind in kinds and each.name in ARGUMENTS[hook])


def _callables(plugin: object) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Functions, and what else has the name of a hook."""
    for name in dir(plugin):
        try:
            found = getattr(plugin, name)
        except Exception:  # a property of theirs that has its own ideas
            continue
        if inspect.isroutine(found) or (name in ARGUMENTS and callable(found)):
            yield name, cast(Callable[..., Any], found)


def _fault(name: str, function: Callable[..., Any]) -> str:
    if not inspect.isroutine(function):
        return f"{name} is a {type(function).__name__} and no function\nFix: write it as a plain `def`"
    options = cast("Mapping[str, Any] | None", getattr(function, _MARK, None))
    if options is None:
        if name not in ARGUMENTS:
            return ""
        return f"{name} is not marked as a hook\nFix: put @remuda.hookimpl before it, or give it another name"
    hook = str(options.get("specname") or name)
    if hook not in ARGUMENTS:
        return "" if options.get("optionalhook") else _unknown(hook)
    if options.get("hookwrapper") or options.get("wrapper"):
        return f"{hook} is a hook wrapper, and each hook is called by itself\nFix: leave out `wrapper=True`"
    if inspect.iscoroutinefunction(function):
        return f"{hook} is `async def`, and hooks are called and not awaited\nFix: write it as a plain `def`"
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        context = hook == "remuda_lifespan"
        fix = "put @asynccontextmanager between @remuda.hookimpl and it" if context else "use `return`"
        return f"{hook} has a `yield`, and hooks are plain functions\nFix: {fix}"
    return _signature(hook, function)


def _unknown(hook: str) -> str:
    close = get_close_matches(hook, ARGUMENTS, 1)
    advice = f"is {close[0]} meant?" if close else f"there are {', '.join(ARGUMENTS)}"
    return f"there is no hook {hook}: {advice}\nFix: give the function the name of a hook"


def _signature(hook: str, function: Callable[..., Any]) -> str:
    wanted = ARGUMENTS[hook]
    there = ", ".join(sorted(wanted)) or "none"
    for each in inspect.signature(function).parameters.values():
        if each.kind in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
            continue
        named = each.kind is not inspect.Parameter.POSITIONAL_ONLY and each.name in wanted
        if not named and each.default is inspect.Parameter.empty:
            text = f"{hook} takes an argument {each.name!r} that the hook does not have"
            if each.name == "self":
                return f"{text}\nFix: let the entry point name an object of the class, not the class"
            return f"{text}\nFix: take no others than: {there}"
    return ""
