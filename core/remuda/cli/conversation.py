"""What `remuda run` knows while it talks: the model, its settings, and what was said before."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct, field

from ..wire import ChatMessage, ChatRequest, GenerateRequest
from .answer import Answer, show_answer, show_stats
from .client import Client, ServerError
from .progress import can_draw
from .question import Question
from .replies import Piece
from .values import unicode
from .waiting import awaited

__all__ = ["HOW_TO_GET_A_MODEL", "Conversation", "with_names"]

HOW_TO_GET_A_MODEL: Final = "pip install 'remuda[llamacpp,demo]'"


class Conversation(Struct, kw_only=True):
    """Questions to one model, alone or each with those before it and their answers."""

    client: Client
    model: str
    keep_alive: str | None = None
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    """Checked ones, as `option_from` returns them."""
    think: bool | str | None = None
    format: Any = None
    system: str = ""
    verbose: bool = False
    wrap: bool = True
    hide_thinking: bool = False
    messages: list[ChatMessage] = field(default_factory=list[ChatMessage])
    """What was said, without the system message."""

    def load(self) -> None:
        """Have the server load the model, so that a wrong name is known before the first question."""
        with self._explained():
            for _ in awaited(self.client.generate(GenerateRequest(prompt="", **self._settings()))):
                pass

    def ask_once(self, question: Question) -> None:
        """Put a question that nothing comes before or after, and show the answer."""
        request = GenerateRequest(
            prompt=question.text or " ",  # without any text, an image would only load the model
            system=unicode(self.system) or None,
            images=question.images or None,
            **self._settings(),
        )
        self._show(self.client.generate(request))

    def ask(self, question: Question) -> None:
        """Put the next question and show the answer. Both belong to the conversation once the answer is complete."""
        system = [ChatMessage(role="system", content=unicode(self.system))] if self.system else []
        asked = ChatMessage(role="user", content=question.text, images=question.images or None)
        messages = [*system, *self.messages, asked]
        answer = self._show(self.client.chat(ChatRequest(messages=messages, **self._settings())))
        said = ChatMessage(role="assistant", content=answer.text, thinking=answer.thinking or None)
        self.messages += [asked, said]

    def clear(self) -> None:
        """Forget what was said; the settings stay."""
        self.messages = []

    def _settings(self) -> dict[str, Any]:
        """The fields that requests of all kinds have."""
        return {
            "model": self.model,
            "options": self.options or None,
            "keep_alive": self.keep_alive,
            "think": self.think,
            "format": self.format,
            "progress": can_draw() or None,
        }

    def _show(self, pieces: Generator[Piece, None, None]) -> Answer:
        with self._explained():
            answer = show_answer(awaited(pieces), wrap=self.wrap, hide_thinking=self.hide_thinking)
        if self.verbose:
            show_stats(answer.last)
        return answer

    @contextmanager
    def _explained(self) -> Generator[None, None, None]:
        """A model that is not there: says which are."""
        try:
            yield
        except ServerError as error:
            if error.status != 404:
                raise
            raise with_names(self.client, error) from None


def with_names(client: Client, error: ServerError) -> ServerError:
    """The same error, which says as well which models there are."""
    names = ", ".join(model.name for model in client.models())
    what = f"there are: {names}" if names else f"there are none, get one with: {HOW_TO_GET_A_MODEL}"
    return ServerError(f"{error.message}; {what}", error.status)
