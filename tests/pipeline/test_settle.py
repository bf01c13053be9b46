"""What is decided before any work, with templates and formats that say what a test says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from remuda import hookimpl
from remuda.config import Config
from remuda.errors import BadRequest
from remuda.hookspecs import RegisterFactory, TemplateTraits
from remuda.job import Job, Message
from remuda.model import ModelEntry, ModelFacts, parse_name
from remuda.output import Constraint, OutputParser, ParserKind, ParserView
from remuda.pipeline.prompt import Prompter
from remuda.pipeline.settle import Plan, settle
from remuda.plugins import Plugins
from remuda.wire import Details, Options
from remuda.wire.chat import Tool, ToolFunction

pytestmark = pytest.mark.anyio

TOOLS = (Tool(function=ToolFunction(name="look")), Tool(function=ToolFunction(name="jump")))
THINKS = TemplateTraits(thinking=True, think_open="<t>", think_close="</t>")
STOPS = TemplateTraits(stops=("END",))


class _Templates:
    """A template's source is a key of `known`."""

    known: Mapping[str, TemplateTraits] = {
        "plain": TemplateTraits(),
        "thinks": THINKS,
        "stops": STOPS,
        "calls": TemplateTraits(tools=True, tool_tag="<c>"),
    }

    async def inspect(self, template: str, *, timeout: float) -> TemplateTraits:
        return self.known[template]

    async def render(self, template: str, variables: Mapping[str, Any], *, timeout: float) -> str:
        raise NotImplementedError

    async def close(self) -> None: ...


