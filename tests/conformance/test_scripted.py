"""The engine and the backend of the test kit keep the promises that a script can keep."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from remuda.model import ModelEntry, parse_name
from remuda.testing import (
    BackendConformance,
    EngineConformance,
    Script,
    ScriptedBackend,
    ScriptedEngine,
    write_script,
)

SCRIPT = Script(
    pieces=[f" {number}é" for number in range(40)], repeat=1_000_000, embeds=6, embed_pieces=9, prompt_chunk=8
)

_TOKENS = "a script's tokens are numbers, whatever its pieces are"
_PROMPT = "a script says the same whatever it is asked"
_GRAMMAR = "a script takes every constraint and keeps to none"
_CHANCE = "a script draws nothing"
_LOGPROBS = "a script's log probabilities are made up"


class TestScriptedEngine(EngineConformance):
    engine = ScriptedEngine
    skips: ClassVar = {
        "test_the_bytes_are_those_of_the_tokens": _TOKENS,
        "test_a_text_depends_on_its_prompt": _PROMPT,
        "test_seeds_give_different_texts": _CHANCE,
        "test_they_are_logarithms_of_probabilities": _LOGPROBS,
        "test_a_text_matches_and_then_ends": _GRAMMAR,
        "test_an_object_parses_wherever_it_is_cut": _GRAMMAR,
        "test_a_schema_holds_whatever_is_drawn": _GRAMMAR,
        "test_the_host_may_ask_what_is_missing_at_any_time": _GRAMMAR,
        "test_a_grammar_that_is_none_is_a_bad_request": _GRAMMAR,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def weights(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return write_script(tmp_path_factory.mktemp("scripted") / "script.json", SCRIPT)


class TestScriptedBackend(BackendConformance):
    skips: ClassVar = {
        "test_characters_leave_whole": _TOKENS,
        "test_an_answer_can_be_continued_from_its_context": _PROMPT,
        "test_an_object_parses_however_it_ends": _GRAMMAR,
        "test_a_text_that_matches_ends": _GRAMMAR,
        "test_a_grammar_that_is_none_is_a_bad_request": _GRAMMAR,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> ScriptedBackend:
        return ScriptedBackend()

    @pytest.fixture(scope="class")
    @classmethod
    def entry(cls, tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
        weights = write_script(tmp_path_factory.mktemp("scripted") / "script.json", SCRIPT)
        return ModelEntry(name=parse_name("scripted"), weights=weights, format="scripted")
