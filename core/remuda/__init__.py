"""Remuda: a server that speaks the Ollama REST API, with a backend of your choice behind each model."""

from __future__ import annotations

from .backend import Backend, Done, GenerateJob, Generates, LoadedModel, LoadWish, Text, Tokenizes
from .engine import Ended, Engine, Failed, LoadSpec, Piece, PromptRead, Sequence, SerialEngine
from .errors import RemudaError
from .hookspecs import Receipt, TemplateEngine, hookimpl
from .model import ModelEntry, ModelName

__all__ = [
    "Backend",
    "Done",
    "Ended",
    "Engine",
    "Failed",
    "GenerateJob",
    "Generates",
    "LoadSpec",
    "LoadWish",
    "LoadedModel",
    "ModelEntry",
    "ModelName",
    "Piece",
    "PromptRead",
    "Receipt",
    "RemudaError",
    "Sequence",
    "SerialEngine",
    "TemplateEngine",
    "Text",
    "Tokenizes",
    "hookimpl",
]
