"""What published models write, and what each kind makes of it, however it comes in pieces."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from remuda.output import ParserKind, ParserView, ToolCall

Kinds = dict[str, ParserKind]
MakeView = Callable[..., ParserView]
Read = Callable[..., list[Any]]

XML = "<tool_call>\n<function=NAME>\n<parameter=KEY>\n</tool_call>"
NEW_MISTRAL = "[TOOL_CALLS]{{name}}[ARGS]{{arguments}}"
COHERE = "<|START_ACTION|>"
HARMONY = "<|start|>assistant<|channel|>final<|message|>"
AT_TURN: dict[str, Any] = {"template": HARMONY, "prompt": "<|start|>user<|message|>x<|end|><|start|>assistant"}


def call(name: str, call_id: str = "", /, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments, id=call_id)


WEATHER = call("get_weather", city="Paris")
TIME = call("get_time")
NESTED = call("plan", steps=[{"a": {"b": [1, 2.5, None, True]}}, "}</x>{"], text='say "hi"\\n', city="Zürich 🏔")
NESTED_JSON = (
    '{"steps": [{"a": {"b": [1, 2.5, null, true]}}, "}</x>{"], "text": "say \\"hi\\"\\\\n", "city": "Z\\u00fcrich 🏔"}'
)

CASES: list[tuple[str, dict[str, Any], str, list[Any]]] = [
    # Hermes, Qwen 2.5 and 3
    ("hermes", {}, "Plain text, <b>bold</b> and <tool", ["Plain text, <b>bold</b> and <tool"]),
    ("hermes", {}, '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>', [WEATHER]),
    (
        "hermes",
        {},
        (
            'Let me see.\n\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>\n'
            '<tool_call>\n{"name": "get_time"}\n</tool_call>\n\nDone.\n'
        ),
        ["Let me see.\n\n", WEATHER, TIME, "Done.\n"],
    ),
    ("hermes", {}, f'<tool_call>{{"name": "plan", "arguments": {NESTED_JSON}}}</tool_call>', [NESTED]),
    ("hermes", {}, '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}', [WEATHER]),
    (
        "hermes",
        {},
        '<tool_call>{"function": {"name": "get_time", "parameters": {}}, "id": "a"}',
        [call("get_time", "a")],
    ),
    ("hermes", {}, '<tool_call>[{"name": "get_time"}, {"name": "get_time"}]</tool_call>', [TIME, TIME]),
    ("hermes", {}, '<tool_call>{"name": "get_time"}\n{"name": "get_time"}</tool_call>!', [TIME, TIME, "!"]),
    ("hermes", {}, '<tool_call>{"name": "run", "arguments": {"code": "a\n\tb"}}', [call("run", code="a\n\tb")]),
    (
        "hermes",
        {},
        '<tool_call>\n{"name": "get_time", "arguments": {}\n</tool_call> <tool_call>{"name": "get_time"}</tool_call>',
        ['<tool_call>\n{"name": "get_time", "arguments": {}\n</tool_call> ', TIME],
    ),
    ("hermes", {}, "<tool_call>get_time</tool_call>", ["<tool_call>get_time</tool_call>"]),
    ("hermes", {}, '<tool_call>{"arguments": {}}</tool_call>.', ['<tool_call>{"arguments": {}}</tool_call>.']),
    ("hermes", {}, '<tool_call>{"name": "f", "arguments": [1]} x', ['<tool_call>{"name": "f", "arguments": [1]} x']),
    ("hermes", {}, '<tool_call>{"name": "f", "argu', ['<tool_call>{"name": "f", "argu']),
    ("hermes", {}, '<tool_call>{"name": "f"}, and', [call("f"), ", and"]),
    # Qwen3-Coder
    (
        "hermes",
        {"template": XML},
        (
            "I will.\n<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n<parameter=days>\n3\n"
            '</parameter>\n<parameter=hourly>\nTrue\n</parameter>\n<parameter=near>\n["Lyon"]\n</parameter>\n'
            "<parameter=limit>\nnull\n</parameter>\n</function>\n</tool_call>\nSo."
        ),
        ["I will.\n", call("get_weather", city="Paris", days=3, hourly=True, near=["Lyon"], limit=None), "So."],
    ),
    (
        "hermes",
        {"template": XML},
        (
            "<function=get_weather><parameter=city>12</parameter><parameter=days>soon</parameter>"
            "<parameter=more>1</parameter></function><tool_call><function=get_time></function></tool_call>"
        ),
        [call("get_weather", city="12", days="soon", more="1"), TIME],
    ),
    (
        "hermes",
        {"template": XML},
        "<function=get><parameter=url>\n\n <a>\n</parameter> b</parameter>\n</tool_call>",
        [call("get", url="\n <a>\n</parameter> b")],
    ),
    ("hermes", {"template": XML}, '<function=get>{"url": "x"}</function>', [call("get", url="x")]),
    ("hermes", {"template": XML}, "<function=get><parameter=url>x</param", ["<function=get><parameter=url>x</param"]),
    ("hermes", {"template": XML}, "<function=get>oops</function>", ["<function=get>oops</function>"]),
    ("hermes", {}, "<function=get></function>", ["<function=get></function>"]),
    # Llama 3
    ("llama3", {}, '{"name": "get_weather", "parameters": {"city": "Paris"}}', [WEATHER]),
    (
        "llama3",
        {},
        (
            '{"name": "get_weather", "parameters": {"city": "Paris"}}; {"name": "get_time", "parameters": {}}\n'
            '{"name": "get_time"}\nDone'
        ),
        [WEATHER, TIME, TIME, "Done"],
    ),
    ("llama3", {}, '<|python_tag|>{"name": "new", "parameters": {}}', [call("new")]),
    ("llama3", {}, '{"name": "new", "parameters": {}}', ['{"name": "new", "parameters": {}}']),
    ("llama3", {}, '{"answer": 42} {"name": "get_time"}', ['{"answer": 42} {"name": "get_time"}']),
    ("llama3", {}, 'Use {"name": "get_time"}', ['Use {"name": "get_time"}']),
    ("llama3", {}, '  {"name": "get_time"}; not', ["  ", TIME, "; not"]),
    (
        "llama3",
        {},
        'Hm. <|python_tag|>brave_search.call(query="who \\"is\\" (x)", n = 3)<|python_tag|>get_time.call()\n.',
        ["Hm. ", call("brave_search", query='who "is" (x)', n=3), TIME, "."],
    ),
    ("llama3", {}, "<|python_tag|>print('a')\n{", ["<|python_tag|>print('a')\n{"]),
    ("llama3", {}, "<|python_tag|>a.call(b=c) d", ["<|python_tag|>a.call(b=c) d"]),
    ("llama3", {}, '<|python_tag|>a.call(b="c" d', ['<|python_tag|>a.call(b="c" d']),
    # Mistral
    ("mistral", {}, '[TOOL_CALLS] [{"name": "get_weather", "arguments": {"city": "Paris"}}]', [WEATHER]),
    (
        "mistral",
        {},
        'So: [TOOL_CALLS][{"name": "get_time", "arguments": {}, "id": "abc12"}, {"name": "get_time"}] end',
        ["So: ", call("get_time", "abc12"), TIME, "end"],
    ),
    (
        "mistral",
        {"template": NEW_MISTRAL},
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}[TOOL_CALLS]get_time[CALL_ID]x9[ARGS]{} [TOOL_CALLS]f{"a":1}',
        [WEATHER, call("get_time", "x9"), call("f", a=1)],
    ),
    ("mistral", {}, "see [1] and [TOOL_CALLS] [none]", ["see [1] and [TOOL_CALLS] [none]"]),
    ("mistral", {}, "[TOOL_CALLS]get_time[ARGS][]", ["[TOOL_CALLS]get_time[ARGS][]"]),
    ("mistral", {}, '[TOOL_CALLS] [{"name": "f"}, oops]', [call("f"), ", oops]"]),
    # Command R
    (
        "command-r",
        {},
        (
            'Plan: look.\nAction: ```json\n[\n    {\n        "tool_name": "get_weather",\n        "parameters": '
            '{\n            "city": "Paris"\n        }\n    },\n    {"tool_name": "get_time"}\n]\n```\n'
        ),
        ["Plan: look.\n", WEATHER, TIME],
    ),
    ("command-r", {}, "Action: wait ```json", ["Action: wait ```json"]),
    ("command-r", {}, "Action:\n```json\n[]\n```", ["Action:\n```json\n[]\n```"]),
    (
        "command-r",
        {"template": COHERE},
        (
            '<|START_ACTION|>[\n    {"tool_call_id": "0", "tool_name": "get_weather", '
            '"parameters": {"city": "Paris"}},\n    {"tool_call_id": "1", "tool_name": "get_time"}\n]<|END_ACTION|>'
        ),
        [call("get_weather", "0", city="Paris"), call("get_time", "1")],
    ),
    # Granite, Phi 4 mini
    ("granite", {}, '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Paris"}}]', [WEATHER]),
    ("granite", {}, 'Hm <tool_call>[{"name": "get_time"},{"name": "get_time"}]\nx', ["Hm ", TIME, TIME, "x"]),
    ("granite", {}, '<|tool_call|>[{"name": "get_time"}]<|/tool_call|>', [TIME]),
    ("granite", {}, "<|tool_call|>[{}]", ["<|tool_call|>[{}]"]),
    # DeepSeek
    (
        "deepseek",
        {},
        (
            "One moment.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n"
            '{"city": "Paris"}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_time\n```json\n'
            "{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"
        ),
        ["One moment.", WEATHER, TIME],
    ),
    (
        "deepseek",
        {},
        (
            '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Paris"}<｜tool▁call▁end｜>'
            "<｜tool▁call▁begin｜>get_time<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>Bye"
        ),
        [WEATHER, TIME, "Bye"],
    ),
    ("deepseek", {}, "<｜tool▁calls▁begin｜> hm", ["<｜tool▁calls▁begin｜> hm"]),
    ("deepseek", {}, "<｜tool▁call▁begin｜>f<｜tool▁sep｜>{]", ["<｜tool▁call▁begin｜>f<｜tool▁sep｜>{]"]),
    # gpt-oss
    (
        "harmony",
        AT_TURN,
        (
            "<|channel|>analysis<|message|>User asks.\nFine. <|end|>"
            "<|start|>assistant<|channel|>final<|message|>Hi! 3 < 4<|return|>"
        ),
        [("thinking", "User asks.\nFine. "), "Hi! 3 < 4"],
    ),
    (
        "harmony",
        AT_TURN,
        (
            "<|channel|>analysis<|message|>Call.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|>"
            "<|start|>assistant<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
            '{"city": "Paris"}<|call|>'
        ),
        [("thinking", "Call."), "I look.", WEATHER],
    ),
    ("harmony", AT_TURN, " to=functions.get_time<|channel|>commentary json<|message|>{} ", [TIME]),
    ("harmony", {"template": HARMONY}, "<|start|>assistant<|channel|>final<|message|>x", ["x"]),
    ("harmony", {"template": HARMONY, "prompt": f"{HARMONY}\n"}, "Hi.<|end|>", ["Hi."]),
    ("harmony", {"template": HARMONY, "prompt": f"{HARMONY}Hi"}, " you", [" you"]),
    ("harmony", AT_TURN, "No header at all", ["No header at all"]),
    (
        "harmony",
        AT_TURN,
        "<|channel|>analysis to=python code<|message|>print(1)<|call|>",
        ["<|channel|>analysis to=python code<|message|>print(1)"],
    ),
    ("harmony", AT_TURN, "<|channel|>is how\n it begins", ["<|channel|>is how\n it begins"]),
    # Everything else
    ("json", {}, ' {"name": "get_weather", "arguments": {"city": "Paris"}}', [" ", WEATHER]),
]


@pytest.mark.parametrize(("kind", "fields", "output", "expected"), CASES)
def test_each_familys_calls_and_the_text_round_them(
    kinds: Kinds, make_view: MakeView, read: Read, kind: str, fields: dict[str, Any], output: str, expected: list[Any]
) -> None:
    view = make_view(**fields)

    def told(pieces: list[str]) -> list[Any]:
        return read(kinds[kind].open(view), pieces)

    assert told([output]) == expected
    assert told(list(output)) == expected
    chance = random.Random(output)
    for _ in range(20):
        pieces, rest = [], output
        while rest:
            size = chance.randint(1, 9)
            pieces.append(rest[:size])
            rest = rest[size:]
        assert told(pieces) == expected


@pytest.mark.parametrize(("kind", "fields", "output", "expected"), CASES)
def test_an_answer_cut_off_anywhere_loses_no_text(
    kinds: Kinds, make_view: MakeView, read: Read, kind: str, fields: dict[str, Any], output: str, expected: list[Any]
) -> None:
    view = make_view(**fields)
    for length in range(len(output)):
        cut = output[:length]
        told = read(kinds[kind].open(view), [cut])
        if kind == "harmony":
            continue  # its headers are no text
        at, after_call = 0, False
        for part in told:
            if isinstance(part, ToolCall):
                after_call = True
                continue
            found = cut.find(part, at)
            assert found == at or (after_call and found > at), "text was lost that no call explains"
            at, after_call = found + len(part), False
        assert bool(told) == bool(cut)
        assert not told or isinstance(told[-1], ToolCall) or cut.endswith(told[-1])
