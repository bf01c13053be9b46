"""Upstreams that speak the Ollama API, where what is said has to be understood: jobs to requests, lines to events."""

from __future__ import annotations

from .dialect import OllamaDialect

__all__ = ["OllamaDialect"]
