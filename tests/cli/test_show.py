from __future__ import annotations

from typing import Any

import pytest

from .conftest import Remuda, StandIn
from .terminal import Terminal

SHOWN: dict[str, Any] = {
    "license": "Apache License\n\n  Version 2.0, January 2004\nmore",
    "modelfile": "FROM m\n",
    "parameters": 'num_ctx     4096\nstop        "<|im_end|>"\nstop        "a b"',
    "template": "{{ .Prompt }}",
    "system": "You are a \x1b[31mhelpful AI.",
    "details": {"family": "llama", "parameter_size": "134.52M", "quantization_level": "Q4_1", "families": None},
    "model_info": {
        "general.architecture": "llama",
        "general.parameter_count": 134515008,
        "llama.context_length": 2048,
        "llama.embedding_length": 576,
        "tokenizer.ggml.tokens": ["a", "b", "c", "d"],
        "tokenizer.ggml.merges": None,
    },
    "projector_info": {
        "general.architecture": "clip",
        "general.parameter_count": 94_000_000,
        "clip.vision.embedding_length": 768,
        "clip.vision.projection_dim": 576,
    },
    "tensors": [{"name": "token_embd.weight", "type": "Q8_0", "shape": [576, 49152]}],
    "capabilities": ["completion", "vision"],
    "requires": "0.14.0",
    "modified_at": "2026-01-02T03:04:05Z",
}


def test_sections(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.shown = SHOWN
    result = remuda("show", "m")
    assert result.exit_code == 0
    assert [line.rstrip() for line in result.stdout.splitlines()] == [
        "  Model",
        "    architecture        llama",
        "    parameters          134.52M",
        "    context length      2048",
        "    embedding length    576",
        "    quantization        Q4_1",
        "    requires            0.14.0",
        "",
        "  Capabilities",
        "    completion",
        "    vision",
        "",
        "  Projector",
        "    architecture        clip",
        "    parameters          94M",
        "    embedding length    768",
        "    dimensions          576",
        "",
        "  Parameters",
        "    num_ctx    4096",
        '    stop       "<|im_end|>"',
        '    stop       "a b"',
        "",
        "  System",
        "    You are a \\x1b[31mhelpful AI.",
        "",
        "  License",
        "    Apache License",
        "    Version 2.0, January 2004",
        "    ...",
    ]
    assert stand_in.shows[0]["verbose"] is False


def test_verbose_adds_metadata_and_tensors(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.shown = SHOWN
    lines = [line.rstrip() for line in remuda("show", "-v", "m").stdout.splitlines()]
    at = lines.index("  Metadata")
    assert lines[at : at + 10] == [
        "  Metadata",
        "    general.architecture       llama",
        "    general.parameter_count    134515008",
        "    llama.context_length       2048",
        "    llama.embedding_length     576",
        "    tokenizer.ggml.merges      None",
        "    tokenizer.ggml.tokens      [a, b, c, ...+1 more]",
        "",
        "  Tensors",
        "    token_embd.weight    Q8_0    [576, 49152]",
    ]
    assert stand_in.shows[0]["verbose"] is True


def test_what_cannot_be_seen_is_escaped(remuda: Remuda, stand_in: StandIn) -> None:
    """Whoever makes a model chooses its texts, and the first tokens of many are control characters."""
    stand_in.shown = {
        "parameters": "stop    \x9b2J",
        "model_info": {"a\x1b]0;b\x07": "c\nd", "tokenizer.ggml.tokens": ["\0", "\x01", "\u202e"]},
        "tensors": [{"name": "t\x1b[2J\u2028", "type": "F\x7f", "shape": [1]}],
        "capabilities": ["\x07"],
        "system": "\u3000na\u0308me \U0001f469\u200d\U0001f4bb",
    }
    result = remuda("show", "-v", "m")
    assert [line.split() for line in result.stdout.split("\n")] == [
        ["Capabilities"], ["\\x07"], [],
        ["Parameters"], ["stop", "\\x9b2J"], [],
        ["Metadata"], ["a\\x1b]0;b\\x07", "c\\nd"], ["tokenizer.ggml.tokens", "[\\x00,", "\\x01,", "\\u202e]"], [],
        ["Tensors"], ["t\\x1b[2J\\u2028", "F\\x7f", "[1]"], [],
        ["System"], ["na\u0308me", "\U0001f469\u200d\U0001f4bb"], [],
    ]  # fmt: skip


@pytest.mark.parametrize("part", ["license", "modelfile", "parameters", "template", "system"])
def test_one_part_alone(remuda: Remuda, stand_in: StandIn, part: str) -> None:
    stand_in.shown = SHOWN
    assert remuda("show", "m", f"--{part}").stdout == SHOWN[part] + ("" if part == "modelfile" else "\n")
    stand_in.shown = {}
    assert remuda("show", "m", f"--{part}").stdout == ""


def test_two_parts_are_refused(remuda: Remuda, stand_in: StandIn) -> None:
    result = remuda("show", "m", "--system", "--license")
    assert (result.exit_code, stand_in.shows) == (1, [])
    assert result.stderr == (
        "Error: only one of '--license', '--modelfile', '--parameters', '--system', or '--template' can be specified\n"
    )


@pytest.mark.parametrize(
    "shown",
    [
        {},
        {"details": {}, "model_info": {}, "capabilities": None},
        {"model_info": {"general.architecture": 5, "general.parameter_count": "many"}},
    ],
)
def test_other_servers_may_say_less(remuda: Remuda, stand_in: StandIn, shown: dict[str, Any]) -> None:
    stand_in.shown = shown
    assert remuda("show", "m").exit_code == 0


def test_a_model_elsewhere(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.shown = {"remote_model": "big", "remote_host": "https://far.example", "details": {"family": "x"}}
    assert [line.split() for line in remuda("show", "m").stdout.splitlines()] == [
        ["Model"],
        ["Remote", "model", "big"],
        ["Remote", "URL", "https://far.example"],
        ["architecture", "x"],
    ]


def test_an_unknown_model(remuda: Remuda, stand_in: StandIn) -> None:
    stand_in.shown = None
    result = remuda("show", "nope")
    assert (result.exit_code, result.stderr) == (1, "Error: model 'nope' not found\n")


def test_a_model_cannot_steer_the_terminal(stand_in: StandIn) -> None:
    stand_in.shown = SHOWN
    with Terminal("show", "m") as terminal:
        terminal.expect("You are a \\x1b[31mhelpful AI.")
        assert terminal.ended() == 0
    with Terminal("show", "m", "--system") as terminal:
        terminal.expect("You are a [31mhelpful AI.")
        assert terminal.ended() == 0
