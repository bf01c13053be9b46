"""Template engines and formats of plugins that break their promise: the message says whose they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from remuda import hookimpl
from remuda.config import Config
from remuda.errors import BadRequest, PluginError
from remuda.hookspecs import RegisterFactory, TemplateTraits
from remuda.job import Job, Message
from remuda.model import ModelEntry, ModelFacts, parse_name
from remuda.output import Constraint
from remuda.pipeline.prompt import Prompter
from remuda.pipeline.settle import settle
from remuda.plugins import Plugins
from remuda.wire import Details, Options

pytestmark = pytest.mark.anyio


class _Careless:
    """A plugin whose template engine and format do what `acts` say, by the names of their methods."""

    def __init__(self, **acts: Any) -> None:
        self._acts = {"inspect": TemplateTraits(), "render": "p", "constraint": Constraint(grammar="g"), **acts}

    @hookimpl
    def remuda_register_templates(self, register: RegisterFactory) -> None:
        register("go", lambda: self)

    @hookimpl
    def remuda_register_formats(self, register: RegisterFactory) -> None:
        register("json", lambda: self)

    def inspect(self, template: str, *, timeout: float) -> Any:
        return self._act("inspect")

    def render(self, template: str, variables: Mapping[str, Any], *, timeout: float) -> Any:
        return self._act("render")

    def constraint(self, value: Any, *, timeout: float) -> Any:
        return self._act("constraint")

    async def close(self) -> None: ...

    def _act(self, name: str) -> Any:
        act = self._acts[name]
        return act() if act is str else _said(act)


async def _said(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


async def _prompted(plugin: _Careless) -> None:
    plugins, config = Plugins(), Config()
    plugins.add(plugin, "careless")
    entry = ModelEntry(name=parse_name("m"), weights=Path("w"), template="t")
    facts = ModelFacts(details=Details(family="llama"), size=1, modified=0, capabilities=["completion"])
    said = [Message("user", "hi")]
    job = Job(
        request_id="r", endpoint="/api/chat", name="m", entry=entry, options=Options(), format="json", messages=said
    )
    prompter = Prompter(config, plugins)
    plan = await settle(job, facts, prompter, plugins, config)
    await prompter.render(plan.job, facts, plan.chosen, 100, cast(Any, None))


@pytest.mark.parametrize(
    ("method", "of", "kind"),
    [("inspect", "go", "TemplateTraits"), ("render", "go", "str"), ("constraint", "json", "Constraint")],
)
async def test_it_is_named(method: str, of: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    whose = f"`{method}` of '{of}' of the plugin 'careless'"
    with pytest.raises(PluginError) as failed:
        await _prompted(_Careless(**{method: ZeroDivisionError("of a secret")}))
    assert str(failed.value) == f"{whose} raised ZeroDivisionError; the server's log has the details"
    assert "of a secret" in caplog.text
    with pytest.raises(PluginError) as failed:
        await _prompted(_Careless(**{method: 5}))
    assert str(failed.value) == f"{whose} returned int: it must return {kind}"
    with pytest.raises(PluginError) as failed:
        await _prompted(_Careless(**{method: str}))
    assert str(failed.value) == f"{whose} returned str at once: it must be `async def`"
    with pytest.raises(BadRequest, match="what the client may know"):
        await _prompted(_Careless(**{method: BadRequest("what the client may know")}))
