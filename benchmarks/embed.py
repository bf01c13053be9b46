"""`python -m benchmarks.embed WEIGHTS`: many texts in one call of `/api/embed` against as many calls, interleaved.

    make bench BENCH=embed BENCH_ARGS="all-MiniLM-L6-v2-f16.gguf --rounds 5 --texts 200"

WEIGHTS is a GGUF of an embedding model. The calls come one after another over one connection, as a program that has
its texts one by one would send them. Texts are fresh in each round. Bounded by rounds and texts; loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from .processes import Server

_WORDS = "horse river stone market winter paper garden engine letter bridge cloud silver window forest candle".split()


def _texts(count: int, words: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(chance.choices(_WORDS, k=words)) + f" {chance.random():.6f}" for _ in range(count)]


async def _embed(client: httpx.AsyncClient, texts: list[str]) -> None:
    reply = await client.post("/api/embed", json={"model": "embedder", "input": texts})
    reply.raise_for_status()
    if len(reply.json()["embeddings"]) != len(texts):
        raise RuntimeError("the server gave another number of vectors than there were texts")


async def _measure(weights: Path, rounds: int, count: int, words: int) -> list[tuple[float, float]]:
    """Seconds of `count` calls and of one call, for each round."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "remuda.toml"
        config.write_text(f'[models.embedder]\npath = "{weights}"\n')
        server = await Server.start(4, str(config))
        try:
            async with httpx.AsyncClient(base_url=server.url, timeout=300) as client:
                await _embed(client, _texts(count, words, 0))
                figures: list[tuple[float, float]] = []
                for turn in range(rounds):
                    texts = _texts(count, words, turn + 1)
                    spent = {"many": 0.0, "one": 0.0}
                    for who in ("many", "one") if turn % 2 else ("one", "many"):
                        began = time.perf_counter()
                        for part in [texts] if who == "one" else [[text] for text in texts]:
                            await _embed(client, part)
                        spent[who] = time.perf_counter() - began
                    figures.append((spent["many"], spent["one"]))
                return figures
        finally:
            await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embed", description=__doc__.partition("\n")[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 51), metavar="1..50")
    parser.add_argument("--texts", type=int, default=200, choices=range(1, 2001), metavar="1..2000")
    parser.add_argument("--words", type=int, default=8, choices=range(1, 201), metavar="1..200")
    given = parser.parse_args()
    figures = asyncio.run(_measure(given.weights.absolute(), given.rounds, given.texts, given.words))
    many, one = (statistics.median(each) for each in zip(*figures, strict=True))
    ratio = statistics.median(many / one for many, one in figures)
    print("| texts | one by one, texts/s | in one call, texts/s | ratio |")
    print("|---|---|---|---|")
    print(f"| {given.texts} | {given.texts / many:.0f} | {given.texts / one:.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
