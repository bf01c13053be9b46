"""Many at once: nobody gets anybody else's text, nobody holds anybody up, and who leaves is forgotten."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx

from .conftest import COPY, DEMO, SCRIPTED, Client

PROMPTS = [
    "Why is the sky blue?",
    "Write a short poem about a river.",
    "What is the capital of France?",
    "Explain how a bicycle works to a child. " * 6,
    "List three kinds of cheese.",
    "Tell me a story about a lost key and an old house by the sea. " * 12,
    "What is two plus two?",
    "Describe the smell of rain.",
]


def test_eight_at_once_say_what_each_says_alone(client: Client) -> None:
    options = {"num_predict": 32}
    alone = [client.ask(prompt, options=options) for prompt in PROMPTS]
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        together = list(pool.map(lambda prompt: client.ask(prompt, options=options), PROMPTS))
    assert [reply["response"] for reply in together] == [reply["response"] for reply in alone]
    assert [reply["context"] for reply in together] == [reply["context"] for reply in alone]


def test_more_than_fit_wait_and_are_served(client: Client) -> None:
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(lambda n: client.ask(f"Count from {n}.", options={"num_predict": 4}), range(20)))
    assert all(reply["eval_count"] <= 4 and reply["done"] for reply in replies)
    assert client.counts() == (0, 0)


def test_a_seed_repeats_a_stream(client: Client) -> None:
    options = {"temperature": 1.0, "num_predict": 16}
    first, second = (client.ask(PROMPTS[1], options={**options, "seed": 7})["response"] for _ in range(2))
    assert first == second
    others = {client.ask(PROMPTS[1], options={**options, "seed": seed})["response"] for seed in range(8, 12)}
    assert others != {first}


def test_a_stop_string_never_leaks(client: Client) -> None:
    text = client.ask(PROMPTS[0])["response"]
    stop = text[len(text) // 2 : len(text) // 2 + 9]
    with client.stream(PROMPTS[0], options={"temperature": 0, "num_predict": 32, "stop": [stop]}) as lines:
        parts = list(lines)
    assert "".join(part["response"] for part in parts) == text[: text.index(stop)]
    assert parts[-1]["done_reason"] == "stop"


def test_who_leaves_while_text_is_written_is_forgotten(client: Client) -> None:
    with client.stream("Tell me a long story.", options={"num_predict": -1}) as lines:
        assert not next(lines)["done"]
        assert client.counts() == (1, 0)
    _until_free(client)


def test_who_leaves_while_a_long_prompt_is_read_is_forgotten(client: Client) -> None:
    words = "the quick brown fox jumps over the lazy dog and " * 600
    body = {"options": {"num_ctx": 8192, "num_predict": 1}, "raw": True}
    client.ask("", **body)  # the larger context, loaded before anything is timed
    with closing(Client(client.server, timeout=1)) as impatient, ThreadPoolExecutor(1) as pool:
        left = pool.submit(impatient.ask, words, **body)
        while client.counts() != (1, 0):
            assert not left.done()
        assert isinstance(left.exception(), httpx.ReadTimeout)
    steps = client.steps()
    _until_free(client)
    # 6,000 tokens are over ten micro-batches: those that were left to read when the client left were not read.
    assert client.steps() - steps <= 2


def test_a_killed_runner_fails_its_own_streams_at_once_and_nothing_else(client: Client) -> None:
    def listen(model: str) -> tuple[float, list[dict[str, object]]]:
        with client.stream("Tell me a long story.", model, options={"num_predict": 100}) as lines:
            got = list(lines)
        return time.monotonic(), got

    client.ask("Hello", COPY, options={"num_predict": 1})
    with ThreadPoolExecutor(3) as pool:
        struck, copy, other = (pool.submit(listen, model) for model in (DEMO, COPY, SCRIPTED))
        while client.counts() != (1, 0) or client.counts(COPY) != (1, 0):
            assert not struck.done()
        pid = client.runner().pid
        assert pid
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        told, lines = struck.result()
        assert told - killed < 5
        assert [set(line) == {"error"} for line in lines] == [False] * (len(lines) - 1) + [True]
        assert "runner" in str(lines[-1]["error"])
        assert client.ask("Hello", options={"num_predict": 4})["done"]
        assert client.runner().pid != pid
        for future in (copy, other):
            assert future.result()[1][-1]["done_reason"] in {"stop", "length"}


def _until_free(client: Client) -> None:
    deadline = time.monotonic() + 10
    while client.counts() != (0, 0):
        assert time.monotonic() < deadline, "the sequence is still there"
