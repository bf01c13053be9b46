from __future__ import annotations

import codecs

import pytest

from remuda.errors import BadRequest
from remuda.model.modelfile import Command, ModelfileError, parse_modelfile

EVERY = '''\
# A comment, and an instruction in each case.
FROM ./model.gguf
from smollm2:135m

  parameter temperature 0.7
\tPARAMETER stop "<|end of|text>"
PARAMETER   num_ctx    4096
PARAMETER Odd_Key9 x
TEMPLATE """{{ .System }}
{{ .Prompt }}"""
SYSTEM You are "it" # and this is no comment
System "Two
lines"
ADAPTER lora.gguf
DRAFT draft.gguf
RENDERER r
PARSER p
LICENSE """
MIT
"""
MESSAGE user What?
MESSAGE assistant """A "quoted" answer"""
MESSAGE system 'single'
REQUIRES 0.14.0'''

COMMANDS = [
    Command("from", value="./model.gguf"),
    Command("from", value="smollm2:135m"),
    Command("parameter", "temperature", "0.7"),
    Command("parameter", "stop", "<|end of|text>"),
    Command("parameter", "num_ctx", "4096"),
    Command("parameter", "Odd_Key9", "x"),
    Command("template", value="{{ .System }}\n{{ .Prompt }}"),
    Command("system", value='You are "it" # and this is no comment'),
    Command("system", value="Two\nlines"),
    Command("adapter", value="lora.gguf"),
    Command("draft", value="draft.gguf"),
    Command("renderer", value="r"),
    Command("parser", value="p"),
    Command("license", value="\nMIT\n"),
    Command("message", "user", "What?"),
    Command("message", "assistant", 'A "quoted" answer'),
    Command("message", "system", "'single'"),
    Command("requires", value="0.14.0"),
]


@pytest.mark.parametrize(
    "data",
    [
        EVERY,
        EVERY.encode(),
        codecs.BOM_UTF8 + EVERY.encode(),
        codecs.BOM_UTF16_LE + EVERY.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + EVERY.encode("utf-16-be"),
        EVERY + "\n\n# the end",
    ],
    ids=["text", "UTF-8", "UTF-8 with its mark", "UTF-16, little", "UTF-16, big", "with a comment at the end"],
)
def test_every_instruction_in_every_encoding(data: bytes | str) -> None:
    assert parse_modelfile(data) == COMMANDS


def test_lines_may_end_as_on_windows() -> None:
    """Ends of lines inside quotes stay as they are."""
    commands = parse_modelfile(EVERY.replace("\n", "\r\n"))
    assert [(command.name, command.key) for command in commands] == [(each.name, each.key) for each in COMMANDS]
    assert [command.value for command in commands] == [each.value.replace("\n", "\r\n") for each in COMMANDS]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a b", "a b"),
        ("  a\t ", "a"),
        ('a "b"', 'a "b"'),
        ('""', ""),
        ('""""""', ""),
        (" ", ""),
        ('"a"  ', "a"),
        ('" a "', " a "),
        ('"a" b\nc"', 'a" b\nc'),
        ('"a\n\n\tb" \t', "a\n\n\tb"),
        ('"""a" b\nc"""', 'a" b\nc'),
        ('"""a""" b\nc"""', 'a""" b\nc'),
        ('"""a""""', 'a"'),
        ('""""a"""', '"a'),
        ('"""\na\n"""', "\na\n"),
        ('"""a \n b"""', "a \n b"),
        ("'a'", "'a'"),
        ("a\\nb", "a\\nb"),
        ("#a", "#a"),
        ("a\u00a0\u200b\x00\x0bb\u2028", "ab"),
        ('"a\u200b"\u200b', "a"),
        ("\u00e4 \u732b \U0001f600", "\u00e4 \u732b \U0001f600"),
    ],
)
@pytest.mark.parametrize("after", ["", "\n", "\nPARSER p"])
def test_values(written: str, value: str, after: str) -> None:
    commands = parse_modelfile(f"FROM m\nSYSTEM {written}{after}")
    assert commands[1] == Command("system", value=value)
    assert len(commands) == (3 if "PARSER" in after else 2)


def test_bytes_that_are_no_text_do_not_stop_it() -> None:
    assert parse_modelfile(b"FROM m\nSYSTEM a\xffb")[1].value == "a\ufffdb"


NAMES = (
    '"from", "license", "template", "system", "adapter", "draft", "renderer", "parser", "parameter", "message", '
    'or "requires"'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nFROM m\nBADNAME x\n", f"(line 3): command must be one of {NAMES}"),
        ("FROM m\r\nBADNAME x", f"(line 3): command must be one of {NAMES}"),
        ('FROM m\nSYSTEM """\n\n"""\nFRO x', f"(line 5): command must be one of {NAMES}"),
        ("FROM\nSYSTEM x", f"(line 1): command must be one of {NAMES}"),
        ("FROM m\n123", f"(line 2): command must be one of {NAMES}"),
        ("FROM:m", f"(line 1): command must be one of {NAMES}"),
        (
            "FROM m\nMESSAGE badguy hi",
            '(line 2): message role must be one of "system", "user", or "assistant"',
        ),
        ("FROM m\nMESSAGE User hi", '(line 2): message role must be one of "system", "user", or "assistant"'),
        ("", "no FROM line"),
        ("# FROM m", "no FROM line"),
        ("SYSTEM x", "no FROM line"),
        ("FROM", "unexpected EOF"),
        ("FROM m\nSYSTEM", "unexpected EOF"),
        ('FROM m\nSYSTEM "x', "unexpected EOF"),
        ('FROM m\nSYSTEM """x"\n', "unexpected EOF"),
        ('FROM m\nSYSTEM """"', "unexpected EOF"),
        ('FROM m\nSYSTEM "', "unexpected EOF"),
        ("FROM m\nPARAMETER", "unexpected EOF"),
        ("FROM m\nPARAMETER top_k", "unexpected EOF"),
        ("FROM m\nPARAMETER top_k\nSYSTEM x", "unexpected EOF: top_k"),
        ("FROM m\nPARAMETER top-k 1", "unexpected EOF: top"),
        ("FROM m\nPARAMETER \nSYSTEM x", "unexpected EOF: "),
        ("FROM m\nMESSAGE user\nSYSTEM x", "unexpected EOF: user"),
    ],
)
def test_what_is_no_modelfile(text: str, message: str) -> None:
    with pytest.raises(ModelfileError) as caught:
        parse_modelfile(text)
    assert caught.value.message == message
    assert isinstance(caught.value, BadRequest)
