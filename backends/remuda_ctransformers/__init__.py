"""Older GGML models, and early GGUF ones, through ctransformers: a library that is no longer maintained.

It is served like any other engine, in a process of its own. Only the native library is used (`native`): the Python
package round it is never imported.
"""

from __future__ import annotations

__all__: list[str] = []
