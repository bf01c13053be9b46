from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from remuda.errors import BadRequest
from remuda_plugins.templates.jinja import JinjaEngine

pytestmark = pytest.mark.anyio

CHATML = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture
async def engine(no_blocking: None) -> AsyncGenerator[JinjaEngine, None]:
    engine = JinjaEngine()
    yield engine
    await engine.close()


async def test_a_chat(engine: JinjaEngine) -> None:
    variables = {"messages": [{"role": "user", "content": "hé {{ x }}"}], "add_generation_prompt": True}
    prompt = await engine.render(CHATML, variables, timeout=10)
    assert prompt == "<|im_start|>user\nhé {{ x }}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("  {% if true %}\nx\n  {% endif %}", "x\n"),
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"b": "<é>", "a": 1}'),
        ("{% for i in [1,2,3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{{ strftime_now('%%') }}", "%"),
        ("{{ missing }}", ""),
    ],
)
async def test_the_environment_published_templates_expect(engine: JinjaEngine, template: str, expected: str) -> None:
    assert await engine.render(template, {}, timeout=10) == expected


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{{ x", "TemplateSyntaxError"),
        ("{{ raise_exception('only user and assistant') }}", "only user and assistant"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ (''|attr('__class__')).__mro__ }}", "unsafe"),
        ("{{ lipsum.__globals__['os'] }}", "unsafe"),
        ("{{ '{0.__class__.__mro__}'.format(1) }}", "unsafe"),
        ("{{ cycler.__init__.__globals__.os.popen('true') }}", "unsafe"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ '%1000000000s' % 'x' }}", "MemoryError"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "did not finish"),
        ("{% include '/etc/passwd' %}", "loader"),
    ],
)
async def test_what_a_template_does_wrong_is_its_own_fault(engine: JinjaEngine, template: str, word: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await engine.render(template, {}, timeout=1)
    assert word in str(caught.value)
    assert await engine.render("{{ 1 + 1 }}", {}, timeout=10) == "2"


async def test_a_request_that_leaves_takes_nobody_else_along(engine: JinjaEngine) -> None:
    bomb = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    left = asyncio.create_task(engine.render(bomb, {}, timeout=60))
    others = [asyncio.create_task(engine.render("{{ x }}", {"x": x}, timeout=10)) for x in ("a", "b")]
    await asyncio.sleep(0)
    left.cancel()
    results: list[Any] = await asyncio.gather(left, *others, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1:] == ["a", "b"]
