"""Server-sent events, as far as these servers use them: `data:` lines, of which each is a whole payload.

By the letter several `data:` lines make one event; all servers of this API write one line for each, and some forget
the empty line between two. Some send an error without its `data:`.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["DONE", "payloads"]

DONE = b"[DONE]"


def payloads(lines: bytes) -> Iterator[bytes]:
    """What stands behind `data:` in whole lines, and lines that are JSON objects, without comments, other fields and
    empty ones. Ends of lines are `\\n` or `\\r\\n`; the space behind the colon may lack."""
    for line in lines.split(b"\n"):
        if line.startswith(b"data:"):
            payload = line[5:].strip()
            if payload:
                yield payload
        elif line.startswith(b"{"):
            yield line