class _Format:
    """The constraint tells what it was made from."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def constraint(self, value: Any, *, timeout: float) -> Constraint:
        return Constraint(grammar=f"{self._name} {value}")

    async def close(self) -> None: ...


class _Calls(ParserKind):
    stage = "tools"

    def applies(self, view: ParserView) -> bool:
        return bool(view.tool_tag)

    def open(self, view: ParserView) -> OutputParser:
        raise NotImplementedError

    def forced(self, view: ParserView, name: str | None) -> Any:
        return {"type": "lark", "of": name} if name != "jump" else None


class _Thinks(_Calls):
    stage = "thinking"

    def applies(self, view: ParserView) -> bool:
        return view.think


class _Some:
    @hookimpl
    def remuda_register_templates(self, register: RegisterFactory) -> None:
        register("go", _Templates)

    @hookimpl
    def remuda_register_formats(self, register: RegisterFactory) -> None:
        for name in ("json", "json_schema", "lark"):
            register(name, lambda name=name: _Format(name))

    @hookimpl
    def remuda_register_parsers(self, register: RegisterFactory) -> None:
        register("json", _Calls)
        register("thinks", _Thinks)


async def _settle(own: str = "plain", /, family: str = "llama", **fields: Any) -> Plan:
    plugins, config = Plugins(), Config()
    plugins.add(_Some(), "some")
    entry = ModelEntry(name=parse_name("m"), weights=Path("w"), template=own)
    facts = ModelFacts(details=Details(family=family), size=1, modified=0, capabilities=["completion"])
    job = Job(request_id="r", endpoint="/api/chat", name="m", entry=entry, options=Options())
    job = structs.replace(job, **{"messages": [Message("user", "hi")], **fields})
    return await settle(job, facts, Prompter(config, plugins), plugins, config)


@pytest.mark.parametrize(
    ("template", "family", "asked", "settled"),
    [
        ("plain", "llama", None, None),
        ("plain", "llama", False, False),
        ("thinks", "llama", None, True),
        ("thinks", "llama", False, False),
        ("thinks", "llama", "max", "max"),
        ("thinks", "gptoss", "max", "high"),
        ("plain", "gpt-oss", None, True),
    ],
)
async def test_a_model_that_can_think_does_unless_told_otherwise(
    template: str, family: str, asked: Any, settled: Any
) -> None:
    plan = await _settle(template, family, think=asked)
    assert (plan.job.think, plan.view.think) == (settled, bool(settled))


@pytest.mark.parametrize(
    ("template", "options", "fields", "stops"),
    [
        ("stops", Options(), {}, ("END",)),
        ("stops", Options(stop=("own",)), {}, ("own",)),
        ("stops", Options(), {"prompt": "raw"}, ()),
        ("plain", Options(), {"template": "stops"}, ()),
    ],
)
async def test_an_answer_stops_where_its_template_says_if_nobody_else_does(
    template: str, options: Options, fields: dict[str, Any], stops: tuple[str, ...]
) -> None:
    assert (await _settle(template, options=options, **fields)).job.options.stop == stops


@pytest.mark.parametrize(("family", "asked", "shift"), [("llama", None, True), ("deepseek2", None, False)])
async def test_older_text_is_forgotten_where_a_family_can(family: str, asked: bool | None, shift: bool) -> None:
    assert (await _settle(family=family, shift=asked)).job.shift is shift
    for told in (True, False):
        assert (await _settle(family=family, shift=told)).job.shift is told


@pytest.mark.parametrize(
    ("format", "grammar"),
    [
        ("json", "json json"),
        ({"type": "lark", "x": 1}, "lark {'type': 'lark', 'x': 1}"),
        ({"type": "object"}, "json_schema {'type': 'object'}"),
        ({"type": ["object"]}, "json_schema {'type': ['object']}"),
        ({}, "json_schema {}"),
    ],
)
async def test_a_format_goes_to_whoever_is_registered_for_it(format: Any, grammar: str) -> None:
    plan = await _settle(format=format)
    assert plan.constraint == Constraint(grammar=grammar)


@pytest.mark.parametrize(
    ("prompt", "opened"), [("A:", False), ("A:<t>", True), ("A: <t>\n ", True), ("<t>x</t>", False)]
)
async def test_thinking_is_free_of_the_constraint(prompt: str, opened: bool) -> None:
    plan = await _settle("thinks", format="json")
    bound = Constraint(grammar="json json", open="<t>", close="</t>", opened=opened)
    assert plan.constraint_after(prompt) == bound
    silent = await _settle("thinks", format="json", think=False)
    assert silent.constraint_after(prompt) == Constraint(grammar="json json")
    assert (await _settle("thinks")).constraint_after(prompt) is None


async def test_a_demanded_call_is_a_constraint_of_the_models_own_syntax() -> None:
    plan = await _settle("calls", tools=TOOLS, tool_choice="look")
    assert plan.constraint == Constraint(grammar="lark {'type': 'lark', 'of': 'look'}")
    assert [kind.stage for kind in plan.kinds] == ["tools"]
    any_tool = await _settle("calls", tools=TOOLS, tool_choice="")
    assert any_tool.constraint == Constraint(grammar="lark {'type': 'lark', 'of': None}")
    with pytest.raises(BadRequest, match="cannot demand a call from this model"):
        await _settle("calls", tools=TOOLS, tool_choice="jump")
    with pytest.raises(BadRequest, match="exclude each other"):
        await _settle("calls", tools=TOOLS, tool_choice="", format="json")


async def test_a_model_that_knows_no_tools_is_told_of_them_when_a_call_is_demanded() -> None:
    plan = await _settle("plain", tools=TOOLS, tool_choice="")
    assert [message.role for message in plan.job.messages] == ["system", "user"]
    assert '"name":"look"' in plan.job.messages[0].content
    assert [kind.stage for kind in plan.kinds] == ["tools"]
    with pytest.raises(BadRequest, match="does not support tools"):
        await _settle("plain", tools=TOOLS)


@pytest.mark.parametrize(("family", "kept"), [("qwen3", "b"), ("qwen3moe", "b"), ("llama", "<think>a</think>\n\nb")])
async def test_old_thoughts_of_some_models_do_not_go_back_to_them(family: str, kept: str) -> None:
    thought = Message("assistant", "<think>a</think>\n\nb")
    plan = await _settle(family=family, messages=[Message("user", "x"), thought, Message("user", "y"), thought])
    assert [message.content for message in plan.job.messages] == ["x", kept, "y", thought.content]


async def test_raw_text_is_only_parsed_for_thinking_that_was_asked_for() -> None:
    assert (await _settle("thinks", prompt="raw")).kinds == []
    assert [kind.stage for kind in (await _settle("thinks", prompt="raw", think=True)).kinds] == ["thinking"]
