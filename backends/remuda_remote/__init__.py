"""Upstreams: other servers, Ollama's or OpenAI's kind, whose models are served here as if they were this server's own.

`plugin` announces the backend. `backend` keeps the promise `remuda.remote.Remote`; everything that opens a connection
stands below it and is imported when there are upstreams.
"""

from __future__ import annotations

__all__: list[str] = []
