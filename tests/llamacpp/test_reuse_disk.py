"""Beginnings that outlive the engine that computed them."""

from __future__ import annotations

import numpy as np
import pytest
from saving import WAIT, files
from tiny_embedders import write_tiny_adapter
from tiny_engine import PLAIN, TinyEngine, letters
from tiny_memories import write_exact_llama

pytestmark = pytest.mark.usefixtures("load")

A, B, C = (letters(400, seed) for seed in (1, 2, 3))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_exact_llama(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture(scope="module")
def expected(model, load):
    """Texts that were computed alone, from the first token on."""
    plain = TinyEngine(model, parallel=1, **PLAIN)
    yield lambda prompt, **wish: plain.alone(prompt, **wish).whole
    plain.engine.close()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "prefixes"


@pytest.fixture
def start(model, folder):
    """Engines one after another, with one folder; each is closed when the next one starts."""
    running = []

    def make(weights=model, **settings):
        stop()
        running.append(TinyEngine(weights, **{"prefix_disk": True, "prefix_folder": str(folder), **settings}))
        return running[0]

    def stop():
        while running:
            running.pop().engine.close()

    make.stop = stop
    yield make
    stop()


def written(engine):
    """The files, once all that was to be saved so far is."""
    assert engine.engine._texts.reuse._saved.flush(WAIT)
    return files(engine.engine._native.settings.prefix_folder)


def test_what_one_engine_computed_another_goes_on_from(start, expected):
    first = start().alone(A)
    second = start()
    again = second.alone(A)
    assert (first.cached, again.cached) == (0, len(A) - 1)
    assert again.whole == first.whole == expected(A)
    assert second.count("prefix_restored_total") == 1
    assert second.count("prompt_tokens_computed_total") == 1
    # And a conversation goes on from what was said.
    talk = A + again.tokens + B[:20]
    third = start().alone(talk)
    assert third.cached == len(talk) - 21
    assert third.whole == expected(talk)


def test_a_text_that_begins_alike_goes_its_own_way(start, expected):
    start().alone(A, most=60, temperature=1.0)
    said = start().alone(A[:300] + B[:50], temperature=0.8, repeat_penalty=1.5, logprobs=2)
    assert said.cached == 300
    assert said.whole == expected(A[:300] + B[:50], temperature=0.8, repeat_penalty=1.5, logprobs=2)


def test_a_sequence_that_is_live_when_the_engine_closes_is_saved_as_well(start, expected):
    tiny = start()
    tiny.submit(1, A, most=100)
    tiny.until_read(1)
    tiny.submit(2, B, most=100)
    tiny.until_read(2)
    tiny.step(3)
    again = start()
    assert (again.alone(A).cached, again.alone(B).cached) == (399, 399)
    assert again.said[-1].whole == expected(B)


def test_the_rest_of_a_tile_is_read_again(start, expected):
    start().alone(letters(630, 4), most=1)
    said = start().alone(letters(700, 4))
    assert said.cached == 576
    assert said.whole == expected(letters(700, 4))


def test_the_longer_of_memory_and_disk_is_taken(start, expected):
    start().alone(A)
    tiny = start()
    tiny.alone(A[:100] + B[:10], owner="somebody else")
    assert tiny.alone(B[:100]).cached == 0
    tiny.alone(A[:350] + B[:10], most=1)
    assert tiny.said[-1].cached == 350
    restored = tiny.count("prefix_restored_total")
    # Memory holds 350 of these, and the disk hardly more.
    said = tiny.alone(A)
    assert said.cached == 350
    assert said.whole == expected(A)
    assert tiny.count("prefix_restored_total") == restored == 1


def test_owners_find_nothing_of_each_other(start):
    start().alone(A, owner="alice")
    tiny = start()
    assert tiny.alone(A, owner="bob").cached == 0
    assert tiny.alone(A).cached == 0
    assert tiny.alone(A, owner="alice").cached == 399


# --- what is saved ---


@pytest.mark.parametrize("parallel", [1, 2])
def test_what_must_make_room_is_saved_and_comes_back(start, expected, parallel):
    tiny = start(parallel=parallel)
    for prompt in (A, B, C)[: parallel + 1]:
        tiny.alone(prompt)
    assert len(written(tiny)) == 1
    assert tiny.count("prefix_saved_total") == 1
    said = tiny.alone(A)
    assert said.cached == 399
    assert said.whole == expected(A)
    assert tiny.count("prefix_restored_total") == 1
    assert tiny.count("prefix_saved_total") == 2


@pytest.mark.parametrize("common", [1, 20, 100])
def test_it_is_saved_too_where_what_follows_begins_alike(start, common):
    """As all prompts do that begin with a model's first token, or with one system prompt."""
    tiny = start(parallel=1)
    tiny.alone(A)
    other = tiny.alone(A[:common] + B)
    assert other.cached == common
    assert len(written(tiny)) == 1
    assert tiny.alone(A).cached == 399


def test_what_goes_on_in_its_slot_is_saved_once(start, folder):
    tiny, talk = start(parallel=1), A
    for turn in range(5):
        talk = talk + tiny.alone(talk).tokens + letters(20, turn)
    assert written(tiny) == []
    start.stop()
    assert len(files(folder)) == 1


def test_short_texts_are_not_worth_a_file(start, folder):
    tiny = start(parallel=1)
    for prompt in (A[:150], B[:150], C[:150]):
        tiny.alone(prompt)
    start.stop()
    assert files(folder) == []


def test_switched_off_nothing_is_written_or_read(start, folder):
    start().alone(A)
    start.stop()
    before = [(path, path.read_bytes()) for path in files(folder)]
    assert len(before) == 1
    for settings in ({"prefix_disk": False}, {"prefix_reuse": False}):
        tiny = start(parallel=1, **settings)
        assert tiny.alone(A).cached == 0
        tiny.alone(B)
        assert tiny.count("prefix_saved_total") == tiny.count("prefix_restored_total") == 0
        start.stop()
    assert [(path, path.read_bytes()) for path in files(folder)] == before


def test_a_folder_that_is_too_small_takes_nothing(start, expected, folder):
    tiny = start(parallel=1, prefix_bytes=10_000)
    tiny.alone(A)
    tiny.alone(B)
    assert tiny.alone(A).whole == expected(A)
    start.stop()
    assert files(folder) == []


def test_a_folder_that_cannot_be_made_is_done_without(start, expected, folder, caplog):
    folder.write_bytes(b"not a folder")
    tiny = start(parallel=1)
    tiny.alone(A)
    tiny.alone(B)
    assert tiny.alone(A).whole == expected(A)
    start.stop()
    assert "saved states cannot be kept" in caplog.text


# --- what must not be taken for it ---


def test_another_models_states_are_not_taken(start, tmp_path):
    first = start().alone(A)
    other = start(write_exact_llama(tmp_path / "tiny.gguf", seed=2))
    said = other.alone(A)
    assert said.cached == 0
    assert said.data != first.data
    assert start().alone(A).cached == 399
    assert start(tmp_path / "tiny.gguf").alone(A).cached == 399


@pytest.mark.parametrize("settings", [{"kv_cache_type": "q8_0"}, {"flash_attention": False}])
def test_another_kind_of_cache_does_not_take_them(start, settings):
    start().alone(A)
    first = start(**settings).alone(A)
    again = start(**settings).alone(A)
    assert (first.cached, again.cached) == (0, 399)
    assert again.whole == first.whole


def test_with_an_adapter_it_is_another_model(start, tmp_path):
    first = start().alone(A)
    said = start(adapters=[write_tiny_adapter(tmp_path / "adapter.gguf")]).alone(A)
    assert said.cached == 0
    assert said.data != first.data


def test_weights_that_were_replaced_are_others(start, model, tmp_path):
    path = tmp_path / "tiny.gguf"
    path.write_bytes(model.read_bytes())
    start(path).alone(A)
    start.stop()
    write_exact_llama(path, seed=2)
    assert start(path).alone(A).cached == 0


@pytest.mark.parametrize("damage", ["first", "middle", "last", "half", "empty", "gone"])
def test_a_damaged_file_is_survived(start, expected, folder, damage):
    start().alone(A)
    start.stop()
    (path,) = files(folder)
    data = bytearray(path.read_bytes())
    places = {"first": 0, "middle": len(data) // 2, "last": len(data) - 1}
    tiny = start()  # before it is damaged: what is in the file is known already
    if damage in places:
        data[places[damage]] ^= 1
        path.write_bytes(data)
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2 if damage == "half" else 0])
    said = tiny.alone(A)
    assert said.cached == 0
    assert said.whole == expected(A)
    assert not path.exists()
    assert tiny.count("prefix_restored_total") == 0


