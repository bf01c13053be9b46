"""Prompts of random words: fresh ones, which share no beginning so that nothing can be reused, and ones that do."""

from __future__ import annotations

import random

from .processes import Bare

__all__ = ["Candidates", "fresh_prompts", "shared_prompts", "words_of"]

_WORDS = """
river window paper engine garden winter letter bridge market silver captain morning kitchen forest music harbor planet
shadow village doctor summer camera island farmer bottle castle desert engine flower guitar hammer jacket ladder mirror
needle orange pencil rabbit saddle table umbrella valley wagon yellow zebra anchor basket candle dragon falcon glacier
horizon ivory jungle kettle lantern meadow nutmeg orchard pepper quarry ribbon sailor temple urchin velvet walnut
""".split()

_TOKENS = 1.04
"""Of a word, on average, with the vocabulary of SmolLM2."""


def fresh_prompts(count: int, words: int, seed: int) -> list[str]:
    """`count` texts of `words` words each, all different; a word is one or two tokens."""
    generator = random.Random(seed)
    return [
        f"Story {generator.randrange(10**6)}: " + " ".join(generator.choices(_WORDS, k=words)) for _ in range(count)
    ]


def shared_prompts(count: int, tokens: int, seed: int, *, round: int = 0) -> list[str]:
    """`count` short questions after the same text of about `tokens` tokens, which depends on `seed` alone."""
    [system] = fresh_prompts(1, words_of(tokens), seed)
    questions = fresh_prompts(count, 12, seed * 1000 + round + 1)
    return [f"{system}\n\nQuestion: {question}\n\nAnswer:" for question in questions]


def words_of(tokens: int) -> int:
    """How many words make about so many tokens."""
    return round(tokens / _TOKENS)


class Candidates:
    """Fresh prompts whose greedy continuation does not end early, found with the bare loop outside the measurement."""

    def __init__(self, bare: Bare, words: int, tokens: int, at_once: int) -> None:
        self._bare, self._words, self._tokens, self._at_once, self._seed = bare, words, tokens, at_once, 0
        self._ready: list[str] = []

    async def fill(self, count: int) -> None:
        """Finds them now, so that the next `take` is quick."""
        while len(self._ready) < count:
            self._seed += 1
            prompts = fresh_prompts(self._at_once, self._words, self._seed)
            goes_on = await self._bare.goes_on(prompts, self._tokens)
            self._ready += [prompt for prompt, good in zip(prompts, goes_on, strict=True) if good]

    async def take(self, count: int) -> list[str]:
        await self.fill(count)
        taken, self._ready = self._ready[:count], self._ready[count:]
        return taken
