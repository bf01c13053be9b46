"""Pulls for tests: a policy that reaches registries on loopback, and what comes of a pull, in one call.

As a program, for tests that kill: `pulling.py FOLDER NAME` pulls and prints each event, or at last the error.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from remuda.errors import RemudaError
from remuda.model import Digest, ModelName, parse_digest, parse_name
from remuda.model.store import Store
from remuda.model.transfer import TransferPolicy, Transfers, fetch
from remuda.wire import ProgressResponse

__all__ = ["digest", "policy_of", "pulled", "puller", "pulling", "statuses", "tree"]


def policy_of(folder: Path, **changes: Any) -> TransferPolicy:
    """Registries on loopback may be reached; little patience."""
    policy = TransferPolicy(key=folder / "keys" / "id_ed25519", private=("127.0.0.*", "localhost"), stall_timeout=2.0)
    return msgspec.structs.replace(policy, **changes)


@asynccontextmanager
async def pulling(folder: Path, **changes: Any) -> AsyncGenerator[tuple[Store, Transfers], None]:
    """A store in `folder / "models"`, and transfers to it."""
    store = Store(folder / "models")
    transfers = Transfers(store, policy_of(folder, **changes))
    try:
        yield store, transfers
    finally:
        await transfers.close()


async def pulled(transfers: Transfers, name: str | ModelName, *, insecure: bool = True) -> list[ProgressResponse]:
    """All events of a pull."""
    wanted = parse_name(name) if isinstance(name, str) else name
    async with aclosing(transfers.pull(wanted, insecure=insecure)) as events:
        return [event async for event in events]


def statuses(events: list[ProgressResponse]) -> list[str]:
    """Each status once, in their order."""
    return list(dict.fromkeys(event.status for event in events))


def digest(data: bytes | str) -> Digest:
    """Of these bytes, or that is written so."""
    return parse_digest(data) if isinstance(data, str) else Digest.of(data)


def tree(folder: Path) -> dict[str, str]:
    """The files below `folder`, with a hash of each."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def puller(folder: Path, name: str, **environment: str) -> tuple[list[str], dict[str, str]]:
    """The command and the environment of a process that pulls."""
    support = Path(__file__).resolve()
    return [sys.executable, str(support), str(folder), name], {**os.environ, **environment}


async def _main(folder: Path, name: str) -> None:
    fetch.SAVE_SECONDS = 0.05
    async with pulling(folder) as (_, transfers):
        try:
            async with aclosing(transfers.pull(parse_name(name), insecure=True)) as events:
                async for event in events:
                    print(msgspec.json.encode(event).decode(), flush=True)
        except RemudaError as error:
            print(f"error: {error.message}", flush=True)


if __name__ == "__main__":
    anyio.run(_main, Path(sys.argv[1]), sys.argv[2])
