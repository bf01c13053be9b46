"""Every model of the `llm` package, and of the plugins that are installed for it, behind the Ollama API.

`plugin` is what Remuda is told of, `library` finds the models, `backend` loads them, and `chat` and `embedder` are what
is loaded. `llm` itself is imported when its models are looked for, not before.
"""

from __future__ import annotations

from .backend import LlmBackend
from .library import Library, Offer
from .settings import LlmSettings

__all__ = ["Library", "LlmBackend", "LlmSettings", "Offer"]
