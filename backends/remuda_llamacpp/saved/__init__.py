"""Sequence states on disk, so that a text that was read once is not read again, not even after a restart.

- `states`: what the engine asks: which state shares the longest prefix with these tokens, its bytes, a new one.
- `index`: in memory, which tokens the stored states hold; follows the folder.
- `writer`: the thread that writes, so that no step of the engine waits for a disk.
- `file`: one state: name, header, tokens, bytes.

Everything here is a cache. Runner processes of several models, even of several servers, share one folder without a
lock: files appear whole by being renamed, anybody may remove any of them at any time, and whoever meets a file that
is gone or damaged goes on without it. Nothing raises for what is on the disk.
"""

from __future__ import annotations

from .states import Saved, SavedStates

__all__ = ["Saved", "SavedStates"]
