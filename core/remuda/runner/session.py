"""One request inside a runner: its tokens, its text, its limits and its clock."""

from __future__ import annotations

import secrets
import time

from ..backend import Done, GenerateJob
from ..engine import Engine, Media, Piece, PromptRead, Sequence
from ..errors import BadRequest
from .prompt import cut_prompt, kept_tokens
from .text import TextGate

__all__ = ["Session"]

_MAX_CONTEXTS = 10
"""An answer without a limit of its own ends after this many contexts."""


class Session:
    """Made from a job; raises `BadRequest` when it cannot be served."""

    def __init__(self, id: int, job: GenerateJob, engine: Engine) -> None:
        if any(not 0 <= token < engine.vocabulary for token in job.context):
            raise BadRequest(f"context holds a token outside this model's vocabulary (0 to {engine.vocabulary - 1})")
        options = job.options
        tokens, media = _tokens(job, engine)
        if not tokens:
            raise BadRequest("the prompt holds no tokens: send some text")
        limit = min(job.limit, engine.context)
        bos = tokens[:1] == engine.tokenize("", bos=True)[:1]
        keep = kept_tokens(options.num_keep, len(tokens), limit, bos)
        tokens, self.dropped = cut_prompt(tokens, limit, keep, truncate=job.truncate and not media)
        seed = secrets.randbits(32) if options.seed == -1 else options.seed & 0xFFFFFFFF
        self.sequence = Sequence(
            id=id,
            tokens=tokens,
            options=options,
            seed=seed,
            limit=limit,
            shift=job.shift,
            keep=kept_tokens(options.num_keep, len(tokens), limit, bos),
            media=media,
            constraint=job.constraint,
            compiled=engine.compile(job.constraint) if job.constraint is not None else None,
            logprobs=job.logprobs,
            visible=job.visible,
        )
        most = _MAX_CONTEXTS * limit
        self.most = most if options.num_predict < 0 else min(options.num_predict, most)
        self.gate = TextGate(options.stop)
        self.want_context = job.want_context
        self.output: list[int] = []
        self._repeat_limit, self._repeated, self._last_data = job.repeat_limit, 0, b""
        self._read = PromptRead(id, len(tokens), 0, 0)
        self._started = self._last = time.perf_counter_ns()

    def read(self, event: PromptRead) -> None:
        self._read = event
        self._started = self._last = time.perf_counter_ns()

    def piece(self, piece: Piece) -> tuple[str, str]:
        """Take a token. Returns the text that may leave now, and the reason to end, if there is one."""
        self.output.append(piece.token)
        self._last = time.perf_counter_ns()
        text = self.gate.feed(piece.data)
        if self.gate.stopped:
            return text, "stop"
        if self._repeats(piece.data.strip()):
            return text, "repeat"
        return text, "length" if len(self.output) >= self.most else ""

    def _repeats(self, data: bytes) -> bool:
        """Whether too many tokens in a row were `data`, but for white space."""
        self._repeated = self._repeated + 1 if data == self._last_data else 1
        self._last_data = data
        return 0 < self._repeat_limit < self._repeated

    def done(self, reason: str) -> Done:
        return Done(
            reason=reason,
            prompt_tokens=self._read.tokens,
            cached_tokens=self._read.cached,
            prompt_ns=self._read.nanoseconds,
            output_tokens=len(self.output),
            # A single token is sampled from the prompt's own last step: never say 0, clients divide by it.
            output_ns=max(self._last - self._started, 1) if self.output else 0,
            dropped_tokens=self.dropped,
            context=self._context() if self.want_context else None,
        )

    def _context(self) -> list[int]:
        """What a later request may go on from: images leave no tokens."""
        return [token for token in self.sequence.tokens if token != Engine.MEDIA] + self.output


def _tokens(job: GenerateJob, engine: Engine) -> tuple[list[int], list[Media]]:
    if not job.images:
        return job.context + engine.tokenize(job.prompt, bos=not job.context), []
    tokens, media = engine.tokenize_media(job.prompt, job.images, bos=not job.context)
    return job.context + tokens, media
