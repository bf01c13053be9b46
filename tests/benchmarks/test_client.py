"""The client of the benchmarks believes an answer only when it has seen its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from benchmarks.client import Target, TooShort, UnlikeAsked, ask, run_streams

OLLAMA = [b'{"response":"a","done":false}\n', b'{"response":"b","done":false}\n']
OLLAMA_END = (
    b'{"response":"","done":true,"eval_count":2,"prompt_eval_count":7,"prompt_eval_duration":3000000000,'
    b'"eval_duration":1000000000,"cached_tokens":5}\n'
)
LLAMA = [b'data: {"index":0,"content":"a","stop":false}\n\n', b'data: {"index":0,"content":"b","stop":false}\n\n']
LLAMA_END = (
    b'data: {"index":0,"content":"","stop":true,"tokens_predicted":2,"tokens_evaluated":7,'
    b'"timings":{"cache_n":5,"prompt_ms":3000.0,"predicted_ms":1000.0}}\n\n'
)


@asynccontextmanager
async def scripted(parts: list[bytes]) -> AsyncIterator[tuple[int, Callable[[], bytes]]]:
    """A server that answers any request with these parts, and the port; and what it was asked first."""
    asked = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.extend(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in parts:
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], lambda: bytes(asked)


@pytest.mark.parametrize(
    ("dialect", "path", "parts"),
    [("ollama", b"/api/generate", [*OLLAMA, OLLAMA_END]), ("llama.cpp", b"/completion", [*LLAMA, LLAMA_END])],
)
def test_both_dialects_are_understood(dialect: str, path: bytes, parts: list[bytes]) -> None:
    async def main() -> None:
        async with scripted(parts) as (port, asked):
            target = Target(port, dialect)  # type: ignore[arg-type]
            began, reply = await ask(target, "hello", 2)
            assert (reply.tokens, reply.prompt_tokens, reply.cached_tokens, reply.engine) == (2, 7, 5, 4.0)
            assert reply.arrivals == sorted(reply.arrivals)
            assert reply.arrivals[0] >= began
            assert asked().startswith(b"POST " + path + b" ")
            run = await run_streams(target, ["hello", "you"], 2)
            assert (run.streams, run.generated, len(run.arrivals)) == (2, 4, 2)
            with pytest.raises(TooShort, match="instead of 3"):
                await run_streams(target, ["hello"], 3)
            assert (await run_streams(target, ["hello"], 3, exact=False)).generated == 2

    asyncio.run(main())


@pytest.mark.parametrize("parts", [[], OLLAMA, [*OLLAMA, b'{"error":"out of memory"}\n'], [*OLLAMA, OLLAMA_END[:40]]])
def test_an_answer_without_its_end_is_none(parts: list[bytes]) -> None:
    async def main() -> None:
        async with scripted(parts) as (port, _):
            with pytest.raises(UnlikeAsked):
                await ask(Target(port), "hello", 2)

    asyncio.run(main())
