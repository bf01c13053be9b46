"""Thinking before the answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from remuda.output import ParserKind, ParserView
from remuda_plugins.parsers.thinking import FAMILIES

Kinds = dict[str, ParserKind]
MakeView = Callable[..., ParserView]
Read = Callable[..., list[Any]]

OPENED = {"prompt": "<|im_start|>assistant\n<think>\n"}


@pytest.mark.parametrize(
    ("fields", "output", "expected"),
    [
        ({}, "<think>Hm.</think>Hi.", [("thinking", "Hm."), "Hi."]),
        ({}, "\n <think>\n\nHm. \n</think>\n\n  Hi.\n", [("thinking", "Hm. \n"), "Hi.\n"]),
        ({}, "<think>\n\n</think>\n\nHi.", ["Hi."]),
        ({}, "<think></think>", []),
        ({}, "<think>Hm </think", [("thinking", "Hm </think")]),
        ({}, "<think>a </thin</think>b</think>", [("thinking", "a </thin"), "b</think>"]),
        ({}, "<think>a<think>b</think>c", [("thinking", "a<think>b"), "c"]),
        ({}, "\n\nHi <think>no</think> ", ["\n\nHi <think>no</think> "]),
        ({}, "  <thi", ["  <thi"]),
        ({}, " \n ", [" \n "]),
        ({}, "<thinks>", ["<thinks>"]),
        ({}, "", []),
        (OPENED, "\nHm.</think>\nHi.", [("thinking", "Hm."), "Hi."]),
        (OPENED, "</think>Hi.", ["Hi."]),
        (OPENED, "Hm", [("thinking", "Hm")]),
        ({"prompt": "<think>\n\n</think>\n\n"}, "Hi </think>", ["Hi </think>"]),
    ],
)
def test_the_tags_split_thinking_from_the_answer(
    kinds: Kinds, make_view: MakeView, read: Read, fields: dict[str, Any], output: str, expected: list[Any]
) -> None:
    view = make_view(template="{{ '<think>' }}", think=True, **fields)
    for pieces in ([output], list(output), [output[at : at + 3] for at in range(0, len(output), 3)]):
        assert read(kinds["thinking"].open(view), pieces) == expected


@pytest.mark.parametrize(("tag", "close"), FAMILIES.items())
def test_each_family_is_found_in_the_template(
    kinds: Kinds, make_view: MakeView, read: Read, tag: str, close: str
) -> None:
    kind = kinds["thinking"]
    for template in (f"... {tag}", f"x.split('{close}')[-1]"):
        view = make_view(template=template, think=True)
        assert kind.applies(view)
        assert read(kind.open(view), [f"{tag}a{close} b"]) == [("thinking", "a"), "b"]


def test_the_tags_that_the_engine_found_count_before_those_in_the_template(
    kinds: Kinds, make_view: MakeView, read: Read
) -> None:
    kind = kinds["thinking"]
    view = make_view(template="<think>", think=True, think_open="<hm>\n", think_close="\n</hm>")
    assert read(kind.open(view), ["<hm>a</hm>b"]) == [("thinking", "a"), "b"]
    assert read(kind.open(view), ["<think>a</think>b"]) == ["<think>a</think>b"]


def test_it_applies_only_where_thinking_is_wanted_and_tags_are_known(kinds: Kinds, make_view: MakeView) -> None:
    kind = kinds["thinking"]
    assert not kind.applies(make_view(template="<think>"))
    assert not kind.applies(make_view(template="nothing", think=True))
    assert kind.applies(make_view(template="<think>", think=True, tools=()))


def test_thinking_and_text_leave_as_they_come(kinds: Kinds, make_view: MakeView) -> None:
    parser = kinds["thinking"].open(make_view(template="<think>", think=True))
    pieces = ["<think>", "Hm", " <", "b", "</thi", "nk>", "\n", "Hi", " "]
    told = [[output.text for output in parser.feed(piece)] for piece in pieces]
    assert told == [[], ["Hm"], [" "], ["<b"], [], [], [], ["Hi"], [" "]]
