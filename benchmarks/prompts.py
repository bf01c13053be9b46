"""Fresh prompts: random words, so that no two share a beginning and nothing can be reused."""

from __future__ import annotations

import random

__all__ = ["fresh_prompts"]

_WORDS = """
river window paper engine garden winter letter bridge market silver captain morning kitchen forest music harbor planet
shadow village doctor summer camera island farmer bottle castle desert engine flower guitar hammer jacket ladder mirror
needle orange pencil rabbit saddle table umbrella valley wagon yellow zebra anchor basket candle dragon falcon glacier
horizon ivory jungle kettle lantern meadow nutmeg orchard pepper quarry ribbon sailor temple urchin velvet walnut
""".split()


def fresh_prompts(count: int, words: int, seed: int) -> list[str]:
    """`count` texts of `words` words each, all different; a word is one or two tokens."""
    generator = random.Random(seed)
    return [
        f"Story {generator.randrange(10**6)}: " + " ".join(generator.choices(_WORDS, k=words)) for _ in range(count)
    ]
