from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from remuda.errors import BadRequest
from remuda.model import ModelName, parse_name


@pytest.mark.parametrize(
    ("text", "shortest"),
    [
        ("m", "m:latest"),
        (" m:1b ", "m:1b"),
        ("library/m", "m:latest"),
        ("me/m:x", "me/m:x"),
        ("hf.co/me/m.GGUF:Q4_K_M", "hf.co/me/m.GGUF:Q4_K_M"),
        ("localhost:5000/me/m", "localhost:5000/me/m:latest"),
        ("http://host:1/ns/m:t", "host:1/ns/m:t"),
        ("REGISTRY.ollama.ai/Library/m", "m:latest"),
    ],
)
def test_names_are_shown_in_their_shortest_form(text: str, shortest: str) -> None:
    assert str(parse_name(text)) == shortest


BAD = [
    "a/b/c/d/e",
    "a//b",
    "/m",
    "m:",
    ":t",
    "m/",
    ".m",
    "-m",
    "../../etc/passwd",
    "m@sha256:00",
    "n.s/m",
    "é",
    "c:\\x",
]


@pytest.mark.parametrize("text", [*BAD, "m m", "m:\0", "m" * 81, "m" * 5_000_000], ids=lambda text: text[:20])
def test_everything_else_is_no_name(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^invalid model name$"):
        parse_name(text)


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_name_is_missing(text: str) -> None:
    with pytest.raises(BadRequest, match="model is required"):
        parse_name(text)


def test_names_are_compared_without_case() -> None:
    assert parse_name("SmolLM2:135M").key == parse_name("smollm2:135m").key


@given(st.text(max_size=40))
def test_a_name_that_parses_parses_again_from_its_shortest_form(text: str) -> None:
    try:
        name = parse_name(text)
    except BadRequest:
        return
    assert isinstance(name, ModelName)
    assert parse_name(str(name)).key == name.key
