"""What can go wrong in a store, in words that hold no path."""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ...errors import BadRequest, LoadFailed, RemudaError
from ..digest import Digest
from ..name import ModelName

__all__ = ["BlobMissing", "DigestMismatch", "disk_error", "disk_errors", "incomplete"]

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_REFUSED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE}


class BlobMissing(BadRequest):
    """The store has no blob of this digest."""

    def __init__(self, digest: Digest) -> None:
        super().__init__(f"blob {digest} not found; upload it first")
        self.digest = digest


def incomplete(name: ModelName) -> LoadFailed:
    """The error for a model that names a blob which the store does not have."""
    return LoadFailed(f"model '{name}' is not complete: pull it or create it again")


class DigestMismatch(BadRequest):
    """The bytes are not those of the digest. The sentence is the protocol's own."""

    def __init__(self, expected: Digest, got: Digest) -> None:
        super().__init__(f'digest mismatch, expected "{expected}", got "{got}"')
        self.expected, self.got = expected, got


def disk_error(error: OSError) -> RemudaError:
    """The error to raise for what the file system said about the store."""
    if error.errno in _FULL:
        return RemudaError("the disk is full: free some space where the models are kept, and try again")
    if error.errno in _REFUSED:
        return RemudaError("the models' folder refuses access: check its permissions")
    if error.errno in _EXHAUSTED:
        return RemudaError("too many files are open: raise the limit of open files (ulimit -n)")
    if error.errno == errno.ENAMETOOLONG:
        return BadRequest("invalid model name: the file system here cannot keep one this long")
    return RemudaError(f"the models' folder cannot be used: {error.strerror or type(error).__name__}")


@contextmanager
def disk_errors() -> Generator[None, None, None]:
    """Inside, every `OSError` becomes what `disk_error` makes of it."""
    try:
        yield
    except OSError as error:
        raise disk_error(error) from error
