"""The memory that the library has for computing, which it does not make larger when it should.

For most types of models it is a pool of 256 MiB for one evaluation; where it is too small, the process ends. With
`scratch` it is for the numbers of one layer, else for those of all. How much an evaluation takes follows from the sizes
of the model: for each token so many rows, and its attention to all tokens before it, once or several times over; and in
some types a copy of all cached values. `Needs` has the factors, as measured from what a process held after one
evaluation (models of 1024 and 6144 numbers a token, 1 and 8 tokens behind none, 2,000 and 4,000): within 5 percent.

A pool for all layers can be made larger: the library remembers what a token took in its very first evaluation, and
makes room before an evaluation of so many tokens that this, times their number, is more than there is. So the first
token is computed as if many stood before it, and then eight at once (`Plan.past`).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, structs

__all__ = ["FIRST", "Plan", "Pool"]

_SIZE: Final = 256 * 2**20
_FULL: Final = _SIZE * 15 // 16
"""Not to be exceeded by what is known within a few percent only."""
_OBJECTS: Final = 2**20
"""What the library's own notes take."""
FIRST: Final = 8
"""Tokens of the evaluation before which room is made: for what they are expected to take, and a tenth more."""


class Plan(Struct, frozen=True, kw_only=True):
    context: int
    """Tokens that a text may have, if that is what was wished for or less."""
    micro_batch: int
    """Tokens in one evaluation."""
    past: int = 0
    """How many tokens the first one of all is to be computed behind; 0 if the pool is large enough."""


class Needs(Struct, frozen=True):
    """What a type of models computes in a layer."""

    rows: int
    """For each token, of the model's width and 32 bits a number."""
    attention: int = 1
    """How many numbers for each token before it and each head."""
    scratch: bool = False
    copied: bool = False


_NEEDS: Final = {
    "gpt2": Needs(48, copied=True),
    "starcoder": Needs(52, scratch=True, copied=True),
    "gptj": Needs(38),
    "gptneox": Needs(68, attention=2, scratch=True),
    "dolly-v2": Needs(54),
    "mpt": Needs(36, attention=5, scratch=True, copied=True),
    "replit": Needs(32, attention=5, copied=True),
}
_LLAMA: Final = Needs(68, attention=5)
"""Of llama.cpp's types, whose buffers need no care: more than they take."""
_LAYERS: Final = 2
"""So many layers' numbers are in those at a time."""


class Pool(Struct, frozen=True, kw_only=True):
    needs: Needs
    layers: int
    """Whose numbers are in it at a time."""
    width: int
    heads: int
    vocabulary: int
    cached: int
    """Bytes of a number in the cache."""

    @classmethod
    def of(cls, kind: str, *, layers: int, width: int, heads: int, vocabulary: int, cached: int) -> Pool:
        """For models of the type `kind`, or for those that are llama.cpp's."""
        needs = _NEEDS.get(kind)
        if needs is None:
            needs, layers = _LLAMA, min(layers, _LAYERS)
        elif needs.scratch:
            layers = 1
        return cls(needs=needs, layers=layers, width=width, heads=heads, vocabulary=vocabulary, cached=cached)

    def taken(self, count: int, length: int) -> int:
        """Bytes for the evaluation of `count` tokens at the end of `length` ones."""
        each = 4 * count * (self.needs.rows * self.width + self.needs.attention * self.heads * length)
        copied = self.cached * length * self.width if self.needs.copied else 0
        return self.layers * (each + copied) + 4 * count * self.vocabulary + _OBJECTS

    def plan(self, context: int, micro_batch: int) -> Plan:
        """What can be computed: with smaller micro-batches where these do not fit, and shorter texts if need be."""
        while context > FIRST:
            count = micro_batch
            while count:
                plan = self._fitting(Plan(context=context, micro_batch=count))
                if plan is not None:
                    return plan
                count //= 2
            context -= context // 8 or 1
        return Plan(context=context, micro_batch=1)

    def _fitting(self, plan: Plan) -> Plan | None:
        needed = self.taken(plan.micro_batch, plan.context)
        if needed <= _FULL:
            return plan
        if self.needs.scratch:
            return None
        first = max(needed, _SIZE + _OBJECTS) // FIRST
        each = self.taken(1, 1) - self.taken(1, 0)
        past = (first - self.taken(1, 0)) // each + 1
        if past >= plan.context or self.taken(1, past) > _FULL:
            return None
        return structs.replace(plan, past=max(1, past))
