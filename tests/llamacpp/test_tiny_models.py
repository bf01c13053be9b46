"""The models that the tests make are models for llama.cpp and for the server's own reader of headers."""

from __future__ import annotations

import pytest
from tiny_models import MERGED, write_tiny_llama, write_tiny_projector, write_tiny_vision

from remuda import LoadSpec, Sequence
from remuda.model import ModelEntry, parse_name
from remuda.model.facts import read_facts
from remuda.wire import Options
from remuda_llamacpp.engine import LlamaEngine

# Closes, at the end of all tests, what llama-cpp-python opens when it is imported.
pytestmark = pytest.mark.usefixtures("load")

TEXTS = ["", "plain", " the <b>the</b>\n\nend", "日本語 🦄 \0", "".join(map(chr, range(256)))]


@pytest.fixture
def open_model():
    engines = []

    def load(weights, **more):
        spec = LoadSpec(
            name="tiny", weights=str(weights), context=128, parallel=2, options=Options(num_thread=1), **more
        )
        engines.append(LlamaEngine.load(spec))
        return engines[-1]

    yield load
    for engine in engines:
        engine.close()


def facts(path, projector=None):
    return read_facts(ModelEntry(name=parse_name("tiny"), weights=path, projector=projector))


def greedy(engine, prompt, most=40):
    tokens = engine.tokenize(prompt)
    limit = len(tokens) + most
    engine.submit(Sequence(id=1, tokens=tokens, options=Options(temperature=0.0), seed=1, limit=limit, shift=False))
    data, events = b"", []
    while engine._live:
        events = engine.step()
        data += b"".join(getattr(event, "data", b"") for event in events)
    return data, events[-1].reason


def test_a_model_is_small_and_the_same_every_time(tmp_path):
    first, second = write_tiny_llama(tmp_path / "a.gguf"), write_tiny_llama(tmp_path / "b.gguf")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 300_000
    assert write_tiny_llama(tmp_path / "b.gguf", seed=2).read_bytes() != first.read_bytes()


def test_any_text_goes_in_and_comes_back(tmp_path, open_model):
    engine = open_model(write_tiny_llama(tmp_path / "m.gguf"))
    assert engine.context == 128
    for text in TEXTS:
        assert engine.detokenize(engine.tokenize(text, bos=False)) == text.encode()
    assert engine.tokenize("the", bos=False) == [256 + MERGED.index("th"), ord("e")]


def test_a_greedy_text_is_printable_depends_on_the_prompt_and_has_no_end_of_its_own(tmp_path, open_model):
    engine = open_model(write_tiny_llama(tmp_path / "m.gguf"))
    one, reason = greedy(engine, "one")
    other, _ = greedy(engine, "other")
    assert reason == "length"
    assert one.isascii()
    assert one.decode().isprintable()
    assert one != other
    assert len(set(one)) > 5


def test_what_is_wanted_is_in_the_file(tmp_path, open_model):
    path = write_tiny_llama(
        tmp_path / "m.gguf", chat_template="{{ messages }}", fim=True, thinking=True, context_length=512,
        extra_tokens=["<|im_start|>", "<|im_end|>"], user_tokens=["<tool_call>"], bos=False,
    )  # fmt: skip
    known = facts(path)
    assert known.infill == ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    assert known.chat_template == "{{ messages }}"
    assert (known.context_length, known.bos_token, known.eos_token) == (512, "<s>", "</s>")
    engine = open_model(path)
    assert engine.tokenize("a") == [ord("a")]
    shown = {"<|im_start|>": b"", "<|fim_middle|>": b"", "<think>": b"<think>", "<tool_call>": b"<tool_call>"}
    for text, data in shown.items():
        (token,) = engine.tokenize(text)
        assert engine.detokenize([token]) == data


def test_a_plain_model_has_none_of_it(tmp_path):
    known = facts(write_tiny_llama(tmp_path / "m.gguf"))
    assert known.infill is None
    assert known.chat_template == ""
    assert known.capabilities == ["completion"]


@pytest.mark.parametrize("eye", ["mlp", "qwen2vl_merger", "gemma3", "idefics3"])
def test_a_projector_fits_its_model_and_says_what_it_is_for(tmp_path, open_model, eye):
    model, projector = write_tiny_vision(tmp_path, eye=eye)
    assert facts(model, projector).capabilities == ["completion", "vision"]
    assert projector.stat().st_size < 300_000
    assert open_model(model, projector=str(projector))._native.projector is not None


def test_a_projector_of_another_width_is_possible(tmp_path):
    right = write_tiny_projector(tmp_path / "right.gguf")
    assert write_tiny_projector(tmp_path / "wrong.gguf", width=96).stat().st_size > right.stat().st_size
