"""Files that appear whole or not at all, and locks between processes.

Locks are `flock`s: they belong to an open file, so they exclude threads as well as processes, and the kernel lets go
of them when their owner dies. On file systems that know no locks nobody waits, and nothing is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = [
    "create_file",
    "create_held",
    "exclusive",
    "hold",
    "lock",
    "make_folder",
    "remove_unless_held",
    "sync_folder",
    "write_all",
]

_UNKNOWN: Final = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
"""What file systems say to what they cannot do."""


def make_folder(path: Path) -> None:
    """With all parents, as far as they are missing; on the disk when it returns."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o755)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """What was renamed, made and removed in a folder is on the disk when it returns, where the system can say so."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    finally:
        os.close(descriptor)


def create_file(path: Path) -> int:
    """A descriptor of a new file, which nobody else has made before."""
    return _open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def create_held(path: Path) -> int:
    """As `create_file`, with a shared lock on the file from the beginning."""
    while True:
        descriptor = create_file(path)
        try:
            lock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # somebody removed it before it was locked


def hold(path: Path) -> int | None:
    """A descriptor with a shared lock on the file that is at `path` at this moment; None if there is none.

    While it is open, nobody's `remove_unless_held` removes the file.
    """
    while True:
        try:
            descriptor = _open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            lock(descriptor, fcntl.LOCK_SH)
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def remove_unless_held(path: Path) -> bool:
    """Whether the file is gone: False if somebody holds it, or where it cannot be known."""
    try:
        descriptor = _open_to_lock(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


@contextmanager
def exclusive(path: Path) -> Generator[None, None, None]:
    """One thread of one process at a time is inside for each lock file. Not to be nested."""
    make_folder(path.parent)
    while True:
        descriptor = _open_to_lock(path, os.O_CREAT)
        try:
            lock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                yield
                return
        finally:
            os.close(descriptor)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:  # models of thousands of layers meet the usual soft limit, which is there for `select` alone
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return os.open(path, flags | os.O_CLOEXEC, 0o644)


def _open_to_lock(path: Path, flags: int = 0) -> int:
    """For an exclusive lock: network file systems want the file open for writing, other people's files allow less."""
    try:
        return _open(path, flags | os.O_RDWR)
    except PermissionError:
        return _open(path, flags | os.O_RDONLY)


def lock(descriptor: int, operation: int) -> None:
    try:
        fcntl.flock(descriptor, operation)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
