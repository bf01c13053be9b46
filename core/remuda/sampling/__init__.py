"""From logits to what a text says next: what engines need between the numbers that a model gives and a token.

For whoever writes an `Engine` whose model gives logits; an engine's own code is left with decoding:

- A `Vocabulary` that the engine writes, and one `Grammars` for it, are made with the model.
- `Engine.compile` is `compile_constraint`; what it gives becomes a `Guide` for each text that is bound.
- A `Choice` for each sequence makes a `Piece` of each row of logits: it masks what the guide forbids, lets a sampler
  draw, and tells log probabilities. Its `completion` is `Engine.complete`.
- `Sampler` is such a sampler, for an engine that has no good one of its own.

    choice = Choice.of(sequence, vocabulary, grammars)
    sampler = Sampler(sequence, context, vocabulary.size)
    piece = choice.piece(logits, lambda: sampler.sample(logits))  # once for each token; None where the text ends

All of it runs in the engine's process. It needs numpy, which comes with the extras of the engines that use it and not
with Remuda itself, so nothing that runs in the server may import it.
"""

from __future__ import annotations

from .choice import Choice
from .completion import completion, rest_of_character
from .grammar import GrammarFailed, Grammars, Kinds, Matcher
from .guide import Compiled, Guide, compile_constraint
from .logprobs import Logprobs
from .sampler import Sampler
from .vocabulary import Vocabulary, encoded

__all__ = [
    "Choice",
    "Compiled",
    "GrammarFailed",
    "Grammars",
    "Guide",
    "Kinds",
    "Logprobs",
    "Matcher",
    "Sampler",
    "Vocabulary",
    "compile_constraint",
    "completion",
    "encoded",
    "rest_of_character",
]