@pytest.mark.parametrize("part", [0, 0.1, 0.5, 0.99])
def test_a_state_that_llama_cpp_refuses_is_survived(start, expected, part):
    tiny = start()
    tiny.alone(A)
    state = tiny.engine._texts.reuse._state(0)
    tiny.clear()
    assert tiny.engine._texts.reuse._saved.offer(np.array(A, np.int32), state[: max(4, int(part * len(state)))])
    assert len(written(tiny)) == 1
    tiny.alone(A[:100], most=1)
    said = tiny.alone(A)
    # Where it went wrong too late, what the slot held before is written over.
    assert said.cached in {0, 100}
    assert said.whole == expected(A)
    assert tiny.count("prefix_restored_total") == 0
    assert tiny.alone(A).cached == 399


@pytest.mark.parametrize("settings", [{"parallel": 1}, {"context": 300}])
def test_where_there_is_no_room_for_a_state_it_is_done_without(start, expected, settings):
    start().alone(A)
    tiny = start(**settings)
    tiny.alone(A[:100], most=1)
    said = tiny.alone(A[:250])
    assert said.cached in {0, 100}, "what is in memory may be of use"
    assert said.whole == expected(A[:250])
    assert tiny.count("prefix_restored_total") == 0
    assert start().alone(A).cached == 399, "it is still there"
