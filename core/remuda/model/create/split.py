"""Weights that come in several files, as large ones are published: put in order, and joined."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import structs

from ...errors import BadRequest
from ..gguf import GGUFError, merge_shards
from ..store import Pins, Store
from .uploads import Upload, examine

__all__ = ["group", "join"]

_NAME: Final = re.compile(r"(?P<whole>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def group(uploads: Sequence[Upload]) -> list[Upload]:
    """The files, with those of a split GGUF made one, whose `rest` are the others.

    Raises `BadRequest` if some of them are missing or have names that do not say where they belong.
    """
    whole = [upload for upload in uploads if upload.shards == 1]
    splits: dict[str, dict[int, Upload]] = {}
    for upload in uploads:
        if upload.shards > 1:
            number = upload.shard + 1
            splits.setdefault(_whole_name(upload, number), {})[number] = upload
    for name, parts in splits.items():
        first, *rest = _complete(name, parts)
        whole.append(structs.replace(first, rest=tuple(rest)))
    return whole


def join(store: Store, pins: Pins, upload: Upload, *, check: Callable[[], object]) -> Upload:
    """`upload` as one file, which is written if it comes in parts.

    Blocking, and slow: `check` is called again and again, and what it raises ends the work.
    """
    if not upload.rest:
        return upload
    with store.incoming() as incoming:

        def write(data: bytes) -> None:
            check()
            incoming.write(data)

        try:
            merge_shards([store.blob(part.digest) for part in (upload, *upload.rest)], write)
        except GGUFError as error:
            raise BadRequest(f"the parts of {upload.name!r} do not go together: {error}") from None
        digest, _ = incoming.publish(pins=pins)
    return examine(store, upload.path, digest)


def _whole_name(upload: Upload, number: int) -> str:
    """What the names of all parts have in common."""
    count = upload.shards
    found = _NAME.fullmatch(upload.path)
    if found is None or (int(found["number"]), int(found["count"])) != (number, count):
        expected = _part_name("<name>", number, count)
        raise BadRequest(f"{upload.name!r} is part {number} of {count} of a split model: it must be named {expected}")
    return found["whole"]


def _complete(name: str, parts: dict[int, Upload]) -> list[Upload]:
    """The parts in their order."""
    count = next(iter(parts.values())).shards
    for number in range(1, count + 1):
        if number not in parts:
            missing = _part_name(name.rpartition("/")[2], number, count)
            raise BadRequest(f"part {number} of {count} of a split model is missing: upload {missing} too")
    return [parts[number] for number in sorted(parts)]


def _part_name(name: str, number: int, count: int) -> str:
    return f"{name}-{number:05}-of-{count:05}.gguf"
