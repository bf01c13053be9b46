"""Which kind is chosen for a template: the first that applies, the kind registered last being asked first."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from remuda.output import ParserKind, ParserView

Kinds = dict[str, ParserKind]
MakeView = Callable[..., ParserView]

TEMPLATES = {
    "qwen2.5": (
        "hermes",
        "return a json object within <tool_call></tool_call> XML tags:\n<tool_call>\n{..}\n</tool_call>",
    ),
    "qwen3-coder": (
        "hermes",
        "<tool_call>\n<function=example>\n<parameter=a>\nx\n</parameter>\n</function>\n</tool_call>",
    ),
    "llama3-groq": ("hermes", '<|start_header_id|> "parameters" <tool_call>{..}</tool_call>'),
    "granite4": ("hermes", "<|start_of_role|>assistant <tool_call>\n{..}\n</tool_call>"),
    "llama3.1": ("llama3", "<|start_header_id|>ipython<|end_header_id|> <|python_tag|>"),
    "llama3.2": ("llama3", '<|start_header_id|> {"name": function name, "parameters": dictionary}'),
    "mistral": ("mistral", "[AVAILABLE_TOOLS] [/INST] [TOOL_CALLS] [{{ calls }}]"),
    "magistral": ("mistral", "[THINK][TOOL_CALLS]{{ name }}[ARGS]{{ arguments }}"),
    "command-r": ("command-r", "<|CHATBOT_TOKEN|>Action: ```json\n[{..}]```"),
    "command-r7b": ("command-r", "<|START_THINKING|><|START_ACTION|>[..]<|END_ACTION|>"),
    "granite3": ("granite", "<|start_of_role|>available_tools<|end_of_role|> <|tool_call|>[..]"),
    "granite3-text": ("granite", "<|start_of_role|>assistant<|end_of_role|><tool_call>[..]"),
    "deepseek-r1": (
        "deepseek",
        "<｜Assistant｜><｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>```json",
    ),
    "gpt-oss": ("harmony", "<|start|>assistant<|channel|>commentary to=functions.x <|constrain|>json<|message|>"),
    "other": ("json", "<TOOLCALL>[..]</TOOLCALL>"),
    "none": ("json", ""),
}


@pytest.mark.parametrize("model", TEMPLATES)
def test_each_published_family_gets_its_own_kind(kinds: Kinds, make_view: MakeView, model: str) -> None:
    expected, template = TEMPLATES[model]
    view = make_view(template=template)
    assert next(name for name in reversed(kinds) if kinds[name].applies(view)) == expected


@pytest.mark.parametrize("model", TEMPLATES)
def test_without_tools_only_harmony_applies(kinds: Kinds, make_view: MakeView, model: str) -> None:
    expected, template = TEMPLATES[model]
    applying = [name for name in kinds if kinds[name].applies(make_view(template=template, tools=()))]
    assert applying == (["harmony"] if expected == "harmony" else [])


@pytest.mark.parametrize(
    ("tag", "kind"), [("<tool_call>", "hermes"), ("[TOOL_CALLS] [", "mistral"), ("<|tool_call|>[", "granite")]
)
def test_what_the_template_engine_found_counts_as_well(kinds: Kinds, make_view: MakeView, tag: str, kind: str) -> None:
    view = make_view(tool_tag=tag)
    assert next(name for name in reversed(kinds) if kinds[name].applies(view)) == kind


def test_the_registered_names_and_their_stages(kinds: Kinds) -> None:
    assert set(kinds) == {
        *("thinking", "json", "hermes", "llama3", "mistral", "command-r", "granite", "deepseek", "harmony"),
    }
    stages = {name: kind.stage for name, kind in kinds.items()}
    assert stages.pop("thinking") == "thinking"
    assert stages.pop("harmony") == "both"
    assert set(stages.values()) == {"tools"}


def test_control_tokens_that_are_looked_for_are_asked_to_be_visible(kinds: Kinds) -> None:
    for kind, token in [
        ("thinking", "[THINK]"),
        ("llama3", "<|python_tag|>"),
        ("mistral", "[ARGS]"),
        ("command-r", "<|START_ACTION|>"),
        ("granite", "<|tool_call|>"),
        ("deepseek", "<｜tool▁sep｜>"),
        ("harmony", "<|constrain|>"),
    ]:
        assert token in kinds[kind].visible
