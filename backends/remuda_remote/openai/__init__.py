"""Upstreams that speak as OpenAI's API does: llama-server, vLLM, LM Studio, llama-cpp-python's server, services.

Everything here is translation: `request` makes a request of a job, `events` makes events of what streams back,
`flavour` knows what tells the servers apart, and `dialect` does the talking.
"""

from __future__ import annotations

__all__: list[str] = []
