"""What goes to servers of OpenAI's API, and what comes back, as Structs (OpenAI API, "Chat", "Completions").

What comes back is typed loosely where servers are known to differ; `events` and `logprobs` look closer.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

__all__ = [
    "Asked",
    "Choice",
    "Chunk",
    "Delta",
    "EmbeddingItem",
    "Embeddings",
    "Function",
    "ListedModel",
    "ModelList",
    "ModelMeta",
    "Props",
    "SaidMessage",
    "Timings",
    "ToolCallDelta",
    "Usage",
    "as_whole",
]


class SaidMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a request. `content` is text, or a list of parts where there are images."""

    role: str
    content: Any = UNSET
    tool_calls: list[Any] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET
    reasoning_content: str | UnsetType = UNSET


class Asked(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of a request for text. Which of these a server takes is `flavour`'s to say."""

    model: str
    messages: list[SaidMessage] | UnsetType = UNSET
    prompt: str | UnsetType = UNSET
    suffix: str | UnsetType = UNSET
    stream: bool | UnsetType = UNSET
    stream_options: Any = UNSET
    max_tokens: int | UnsetType = UNSET
    max_completion_tokens: int | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    stop: list[str] | UnsetType = UNSET
    presence_penalty: float | UnsetType = UNSET
    frequency_penalty: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    typical_p: float | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    repetition_penalty: float | UnsetType = UNSET
    repeat_last_n: int | UnsetType = UNSET
    n_keep: int | UnsetType = UNSET
    response_format: Any = UNSET
    json_schema: Any = UNSET
    tools: list[Any] | UnsetType = UNSET
    tool_choice: Any = UNSET
    logprobs: bool | int | UnsetType = UNSET
    top_logprobs: int | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET
    chat_template_kwargs: Any = UNSET


class Function(Struct, frozen=True):
    name: str | None = None
    arguments: Any = None
    """A piece of JSON; some servers send an object."""


class ToolCallDelta(Struct, frozen=True):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Delta(Struct, frozen=True):
    """Also a whole message. Thinking goes by either name."""

    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None

    @property
    def thinking(self) -> str:
        return next((each for each in (self.reasoning_content, self.reasoning) if isinstance(each, str)), "")


class Choice(Struct, frozen=True):
    index: int | None = 0
    delta: Delta | None = None
    message: Delta | None = None
    text: str | None = None
    logprobs: Any = None
    finish_reason: str | None = None


class _Details(Struct, frozen=True):
    cached_tokens: int | None = None


class Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class Timings(Struct, frozen=True):
    """llama-server's own. `prompt_n` leaves out what came from its cache (`cache_n`). Milliseconds."""

    cache_n: int = 0
    prompt_n: int = 0
    prompt_ms: float = 0.0
    predicted_n: int = 0
    predicted_ms: float = 0.0


class Chunk(Struct, frozen=True):
    """One event of a stream, or the whole reply."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    error: Any = None


class ModelMeta(Struct, frozen=True):
    """llama-server's own."""

    n_ctx: int | None = None
    n_ctx_train: int | None = None
    n_embd: int | None = None
    n_params: int | None = None
    size: int | None = None
    ftype: str | None = None


class ListedModel(Struct, frozen=True):
    """Only the name is needed: a server that means something else by the rest can be used all the same."""

    id: str
    created: Any = None
    owned_by: Any = None
    meta: Any = None
    max_model_len: Any = None
    """vLLM's own: its context in tokens."""
    context_length: Any = None
    """As some services tell it."""

    @property
    def about(self) -> ModelMeta | None:
        """`meta`, where it is llama-server's."""
        try:
            return msgspec.convert(self.meta, ModelMeta) if self.meta is not None else None
        except msgspec.ValidationError:
            return None

    @property
    def context(self) -> int:
        """Tokens; 0 if it is not told."""
        said = (self.max_model_len, self.context_length)
        return next((each for each in said if isinstance(each, int)), 0)


class ModelList(Struct, frozen=True):
    data: list[ListedModel]


class _Modalities(Struct, frozen=True):
    vision: bool = False
    audio: bool = False


class Props(Struct, frozen=True):
    """llama-server's `/props`."""

    chat_template: str = ""
    modalities: _Modalities = _Modalities()
    chat_template_caps: dict[str, bool] = {}

    @property
    def tools(self) -> bool:
        """The template has a place for tools; those of a request are dropped otherwise."""
        return self.chat_template_caps.get("supports_tools", True)

    @property
    def thinks(self) -> bool:
        """The template knows of thinking."""
        return any(word in self.chat_template for word in ("think", "reason"))


class EmbeddingItem(Struct, frozen=True):
    embedding: Any
    index: int | None = None


class Embeddings(Struct, frozen=True):
    data: list[EmbeddingItem]
    usage: Usage | None = None


_CHUNKS = msgspec.json.Decoder(Chunk)


def as_whole(data: bytes) -> Chunk:
    """Raises `msgspec.MsgspecError` and `UnicodeDecodeError`."""
    return _CHUNKS.decode(data)
