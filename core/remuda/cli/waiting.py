"""What `remuda run` shows while it waits for its turn, or for a model to load."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING

from .progress import can_draw
from .replies import Piece
from .wrap import harmless

if TYPE_CHECKING:
    from rich.status import Status

__all__ = ["awaited"]


def awaited(pieces: Generator[Piece, None, None]) -> Generator[Piece, None, None]:
    """The pieces of the answer. What comes before them and tells of the wait is shown on stderr, where that is a
    terminal, and is gone when the answer begins.

    Left early (Ctrl-C), it closes the connection.
    """
    with closing(pieces), closing(_Spinner()) as spinner:
        for piece in pieces:
            if piece.status:
                spinner.show(_words(piece))
            else:
                spinner.close()
                yield piece


class _Spinner:
    def __init__(self) -> None:
        self._status: Status | None = None

    def show(self, words: str) -> None:
        if not can_draw():
            return
        from rich.console import Console
        from rich.text import Text

        if self._status is None:
            self._status = Console(stderr=True).status("")
            self._status.start()
        self._status.update(Text(words))

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


def _words(piece: Piece) -> str:
    if piece.status == "waiting":
        before = piece.position - 1
        if before <= 0:
            return "waiting for its turn"
        return f"waiting, {before} request{'s' if before > 1 else ''} before this one"
    words = harmless(piece.status)
    if piece.completed <= 0 or piece.total <= 0:  # what does not tell how far it is stays at 0
        return words
    return f"{words} {min(100, piece.completed * 100 // piece.total)}%"
