"""The two engines and the process behind them: what a template may do, and what it may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from remuda.errors import BadRequest, EngineError
from remuda.hookspecs import TemplateEngine
from remuda.plugins import Plugins
from remuda_plugins.templates.engines import GoEngine, JinjaEngine, template_worker

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_blocking")]

Engines = dict[str, TemplateEngine]
USER: dict[str, Any] = {"messages": [{"role": "user", "content": "hé <|x|> {{ x }}"}]}
ENDLESS = {
    "jinja": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "go": "{{ range 99999 }}{{ range 99999 }}{{ end }}{{ end }}",
}


@pytest.fixture(scope="module")
async def engines() -> AsyncGenerator[Engines, None]:
    worker = template_worker()
    engines: Engines = {"jinja": JinjaEngine(worker), "go": GoEngine(worker)}
    yield engines
    for engine in engines.values():
        await engine.close()


async def test_both_render(engines: Engines) -> None:
    jinja = await engines["jinja"].render("{{ messages[0].content }}", USER, timeout=10)
    go = await engines["go"].render("{{ range .Messages }}{{ .Content }}{{ end }}", USER, timeout=10)
    assert jinja == go == "hé <|x|> {{ x }}"


async def test_both_tell_what_a_template_can_say(engines: Engines) -> None:
    jinja = await engines["jinja"].inspect("{{ tools }}<think></think>", timeout=10)
    assert (jinja.tools, jinja.thinking, jinja.think_open) == (True, True, "<think>")
    go = await engines["go"].inspect("{{ .Prompt }}{{ .Suffix }}", timeout=10)
    assert (go.messages, go.insert) == (False, True)


async def test_both_are_registered(plugins: Plugins) -> None:
    try:
        assert {"go", "jinja"} <= set(plugins.templates.names())
        prompt = await plugins.templates.get("go").render("{{ .Prompt }}", USER, timeout=10)
        assert prompt == USER["messages"][0]["content"]
    finally:
        for engine in plugins.templates.made():
            await engine.close()


async def test_what_a_template_can_say_is_remembered() -> None:
    engine = GoEngine()
    first = await engine.inspect("{{ .Messages }}", timeout=10)
    await engine.close()
    assert await engine.inspect("{{ .Messages }}", timeout=0) == first


async def test_only_so_many_templates_are_remembered() -> None:
    engine = GoEngine()
    for number in range(65):
        await engine.inspect(f"{number}", timeout=10)
    await engine.close()
    await engine.inspect("1", timeout=0)
    with pytest.raises(EngineError, match="was closed"):
        await engine.inspect("0", timeout=0)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ .Prompt", "template: :1: unclosed action"),
        ("a\n{{ nofunction }}", 'template: :2: function "nofunction" not defined'),
        (
            "{{ .Prompt.x }}",
            'template: :1:10: executing "" at <.Prompt.x>: can\'t evaluate field x in type interface {}',
        ),
    ],
)
async def test_errors_of_go_templates_are_gos(engines: Engines, template: str, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await engines["go"].render(template, USER, timeout=10)
    assert str(caught.value).startswith(text)


async def test_inspecting_a_broken_template_says_what_is_wrong(engines: Engines) -> None:
    with pytest.raises(BadRequest, match=r"template: :1: unclosed action"):
        await engines["go"].inspect("{{ .Prompt", timeout=10)


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{{ x", "the model's prompt template failed: TemplateSyntaxError"),
        ("{{ raise_exception('only user and assistant') }}", "prompt template failed: only user and assistant"),
        ("{{ raise_exception('') }}", "an error without words"),
        ("{{ raise_exception('x' * 9999) }}", "xxx"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "unsafe"),
        ("{{ (''|attr('__class__')).__mro__ }}", "unsafe"),
        ("{{ [''] | map(attribute='__class__') | list | first | attr('mro') }}", "unsafe"),
        ("{{ lipsum.__globals__['os'] }}", "unsafe"),
        ("{{ '{0.__class__.__mro__}'.format(1) }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.popen('true') }}", "unsafe"),
        ("{{ messages[0].content.__class__.__init__.__globals__ }}", "unsafe"),
        ("{{ raise_exception.__globals__.os }}", "unsafe"),
        ("{{ ('{0.__cla' ~ 'ss__.__mro__}').format(1) }}", "unsafe"),
        ("{{ messages.clear() }}", "unsafe"),
        ("{{ messages[0].update(role='system') }}", "unsafe"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ '%1000000000s' % 'x' }}", "MemoryError"),
        ("{{ 'x' * 1000000000 }}", "MemoryError"),
        ("{{ [0] * 1000000000 }}", "MemoryError"),
        ("{% for i in range(9999) %}{{ 'x' * 9999 }}{% endfor %}", "longer than 16777216 characters"),
        ("{% set n = namespace(x='x') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}", "Memory"),
        ("{{ 9 ** (9 ** 9) }}", "did not finish"),
        ("{{ range(999999) | list }}", "Range too big"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "RecursionError"),
        ("{{ " + "[" * 5000 + "1" + "]" * 5000 + " }}", "RecursionError"),
        ("{% if 1 %}" * 5000 + "{% endif %}" * 5000, "RecursionError"),
        ("{% for i in [1] %}" * 50 + "{% endfor %}" * 50, "SyntaxError"),
        ("{{ 1" + " + 1" * 20000 + " }}", "RecursionError"),
        ("{% include '/etc/passwd' %}", "loader"),
        ("{% import 'os' as os %}", "loader"),
        ("{{ '\\ud800' }}{{ 1 / 0 }}", "ZeroDivisionError"),
    ],
)
async def test_what_a_jinja_template_does_wrong_is_its_own_fault(engines: Engines, template: str, word: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await engines["jinja"].render(template, USER, timeout=1 if word == "did not finish" else 20)
    assert word in str(caught.value)
    assert len(str(caught.value)) < 600
    assert await engines["jinja"].render("{{ 1 + 1 }}", {}, timeout=10) == "2"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ messages.__class__ }}{{ messages[0].__init__ }}",
        "{{ namespace.__globals__ }}{{ joiner.__class__ }}",
        "{{ config }}{{ request }}{{ g }}{{ get_flashed_messages }}",
        "{{ '%s' | format(1) | attr('__class__') }}",
        "{{ '{x.__class__}'.format_map({'x': 1}) }}",
        "{{ self._TemplateReference__context }}{{ raise_exception.__globals__ }}",
    ],
)
async def test_what_must_not_be_seen_prints_as_nothing(engines: Engines, template: str) -> None:
    assert await engines["jinja"].render(template, USER, timeout=10) == ""


@pytest.mark.parametrize(
    "template",
    [
        '{{ printf "%1000000000d" 1 }}',
        '{{ $x := "x" }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}',
        '{{ define "f" }}{{ template "f" }}{{ end }}{{ template "f" }}',
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "{{ if 1 }}" * 20000 + "{{ end }}" * 20000,
        "{{ .Messages.Foo }}",
        "{{ index .Messages 1000000000000 }}",
        "{{ range .Messages }}{{ .__class__ }}{{ end }}",
        "{{ call .Messages }}",
    ],
)
async def test_what_a_go_template_does_wrong_is_its_own_fault(engines: Engines, template: str) -> None:
    try:
        prompt = await engines["go"].render(template, USER, timeout=20)
    except BadRequest as error:
        assert "template" in str(error)
    else:
        assert len(prompt) < 1000
    assert await engines["go"].render("{{ print 1 }}{{ .Prompt }}", {"prompt": "x"}, timeout=10) == "1x"


@pytest.mark.parametrize("name", ["jinja", "go"])
async def test_a_template_without_end_is_stopped_and_the_next_goes_on(engines: Engines, name: str) -> None:
    with pytest.raises(BadRequest, match=r"prompt template did not finish within 0\.5 s|budget"):
        await engines[name].render(ENDLESS[name], USER, timeout=0.5)
    assert await engines["jinja"].render("{{ 1 + 1 }}", {}, timeout=10) == "2"
    assert await engines["go"].render("{{ .Prompt }}", {"prompt": "x"}, timeout=10) == "x"


async def test_those_who_wait_behind_a_template_without_end_are_served(engines: Engines) -> None:
    endless = asyncio.create_task(engines["jinja"].render(ENDLESS["jinja"], {}, timeout=0.5))
    others = [
        asyncio.create_task(engines["go"].render("{{ .Prompt }}", {"prompt": word}, timeout=10)) for word in ("a", "b")
    ]
    results: list[Any] = await asyncio.gather(endless, *others, return_exceptions=True)
    assert isinstance(results[0], BadRequest)
    assert results[1:] == ["a", "b"]


async def test_a_request_that_leaves_takes_nobody_else_along(engines: Engines) -> None:
    left = asyncio.create_task(engines["jinja"].render(ENDLESS["jinja"], {}, timeout=60))
    others = [
        asyncio.create_task(engines["jinja"].render("{{ messages[0].content }}", {"prompt": x}, timeout=10))
        for x in ("a", "b")
    ]
    await asyncio.sleep(0)
    left.cancel()
    results: list[Any] = await asyncio.gather(left, *others, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["a", "b"]


@pytest.mark.parametrize("name", ["jinja", "go"])
async def test_a_huge_template_is_refused_by_its_size(engines: Engines, name: str) -> None:
    huge = "x" * 100_000_000
    for asked in (engines[name].render(huge, USER, timeout=0), engines[name].inspect(huge, timeout=0)):
        with pytest.raises(BadRequest, match="prompt template is longer than 262144 characters"):
            await asked


@pytest.mark.parametrize("name", ["jinja", "go"])
async def test_what_cannot_be_written_as_text_is_refused(engines: Engines, name: str) -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for content in (deep, "\ud800"):
        with pytest.raises(BadRequest, match="cannot be rendered"):
            await engines[name].render("x", {"messages": [{"role": "user", "content": content}]}, timeout=10)


async def test_numbers_of_any_size_reach_a_template(engines: Engines) -> None:
    call = {"function": {"name": "f", "arguments": {"n": 10**30}}}
    messages = {"messages": [{"role": "assistant", "content": "", "tool_calls": [call]}]}
    go = "{{ range .Messages }}{{ range .ToolCalls }}{{ .Function.Arguments }}{{ end }}{{ end }}"
    jinja = "{{ messages[0].tool_calls[0].function.arguments }}"
    assert await engines["go"].render(go, messages, timeout=10) == '{"n":1000000000000000000000000000000}'
    assert await engines["jinja"].render(jinja, messages, timeout=10) == '{"n": 1000000000000000000000000000000}'


async def test_half_a_character_in_a_prompt_is_replaced(engines: Engines) -> None:
    assert await engines["jinja"].render("{{ '\\ud800' }}x", {}, timeout=10) == "\ufffdx"
    assert await engines["go"].render('{{ "\\xff" }}{{ .Prompt }}', {"prompt": "x"}, timeout=10) == "\ufffdx"
