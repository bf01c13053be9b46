"""Which models are offered, under which names, and what is said of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import llm
import pytest

from remuda.errors import EngineMissing, LoadFailed
from remuda_llm import Library, LlmSettings

from .fakes import Counting, Lengths, Old, Registers, Seen

Installed = Callable[[object], None]


def _offered(**settings: object) -> dict[str, tuple[str, ...]]:
    return {offer.name: offer.capabilities for offer in Library(LlmSettings(**settings)).offers()}


def test_models_are_offered_with_what_they_say_of_themselves(installed: Installed) -> None:
    installed(Registers(Old(), Seen(), embeddings=[Lengths()]))
    offered = _offered()
    assert offered["echo"] == ("completion", "vision", "tools", "thinking")
    assert offered["old"] == ("completion", "vision", "tools")
    assert offered["seen"] == ("completion", "tools", "thinking")
    assert offered["smollm2"] == ("completion",)
    assert offered["lengths"] == ("embedding",)


def test_models_whose_key_is_missing_are_hidden_unless_they_are_wanted(
    llm_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [name for name in _offered() if name.startswith(("gpt-", "text-embedding")) or name == "echo-needs-key"]
    assert {"gpt-4o", "text-embedding-3-small", "echo-needs-key"} <= _offered(without_key=True).keys()
    monkeypatch.setenv("LLM_ECHO_NEEDS_KEY_KEY", "k")
    assert "echo-needs-key" in _offered()
    (llm_folder / "keys.json").write_text(json.dumps({"openai": "k"}))
    try:
        assert "gpt-4o" in _offered()
    finally:
        (llm_folder / "keys.json").unlink()


def test_patterns_choose_among_ids_in_any_case() -> None:
    assert _offered(allow=["SMOL*", "echo*"], without_key=True).keys() == {"smollm2", "echo", "echo-needs-key"}
    assert _offered(allow=["smol*", "Echo*"], deny=["*-needs-*"], without_key=True).keys() == {"smollm2", "echo"}


def test_aliases_are_names_where_they_are_wanted(installed: Installed) -> None:
    installed(Registers(Old(), aliases=("Older One",)))
    assert _offered(allow=["old"]).keys() == {"old"}
    assert _offered(allow=["old"], aliases=True, namespace="llm").keys() == {"llm/old", "llm/older-one"}


def test_of_two_ids_with_one_name_the_first_stays(installed: Installed, caplog: pytest.LogCaptureFixture) -> None:
    class Elder(Old):
        model_id = "OLD"

    installed(Registers(Old(), Elder()))
    library = Library(LlmSettings(allow=["old"]))
    with caplog.at_level(logging.WARNING):
        assert [offer.id for offer in library.offers()] == ["old"]
    assert "'OLD' is not offered" in caplog.text


def test_one_id_may_answer_and_give_vectors(installed: Installed) -> None:
    class Both(Lengths):
        model_id = "old"

    installed(Registers(Old(), embeddings=[Both()]))
    library = Library(LlmSettings(allow=["old"]))
    assert [offer.capabilities for offer in library.offers()] == [("completion", "vision", "tools", "embedding")]
    parts = library.load("old:latest")
    assert parts.chat is not None
    assert parts.embedding is not None


def test_a_load_gets_the_key_into_the_model_and_says_which_one_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(LlmSettings(without_key=True))
    library.offers()
    with pytest.raises(EngineMissing, match=r"'echo-needs-key' cannot be used: No key found .+ set echo-needs-key"):
        library.load("echo-needs-key")
    monkeypatch.setenv("LLM_ECHO_NEEDS_KEY_KEY", "k")
    chat = library.load("echo-needs-key").chat
    assert chat is not None
    assert chat.key == "k"


def test_a_model_that_went_away_is_told(installed: Installed) -> None:
    plugin = Registers(Counting())
    installed(plugin)
    library = Library()
    library.offers()
    assert library.load("counting").chat is not None
    llm.pm.unregister(plugin)
    try:
        with pytest.raises(LoadFailed, match="'counting' is not among the models of llm any more"):
            library.load("counting")
    finally:
        llm.pm.register(plugin)
