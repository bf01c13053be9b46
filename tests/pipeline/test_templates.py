from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from remuda.errors import BadRequest
from remuda.hookspecs import TemplateTraits
from remuda.job import Job, Message
from remuda.model import ModelEntry, ModelFacts, parse_name
from remuda.pipeline.templates import Chosen, capabilities, check_abilities, choose
from remuda.wire import Details, Options
from remuda.wire.chat import Tool

ENTRY = ModelEntry(name=parse_name("Qwen"), weights=Path("w"))
JOB = Job(request_id="r", endpoint="/api/chat", name="Qwen", entry=ENTRY, options=Options())


def _chosen(engine: str, **traits: Any) -> Chosen:
    return Chosen(engine, "t", TemplateTraits(**traits))


def _facts(family: str = "llama", infill: tuple[str, str, str] | None = None, *able: str) -> ModelFacts:
    return ModelFacts(
        details=Details(family=family), size=1, modified=0, capabilities=list(able) or ["completion"], infill=infill
    )


BARE, TOOLS, ALL = {}, {"tools": True}, {"tools": True, "thinking": True}
ROUND = {"tools": True, "tool_results": True}


@pytest.mark.parametrize(
    ("go", "jinja", "prefer_go", "has_parser", "expected"),
    [
        (BARE, BARE, None, False, "go"),
        (TOOLS, TOOLS, None, False, "go"),
        (BARE, TOOLS, None, False, "jinja"),
        (TOOLS, ALL, None, False, "jinja"),
        (ALL, TOOLS, None, False, "go"),
        ({"insert": True, "tools": True}, ALL, None, False, "go"),
        (ROUND, ALL, None, False, "go"),
        (ROUND, {**ALL, "tool_results": True}, None, False, "jinja"),
        (TOOLS, ROUND, None, False, "jinja"),
        (ROUND, ROUND, None, False, "go"),
        ({"thinking": True}, {"thinking": True, "tool_results": True}, None, False, "go"),
        (BARE, ALL, None, True, "go"),
        (BARE, ALL, True, False, "go"),
        (ALL, BARE, False, False, "jinja"),
    ],
)
def test_of_two_templates_the_one_that_says_more_is_taken_unless_told_otherwise(
    go: dict[str, Any], jinja: dict[str, Any], prefer_go: bool | None, has_parser: bool, expected: str
) -> None:
    chosen = choose(_chosen("go", **go), _chosen("jinja", **jinja), prefer_go=prefer_go, has_parser=has_parser)
    assert chosen is not None
    assert chosen.engine == expected


def test_the_only_template_is_taken_and_there_may_be_none() -> None:
    go, jinja = _chosen("go"), _chosen("jinja")
    assert choose(go, None, prefer_go=False, has_parser=False) is go
    assert choose(None, jinja, prefer_go=True, has_parser=True) is jinja
    assert choose(None, None, prefer_go=None, has_parser=False) is None


@pytest.mark.parametrize(
    ("facts", "traits", "expected"),
    [
        (_facts(), {}, ["completion"]),
        (_facts("llama", None, "completion", "vision"), ALL, ["completion", "vision", "tools", "thinking"]),
        (_facts(), {"insert": True, "tools": True}, ["completion", "tools", "insert"]),
        (_facts("llama", ("<P>", "<S>", "<M>")), {"insert": True}, ["completion", "insert"]),
        (_facts("gptoss"), {"thinking": True}, ["completion", "thinking"]),
        (_facts("gptoss"), {}, ["completion", "thinking"]),
        (_facts("bert", None, "embedding"), {}, ["embedding"]),
    ],
)
def test_what_a_model_can_do(facts: ModelFacts, traits: dict[str, Any], expected: list[str]) -> None:
    assert capabilities(facts, _chosen("go", **traits)) == expected


@pytest.mark.parametrize(
    ("changes", "able", "message"),
    [
        ({}, ["embedding"], '"Qwen" does not support chat'),
        ({"endpoint": "/api/generate"}, ["embedding"], '"Qwen" does not support generate'),
        ({"think": True}, ["completion"], '"Qwen" does not support thinking'),
        ({"think": True}, ["embedding"], '"Qwen" does not support thinking'),
        ({"think": "low"}, ["completion"], '"Qwen" does not support thinking'),
        ({"tools": (Tool(),)}, ["completion"], "registry.ollama.ai/library/Qwen:latest does not support tools"),
        ({"suffix": "x"}, ["completion"], "registry.ollama.ai/library/Qwen:latest does not support insert"),
        (
            {"messages": [Message("user", "", images=(b"x",))]},
            ["completion"],
            "registry.ollama.ai/library/Qwen:latest does not support vision",
        ),
        (
            {"tools": (Tool(),), "messages": [Message("user", "", images=(b"x",))]},
            ["completion"],
            (
                "registry.ollama.ai/library/Qwen:latest does not support tools\n"
                "registry.ollama.ai/library/Qwen:latest does not support vision"
            ),
        ),
    ],
)
def test_what_a_model_cannot_do_is_said_in_the_words_of_the_protocol(
    changes: dict[str, Any], able: list[str], message: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        check_abilities(structs.replace(JOB, **changes), able, "llama")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"think": False},
        {"tools": (Tool(),), "tool_choice": ""},
        {"messages": [Message("user", "hi")]},
    ],
)
def test_what_needs_nothing_special_is_for_every_model(changes: dict[str, Any]) -> None:
    check_abilities(structs.replace(JOB, **changes), ["completion"], "llama")


@pytest.mark.parametrize(("name", "family"), [("Qwen", "qwen3"), ("Qwen", "qwen3moe"), ("DeepSeek-R1:8b", "llama")])
def test_an_older_package_of_a_model_that_thinks_is_to_be_pulled_again(name: str, family: str) -> None:
    job = structs.replace(JOB, name=name, entry=structs.replace(ENTRY, name=parse_name(name)), think=True)
    with pytest.raises(BadRequest) as caught:
        check_abilities(job, ["completion"], family)
    again = "Pull the model again to get the latest version with full thinking support"
    assert str(caught.value) == f'"{name}" does not support thinking. {again}'
