"""Hostile and endless answers: linear work, bounded memory, nothing raised."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import msgspec
import pytest

from remuda.output import OutputParser, ParserKind, ParserView, ToolCall
from remuda_plugins.parsers.json_text import DEPTH, JsonScanner, Malformed, decode
from remuda_plugins.parsers.stream import HELD_LIMIT, Steps, StreamParser

Kinds = dict[str, ParserKind]
MakeView = Callable[..., ParserView]

HARMONY = {"prompt": "<|start|>assistant"}
ENDLESS: list[tuple[str, dict[str, Any], str, str]] = [
    ("json", {}, "", "{"),
    ("json", {}, "", '{"a":'),
    ("json", {}, '{"a": "', "get_time "),
    ("json", {}, '{"a": [', "1, "),
    ("json", {"tool_tag": "["}, "[", '{"name": "get_time"}, '),
    ("json", {"tool_tag": "<t>"}, "", "<t>"),
    ("json", {"tool_tag": "<t>"}, "", "<t>{"),
    ("hermes", {}, "", "<tool_call>"),
    ("hermes", {}, "", '<tool_call>{"<tool_call>'),
    ("hermes", {}, '<tool_call>{"name": "', '\\\\\\"'),
    ("hermes", {}, "<tool_call>", " "),
    ("hermes", {}, "", "<"),
    ("hermes", {"template": "<function="}, "", "<function=f><parameter=a>"),
    ("hermes", {"template": "<function="}, "<function=f>", "<parameter=a>x</parameter>"),
    ("hermes", {"template": "<function="}, "<function=f><parameter=a>", "x</parameter> "),
    ("llama3", {}, "", "<|python_tag|>f.call("),
    ("llama3", {}, "<|python_tag|>f.call(", "a=1,"),
    ("mistral", {}, "", "[TOOL_CALLS]["),
    ("mistral", {}, "[TOOL_CALLS]", "f"),
    ("command-r", {}, "", "Action: ```json ["),
    ("granite", {}, "<|tool_call|>[", '{"name": "f"},'),
    ("deepseek", {}, "", "<｜tool▁call▁begin｜>f<｜tool▁sep｜>"),
    ("harmony", HARMONY, "", "<|channel|>analysis"),
    ("harmony", HARMONY, "", "<|start|>assistant<|channel|>x<|message|>"),
    ("harmony", HARMONY, "<|channel|>a to=f<|message|>{", '"a": {'),
    ("thinking", {"template": "<think>", "think": True}, "<think>", "</think"),
]


@contextmanager
def _counted_calls() -> Iterator[list[int]]:
    """Counts calls of functions, those written in C as well."""
    count = [0]

    def profile(_frame: FrameType, event: str, _what: object) -> None:
        count[0] += event in ("call", "c_call")

    sys.setprofile(profile)
    try:
        yield count
    finally:
        sys.setprofile(None)


def _work(parser: OutputParser, text: str, size: int) -> int:
    with _counted_calls() as count:
        for at in range(0, len(text), size):
            parser.feed(text[at : at + size])
        parser.finish()
    return count[0]


@pytest.mark.parametrize(("kind", "fields", "begun", "repeated"), ENDLESS)
def test_twice_the_text_is_at_most_about_twice_the_work(
    kinds: Kinds, make_view: MakeView, kind: str, fields: dict[str, Any], begun: str, repeated: str
) -> None:
    view = make_view(**fields)
    short = begun + repeated * (8_000 // len(repeated))
    long = begun + repeated * (16_000 // len(repeated))
    for size in (3, len(long)):
        once = _work(kinds[kind].open(view), short, size)
        assert _work(kinds[kind].open(view), long, size) <= 2.2 * once + 200


class _Reading(StreamParser):
    """Reads one tag and up to another."""

    def region(self) -> Steps[None]:
        yield from self.find("<a>")
        yield from self.up_to("</a>")
        yield from self.take("</a>")


def test_what_stays_unread_between_pieces_is_never_longer_than_a_tag() -> None:
    parser = _Reading()
    for piece in ["x<", "a", ">", *["y</"] * 1000, "a>", "<a", *["z"] * 1000]:
        parser.feed(piece)
        assert len(parser._text) - parser._at < len("</a>")


@pytest.mark.parametrize(
    ("kind", "fields", "begun", "filler"),
    [
        ("hermes", {}, '<tool_call>{"name": "', "é漢 "),
        ("hermes", {"template": "<function="}, "<function=f><parameter=a>", "é漢 "),
        ("json", {}, '{"a": "', "é漢 "),
        ("llama3", {}, '<|python_tag|>f.call(a="', "é漢 "),
        ("harmony", HARMONY, '<|channel|>a to=f<|message|>{"a": "', "é漢 "),
    ],
)
def test_an_endless_call_becomes_text_and_takes_little_memory(
    kinds: Kinds, make_view: MakeView, kind: str, fields: dict[str, Any], begun: str, filler: str
) -> None:
    parser = kinds[kind].open(make_view(**fields))
    piece = filler * 1000
    told: list[str] = []
    fed = [begun]
    assert parser.feed(begun) == []
    tracemalloc.start()
    try:
        while not told:
            fed.append(piece)
            told += [output.text for output in parser.feed(piece)]
            assert len(fed) * len(piece) < HELD_LIMIT + 3 * len(piece)
        assert tracemalloc.get_traced_memory()[1] < 16 * HELD_LIMIT
    finally:
        tracemalloc.stop()
    assert len("".join(told)) >= HELD_LIMIT
    told += [output.text for output in parser.feed(" after")]
    assert "".join([*told, *(output.text for output in parser.finish())]) == "".join(fed) + " after"


def test_a_long_call_is_still_a_call(kinds: Kinds, make_view: MakeView) -> None:
    text = "é" * (HELD_LIMIT - 100)
    parser = kinds["hermes"].open(make_view())
    told = parser.feed('<tool_call>{"name": "f", "arguments": {"text": "')
    for at in range(0, len(text), 5000):
        told += parser.feed(text[at : at + 5000])
    told += parser.feed('"}}</tool_call>')
    assert told == [ToolCall(name="f", arguments={"text": text})]


def test_one_huge_piece_is_read_like_many(kinds: Kinds, make_view: MakeView) -> None:
    parser = kinds["hermes"].open(make_view())
    text = '<tool_call>{"name": "' + "x" * (3 * HELD_LIMIT)
    told = [*parser.feed(text), *parser.feed('<tool_call>{"name": "f"}'), *parser.finish()]
    assert "".join(output.text for output in told[:-1]) == text
    assert told[-1] == ToolCall(name="f", arguments={})


@pytest.mark.parametrize("depth", [DEPTH, DEPTH + 1, 100_000])
def test_nesting_is_bounded(kinds: Kinds, make_view: MakeView, depth: int) -> None:
    arguments = '{"a":' * (depth - 1) + "1" + "}" * (depth - 1)
    output = f'<tool_call>{{"name": "f", "arguments": {arguments}}}'
    parser = kinds["hermes"].open(make_view())
    told = [*parser.feed(output), *parser.finish()]
    if depth == DEPTH:
        assert isinstance(told[0], ToolCall)
        assert len(told) == 1
    else:
        assert "".join(output.text for output in told) == output


def test_nesting_is_bounded_in_texts_that_hold_json(kinds: Kinds, make_view: MakeView) -> None:
    deep = "[" * 500 + "]" * 500
    output = msgspec.json.encode({"name": "f", "arguments": f'{{"a": {deep}}}'}).decode()
    parser = kinds["hermes"].open(make_view())
    text = f"<tool_call>{output}</tool_call>"
    assert "".join(told.text for told in [*parser.feed(text), *parser.finish()]) == text
    with pytest.raises(Malformed):
        decode("[" * 100_000)


@pytest.mark.parametrize("text", ['"\\ud800"', "1e999", "9" * 5000, "NaN", "'a'", "[1,]", "", "\ud800", '"\\x"'])
def test_what_could_not_be_sent_on_is_not_decoded(text: str) -> None:
    with pytest.raises(Malformed):
        decode(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a\nb\tc"', "a\nb\tc"),
        ('{"a":\n"\\"\n\\\\"}', {"a": '"\n\\'}),
        (" [1, 2.0, -3e2] ", [1, 2.0, -300.0]),
        ('{"b": 1, "a": {}}', {"b": 1, "a": {}}),
        ("[" * DEPTH + "]" * DEPTH, decode("[" * DEPTH + "]" * DEPTH)),
        ('"' + "{" * 1000 + '"', "{" * 1000),
    ],
)
def test_json_is_decoded_also_with_line_ends_in_its_strings(text: str, value: Any) -> None:
    assert decode(text) == value


@pytest.mark.parametrize(
    ("text", "end", "outcome"),
    [
        ("{} x", 2, "done"),
        ('{"a": [{}, "}\\"", -1.5e3, true, [ ]], "b" : null }', None, "done"),
        ('{"a": 1', None, "more"),
        ('{"a": tr', None, "more"),
        ('{"\\', None, "more"),
        ("{{", 1, "bad"),
        ("{]", 1, "bad"),
        ("[1]", 0, "bad"),
        ('"a"', 0, "bad"),
        ('{"a"}', 4, "bad"),
        ('{"a" 1}', 5, "bad"),
        ('{"a":1 2}', 7, "bad"),
        ('{"a":1,}', 7, "bad"),
        ('{"a":[,1]}', 6, "bad"),
        ('{"a":[1,]}', 8, "bad"),
        ('{"a":[1}', 7, "bad"),
        ('{"a":}', 5, "bad"),
        ("{'a': 1}", 1, "bad"),
        ('{"a": é}', 6, "bad"),
        ('{"a":' * (DEPTH + 1), 5 * DEPTH, "bad"),
    ],
)
def test_the_scanner_finds_the_end_and_the_first_character_that_is_wrong(
    text: str, end: int | None, outcome: str
) -> None:
    for size in (1, 2, 3, len(text)):
        scanner, at = JsonScanner(), 0
        while at < len(text) and not scanner.done and not scanner.bad:
            at = scanner.scan(text, at, min(len(text), at + size))
        assert at == (len(text) if end is None else end)
        assert (scanner.done, scanner.bad) == (outcome == "done", outcome == "bad")
