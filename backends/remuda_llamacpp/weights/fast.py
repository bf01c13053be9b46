"""Slow weights in a faster form: made once, kept in a folder, found there by the next load (`weights = "fast"`).

Which they are is for `slow` to say. The file that is kept is named by a hash of where the source is, how large and how
old, and of the version of llama.cpp: a source that was replaced has another name. The kept file is as old as its
source, so that what depends on the weights (states of texts) is still good when it was made anew; when it was last
used is its time of access.

The folder is a cache without a lock, which processes share: files appear whole by being renamed, anybody may make or
remove any of them at any time, and where something goes wrong the weights are used as they are. It happens while a
model is loaded, in its own process, where what llama.cpp does with strange weights harms nobody else.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from remuda.errors import LoadFailed, without_paths
from remuda.model.gguf import GGUFError, GGUFHeader, check_gguf

from .. import _native
from ..cache_folder import Kind, cut, make, remove
from ..settings import Settings
from .rewrite import rewrite
from .slow import FAST, quickened, slow

__all__ = ["FASTER", "fast_weights"]

_log = logging.getLogger("remuda_llamacpp")
FASTER: Final = Kind(
    kept=re.compile(r"[0-9a-f]{32}\.fast\.gguf"),
    temporary=re.compile(r"[0-9a-f]{24}\.fast\.gguf-tmp"),
    used=lambda found: found.st_atime_ns,
)
_DAY: Final = 86_400.0


def fast_weights(path: str, what: str, settings: Settings, threads: int, progress: Callable[[float], None]) -> str:
    """A file with the weights of `path` in a faster form, or `path`. Never raises; `what` is for the log.

    While it is made, `progress` hears that nothing of it is read yet.
    """
    try:
        return str(_found_or_made(Path(path), settings, threads, progress))
    except (OSError, LoadFailed) as error:
        _log.warning("%s are used as they are, which is slower: %s", what, without_paths(str(error)))
        return path


def _found_or_made(source: Path, settings: Settings, threads: int, progress: Callable[[float], None]) -> Path:
    """Raises `OSError` and `LoadFailed`."""
    folder, most, age = settings.weights_folder, settings.weights_bytes, settings.weights_days * _DAY
    found = source.stat()
    target = folder / _name(source, found)
    with suppress(FileNotFoundError):
        cut(folder, FASTER, most, age)
    if _is_whole(target):
        _touch(target)
        return target
    header = check_gguf(source)
    names = {tensor.name for tensor in slow(header)}
    if not names:
        return source
    make(folder)
    _make_room(folder, _size(header), most, age)
    temporary = target.with_name(f"{secrets.token_hex(12)}.fast.gguf-tmp")
    try:
        temporary.touch(0o600, exist_ok=False)
        staying = [each for each in header.tensor_list if each.name not in names and len(each.shape) > 1]
        rewrite(source, temporary, FAST, threads, lambda _done, _total: progress(0.0), staying)
        _flush(temporary)
        os.utime(temporary, ns=(time.time_ns(), found.st_mtime_ns))
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    return target


def _name(source: Path, found: os.stat_result) -> str:
    told = repr((str(source.resolve()), found.st_size, found.st_mtime_ns, _native.version()))
    return f"{hashlib.blake2b(os.fsencode(told), digest_size=16).hexdigest()}.fast.gguf"


def _is_whole(path: Path) -> bool:
    """Whether it is there, as somebody with our rights has made it. If it is something else it is removed."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        with suppress(GGUFError):
            check_gguf(path)
            return True
    remove(path)
    return False


def _touch(path: Path) -> None:
    with suppress(OSError):  # it goes a little sooner than it should
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))


def _make_room(folder: Path, size: int, most: int, age: float) -> None:
    if size > most:
        raise LoadFailed(f"in that form they take {size} bytes, more than weights_bytes ({most})")
    cut(folder, FASTER, most - size, age)
    free = shutil.disk_usage(folder).free
    if size > free:
        raise LoadFailed(f"in that form they take {size} bytes, and {free} are free where weights_folder is")


def _size(header: GGUFHeader) -> int:
    """What the kept file will have, about."""
    grown = sum(new.size - old.size for old, new in zip(header.tensor_list, quickened(header), strict=True))
    return header.file_size + grown


def _flush(path: Path) -> None:
    """To the disk: of a file that is renamed before, a power failure may leave nothing but zeros."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
