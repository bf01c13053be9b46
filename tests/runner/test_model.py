"""A real runner process with a scripted engine."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from children import children

from remuda.backend import Done, Text
from remuda.engine import Engine, LoadSpec
from remuda.errors import BadRequest, EngineError, LoadFailed, PromptTooLong, RunnerDied
from remuda.output import Constraint
from remuda.runner.session import Session
from remuda.testing.scripted import Script, ScriptedEngine

from .conftest import Loader, job, read

pytestmark = pytest.mark.anyio

ENDLESS = Script(pieces=["x"], repeat=1_000_000, delay=0.001)


def _dead(pid: int | None) -> bool:
    assert pid is not None
    return not Path(f"/proc/{pid}").exists()


async def test_text_then_one_done_with_every_count(load: Loader) -> None:
    model = await load(Script(pieces=["a", "b", "c"], prompt_chunk=2))
    events = [event async for event in model.generate(job("hello", want_context=True))]
    assert [event.text for event in events if isinstance(event, Text)] == ["a", "b", "c"]
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.reason, done.prompt_tokens, done.output_tokens, done.dropped_tokens) == ("stop", 5, 3, 0)
    assert done.prompt_ns > 0
    assert done.output_ns > 0
    assert done.context == [*map(ord, "hello"), 1, 2, 3]


async def test_sequences_share_steps_and_the_rest_wait_their_turn(load: Loader) -> None:
    model = await load(Script(pieces=["x"], repeat=50, delay=0.002), parallel=2)
    streams = [asyncio.create_task(read(model.generate(job(prompt)))) for prompt in ("one", "two", "three")]
    stats = await model.stats()
    while stats.running < 2:
        stats = await model.stats()
    assert (stats.running, stats.waiting) == (2, 1)
    assert [text for text, _ in await asyncio.gather(*streams)] == ["x" * 50] * 3
    assert (await model.stats()).steps < 150


async def test_the_engine_tells_figures_of_its_own(load: Loader) -> None:
    model = await load(ENDLESS)
    assert (await model.stats()).engine == {"sequences_live": 0, "cells_live": 0, "pieces_total": 0}
    async with aclosing(model.generate(job("hello"))) as pieces:
        await anext(pieces)
        figures = (await model.stats()).engine
        assert figures["sequences_live"] == 1
        assert figures["cells_live"] == len("hello") + figures["pieces_total"] > len("hello")
    assert (await model.stats()).engine == {"sequences_live": 0, "cells_live": 0, "pieces_total": ANY}


@pytest.mark.parametrize(
    ("options", "text", "reason"),
    [
        ({"num_predict": 2}, "ab", "length"),
        ({"num_predict": 0}, "", "length"),
        ({"stop": ("c",)}, "ab", "stop"),
        ({"stop": ("bc", "zz")}, "a", "stop"),
        ({"stop": ("cx",)}, "abc", "stop"),
    ],
)
async def test_limits_and_stop_strings(load: Loader, options: dict[str, Any], text: str, reason: str) -> None:
    model = await load(Script(pieces=["a", "b", "c"]))
    got, done = await read(model.generate(job(options=options)))
    assert isinstance(done, Done)
    assert (got, done.reason) == (text, reason)
    assert (await model.stats()).running == 0


async def test_characters_split_over_tokens_leave_whole(load: Loader) -> None:
    model = await load(Script(pieces=["\xc3", "\xa9", "\xf0\x9f", "\x98\x80", "\xff"], raw_bytes=True))
    events = [event.text async for event in model.generate(job()) if isinstance(event, Text)]
    assert events == ["é", "😀", "\ufffd"]


async def test_a_long_prompt_is_cut_and_said_so_or_refused(load: Loader) -> None:
    model = await load(Script(pieces=["a"]), context=64)
    _, done = await read(model.generate(job("p" * 1000, limit=64, want_context=True)))
    assert isinstance(done, Done)
    assert done.dropped_tokens == 1000 - done.prompt_tokens > 0
    with pytest.raises(BadRequest) as caught:
        await read(model.generate(job("p" * 1000, limit=64, truncate=False)))
    assert str(caught.value) == str(PromptTooLong(1000, 63))


@pytest.mark.parametrize("context", [[-1], [2**40], [1, 1_114_112]])
async def test_context_tokens_are_checked(load: Loader, context: list[int]) -> None:
    model = await load(Script())
    with pytest.raises(BadRequest, match="vocabulary"):
        await read(model.generate(job(context=context)))
    assert (await read(model.generate(job())))[0] == "one two three"


async def test_closing_the_stream_frees_the_sequence(load: Loader) -> None:
    model = await load(ENDLESS)
    async with aclosing(model.generate(job())) as stream:
        await anext(stream)
        assert (await model.stats()).running == 1
    stats = await model.stats()
    assert (stats.running, stats.waiting) == (0, 0)
    assert (await model.stats()).steps - stats.steps <= 1


async def test_closing_while_the_prompt_is_read_frees_the_sequence(load: Loader) -> None:
    model = await load(Script(delay=0.05, prompt_chunk=1))
    stream = model.generate(job("p" * 2000))
    first = asyncio.ensure_future(anext(stream))
    while (await model.stats()).running == 0:
        pass
    first.cancel()
    await asyncio.wait([first])
    assert (await model.stats()).running == 0


async def test_a_waiting_request_can_leave(load: Loader) -> None:
    model = await load(ENDLESS, parallel=1)
    async with aclosing(model.generate(job())) as running:
        await anext(running)
        waiting = asyncio.create_task(read(model.generate(job())))
        while (await model.stats()).waiting == 0:
            pass
        waiting.cancel()
        await asyncio.wait([waiting])
        assert (await model.stats()).waiting == 0
        assert isinstance(await anext(running), Text)


async def test_a_prompt_that_takes_long_to_tokenize_holds_nobody_up(load: Loader) -> None:
    model = await load(Script(pieces=["x"], repeat=1_000_000, delay=0.001, tokenize_delay=600))
    async with aclosing(model.generate(job("h"))) as stream:
        await anext(stream)
        asked = asyncio.create_task(model.tokenize("h" * 500))
        long = asyncio.create_task(read(model.generate(job("h" * 10_000))))
        while (await model.stats()).waiting == 0:
            pass
        for _ in range(10):
            assert isinstance(await anext(stream), Text)
        long.cancel()
        asked.cancel()
        await asyncio.wait([long, asked])
        assert (await model.stats()).waiting == 0


async def test_a_slow_reader_gets_all_text_in_few_pieces(load: Loader) -> None:
    model = await load(Script(pieces=["x"], repeat=5000))
    async with aclosing(model.generate(job())) as stream:
        text = (await anext(stream)).text  # type: ignore[union-attr]
        while (await model.stats()).running:
            pass
        rest = [event async for event in stream]
    assert text + "".join(event.text for event in rest if isinstance(event, Text)) == "x" * 5000
    assert len(rest) < 600


@pytest.mark.parametrize(
    ("fault", "word"),
    [
        ("segv", "breaks it"),
        ("kill", "breaks it"),
        ("abort", "breaks it"),
        ("exit", "ends it"),
        ("raise", "says so"),
        ("garbage", "not a frame"),
    ],
)
async def test_a_death_fails_the_requests_inside_with_the_last_words(load: Loader, fault: Any, word: str) -> None:
    model = await load(Script(fault=fault, fault_at=1))
    with pytest.raises(RunnerDied, match=word):
        await read(model.generate(job()))
    assert not model.alive
    assert _dead(model.pid)
    with pytest.raises(RunnerDied):
        await read(model.generate(job()))


async def test_a_kill_from_outside_is_told_at_once(load: Loader) -> None:
    model = await load(ENDLESS)
    async with aclosing(model.generate(job())) as stream:
        await anext(stream)
        assert model.pid
        os.kill(model.pid, signal.SIGKILL)
        with pytest.raises(RunnerDied, match="SIGKILL"):
            await asyncio.wait_for(read(stream), 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_to_the_whole_group_leave_the_ending_to_the_server(load: Loader, number: int) -> None:
    model = await load(Script(pieces=["x"], repeat=20, delay=0.005))
    async with aclosing(model.generate(job())) as stream:
        await anext(stream)
        assert model.pid
        os.kill(model.pid, number)
        assert (await read(stream))[0] == "x" * 19


async def test_a_fault_of_one_sequence_is_its_own(load: Loader) -> None:
    model = await load(Script(fault="fail", fault_at=2))
    with pytest.raises(EngineError, match="the script says so"):
        await read(model.generate(job()))
    assert model.alive


@pytest.mark.parametrize(
    ("script", "word"),
    [
        (Script(refuse="no such architecture"), "no such architecture"),
        (Script(fault="segv", fault_at=-1), "could not be loaded.*breaks it"),
        (Script(fault="raise", fault_at=-1), "could not be loaded.*says so"),
    ],
)
async def test_a_load_that_fails_says_why_and_leaves_no_process(load: Loader, script: Script, word: str) -> None:
    before = children()
    with pytest.raises(LoadFailed, match=word):
        await load(script)
    assert children() <= before


async def test_a_load_that_is_cancelled_leaves_no_process(load: Loader) -> None:
    before = children()
    loading = asyncio.create_task(load(Script(load_delay=60)))
    while children() <= before:
        await asyncio.sleep(0)  # nothing tells of a process that has only just been forked
    loading.cancel()
    await asyncio.wait([loading])
    assert children() <= before


async def test_unloading_ends_the_process_even_when_it_hangs(load: Loader) -> None:
    model = await load(Script(fault="hang"))
    hung = asyncio.create_task(read(model.generate(job())))
    await asyncio.sleep(0)
    await model.close()
    assert _dead(model.pid)
    with pytest.raises(RunnerDied):
        await hung


async def test_tokens_there_and_back(load: Loader) -> None:
    model = await load(Script())
    assert await model.detokenize(await model.tokenize("é😀")) == "é😀"


CONSTRAINT = Constraint(grammar="start: /a+/")


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"options": {"num_predict": 2}}, "ab!", "length"),
        ({"options": {"num_predict": 2, "stop": ("b!", "c", "!")}}, "ab!", "length"),
        ({"options": {"num_predict": 0}}, "", "length"),
        ({"options": {"stop": ("b",)}}, "a", "stop"),
        ({"limit": 7, "shift": False}, "ab!", "length"),
        ({"limit": 7, "shift": False, "options": {"num_predict": 2}}, "ab!", "length"),
        ({}, "abc", "stop"),
    ],
)
async def test_a_constrained_text_that_is_cut_gets_what_it_lacks(
    load: Loader, fields: dict[str, Any], text: str, reason: str
) -> None:
    model = await load(Script(pieces=["a", "b", "c"], tail="!"))
    got, done = await read(model.generate(job("hello", constraint=CONSTRAINT, **fields)))
    assert isinstance(done, Done)
    assert (got, done.reason) == (text, reason)
    free, _ = await read(model.generate(job("hello", **fields)))
    assert free == text.rstrip("!")
    assert (await model.stats()).running == 0


async def test_half_a_character_and_its_tail_leave_as_one(load: Loader) -> None:
    model = await load(Script(pieces=["\xf0\x9f"], raw_bytes=True, repeat=9, tail="x"))
    got, _ = await read(model.generate(job(constraint=CONSTRAINT, options={"num_predict": 1})))
    assert got == "\ufffdx"


@pytest.mark.parametrize(("limit", "tokens"), [(0, 50), (1, 4), (30, 33), (60, 50)])
async def test_equal_tokens_in_a_row_end_the_text(load: Loader, limit: int, tokens: int) -> None:
    pieces = ["a", "b", *["x", " x ", "x\n"] * 16]
    model = await load(Script(pieces=pieces))
    text, done = await read(model.generate(job(repeat_limit=limit)))
    assert isinstance(done, Done)
    assert (done.reason, done.output_tokens) == ("repeat" if tokens < 50 else "stop", tokens)
    assert text == "".join(pieces[:tokens])


async def test_a_text_that_ends_for_repeats_is_completed_too(load: Loader) -> None:
    model = await load(Script(pieces=["x"], repeat=50, tail="!"))
    text, done = await read(model.generate(job(repeat_limit=2, constraint=CONSTRAINT)))
    assert isinstance(done, Done)
    assert (text, done.reason) == ("xxx!", "repeat")


async def test_each_token_brings_its_log_probability(load: Loader) -> None:
    model = await load(Script(pieces=["a", "bcd"]))
    events = [event async for event in model.generate(job(logprobs=2))]
    texts = [event for event in events if isinstance(event, Text)]
    assert [(text.text, [told.data for told in text.logprobs]) for text in texts] == [("a", [b"a"]), ("bcd", [b"bcd"])]
    assert texts[1].logprobs[0].logprob == -3 / 8
    assert [told.data for told in texts[1].logprobs[0].top] == [b"bcd", b"bcd1"]
    plain = [event async for event in model.generate(job())]
    assert [event.logprobs for event in plain if isinstance(event, Text)] == [[], []]


async def test_text_that_is_held_back_holds_no_log_probability_back(load: Loader) -> None:
    model = await load(Script(pieces=["\xc3", "\xa9", "S", "T", "x"], raw_bytes=True))
    events = [event async for event in model.generate(job(logprobs=0, options={"stop": ("STOP",)}))]
    texts = [event for event in events if isinstance(event, Text)]
    assert [text.text for text in texts] == ["", "é", "", "", "STx"]
    assert [told.data for text in texts for told in text.logprobs] == [b"\xc3", b"\xa9", b"S", b"T", b"x"]


async def test_a_slow_reader_gets_every_log_probability_in_order(load: Loader) -> None:
    pieces = [str(number) for number in range(1000)]
    model = await load(Script(pieces=pieces))
    async with aclosing(model.generate(job(logprobs=0))) as stream:
        events = [await anext(stream)]
        while (await model.stats()).running:
            pass
        events += [event async for event in stream]
    texts = [event for event in events if isinstance(event, Text)]
    assert [told.data.decode() for text in texts for told in text.logprobs] == pieces
    assert "".join(text.text for text in texts) == "".join(pieces)
    assert len(texts) < 600


async def test_an_engine_without_constraints_or_images_refuses_them() -> None:
    class Plain(ScriptedEngine):
        compile = Engine.compile

    engine = Plain(Script(), LoadSpec(name="m", weights="", context=64, parallel=1))
    with pytest.raises(BadRequest, match="format"):
        Session(1, job(constraint=CONSTRAINT), engine)
    with pytest.raises(BadRequest, match="images"):
        Session(1, job(images=[b"GIF89a"]), engine)
