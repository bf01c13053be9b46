"""The promise of a model that takes conversations itself: one behind somebody's Python API, or a service of its own.

Nothing is rendered for such a model, and nothing that it says is parsed. It gets the `Job` as the client meant it, and
tells by the kind of its events what is thinking, what is text and what is a call of a tool. Its backend sets
`Backend.converses`. Who does what:

- The flow refuses what the model's `ModelEntry.capabilities` leave out: tools without "tools", images without "vision",
  `think` without "thinking", `suffix` without "insert". It also refuses what makes no sense where nothing is rendered:
  `template`, `raw`, `context`, a prompt to look at.
- The flow ends an answer at a stop string, and one that has more pieces than `num_predict`; with `think: false` it
  leaves out thinking that comes all the same. Where `Done` says nothing of them, it fills in durations, and counts
  pieces for tokens.
- The model keeps to all else, as far as it can be kept to there: `given` holds the options that the request itself
  gave. What must not be passed over in silence (`format`, `tool_choice`) it refuses with a `BadRequest` that names the
  field, before its first event.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator
from typing import TypeAlias

from .backend import Done, LoadedModel
from .job import Job, ToolCalls
from .output import Text, Thinking

__all__ = ["ConverseEvent", "Converses"]

ConverseEvent: TypeAlias = Text | Thinking | ToolCalls | Done


class Converses(LoadedModel):
    @abstractmethod
    def converse(self, job: Job) -> AsyncGenerator[ConverseEvent, None]:
        """Yield what answers `job.messages`, and one `Done` last, or raise a `RemudaError`.

        The last message is what is to be answered; a text for `/api/generate` is a conversation of one. With `suffix`,
        its content is what stands before the answer. A piece of `Text` or `Thinking` should be a token's; its text may
        have a stop string in it. `Done.reason` is "stop", or "length" at `num_predict`. Closing the generator must stop
        the work behind it at the next piece.
        """
