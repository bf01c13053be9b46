"""Sending files to a server by their digest, so that what it has is not sent again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click

from ..model.digest import Digest
from .client import Client
from .progress import Display
from .replies import Progress

__all__ = ["send_files"]

_CHUNK: Final = 1024 * 1024


def send_files(client: Client, files: Mapping[str, Path], shown: Display) -> dict[str, str]:
    """The digests of `files`, by their names, once the server has them all.

    Raises a click error that names the file which cannot be read.
    """
    return {name: str(_sent(client, name, path, shown)) for name, path in files.items()}


def _sent(client: Client, name: str, path: Path, shown: Display) -> Digest:
    with _opened(path) as (file, size):
        hashing = hashlib.sha256()
        for chunk in _chunks(file, lambda done: shown.update(Progress(f"reading {name}", name, size, done))):
            hashing.update(chunk)
        digest = Digest(hashing.digest())
        if not client.has_blob(digest):
            file.seek(0)
            words = f"copying file sha256:{digest.short}"
            chunks = _chunks(file, lambda done: shown.update(Progress(words, str(digest), size, done)))
            client.send_blob(digest, chunks, size)
    return digest


@contextmanager
def _opened(path: Path) -> Generator[tuple[IO[bytes], int], None, None]:
    try:
        with path.open("rb") as file:
            yield file, path.stat().st_size
    except OSError as error:
        raise click.ClickException(f"the file {str(path)!r} cannot be read: {error.strerror}") from None


def _chunks(file: IO[bytes], tell: Callable[[int], None]) -> Generator[bytes, None, None]:
    done = 0
    while chunk := file.read(_CHUNK):
        yield chunk
        done += len(chunk)
        tell(done)
