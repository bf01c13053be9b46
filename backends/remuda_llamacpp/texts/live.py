"""One sequence while it is in the engine: where it stands, and how it makes room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from remuda.engine import Engine, Sequence
from remuda.errors import BadRequest
from remuda.sampling import Choice

from .. import _native
from ..drafts.drafting import Drafters
from ..sampler import Sampler
from .attention import TILED, stretch

if TYPE_CHECKING:  # loads llama.cpp's multimodal library
    from ..images.media import Chunk, Picture, Rows

__all__ = ["Image", "Layout", "Live", "lay_out"]


class Image:
    """An image, or a tile of one, that is still to be read: the prompt's places from `start` to `end - 1`."""

    def __init__(self, start: int, chunk: Chunk) -> None:
        self.start = start
        self.end = start + chunk.tokens
        self.chunk = chunk
        self.rows: Rows | None = None
        """None until it is encoded."""


class Layout(Struct, frozen=True):
    """A prompt with the tokens that its images bring along, and the images in it."""

    tokens: NDArray[np.int32]
    images: list[Image]


class Live:
    """A sequence in slot `slot` of the cache. Its first `held` tokens are computed."""

    def __init__(self, sequence: Sequence, layout: Layout, limit: int, choice: Choice, sampler: Sampler) -> None:
        self.id = sequence.id
        self.owner = sequence.owner
        self.slot = -1
        """-1 until its prompt is begun."""
        self.limit = limit
        self.choice, self.sampler = choice, sampler
        self.prompt = layout.tokens
        self.output: list[int] = []
        """Generated tokens, without the one to be computed next."""
        self._images = list(layout.images)
        """Those that are not read yet."""
        self._pure = layout.images[0].start if layout.images else limit
        """So many tokens at most are in the cache as they would be in any text that begins with them."""
        # Half an image is none, and not every model's positions can be moved.
        self.shift = sequence.shift and not layout.images
        self.keep = max(0, sequence.keep)
        self.held = 0
        self._saved = 0
        """Tokens held less the positions that they take."""
        self.drafter: Drafters | None = None
        """Guesses at what it says next; None until it has written alone."""
        self.token = -1
        """The token to be computed next; -1 while the prompt is being read."""
        self.cached = 0
        """Prompt tokens that were in the slot when it was begun."""
        self.started = 0
        """When the first token of the prompt was given to a decode, in nanoseconds; 0 before."""
        self.long = False
        """Whether much was to be read when it was begun."""
        self.row_time = 0.0
        """Nanoseconds for a token in the last stretch of its prompt; 0 before."""

    @property
    def beginning(self) -> NDArray[np.int32]:
        """The prompt up to its first image, at most: tokens do not say what is in a picture."""
        return self.prompt[: self._pure]

    def computed(self) -> NDArray[np.int32]:
        """The tokens that its slot holds, as far as another text may go on from them."""
        count = min(self.held, self._pure)
        if count <= len(self.prompt):
            return self.prompt[:count]
        return np.concatenate([self.prompt, np.array(self.output[: count - len(self.prompt)], np.int32)])

    @property
    def unread(self) -> int:
        """Prompt tokens still to be read."""
        return len(self.prompt) - self.held if self.token < 0 else 0

    @property
    def full(self) -> bool:
        """Whether it holds `limit` tokens, the one to be computed next included."""
        return self.held + 1 >= self.limit

    @property
    def position(self) -> int:
        """Where the next token stands: at `held`, or before it where images take fewer positions than tokens."""
        return self.held - self._saved

    @property
    def image(self) -> Image | None:
        """The image that is next to be read, or read in part."""
        return self._images[0] if self._images and self._images[0].start <= self.held else None

    def stretch(self, most: int) -> tuple[int, bool]:
        """How many of the next tokens to read in one decode, `most` of them at most, and whether apart.

        See `attention`. Text and images are read apart from each other, each from its own start. An image that may not
        be cut is read whole, whatever `most` is.
        """
        image = self.image
        if image is not None and image.chunk.whole:
            return image.end - self.held, False
        if not self._images:
            count, tiled = stretch(self.held, len(self.prompt), most)
            return count, not tiled
        end = image.end if image is not None else self._images[0].start
        return min(end - self.held, most), self.held < TILED

    def advance(self, count: int) -> None:
        """`count` tokens more are computed."""
        image = self.image
        self.held += count
        if image is not None and self.held == image.end:
            self._saved += image.chunk.tokens - image.chunk.positions
            del self._images[0]

    def feed(self) -> None:
        """The token that was to be computed next is computed."""
        self.output.append(self.token)
        self.held += 1

    def again(self, memory: _native.Memory) -> None:
        """A decode was aborted: what it computed is gone. An image begins anew.

        On a grid all of an image's tokens may stand at one position, so that its earlier stretches are gone as well.
        """
        image = self.image
        if image is not None and _native.memory_remove(memory, self.slot, image.start - self._saved, -1):
            self.held = image.start

    def may_shift(self, memory: _native.Memory) -> bool:
        """Whether older tokens may be forgotten: it was asked for, and this kind of cache can."""
        return self.shift and _native.memory_can_shift(memory)

    def make_room(self, memory: _native.Memory) -> bool:
        """Forget the older half of what follows the kept tokens; False if that can't be done.

        What remains moves up to close the gap: keys are rotated to their new positions by the next decode.
        """
        if not self.may_shift(memory):
            return False
        keep = min(self.keep, self.held - 1)
        dropped = max(1, (self.held - keep) // 2)
        if not _native.memory_remove(memory, self.slot, keep, keep + dropped):
            return False
        _native.memory_shift(memory, self.slot, keep + dropped, self.held, -dropped)
        self.held -= dropped
        self._pure = min(self._pure, keep)
        return True


def lay_out(sequence: Sequence) -> Layout:
    """Raises `BadRequest` when the images and their places in the prompt do not belong together."""
    prompt = np.array(sequence.tokens, np.int32)
    places = np.flatnonzero(prompt == Engine.MEDIA)
    images: list[Image] = []
    for media in sequence.media:
        taken, places = places[: media.tokens], places[media.tokens :]
        if len(taken) != media.tokens or not media.tokens or taken[-1] - taken[0] >= media.tokens:
            raise BadRequest("an image's places in the prompt are not all there")
        picture: Picture = media.handle
        start = int(taken[0])
        prompt[start : start + media.tokens] = picture.tokens
        images += [Image(start + offset, chunk) for offset, chunk in picture.chunks]
    if len(places):
        raise BadRequest("the prompt has places for images that are not there")
    return Layout(prompt, images)
