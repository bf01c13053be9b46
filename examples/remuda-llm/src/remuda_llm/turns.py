"""A conversation told apart into turns, each an input and what the model answered: so `llm` remembers conversations.

Plugins of `llm` read a conversation in one of two ways. Newer ones take the list of all messages; older ones walk over
the responses of earlier turns, and take text, images and replies of tools of the last turn one by one. Both are made.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from remuda.errors import BadRequest
from remuda.job import Message
from remuda.output import ToolCall

__all__ = ["Reply", "Turn", "turns_of"]

_SYSTEM = ("system", "developer")


class Reply(Struct, frozen=True):
    """What a tool gave back."""

    name: str
    id: str
    output: str


class Turn(Struct):
    """`text`, `images` and `replies` go in, `answer` and `calls` came out; the last turn has no answer yet."""

    texts: list[str] = field(default_factory=list[str])
    images: list[bytes] = field(default_factory=list[bytes])
    replies: list[Reply] = field(default_factory=list[Reply])
    answer: str = ""
    calls: list[ToolCall] = field(default_factory=list[ToolCall])
    answered: bool = False

    @property
    def text(self) -> str:
        return "\n\n".join(self.texts)


def turns_of(messages: Iterable[Message]) -> tuple[str, list[Turn]]:
    """The system prompt, all parts of it together, and the turns. Earlier thinking is left out.

    Calls without an id get one, and so do replies to them: by the name of their tool, else in their order.
    Raises `BadRequest` for a conversation that ends with an answer, and for roles that nobody knows.
    """
    system: list[str] = []
    turns = [Turn()]
    waiting: list[ToolCall] = []
    made = 0
    for message in messages:
        if message.role in _SYSTEM:
            system.append(message.content)
            continue
        if turns[-1].answered and message.role != "assistant":
            turns.append(Turn())
        turn = turns[-1]
        match message.role:
            case "user":
                turn.texts += [message.content] if message.content else []
                turn.images += message.images
            case "tool":
                turn.replies.append(_reply(message, waiting))
            case "assistant":
                turn.answer = "\n\n".join(filter(None, (turn.answer, message.content)))
                turn.answered = True
                for call in message.tool_calls:
                    made += 1
                    turn.calls.append(ToolCall(name=call.name, arguments=call.arguments, id=call.id or f"call_{made}"))
                    waiting.append(turn.calls[-1])
            case _:
                raise BadRequest(f'messages: the role "{message.role[:40]}" is none of system, user, assistant, tool')
    if turns[-1].answered:
        raise BadRequest("messages: the last one must be of a user or a tool: this model does not go on with an answer")
    return "\n\n".join(filter(None, system)), turns


def _reply(message: Message, waiting: list[ToolCall]) -> Reply:
    """Takes the call that the message replies to from those that wait."""
    id, name = message.tool_call_id, message.tool_name
    places = (at for at, call in enumerate(waiting) if (call.id == id if id else not name or call.name == name))
    at = next(places, None)
    call = waiting.pop(at) if at is not None else ToolCall(name=name, arguments={}, id=id or "call_0")
    return Reply(name or call.name, call.id, message.content)
