"""A real language model that a real plugin of `llm` runs in this process, and that knows nothing of threads."""

from __future__ import annotations

from collections.abc import Callable

from ollama import Client


def test_it_answers_word_by_word_and_is_cut(client: Callable[..., Client]) -> None:
    ollama = client(allow=["SmolLM2"])
    said = [{"role": "user", "content": "Hi"}]
    parts = list(ollama.chat("smollm2", said, stream=True, options={"num_predict": 3}))
    assert len([part for part in parts if part.message.content]) > 1
    assert parts[-1].done_reason in {"stop", "length"}
    assert 0 < (parts[-1].eval_count or 0) <= 3
