"""What a server and its engine hold while they work: memory, file descriptors, threads, children, cells."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from pathlib import Path

import httpx
from msgspec import Struct

from .herd import runners_of

__all__ = ["Footprint", "Sample", "Watch", "engine_figures", "parse_engine"]

_FIGURE = re.compile(r'^remuda_engine\{[^}]*name="([^"]+)"[^}]*\} (\S+)$', re.MULTILINE)
_KIB = 1024


class Footprint(Struct, frozen=True):
    """Of one process, or of several together. Sizes in MiB."""

    resident: float = 0.0
    anonymous: float = 0.0
    """What no file stands behind."""
    files: int = 0
    """Open descriptors."""
    threads: int = 0

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(
            self.resident + other.resident,
            self.anonymous + other.anonymous,
            self.files + other.files,
            self.threads + other.threads,
        )


class Sample(Struct, frozen=True):
    seconds: float
    """Since the watch began."""
    server: Footprint
    runners: Footprint
    children: int
    engine: dict[str, float]
    """The engine's own figures by name, those of all models added up; empty where the server tells none."""


class Watch:
    """Looks at a server every `pace` seconds while `run` runs."""

    def __init__(self, pid: int, client: httpx.AsyncClient, pace: float) -> None:
        self._pid, self._client, self._pace = pid, client, pace
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._pace)
            self.samples.append(await self.look())

    async def look(self) -> Sample:
        engine = await engine_figures(self._client)
        runners = runners_of(self._pid)
        return Sample(
            time.monotonic() - self._began,
            _footprint(self._pid),
            sum((_footprint(pid) for pid in runners), Footprint()),
            len(runners),
            engine,
        )


async def engine_figures(client: httpx.AsyncClient) -> dict[str, float]:
    """What `/metrics` says of `remuda_engine`, by name; nothing if there is no such page."""
    reply = await client.get("/metrics")
    return parse_engine(reply.text) if reply.status_code == 200 else {}


def parse_engine(page: str) -> dict[str, float]:
    """The figures of all models on a page in Prometheus' text format, added up by name."""
    figures: dict[str, float] = {}
    for name, value in _FIGURE.findall(page):
        figures[name] = figures.get(name, 0.0) + float(value)
    return figures


def _footprint(pid: int) -> Footprint:
    """Nothing of a process that is gone."""
    folder = Path(f"/proc/{pid}")
    with suppress(OSError):
        rows = (line.split() for line in (folder / "smaps_rollup").read_text().splitlines()[1:])
        sizes = {row[0]: int(row[1]) / _KIB for row in rows}
        files, threads = (len(list((folder / name).iterdir())) for name in ("fd", "task"))
        return Footprint(sizes["Rss:"], sizes["Anonymous:"], files, threads)
    return Footprint()
