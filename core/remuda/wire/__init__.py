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
from .embed import EmbeddingsRequest, EmbeddingsResponse, EmbedRequest, EmbedResponse
from .generate import DebugInfo, GenerateRequest, GenerateResponse, Logprob, TopLogprob
from .keep_alive import parse_keep_alive
from .manage import (
    CopyRequest,
    CreateRequest,
    DeleteRequest,
    ProgressResponse,
    ShowMessage,
    ShowRequest,
    ShowResponse,
    TensorInfo,
    TransferRequest,
)
from .models import Details, PsModel, PsResponse, PsWaiting, TagsDetails, TagsModel, TagsResponse, VersionResponse
from .options import ALIASES, RULES, OptionRule, Options, merge_options, parse_options
from .plugins import PluginCost, PluginsResponse, PluginState
from .upstreams import ALL, HERE, UPSTREAM_HEADER, UpstreamsResponse, UpstreamState

__all__ = [
    "ALIASES",
    "ALL",
    "HERE",
    "RULES",
    "UPSTREAM_HEADER",
    "ChatMessage",
    "ChatRequest",
    "ChatResponse",
    "CopyRequest",
    "CreateRequest",
    "DebugInfo",
    "DeleteRequest",
    "Details",
    "EmbedRequest",
    "EmbedResponse",
    "EmbeddingsRequest",
    "EmbeddingsResponse",
    "FunctionCall",
    "GenerateRequest",
    "GenerateResponse",
    "Logprob",
    "OptionRule",
    "Options",
    "PluginCost",
    "PluginState",
    "PluginsResponse",
    "ProgressResponse",
    "PsModel",
    "PsResponse",
    "PsWaiting",
    "ReplyMessage",
    "ShowMessage",
    "ShowRequest",
    "ShowResponse",
    "TagsDetails",
    "TagsModel",
    "TagsResponse",
    "TensorInfo",
    "Tool",
    "ToolCallMessage",
    "TopLogprob",
    "TransferRequest",
    "UpstreamState",
    "UpstreamsResponse",
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
