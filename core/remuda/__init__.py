"""Remuda: a server that speaks the Ollama REST API, with a backend of your choice behind each model."""

from __future__ import annotations

from .backend import (
    Backend,
    Done,
    Embedded,
    EmbedJob,
    Embeds,
    GenerateJob,
    Generates,
    LoadedModel,
    LoadWish,
    Quantizes,
    Tokenizes,
)
from .engine import Ended, Engine, Failed, LoadSpec, Media, Piece, PromptRead, Sequence, SerialEngine
from .errors import BadRequest, RemudaError
from .hookspecs import Filter, OutputFormat, Receipt, TemplateEngine, TemplateTraits, hookimpl
from .job import Event, Finished, Job, Loaded, Message, Rendered, ToolCalls
from .model import ModelEntry, ModelName
from .output import (
    Constraint,
    Output,
    OutputParser,
    ParserKind,
    ParserView,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)

__all__ = [
    "Backend",
    "BadRequest",
    "Constraint",
    "Done",
    "EmbedJob",
    "Embedded",
    "Embeds",
    "Ended",
    "Engine",
    "Event",
    "Failed",
    "Filter",
    "Finished",
    "GenerateJob",
    "Generates",
    "Job",
    "LoadSpec",
    "LoadWish",
    "Loaded",
    "LoadedModel",
    "Media",
    "Message",
    "ModelEntry",
    "ModelName",
    "Output",
    "OutputFormat",
    "OutputParser",
    "ParserKind",
    "ParserView",
    "Piece",
    "PromptRead",
    "Quantizes",
    "Receipt",
    "RemudaError",
    "Rendered",
    "Sequence",
    "SerialEngine",
    "TemplateEngine",
    "TemplateTraits",
    "Text",
    "Thinking",
    "TokenLogprob",
    "Tokenizes",
    "ToolCall",
    "ToolCalls",
    "hookimpl",
]
