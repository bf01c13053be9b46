"""Writes a line of JSON to a file for each request for a model: when, who was asked, what it cost, how it ended.

    [plugins.settings.receipts]
    path = "~/receipts.jsonl"

Neither question nor answer is in it. Without a `path` nothing is written. `receipts_report.py` sums the file up.
"""

from __future__ import annotations

import io
import threading
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path

import anyio.to_thread
import msgspec
from msgspec import Struct, structs

from remuda import Receipt, hookimpl
from remuda.hookspecs import ReadSettings


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str = ""
    """The file, made where there is none; `~` is the home folder."""


class Book:
    """The file, which is open while the server lives. Receipts come in another thread than its opening and closing."""

    def __init__(self) -> None:
        self.path = ""
        self._file: io.FileIO | None = None
        self._lock = threading.Lock()

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None, None]:
        self._file = await anyio.to_thread.run_sync(self._open)
        try:
            yield
        finally:
            with self._lock:
                self._file.close()
                self._file = None

    def write(self, receipt: Receipt) -> None:
        at = datetime.now().astimezone().isoformat(timespec="milliseconds")
        line = msgspec.json.encode({"at": at, **structs.asdict(receipt)}) + b"\n"
        with self._lock:
            if self._file is not None:
                self._file.write(line)

    def _open(self) -> io.FileIO:
        """Without a buffer: each line is one write, and is in the file when the next request ends."""
        return io.FileIO(Path(self.path).expanduser(), "a")


_book = Book()


@hookimpl
def remuda_configure(settings: ReadSettings) -> None:
    _book.path = settings(Settings).path


@hookimpl
def remuda_lifespan() -> AbstractAsyncContextManager[None] | None:
    return _book.kept() if _book.path else None


@hookimpl
def remuda_request_finished(receipt: Receipt) -> None:
    _book.write(receipt)
