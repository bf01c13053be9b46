"""The Ollama protocol as Structs: what comes in, what goes out, and nothing that does I/O."""

from __future__ import annotations

from .chat import (
    ChatMessage,
    ChatRequest,
    ChatResponse,
    FunctionCall,
    ReplyMessage,
    Tool,
    ToolCallMessage,
)
from .clock import local_time, utc_now
from .codec import decode, encode, encode_line, error_body
from .generate import DebugInfo, GenerateRequest, GenerateResponse, Logprob, TopLogprob
from .keep_alive import parse_keep_alive
from .models import Details, PsModel, PsResponse, TagsDetails, TagsModel, TagsResponse, VersionResponse
from .options import ALIASES, RULES, OptionRule, Options, merge_options, parse_options

__all__ = [
    "ALIASES",
    "RULES",
    "ChatMessage",
    "ChatRequest",
    "ChatResponse",
    "DebugInfo",
    "Details",
    "FunctionCall",
    "GenerateRequest",
    "GenerateResponse",
    "Logprob",
    "OptionRule",
    "Options",
    "PsModel",
    "PsResponse",
    "ReplyMessage",
    "TagsDetails",
    "TagsModel",
    "TagsResponse",
    "Tool",
    "ToolCallMessage",
    "TopLogprob",
    "VersionResponse",
    "decode",
    "encode",
    "encode_line",
    "error_body",
    "local_time",
    "merge_options",
    "parse_keep_alive",
    "parse_options",
    "utc_now",
]
