"""How much system memory is free for one more model, and how a lack of it is told.

Two bounds count: the machine's (`psutil`), and those of the control groups that this process is in, each below its
parent's. Both take the cache of files as free, mapped files as well: what is mapped and in use is known by those who
mapped it (`Estimate.mapped`). Layout: cgroups(7); the kernel's "Control Group v2" and "Memory Resource Controller".
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import psutil
from msgspec import Struct

from ..backend import Estimate
from ..model import ModelEntry
from ..model.entry import NO_WEIGHTS

__all__ = ["available_memory", "cgroup_room", "fallback_estimate", "human_size", "too_large"]

_UNITS: Final = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_PROCESS: Final = 64 * 2**20
"""What a process holds before it has a model."""
_HINT: Final = "lower num_ctx, or take a smaller model or one with fewer bits per weight"
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")


class _Files(Struct, frozen=True):
    """How a version of control groups calls what is read here. `files` are names in `memory.stat`."""

    limits: tuple[str, ...]
    used: str
    files: tuple[str, ...]


_V2: Final = _Files(("memory.max", "memory.high"), "memory.current", ("active_file", "inactive_file"))
_V1: Final = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_active_file", "total_inactive_file"))


def available_memory() -> int:
    """Bytes that a new process may take before something is swapped out, or killed. Blocking, for about a millisecond.

    Never raises: what cannot be read bounds nothing.
    """
    try:
        free = int(psutil.virtual_memory().available)
    except OSError:
        free = sys.maxsize
    room = cgroup_room(Path("/"))
    return free if room is None else max(0, min(free, room))


def cgroup_room(root: Path) -> int | None:
    """Bytes that the control groups of this process leave it, maybe less than none; None if they set no bound.

    `root` is the folder that holds `proc` and `sys`.
    """
    rooms = [room for folder, files in _groups(root) if (room := _room(folder, files)) is not None]
    return min(rooms, default=None)


def fallback_estimate(model: ModelEntry) -> Estimate:
    """What a model may need of which only the files are known: nothing where there are none. Blocking; never raises."""
    if model.weights == NO_WEIGHTS:
        return Estimate(memory=0)
    files = (model.weights, model.projector, model.draft, *model.adapters)
    size = sum(_size(path) for path in files if path is not None)
    return Estimate(memory=size + size // 10 + _PROCESS)


def too_large(what: str, needed: int, available: int) -> str:
    """The sentence for a model that does not fit. `what` is "system memory" or "GPU memory"."""
    sizes = f"({human_size(needed)}) than is available ({human_size(available)})"
    return f"model requires more {what} {sizes}; {_HINT}"


def human_size(size: int) -> str:
    """In binary units, with one decimal: `5.0 GiB`, `12 B`."""
    for factor, unit in _UNITS:
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} B"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _groups(root: Path) -> Iterator[tuple[Path, _Files]]:
    """The folders of the process's own groups and of all above them, as far as they can be seen."""
    paths = _own_paths(_text(root / "proc/self/cgroup"))
    for line in _text(root / "proc/self/mountinfo").splitlines():
        # 36 35 98:0 TOP POINT rw,noatime shared:1 - KIND source rw,memory
        before, separator, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if not separator or len(fields) < 6 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            files, path = _V2, paths.get("")
        elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
            files, path = _V1, paths.get("memory")
        else:
            continue
        mount = root / _plain(fields[4]).lstrip("/")
        for folder in _upwards(mount, PurePosixPath(_plain(fields[3])), PurePosixPath(path or "/")):
            yield folder, files


def _own_paths(text: str) -> dict[str, str]:
    """Paths of this process's groups by controller; that of version 2 under an empty name."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, separator, path = rest.partition(":")
        if separator and (controllers or number == "0"):
            paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _upwards(mount: Path, top: PurePosixPath, path: PurePosixPath) -> Iterator[Path]:
    """From the group `path` up to the mount point, which shows the group `top`.

    A container may see its own group as the root of all, or a path that makes sense outside of it only.
    """
    inside = path.relative_to(top) if path.is_relative_to(top) else PurePosixPath()
    parts = () if ".." in inside.parts else tuple(part for part in inside.parts if part != "/")
    for depth in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:depth])


def _room(folder: Path, files: _Files) -> int | None:
    limits = [limit for name in files.limits if (limit := _number(_text(folder / name))) is not None]
    used = _number(_text(folder / files.used))
    if not limits or used is None:
        return None
    return min(limits) - max(0, used - _cached(_text(folder / "memory.stat"), files.files))


def _cached(text: str, names: tuple[str, ...]) -> int:
    """Bytes of files in memory that count as used, and are given up when memory is wanted."""
    rows = {name: value for name, _, value in (line.partition(" ") for line in text.splitlines())}
    return sum(_number(rows.get(name, "")) or 0 for name in names)


def _number(text: str) -> int | None:
    """None for `max`, and for what should not be there."""
    text = text.strip()
    return int(text) if len(text) < 20 and text.isascii() and text.isdecimal() else None


def _plain(field: str) -> str:
    """A field of mountinfo with its `\\040` made spaces again."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), field)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except (OSError, ValueError):
        return ""
