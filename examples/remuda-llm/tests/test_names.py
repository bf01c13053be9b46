"""Ids of `llm` as names of models."""

from __future__ import annotations

import pytest

from remuda.model import parse_name
from remuda_llm.names import model_name


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("gpt-4o", "gpt-4o"),
        ("SmolLM2", "smollm2"),
        ("Anthropic/claude-3.5 sonnet", "anthropic/claude-3.5-sonnet"),
        ("openrouter/meta-llama/Llama-3:free", "openrouter/meta-llama-llama-3:free"),
        ("v1.2/model", "v1-2/model"),
        ("lokal: 'größe'", "lokal:gr-e-"),
        ("...", "model"),
        ("m" * 100, "m" * 80),
    ],
)
def test_an_id_becomes_a_name(id: str, name: str) -> None:
    assert model_name(id) == name
    assert parse_name(name)


@pytest.mark.parametrize(("id", "name"), [("gpt-4o", "llm/gpt-4o"), ("a/b:c", "llm/a-b:c")])
def test_a_namespace_of_ones_own_takes_all_of_the_id(id: str, name: str) -> None:
    assert model_name(id, "LLM") == name
    assert parse_name(name).namespace == "llm"
